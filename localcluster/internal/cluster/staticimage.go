package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path"
	"runtime"
	"time"
)

// writeStaticImage writes a Docker image archive whose image is one statically
// linked program and nothing else. The cluster's own images are made this way,
// since they are needed before anything that could build images.
func writeStaticImage(w io.Writer, name, program string) error {
	// The layer is written twice, to avoid holding it: for its hash and size,
	// which come first in the archive, and for itself.
	sum, size := sha256.New(), new(counter)
	if err := writeLayer(io.MultiWriter(sum, size), program); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{"/" + path.Base(program)}, "User": "65532:65532"},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum.Sum(nil))}},
		"history":      []map[string]any{{"created_by": "localcluster"}},
	})
	if err != nil {
		return err
	}
	id := sha256.Sum256(config)
	configName := hex.EncodeToString(id[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": []string{name}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}

	out := tar.NewWriter(w)
	if err := addFile(out, "manifest.json", 0o644, int64(len(manifest)), bytes.NewReader(manifest)); err != nil {
		return err
	}
	if err := addFile(out, configName, 0o644, int64(len(config)), bytes.NewReader(config)); err != nil {
		return err
	}
	if err := out.WriteHeader(header("layer.tar", 0o644, int64(*size))); err != nil {
		return err
	}
	if err := writeLayer(out, program); err != nil {
		return err
	}
	return out.Close()
}

// writeLayer writes the archive of the image's only layer.
func writeLayer(w io.Writer, program string) error {
	file, err := os.Open(program)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	layer := tar.NewWriter(w)
	if err := addFile(layer, path.Base(program), 0o755, info.Size(), file); err != nil {
		return err
	}
	return layer.Close()
}

func addFile(w *tar.Writer, name string, mode, size int64, content io.Reader) error {
	if err := w.WriteHeader(header(name, mode, size)); err != nil {
		return err
	}
	_, err := io.Copy(w, content)
	return err
}

func header(name string, mode, size int64) *tar.Header {
	return &tar.Header{Name: name, Mode: mode, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
