package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
)

// chunkReader reads chunks from the volume, one at a time.
type chunkReader struct {
	store          *Store
	keys           *ring
	unpacker       *unpacker
	sealed, packed [chunkSize + maxOverhead]byte
}

// read fills the data of a chunk.
func (r *chunkReader) read(next *loading) error {
	err := r.open(next)
	if errors.Is(err, errNotWritten) {
		return &DamagedError{File: path.Join(chunkDir, next.chunk.Name), Err: err}
	}
	return err
}

// errNotWritten is about a chunk that is not what was written.
var errNotWritten = errors.New("this is not what was written")

func (r *chunkReader) open(next *loading) error {
	name, sealed := next.chunk.Name, r.sealed[:next.chunk.Sealed]
	if err := readFile(r.store.volume, r.store.path(chunkDir, name), sealed); err != nil {
		return err
	}
	packed, err := r.keys.openChunk(r.packed[:0], name, sealed)
	if err == nil {
		next.data = next.data[:next.chunk.Size]
		err = r.unpacker.unpack(next.data, packed)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	return nil
}

// readFile reads a file of exactly that size.
func readFile(volume Volume, name string, into []byte) error {
	file, size, err := volume.Open(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrForeign) {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if size != int64(len(into)) {
		return fmt.Errorf("%w: it has %d bytes, not %d", errNotWritten, size, len(into))
	}
	_, err = io.ReadFull(file, into)
	return err
}
