package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/elastichub/elastichub/localcluster/internal/cluster"
)

// Load puts an image into each node of the running cluster, unless it is there already.
func (s *Store) Load(ctx context.Context, into cluster.Layout, tag string) error {
	nodes, err := into.Nodes()
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if err := s.loadOn(ctx, node, tag); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) loadOn(ctx context.Context, into cluster.Layout, tag string) error {
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
		dir, err := os.MkdirTemp(s.scratch(), "localcluster-load-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		// Of the builder's formats only this one holds layers uncompressed and
		// under the same ids; compressing them to move them within one machine
		// would take most of the time.
		if _, err := s.buildah(ctx, "push", "--quiet", "--disable-compression", tag, "dir:"+dir); err != nil {
			return err
		}
		known, err := into.Blobs(ctx)
		if err != nil {
			return err
		}
		if err := into.ImportImage(ctx, func(w io.Writer) error { return writeArchive(w, dir, tag, known) }); err != nil {
			return err
		}
		loaded, err := into.ImageID(ctx, tag)
		if err == nil && loaded != id {
			err = fmt.Errorf("loaded %s, but the cluster has %q under its name", id, loaded)
		}
		return err
	})
}

// scratch is a directory for what is written once, read once and removed: in
// memory if there is plenty, since the builder waits for the disk otherwise.
func (s *Store) scratch() string {
	const memory, plenty = "/dev/shm", 4 << 30
	var fs unix.Statfs_t
	if err := unix.Statfs(memory, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC && fs.Bavail*uint64(fs.Bsize) >= plenty {
		return memory
	}
	return s.dir
}

// descriptor is the part of an OCI descriptor that is used here.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// writeArchive writes an OCI image archive, named tag, of the image that is in
// dir in the layout of the `dir:` transport: manifest.json, and blobs named by
// their hashes. Blobs that are known at the destination are left out.
func writeArchive(w io.Writer, dir, tag string, known map[string]bool) error {
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return err
	}
	var manifest struct {
		MediaType string       `json:"mediaType"`
		Config    descriptor   `json:"config"`
		Layers    []descriptor `json:"layers"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return fmt.Errorf("image manifest: %w", err)
	}
	sum := sha256.Sum256(data)
	hash := hex.EncodeToString(sum[:])
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"manifests": []descriptor{{
			MediaType: manifest.MediaType, Digest: "sha256:" + hash, Size: int64(len(data)),
			Annotations: map[string]string{"io.containerd.image.name": tag},
		}},
	})
	if err != nil {
		return err
	}

	out := tar.NewWriter(w)
	for _, file := range []struct {
		name string
		data []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", index},
		{"blobs/sha256/" + hash, data},
	} {
		if err := out.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.data))}); err != nil {
			return err
		}
		if _, err := out.Write(file.data); err != nil {
			return err
		}
	}
	written := make(map[string]bool)
	for _, blob := range append(manifest.Layers, manifest.Config) {
		if known[blob.Digest] || written[blob.Digest] {
			continue
		}
		written[blob.Digest] = true
		if err := writeBlob(out, dir, blob); err != nil {
			return err
		}
	}
	return out.Close()
}

func writeBlob(out *tar.Writer, dir string, blob descriptor) error {
	hash, ok := strings.CutPrefix(blob.Digest, "sha256:")
	if !ok {
		return fmt.Errorf("digest %q is not a SHA-256", blob.Digest)
	}
	file, err := os.Open(filepath.Join(dir, hash))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := out.WriteHeader(&tar.Header{Name: "blobs/sha256/" + hash, Mode: 0o644, Size: blob.Size}); err != nil {
		return err
	}
	_, err = io.Copy(out, file)
	return err
}
