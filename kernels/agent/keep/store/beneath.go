package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// descend goes down from root, which it closes.
func descend(root *os.Root, names []string, create bool) (*os.Root, error) {
	for _, name := range names {
		inner, err := enter(root, name, create)
		root.Close()
		if err != nil {
			return nil, err
		}
		root = inner
	}
	return root, nil
}

// enter opens a directory in another. One that others may enter, as volumes with
// a group make them, is closed to them.
func enter(root *os.Root, name string, create bool) (*os.Root, error) {
	if create {
		if err := makeDirectory(root, name); err != nil {
			return nil, full(err)
		}
	}
	before, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, foreign(root, name)
	}
	inner, err := root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	after, err := inner.Stat(".")
	if err == nil && !os.SameFile(before, after) {
		err = foreign(root, name)
	}
	if err == nil && after.Mode().Perm() != 0o700 {
		err = inner.Chmod(".", 0o700)
	}
	if err != nil {
		inner.Close()
		return nil, err
	}
	return inner, nil
}

func makeDirectory(root *os.Root, name string) error {
	err := root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDirectory(root)
}

func syncDirectory(root *os.Root) error {
	file, err := root.Open(".")
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// openFile opens a regular file and nothing else: no link is followed, and no
// FIFO waited for.
func openFile(root *os.Root, name string, flag int) (*os.File, error) {
	before, err := root.Lstat(name)
	if err == nil && !before.Mode().IsRegular() {
		return nil, foreign(root, name)
	}
	if err != nil && (flag&os.O_CREATE == 0 || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	file, err := root.OpenFile(name, flag|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, full(err)
	}
	if !isStill(root, name, file) {
		file.Close()
		return nil, foreign(root, name)
	}
	return file, nil
}

// isStill says whether an open file is the regular file of that name.
func isStill(root *os.Root, name string, file *os.File) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := root.Lstat(name)
	return err == nil && named.Mode().IsRegular() && os.SameFile(opened, named)
}

func foreign(root *os.Root, name string) error {
	return &fs.PathError{Op: "open", Path: path.Join(root.Name(), name), Err: ErrForeign}
}

// full says that there is no room, if that is why.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrVolumeFull, err)
	}
	return err
}
