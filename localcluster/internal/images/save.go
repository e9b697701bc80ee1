package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Save writes an image to an OCI archive, compressed as registries have it, in
// which it is named name. The file is there whole or not at all.
func (s *Store) Save(ctx context.Context, tag, name, file string) error {
	id, err := s.ID(ctx, tag)
	if err != nil {
		return err
	}
	if id == "" {
		return fmt.Errorf("there is no image %s: build it with `localcluster build-image`", tag)
	}
	file, err = filepath.Abs(file)
	if err != nil {
		return err
	}
	return s.progress.Do("saving "+name, func() error {
		dir, err := os.MkdirTemp(filepath.Dir(file), ".save-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		whole := filepath.Join(dir, "image")
		if _, err := s.buildah(ctx, "push", "--quiet", "--format", "oci", tag, "oci-archive:"+whole+":"+name); err != nil {
			return err
		}
		return os.Rename(whole, file)
	})
}
