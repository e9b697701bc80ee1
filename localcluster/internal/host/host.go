// Package host is everything localcluster does to the machine it runs on:
// packages, processes, mounts, control groups, packet filter rules. Each thing
// that it makes has a function here that takes it away again.
package host

import (
	"os"
	"path/filepath"
	"strings"
)

// CacheDir is where things live that are slow to make and safe to keep.
func CacheDir() (string, error) {
	return directory("ELASTICHUB_CACHE", "XDG_CACHE_HOME", ".cache")
}

// StateDir is where running things keep their state.
func StateDir() (string, error) {
	return directory("ELASTICHUB_STATE", "XDG_STATE_HOME", ".local/state")
}

func directory(own, xdg, underHome string) (string, error) {
	if dir := os.Getenv(own); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv(xdg); dir != "" {
		return filepath.Join(dir, "elastichub"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, underHome, "elastichub"), nil
}

// WriteFile replaces a file in one step, so that no reader sees half of it.
func WriteFile(name string, data []byte, mode os.FileMode) error {
	temporary, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(data); err != nil {
		temporary.Close()
		return err
	}
	if err := temporary.Chmod(mode); err != nil {
		temporary.Close()
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), name)
}

// LastLines returns at most n lines from the end of text.
func LastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
