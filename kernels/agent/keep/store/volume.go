package store

import (
	"io"
	"time"
)

// Volume is where the states of kernels are: a directory of its own for each,
// with files below it. Names are relative to it and have no dots alone. It
// follows no links: what is in the place of a file or directory and is neither
// is ErrForeign. What is absent is fs.ErrNotExist.
type Volume interface {
	// Lock takes the lock that is the file of this name, until it is closed or the
	// process ends. One that is not shared makes the file's directory. Whoever
	// comes too late gets ErrBusy.
	Lock(name string, shared bool) (io.Closer, error)
	// List names the files and directories in a directory, and nothing else.
	List(dir string) ([]Entry, error)
	// Open reads a file of that many bytes.
	Open(name string) (file io.ReadCloser, size int64, err error)
	// Write makes or replaces a file, whole or not at all, and the directories
	// above. The bytes are durable when it returns, the file's name when Sync of
	// its directory does. No two calls at once have the same name. A volume
	// without room is ErrVolumeFull.
	Write(name string, data []byte) error
	Sync(dir string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Space says how many bytes are free for this user, and how many there are.
	Space() (free, total int64, err error)
}

// Entry is a file or directory.
type Entry struct {
	Name      string
	Size      int64
	Directory bool
	Changed   time.Time
}

// Names in a kernel's directory. What ends in unfinished is half of a write.
const (
	manifestFile = "manifest"
	suspectFile  = "suspect" // is there if a chunk was found damaged
	lockFile     = "lock"
	chunkDir     = "chunks"
	unfinished   = ".new"
)
