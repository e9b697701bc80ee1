package rotation

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/elastichub/elastichub/smallfile"
)

// maxBytes bounds one file.
const maxBytes = 64 << 10

// Together are files of one directory at one moment.
type Together struct {
	// Value is what the file has that was asked for, and Beside what those have that are beside it.
	Value  string
	Beside map[string]string
	name   string
}

// Values are those of a secret whose value is in the file.
func (t Together) Values() (Values, error) {
	return Parse(t.name, func(key string) string {
		if key == t.name {
			return t.Value
		}
		return t.Beside[key]
	})
}

// readings is how often files are read when they are exchanged meanwhile.
const readings = 3

// errExchanged: others are in the place of the files that were read.
var errExchanged = fmt.Errorf("rotation: files were exchanged while they were read: %w", fs.ErrNotExist)

// ReadTogether reads a mounted file and those beside it that are there. All are of one moment:
// the kubelet changes the files of a volume together, by another directory in the place of the
// former, which is read again if that happens meanwhile.
func ReadTogether(file string, beside ...string) (Together, error) {
	read, err := readTogether(file, beside)
	for range readings - 1 {
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		read, err = readTogether(file, beside)
	}
	return read, err
}

func readTogether(file string, beside []string) (Together, error) {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return Together{}, err
	}
	value, err := smallfile.Read(real, maxBytes)
	if err != nil {
		return Together{}, err
	}
	read := Together{Value: string(value), Beside: map[string]string{}, name: filepath.Base(file)}
	for _, name := range beside {
		text, err := smallfile.Read(filepath.Join(filepath.Dir(real), name), maxBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Together{}, err
		}
		read.Beside[name] = string(text)
	}
	again, err := filepath.EvalSymlinks(file)
	if err == nil && again != real { // what is missing beside it may have been removed with it, before it
		err = errExchanged
	}
	return read, err
}
