package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func write(t *testing.T, dir, name, content string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(content), mode))
	require.NoError(t, os.Chmod(file, mode))
}

func TestHashContext(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app/main.py", "print(1)", 0o644)
	write(t, dir, "junk/big", "1", 0o644)
	write(t, dir, ".dockerignore", "junk\n", 0o644)
	hash := func() string {
		t.Helper()
		sum, err := hashContext(dir, filepath.Join(dir, "Dockerfile"))
		require.NoError(t, err)
		return sum
	}
	base := hash()

	require.NoError(t, os.Chtimes(filepath.Join(dir, "app/main.py"), time.Now(), time.Now().Add(time.Hour)))
	assert.Equal(t, base, hash(), "times do not matter")
	write(t, dir, "junk/big", "2", 0o644)
	assert.Equal(t, base, hash(), "ignored files do not matter")

	write(t, dir, "app/main.py", "print(2)", 0o644)
	content := hash()
	assert.NotEqual(t, base, content, "content")
	write(t, dir, "app/main.py", "print(2)", 0o755)
	mode := hash()
	assert.NotEqual(t, content, mode, "permissions")
	require.NoError(t, os.Rename(filepath.Join(dir, "app/main.py"), filepath.Join(dir, "app/other.py")))
	assert.NotEqual(t, mode, hash(), "names")
	before := hash()
	require.NoError(t, os.Symlink("main.py", filepath.Join(dir, "app/link")))
	assert.NotEqual(t, before, hash(), "links")
	before = hash()
	write(t, dir, "Dockerfile.dockerignore", "app/link\n", 0o644)
	assert.NotEqual(t, before, hash(), "the Dockerfile's own ignore file comes first")
}

func TestParseSources(t *testing.T) {
	const listing = `http://vendor.example/apt stable main Vendor
http://mirror.example/debian bookworm-updates main Debian
http://mirror.example/debian bookworm main Debian
http://mirror.example/debian bookworm main Debian
http://mirror.example/security bookworm-security main Debian
http://mirror.example/debian trixie main Debian
http://broken.example bookworm
`
	assert.Equal(t, []source{
		{"http://mirror.example/debian", "bookworm", "main"},
		{"http://mirror.example/debian", "bookworm-updates", "main"},
		{"http://mirror.example/security", "bookworm-security", "main"},
	}, parseSources(listing))
}

func TestDigestKeepsPartsApart(t *testing.T) {
	assert.NotEqual(t, digest("ab", "c"), digest("a", "bc"))
	assert.NotEqual(t, digest("a"), digest("a", ""))
	assert.Equal(t, digest("a", "b"), digest("a", "b"))
}

func TestArchiveLeavesOutWhatIsKnown(t *testing.T) {
	dir := t.TempDir()
	manifest := `{"mediaType":"m","config":{"digest":"sha256:cc","size":1},"layers":[{"digest":"sha256:aa","size":2},{"digest":"sha256:bb","size":3},{"digest":"sha256:bb","size":3}]}`
	for name, content := range map[string]string{"manifest.json": manifest, "aa": "12", "bb": "123", "cc": "1"} {
		write(t, dir, name, content, 0o644)
	}
	var archive bytes.Buffer
	require.NoError(t, writeArchive(&archive, dir, "localhost/x:1", map[string]bool{"sha256:aa": true}))
	content := make(map[string]string)
	for reader := tar.NewReader(&archive); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		data, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.NotContains(t, content, header.Name)
		content[header.Name] = string(data)
	}
	sum := sha256.Sum256([]byte(manifest))
	name := "blobs/sha256/" + hex.EncodeToString(sum[:])
	assert.Equal(t, manifest, content[name])
	assert.Contains(t, content["index.json"], `"io.containerd.image.name":"localhost/x:1"`)
	assert.Equal(t, "123", content["blobs/sha256/bb"])
	assert.Equal(t, "1", content["blobs/sha256/cc"])
	assert.NotContains(t, content, "blobs/sha256/aa")
}
