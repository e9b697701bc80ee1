package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

const (
	// deepest is how many directories may lie in each other: each is open while it is read.
	deepest = 1000
	// namesAtOnce bounds how many names of a directory are in memory.
	namesAtOnce = 1000
)

// ErrTooDeep: directories lie in each other deeper than is read.
var ErrTooDeep = fmt.Errorf("archive: directories lie in each other more than %d deep", deepest)

// ErrChanged: something was written to the home meanwhile.
var ErrChanged = errors.New("archive: the home changes while it is read")

// entry is one name in a directory that is open.
type entry struct {
	in   *os.File
	name string
	path string
	stat unix.Stat_t
}

// kind is the type in the mode.
func (e entry) kind() uint32 { return e.stat.Mode & unix.S_IFMT }

// open opens what was seen, and nothing else that may have its name by now.
func (e entry) open(flags int) (*os.File, error) {
	fd, err := unix.Openat(int(e.in.Fd()), e.name, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: e.path, Err: err}
	}
	file := os.NewFile(uintptr(fd), e.path)
	if err := e.same(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// same reports ErrChanged if a file is not what was seen, or was written since.
func (e entry) same(file *os.File) error {
	var now unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &now); err != nil {
		return &os.PathError{Op: "stat", Path: e.path, Err: err}
	}
	if now.Ino != e.stat.Ino || now.Dev != e.stat.Dev || now.Mode != e.stat.Mode || now.Size != e.stat.Size || now.Mtim != e.stat.Mtim {
		return fmt.Errorf("%w: %q", ErrChanged, e.path)
	}
	return nil
}

// link is where a symbolic link leads.
func (e entry) link() (string, error) {
	target := make([]byte, max(e.stat.Size, 0)+1)
	n, err := unix.Readlinkat(int(e.in.Fd()), e.name, target)
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: e.path, Err: err}
	}
	if n == len(target) {
		return "", fmt.Errorf("%w: %q", ErrChanged, e.path)
	}
	return string(target[:n]), nil
}

// walk visits what is below a directory, each directory before what is in it.
func walk(ctx context.Context, dir *os.File, at string, depth int, visit func(entry) (enter bool, err error)) error {
	if depth > deepest {
		return fmt.Errorf("%w: %q", ErrTooDeep, at)
	}
	for {
		names, err := dir.Readdirnames(namesAtOnce)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := walkOne(ctx, entry{in: dir, name: name, path: path.Join(at, name)}, depth, visit); err != nil {
				return err
			}
		}
	}
}

func walkOne(ctx context.Context, e entry, depth int, visit func(entry) (bool, error)) error {
	if err := unix.Fstatat(int(e.in.Fd()), e.name, &e.stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "stat", Path: e.path, Err: err}
	}
	enter, err := visit(e)
	if err != nil || !enter {
		return err
	}
	dir, err := e.open(unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	return errors.Join(walk(ctx, dir, e.path, depth+1, visit), dir.Close())
}
