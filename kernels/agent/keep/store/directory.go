package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Directory is a Volume in a file system, as the user whom the process runs as.
// What it makes nobody else can read.
type Directory struct {
	root *os.Root
}

var _ Volume = (*Directory)(nil)

// OpenDirectory goes down from base, which exists, by one name after the other,
// makes what is not there, and refuses links.
func OpenDirectory(base string, below ...string) (*Directory, error) {
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, err
	}
	if root, err = descend(root, below, true); err != nil {
		return nil, err
	}
	return &Directory{root}, nil
}

// Close closes the directory. Locks outlive it.
func (d *Directory) Close() error { return d.root.Close() }

// at returns the directory of that name.
func (d *Directory) at(dir string, create bool) (*os.Root, error) {
	if !fs.ValidPath(dir) {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrInvalid}
	}
	root, err := d.root.OpenRoot(".")
	if err != nil || dir == "." {
		return root, err
	}
	return descend(root, strings.Split(dir, "/"), create)
}

// Lock takes a lock of the kernel's, which ends with the process whatever
// becomes of it. An exclusive one makes the directory.
func (d *Directory) Lock(name string, shared bool) (io.Closer, error) {
	root, err := d.at(path.Dir(name), !shared)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	for {
		file, err := openFile(root, path.Base(name), os.O_RDWR|os.O_CREATE)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB); err != nil {
			file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, ErrBusy
			}
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if isStill(root, path.Base(name), file) {
			return lock{file}, nil
		}
		file.Close() // whoever had the lock has removed its file
	}
}

// lock is a file that is locked.
type lock struct{ file *os.File }

// Close unlocks it first: a process that is just being started has the file open
// for a moment longer.
func (l lock) Close() error {
	return errors.Join(unix.Flock(int(l.file.Fd()), unix.LOCK_UN), l.file.Close())
}

func (d *Directory) List(dir string) ([]Entry, error) {
	root, err := d.at(dir, false)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, each := range found {
		info, err := each.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() || info.IsDir() {
			all = append(all, Entry{Name: info.Name(), Size: info.Size(), Directory: info.IsDir(), Changed: info.ModTime()})
		}
	}
	return all, nil
}

func (d *Directory) Open(name string) (io.ReadCloser, int64, error) {
	root, err := d.at(path.Dir(name), false)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	file, err := openFile(root, path.Base(name), os.O_RDONLY)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, info.Size(), nil
}

func (d *Directory) Write(name string, data []byte) error {
	root, err := d.at(path.Dir(name), true)
	if err != nil {
		return err
	}
	defer root.Close()
	final, draft := path.Base(name), path.Base(name)+unfinished
	if err := root.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeFile(root, draft, data); err != nil {
		_ = root.Remove(draft) // else the next sweep does
		return full(err)
	}
	return full(root.Rename(draft, final))
}

func writeFile(root *os.Root, name string, data []byte) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (d *Directory) Sync(dir string) error {
	root, err := d.at(dir, false)
	if err != nil {
		return err
	}
	defer root.Close()
	return full(syncDirectory(root))
}

func (d *Directory) Remove(name string) error {
	root, err := d.at(path.Dir(name), false)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.Remove(path.Base(name))
}

func (d *Directory) Space() (free, total int64, err error) {
	root, err := d.at(".", false)
	if err != nil {
		return 0, 0, err
	}
	defer root.Close()
	file, err := root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	var found unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &found); err != nil {
		return 0, 0, err
	}
	return int64(found.Bavail) * found.Bsize, int64(found.Blocks) * found.Bsize, nil
}
