package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mostLinks bounds how many files with several names are remembered, so that each is written once.
const mostLinks = 1_000_000

// ErrTooManyLinks: more files have several names than are remembered.
var ErrTooManyLinks = fmt.Errorf("archive: more than %d files have several names", mostLinks)

// Counts are of what was written.
type Counts struct {
	Entries int64 `json:"entries"`
	// Bytes are those of files, without holes.
	Bytes int64 `json:"bytes"`
	// LeftOut are devices, sockets and other file systems.
	LeftOut int64 `json:"leftOut"`
}

type inode struct{ device, number uint64 }

// writer writes one home.
type writer struct {
	to      io.Writer
	tar     *tar.Writer
	device  uint64
	linked  map[inode]string
	counts  Counts
	written func(Counts)
}

// writeTree writes what is in a directory as a tar file, and tells how far it is.
func writeTree(ctx context.Context, to io.Writer, home string, written func(Counts)) (Counts, error) {
	dir, err := os.OpenFile(home, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return Counts{}, err
	}
	defer dir.Close()
	w := &writer{to: to, tar: tar.NewWriter(to), linked: map[inode]string{}, written: written}
	root := entry{in: dir, name: ".", path: "."}
	if err := unix.Fstat(int(dir.Fd()), &root.stat); err != nil {
		return Counts{}, err
	}
	w.device = root.stat.Dev
	if _, err := w.visit(root); err != nil {
		return w.counts, err
	}
	if err := walk(ctx, dir, "", 1, w.visit); err != nil {
		return w.counts, err
	}
	return w.counts, w.tar.Close()
}

// visit writes one entry.
func (w *writer) visit(e entry) (enter bool, err error) {
	if e.stat.Dev != w.device {
		w.counts.LeftOut++
		return false, nil
	}
	header := &tar.Header{
		Name: e.path, Mode: int64(e.stat.Mode & 0o7777), Uid: int(e.stat.Uid), Gid: int(e.stat.Gid),
		ModTime: time.Unix(e.stat.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch e.kind() {
	case unix.S_IFDIR:
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		enter = true
	case unix.S_IFREG:
		header.Typeflag, header.Size = tar.TypeReg, e.stat.Size
	case unix.S_IFLNK:
		header.Typeflag = tar.TypeSymlink
		if header.Linkname, err = e.link(); err != nil {
			return false, err
		}
	case unix.S_IFIFO:
		header.Typeflag = tar.TypeFifo
	default:
		w.counts.LeftOut++
		return false, nil
	}
	w.counts.Entries++
	defer func() { w.written(w.counts) }()
	if e.kind() != unix.S_IFDIR && e.stat.Nlink > 1 {
		id := inode{e.stat.Dev, e.stat.Ino}
		if first, there := w.linked[id]; there {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, first, 0
			return false, w.header(header)
		}
		if len(w.linked) >= mostLinks {
			return false, ErrTooManyLinks
		}
		w.linked[id] = e.path
	}
	if header.Typeflag == tar.TypeReg {
		return false, w.file(e, header)
	}
	return enter, w.header(header)
}

func (w *writer) header(header *tar.Header) error {
	if err := w.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("%q: %w", header.Name, err)
	}
	return nil
}

// file writes a regular one.
func (w *writer) file(e entry, header *tar.Header) error {
	file, err := e.open(0)
	if err != nil {
		return err
	}
	defer file.Close()
	found, err := pieces(file, &e.stat)
	if err != nil {
		return &os.PathError{Op: "seek", Path: e.path, Err: err}
	}
	if found != nil {
		for _, p := range found {
			w.counts.Bytes += p.size
		}
		if err := w.tar.Flush(); err != nil {
			return err
		}
		if err := writeSparse(w.to, header, file, found); err != nil {
			return err
		}
		return e.same(file)
	}
	if err := w.header(header); err != nil {
		return err
	}
	n, err := io.Copy(w.tar, io.NewSectionReader(file, 0, header.Size))
	w.counts.Bytes += n
	if err == nil && n < header.Size || errors.Is(err, tar.ErrWriteTooLong) {
		return fmt.Errorf("%w: %q", ErrChanged, e.path)
	}
	if err != nil {
		return err
	}
	return e.same(file)
}
