// Package smallfile reads files of which it is known how long they may be: mounted secrets,
// certificates, lists of a site.
package smallfile

import (
	"fmt"
	"io"
	"os"
)

// Read reads a file of at most so many bytes. A longer one is an error, and is not read to its end.
func Read(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s: longer than %d bytes", name, most)
	}
	return content, nil
}
