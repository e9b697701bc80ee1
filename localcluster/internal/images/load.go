package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/elastichub/elastichub/localcluster/internal/cluster"
)

// Load puts an image into the running cluster, unless it is there already.
func (s *Store) Load(ctx context.Context, into cluster.Layout, tag string) error {
	id, err := s.ID(ctx, tag)
	if err != nil {
		return err
	}
	if id == "" {
		return fmt.Errorf("there is no image %s: build it with `localcluster build-image`", tag)
	}
	loaded, err := into.ImageID(ctx, tag)
	if err != nil {
		return err
	}
	if loaded == id {
		s.progress.Say("%s is loaded already", tag)
		return nil
	}
	return s.progress.Do("loading "+tag, func() error {
		temporary, err := os.MkdirTemp(s.dir, "load-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		archive := filepath.Join(temporary, "image.tar")
		// Compressing for a move within one machine would only take time.
		if _, err := s.buildah(ctx, "push", "--quiet", "--disable-compression", tag, "oci-archive:"+archive+":"+tag); err != nil {
			return err
		}
		if err := into.ImportImage(ctx, archive); err != nil {
			return err
		}
		loaded, err := into.ImageID(ctx, tag)
		if err == nil && loaded != id {
			err = fmt.Errorf("loaded %s, but the cluster has %q under its name", id, loaded)
		}
		return err
	})
}
