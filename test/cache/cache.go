// Package cache is where tests keep what takes long to make, across runs and
// outside the tree.
package cache

import (
	"os"
	"path/filepath"
	"syscall"
)

// Lock makes a directory of that name below
// ${ELASTICHUB_CACHE:-~/.cache/elastichub}. Packages are tested by several
// processes at once: until unlock is called the directory is this one's alone.
func Lock(name ...string) (dir string, unlock func(), err error) {
	root := os.Getenv("ELASTICHUB_CACHE")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", nil, err
		}
		root = filepath.Join(home, ".cache", "elastichub")
	}
	dir = filepath.Join(append([]string{root}, name...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		_ = lock.Close()
		return "", nil, err
	}
	return dir, func() { _ = lock.Close() }, nil
}
