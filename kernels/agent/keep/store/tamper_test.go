package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// tiny is a stream whose snapshot has few bytes, so that each can be changed.
func tiny() []byte {
	s := newStream()
	s.record("a", []byte("some text, some text, some text, some text"))
	return s.end().all
}

// TestEveryByteIsLookedAt changes each byte of each file: nothing that is not what
// was saved is ever given out, and never all of it.
func TestEveryByteIsLookedAt(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, tiny())
	whole := files(t, dir)
	require.Len(t, whole, 2)
	for name, content := range whole {
		for i := range len(content) {
			changed := []byte(content)
			changed[i] ^= 1 << (i % 8)
			put(t, dir, whole)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), changed, 0o600))
			back, err := load(t, s, 1)
			require.Error(t, err, "%s, byte %d", name, i)
			require.Empty(t, back, "%s, byte %d", name, i)
		}
	}
	put(t, dir, whole)
	back, err := load(t, s, 1)
	require.NoError(t, err)
	assert.Equal(t, tiny(), back)
}

func put(t *testing.T, dir string, all map[string]string) {
	t.Helper()
	for name, content := range all {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
}

// TestChunksThatAreNotTheirs: what comes before a chunk that is not what was
// written may be given out, and the end never is; the error names the chunk.
func TestChunksThatAreNotTheirs(t *testing.T) {
	t.Parallel()
	state := newStream()
	state.record("a", noise(1, 1<<20), noise(2, 1<<20))
	sent := state.end().all
	for what, change := range map[string]func(path, other string) error{
		"missing":   func(path, _ string) error { return os.Remove(path) },
		"empty":     func(path, _ string) error { return os.Truncate(path, 0) },
		"shortened": func(path, _ string) error { return os.Truncate(path, 100) },
		"longer":    func(path, _ string) error { return os.Truncate(path, 2<<20) },
		"swapped": func(path, other string) error {
			raw, err := os.ReadFile(other)
			if err != nil {
				return err
			}
			return os.WriteFile(path, raw, 0o600)
		},
		"a link": func(path, other string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink(other, path)
		},
		"a directory": func(path, _ string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		},
	} {
		volume, dir := home(t)
		s := open(t, volume)
		save(t, s, 1, sent)
		all := chunks(t, dir)
		require.Greater(t, len(all), 2)
		for i, name := range all {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, kernel)))
			save(t, s, 1, sent)
			require.NoError(t, change(filepath.Join(dir, name), filepath.Join(dir, all[(i+1)%len(all)])))
			back, err := load(t, s, 1)
			var damaged *store.DamagedError
			if assert.ErrorAs(t, err, &damaged, what) {
				assert.Equal(t, kernel+"/"+damaged.File, name, what)
			}
			assert.True(t, bytes.HasPrefix(sent, back), what)
			assert.Less(t, len(back), len(sent), what)
			if what != "a directory" {
				// The next save does not take the chunk for kept.
				save(t, s, 2, sent)
				back, err = load(t, s, 2)
				require.NoError(t, err, what)
				assert.True(t, bytes.Equal(sent, back), what)
			}
		}
	}
}

// Two chunks of one size, each sealed with the kernel's key, change places.
func TestAChunkIsBoundToItsName(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	state := newStream()
	state.record("a", noise(1, 1<<20), noise(2, 1<<20))
	save(t, s, 1, state.end().all)
	var large []string
	for name, content := range files(t, dir) {
		if len(content) > 1<<20 {
			large = append(large, filepath.Join(dir, name))
		}
	}
	require.Len(t, large, 2)
	require.NoError(t, os.Rename(large[0], large[0]+"x"))
	require.NoError(t, os.Rename(large[1], large[0]))
	require.NoError(t, os.Rename(large[0]+"x", large[1]))
	_, err := load(t, s, 1)
	var damaged *store.DamagedError
	require.ErrorAs(t, err, &damaged)

	// The next save trusts neither of them, and the one after trusts its chunks again.
	again := save(t, s, 2, state.kept)
	assert.Equal(t, again.StoredBytes, again.NewBytes)
	back, err := load(t, s, 2)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(state.kept, back))
	assert.Zero(t, save(t, s, 3, state.kept).NewBytes)
	require.NoError(t, s.Delete())
	assert.Empty(t, files(t, dir))
}

// A chunk that was shortened is not taken for kept by the next save, though nobody
// has tried to load it.
func TestAChunkOfAnotherSizeIsWrittenAnew(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, small("text"))
	require.NoError(t, os.Truncate(filepath.Join(dir, chunks(t, dir)[0]), 10))
	assert.Positive(t, save(t, s, 2, small("text")).NewBytes)
	back, err := load(t, s, 2)
	require.NoError(t, err)
	assert.Equal(t, small("text"), back)
}

// A kernel whose manifest is damaged can be saved again, and what belonged to it goes.
func TestADamagedManifestIsReplaced(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, small("former"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, kernel, "manifest"), []byte("{}\nnonsense"), 0o600))
	save(t, s, 2, tiny())
	assert.Len(t, chunks(t, dir), 1)
	back, err := load(t, s, 2)
	require.NoError(t, err)
	assert.Equal(t, tiny(), back)
}
