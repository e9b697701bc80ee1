package skew

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/test/cache"
)

// release is what of one is run here.
type release struct {
	version string
	// binary is its elastichub, and python the directory of its Python distribution.
	binary, python string
}

// present is the release of this tree.
func present(t *testing.T) release {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	r := release{version: skew.Release(), binary: filepath.Join(t.TempDir(), "elastichub"), python: filepath.Join(root, "python")}
	build(t, root, r.binary)
	return r
}

// former is the release before, built from what test/upgrade keeps of it, once for each content
// of that.
func former(t *testing.T) release {
	t.Helper()
	archives, err := filepath.Glob("../upgrade/elastichub-*.tar.xz")
	require.NoError(t, err)
	require.Len(t, archives, 1, "the former release")
	content, err := os.ReadFile(archives[0])
	require.NoError(t, err)
	name := strings.TrimSuffix(filepath.Base(archives[0]), ".tar.xz")
	sum := sha256.Sum256(content)
	dir, unlock, err := cache.Lock("former", name+"-"+hex.EncodeToString(sum[:6]))
	require.NoError(t, err)
	defer unlock()
	tree := filepath.Join(dir, name)
	r := release{version: strings.TrimPrefix(name, "elastichub-"), binary: filepath.Join(dir, "elastichub"), python: filepath.Join(tree, "python")}
	if _, err := os.Stat(r.binary); err == nil {
		return r
	}
	require.NoError(t, os.RemoveAll(tree))
	archive, err := filepath.Abs(archives[0])
	require.NoError(t, err)
	output, err := exec.Command("tar", "-xJf", archive, "-C", dir).CombinedOutput()
	require.NoError(t, err, string(output))
	build(t, tree, r.binary+".new")
	require.NoError(t, os.Rename(r.binary+".new", r.binary))
	return r
}

func build(t *testing.T, tree, binary string) {
	t.Helper()
	command := exec.Command("go", "build", "-o", binary, "./cmd/elastichub")
	command.Dir = tree
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}
