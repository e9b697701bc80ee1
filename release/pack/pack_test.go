package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programs are one for amd64 and one for arm64: the header of this test's, with the machine put in.
func programs(t *testing.T) (amd64, arm64 string) {
	t.Helper()
	own, err := os.Executable()
	require.NoError(t, err)
	content, err := os.ReadFile(own)
	require.NoError(t, err)
	directory := t.TempDir()
	write := func(name string, machine byte) string {
		content[18], content[19] = machine, 0
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, content, 0o755))
		return path
	}
	return write("amd64", 62), write("arm64", 183)
}

func layer(t *testing.T, files ...string) v1.Layer {
	t.Helper()
	var content bytes.Buffer
	to := tar.NewWriter(&content)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, to.WriteHeader(&tar.Header{Name: files[i], Mode: 0o755, Size: int64(len(files[i+1]))}))
		_, err := to.Write([]byte(files[i+1]))
		require.NoError(t, err)
	}
	require.NoError(t, to.Close())
	made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	require.NoError(t, err)
	return made
}

// built is a layout of one image, as buildah writes it: a base and the program.
func built(t *testing.T, layers ...v1.Layer) string {
	t.Helper()
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", "amd64", v1.Config{User: "65532:65532", Entrypoint: []string{"/elastichub"}}
	image, err = mutate.ConfigFile(image, config)
	require.NoError(t, err)
	directory := t.TempDir()
	to, err := layout.Write(directory, empty.Index)
	require.NoError(t, err)
	require.NoError(t, to.AppendImage(image))
	return directory
}

// TestTheSameForAnotherArchitecture: only the program and the architecture are others.
func TestTheSameForAnotherArchitecture(t *testing.T) {
	t.Parallel()
	amd64, arm64 := programs(t)
	content, err := os.ReadFile(amd64)
	require.NoError(t, err)
	from := built(t, layer(t, "etc/passwd", "root:x"), layer(t, "elastichub", string(content)))
	to := filepath.Join(t.TempDir(), "images")
	require.NoError(t, pack(to, "elastichub/kernel:1", from, nil))
	require.NoError(t, pack(to, "elastichub/service:1", from, []string{"arm64=" + arm64}))

	path, err := layout.FromPath(to)
	require.NoError(t, err)
	all, err := path.ImageIndex()
	require.NoError(t, err)
	require.NoError(t, validate.Index(all))
	listed, err := all.IndexManifest()
	require.NoError(t, err)
	require.Len(t, listed.Manifests, 2)
	assert.Equal(t, "elastichub/kernel:1", listed.Manifests[0].Annotations[refName])
	assert.Equal(t, "elastichub/service:1", listed.Manifests[1].Annotations[refName])
	both, err := all.ImageIndex(listed.Manifests[1].Digest)
	require.NoError(t, err)
	platforms, err := both.IndexManifest()
	require.NoError(t, err)
	require.Len(t, platforms.Manifests, 2)
	assert.Equal(t, listed.Manifests[0].Digest, platforms.Manifests[0].Digest, "the image that was built is as it was")

	var images []v1.Image
	for i, architecture := range []string{"amd64", "arm64"} {
		assert.Equal(t, "linux/"+architecture, platforms.Manifests[i].Platform.String())
		image, err := both.Image(platforms.Manifests[i].Digest)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		assert.Equal(t, architecture, config.Architecture)
		assert.Equal(t, v1.Config{User: "65532:65532", Entrypoint: []string{"/elastichub"}}, config.Config)
		images = append(images, image)
	}
	layers, err := images[0].Layers()
	require.NoError(t, err)
	others, err := images[1].Layers()
	require.NoError(t, err)
	require.Len(t, others, 2)
	first, err := layers[0].Digest()
	require.NoError(t, err)
	same, err := others[0].Digest()
	require.NoError(t, err)
	assert.Equal(t, first, same)
	want, err := os.ReadFile(arm64)
	require.NoError(t, err)
	require.NoError(t, each(others[1], func(header *tar.Header, content io.Reader) error {
		assert.Equal(t, "elastichub", header.Name)
		assert.Equal(t, int64(0o755), header.Mode)
		text, err := io.ReadAll(content)
		assert.True(t, bytes.Equal(want, text))
		return err
	}))
}

// TestWhatIsNotTheSame: an image that is more than a program is made for no other architecture, and a
// program for none but its own.
func TestWhatIsNotTheSame(t *testing.T) {
	t.Parallel()
	amd64, arm64 := programs(t)
	base, program := layer(t, "etc/passwd", "root:x"), layer(t, "elastichub", "a program")
	for want, c := range map[string]struct{ from, other string }{
		"is a program for EM_X86_64":     {built(t, base, program), "arm64=" + amd64},
		"for s390x: ":                    {built(t, base, program), "s390x=" + arm64},
		"not one program":                {built(t, base, layer(t, "elastichub", "a", "etc/more", "b")), "arm64=" + arm64},
		"bin/sh, below the image's own":  {built(t, layer(t, "bin/sh", "\x7fELF and more"), program), "arm64=" + arm64},
		"the image has no layer":         {built(t), "arm64=" + arm64},
		"no such file or directory":      {built(t, base, program), "arm64=none"},
		"index.json: no such file":       {t.TempDir(), "arm64=" + arm64},
		"for arm64: open : no such file": {built(t, base, program), "arm64"},
		"bad magic number":               {built(t, base, program), "arm64=main.go"},
	} {
		to := filepath.Join(t.TempDir(), "images")
		assert.ErrorContains(t, pack(to, "elastichub/service:1", c.from, []string{c.other}), want)
	}
	two := built(t, base)
	path, err := layout.FromPath(two)
	require.NoError(t, err)
	require.NoError(t, path.AppendImage(empty.Image))
	assert.ErrorContains(t, pack(t.TempDir(), "elastichub/service:1", two, nil), "has not one image")
}
