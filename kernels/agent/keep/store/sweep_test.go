package store_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// TestSweep: of four kernels, one lives, one is gone, the time of one is over, and
// one has a manifest that nobody can read.
func TestSweep(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	none, err := store.Sweep(volume, func(string) bool { return true }, started)
	require.NoError(t, err)
	assert.Empty(t, none)
	for _, each := range []string{"lives", "gone", "over", "unread"} {
		save(t, open(t, volume, func(c *store.Config) {
			c.Kernel = each
			if each == "over" {
				c.TTL = time.Hour
			}
		}), 1, small("text"))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "unread", "manifest"), []byte("nonsense"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("mine"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".hidden", "chunks"), 0o700))
	require.NoError(t, os.Symlink("lives", filepath.Join(dir, "link")))

	swept, err := store.Sweep(volume, func(kernel string) bool { return kernel != "gone" && kernel != "link" }, started.Add(time.Hour))
	require.NoError(t, err)
	slices.Sort(swept)
	assert.Equal(t, []string{"gone", "over"}, swept)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, each := range left {
		names = append(names, each.Name())
	}
	assert.Equal(t, []string{".hidden", "file", "link", "lives", "unread"}, names)
	back, err := load(t, open(t, volume, func(c *store.Config) { c.Kernel = "lives" }), 1)
	require.NoError(t, err)
	assert.Equal(t, small("text"), back)
}

// Halves of writes go with the next save, also those of what is kept.
func TestHalvesAreSwept(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, small("text"))
	for _, name := range append(chunks(t, dir), kernel+"/manifest", kernel+"/suspect") {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".new"), []byte("half"), 0o600))
	}
	assert.Zero(t, save(t, s, 2, small("text")).NewBytes)
	for name := range files(t, dir) {
		assert.NotEqual(t, ".new", filepath.Ext(name), name)
	}
}
