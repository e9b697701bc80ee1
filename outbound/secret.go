package outbound

import (
	"fmt"
	"strings"
)

// ReadSecret reads a mounted secret without the white space around it. An
// empty one is an error. Callers read it for every use, so that a changed
// secret counts without a restart.
func ReadSecret(file string) (string, error) {
	content, err := ReadFile(file)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return text, nil
}
