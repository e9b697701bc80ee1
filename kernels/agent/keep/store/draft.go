package store

import "io"

// Draft is a stream that is stored whole and not yet the snapshot. It holds the
// kernel's lock until it is committed or discarded.
type Draft struct {
	store    *Store
	lock     io.Closer
	keys     *ring
	shelf    *shelf
	manifest *manifest
}

// Snapshot tells of what would be committed.
func (d *Draft) Snapshot() Snapshot {
	found := d.manifest.snapshot()
	found.NewBytes = d.shelf.added
	return found
}

// Commit makes the draft the kernel's snapshot, and removes what of the former one
// is not in it. To be called once the kernel has said that it saved. After an
// error the snapshot is the former one, or this one whole.
func (d *Draft) Commit() (Snapshot, error) {
	defer d.release()
	s := d.store
	raw, err := d.manifest.encode(d.keys)
	if err != nil {
		return Snapshot{}, err
	}
	if err := s.volume.Sync(s.path(chunkDir)); err != nil {
		return Snapshot{}, err
	}
	if err := s.volume.Write(s.path(manifestFile), raw); err != nil {
		return Snapshot{}, err
	}
	if err := s.volume.Sync(s.config.Kernel); err != nil {
		return Snapshot{}, err
	}
	// What stays is found by the next save.
	_ = s.volume.Remove(s.path(suspectFile))
	_ = removeChunks(s.volume, s.config.Kernel, d.manifest.files())
	return d.Snapshot(), nil
}

// Discard gives the draft up. It does nothing after Commit.
func (d *Draft) Discard() {
	if d.lock == nil {
		return
	}
	defer d.release()
	// Also removes what was written for it; what stays is found by the next save.
	_, _ = d.former()
}

func (d *Draft) release() {
	if d.lock != nil {
		_ = d.lock.Close()
		d.lock = nil
	}
}
