package store

import (
	"errors"
	"io/fs"
)

// former returns the manifest that there is, an empty one if there is none, and
// removes what no snapshot needs: what a save that crashed left behind, and what
// belongs to a manifest that nobody can read. What another key or release may
// read stays until there is a new snapshot.
func (d *Draft) former() (*manifest, error) {
	former, _, err := d.store.readManifest()
	var damaged *DamagedError
	switch {
	case err == nil:
	case errors.Is(err, ErrOtherKey), errors.Is(err, ErrUnknownFormat):
		return &manifest{}, nil
	case errors.Is(err, ErrNoSnapshot), errors.Is(err, ErrOtherKernel), errors.As(err, &damaged):
		former = &manifest{}
	default:
		return nil, err
	}
	return former, removeChunks(d.store.volume, d.store.config.Kernel, former.files())
}

// present returns the chunks of the former snapshot that are there, of the size
// they should be; none if one was found damaged.
func (d *Draft) present(former *manifest) (map[string]int64, error) {
	if file, _, err := d.store.volume.Open(d.store.path(suspectFile)); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			file.Close()
		}
		return nil, err
	}
	found, err := d.store.volume.List(d.store.path(chunkDir))
	if err != nil {
		return nil, absent(err)
	}
	files, known := former.files(), map[string]int64{}
	for _, each := range found {
		if size, ok := files[each.Name]; ok && size == each.Size {
			known[each.Name] = size
		}
	}
	return known, nil
}
