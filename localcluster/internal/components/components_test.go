package components

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSourceKey(t *testing.T) {
	source := func() fstest.MapFS {
		return fstest.MapFS{
			"go.mod":       {Data: []byte("module m")},
			"go.sum":       {Data: []byte("sum")},
			"pause/x.go":   {Data: []byte("package main")},
			"pause/README": {Data: []byte("text")},
		}
	}
	base, err := sourceKey(source(), "go1", "amd64")
	require.NoError(t, err)
	again, err := sourceKey(source(), "go1", "amd64")
	require.NoError(t, err)
	assert.Equal(t, base, again)

	readme := source()
	readme["pause/README"] = &fstest.MapFile{Data: []byte("other text")}
	same, err := sourceKey(readme, "go1", "amd64")
	require.NoError(t, err)
	assert.Equal(t, base, same, "what is not compiled does not matter")

	for _, name := range []string{"go.mod", "go.sum", "pause/x.go"} {
		changed := source()
		changed[name] = &fstest.MapFile{Data: []byte("changed")}
		key, err := sourceKey(changed, "go1", "amd64")
		require.NoError(t, err)
		assert.NotEqual(t, base, key, name)
	}
	for _, inputs := range [][]string{{"go2", "amd64"}, {"go1", "arm64"}, {"go1amd64", ""}} {
		key, err := sourceKey(source(), inputs...)
		require.NoError(t, err)
		assert.NotEqual(t, base, key, inputs)
	}
}

func TestOutputName(t *testing.T) {
	assert.Equal(t, "server", outputName("go.etcd.io/etcd/server/v3"))
	assert.Equal(t, "helm", outputName("helm.sh/helm/v3/cmd/helm"))
	assert.Equal(t, "coredns", outputName("./coredns"))
	assert.Equal(t, "vault", outputName("example.org/vault"))
}

func TestEveryProgramIsPinned(t *testing.T) {
	assert.Len(t, All, len(packages))
	pins, err := os.ReadFile(filepath.Join("..", "..", "components", "components.go"))
	require.NoError(t, err)
	for _, name := range append(All, Assets...) {
		pkg := packages[name]
		require.NotEmpty(t, pkg, name)
		if !strings.HasPrefix(pkg, "./") {
			assert.Contains(t, string(pins), `"`+pkg+`"`)
		}
	}
}

func TestLinkerFlagsCarryThePinnedVersion(t *testing.T) {
	version, err := kubernetesVersion(filepath.Join("..", "..", "components", "go.mod"))
	require.NoError(t, err)
	assert.Regexp(t, `^v1\.\d+\.\d+$`, version)
	flags := linkerFlags("v1.34.4")
	assert.Contains(t, flags, "k8s.io/component-base/version.gitVersion=v1.34.4")
	assert.Contains(t, flags, "k8s.io/component-base/version.gitMinor=34")
	assert.Equal(t, flags, linkerFlags("v1.34.4"))
}
