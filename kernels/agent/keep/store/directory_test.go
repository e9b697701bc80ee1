package store_test

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

func TestNobodyElseCanRead(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	// As a volume with a group makes what is on it.
	require.NoError(t, os.MkdirAll(filepath.Join(base, ".elastichub", "kernels", kernel), 0o777))
	require.NoError(t, os.Chmod(filepath.Join(base, ".elastichub", "kernels", kernel), 0o2777))
	volume, err := store.OpenDirectory(base, ".elastichub", "kernels")
	require.NoError(t, err)
	defer volume.Close()
	save(t, open(t, volume), 1, small("text"))
	seen := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(base, ".elastichub"), func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		want := fs.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		assert.Equal(t, want, info.Mode().Perm(), path)
		seen++
		return nil
	}))
	assert.Greater(t, seen, 6)
}

// TestLinksAreNotFollowed puts a link in the place of everything that there is,
// within the volume and out of it.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, place := range []string{kernel, kernel + "/chunks", kernel + "/lock", kernel + "/manifest"} {
		for _, outside := range []bool{true, false} {
			volume, dir := home(t)
			s := open(t, volume)
			save(t, s, 1, small("text"))
			target := filepath.Join(dir, "elsewhere")
			if outside {
				target = filepath.Join(t.TempDir(), "elsewhere")
			}
			require.NoError(t, os.Rename(filepath.Join(dir, place), target))
			require.NoError(t, os.Symlink(target, filepath.Join(dir, place)))
			before := files(t, filepath.Dir(target))

			back, err := load(t, s, 1)
			require.ErrorIs(t, err, store.ErrForeign, place)
			assert.Empty(t, back, place)
			_, err = s.Save(t.Context(), 2, bytes.NewReader(small("more")))
			require.ErrorIs(t, err, store.ErrForeign, place)
			after := files(t, filepath.Dir(target))
			delete(after, kernel+"/suspect") // beside the link
			assert.True(t, maps.Equal(before, after), "%s: what the link points to is as it was", place)
		}
	}
}

func TestTheWayDownHasNoLinks(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(base, "other"), 0o700))
	require.NoError(t, os.Symlink("other", filepath.Join(base, ".elastichub")))
	_, err := store.OpenDirectory(base, ".elastichub", "kernels")
	require.ErrorIs(t, err, store.ErrForeign)
}

// A FIFO would be waited for, and a device read for ever.
func TestOnlyFilesAreRead(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, small("text"))
	path := filepath.Join(dir, kernel, "manifest")
	require.NoError(t, os.Remove(path))
	require.NoError(t, unix.Mkfifo(path, 0o600))
	_, err := load(t, s, 1)
	require.ErrorIs(t, err, store.ErrForeign)
}

func TestNamesStayBelow(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	secret := filepath.Join(filepath.Dir(dir), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("text"), 0o600))
	for _, name := range []string{"../secret", "a/../../secret", "/etc/passwd", "..", ""} {
		_, _, err := volume.Open(name)
		require.Error(t, err, name)
		require.Error(t, volume.Write(name, []byte("x")), name)
		require.Error(t, volume.Remove(name), name)
		_, err = volume.List(name + "/..")
		require.Error(t, err, name)
	}
	raw, err := os.ReadFile(secret)
	require.NoError(t, err)
	assert.Equal(t, "text", string(raw))
}

// What others put among the store's files stays, and disturbs nobody.
func TestForeignFilesAreLeft(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, small("text"))
	for _, name := range []string{"notes.txt", "chunks/readme", "chunks/" + strings.Repeat("A", 64)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, kernel, name), []byte("mine"), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, kernel, "chunks", strings.Repeat("a", 64)), 0o700))
	save(t, s, 2, tiny())
	require.NoError(t, s.Delete())
	assert.Len(t, files(t, dir), 3)
	_, err := load(t, s, 2)
	require.ErrorIs(t, err, store.ErrNoSnapshot)
}

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, small("text"))
	second, err := store.OpenDirectory(dir) // as another process has it
	require.NoError(t, err)
	defer second.Close()
	other := open(t, second)

	draft, err := s.Save(t.Context(), 2, bytes.NewReader(small("more")))
	require.NoError(t, err)
	_, err = other.Save(t.Context(), 2, bytes.NewReader(small("more")))
	require.ErrorIs(t, err, store.ErrBusy)
	_, err = load(t, other, 1)
	require.ErrorIs(t, err, store.ErrBusy)
	require.ErrorIs(t, other.Delete(), store.ErrBusy)
	swept, err := store.Sweep(second, func(string) bool { return false }, started)
	require.NoError(t, err)
	assert.Empty(t, swept)
	found, err := other.Find(store.Wanted{Run: 1})
	require.NoError(t, err, "what there is can be asked for at any time")
	assert.EqualValues(t, 1, found.Generation)
	_, err = draft.Commit()
	require.NoError(t, err)
	_, err = load(t, other, 2)
	require.NoError(t, err)
}

// TestTwoMayLoad: loads do not disturb each other, and a save waits for none.
func TestTwoMayLoad(t *testing.T) {
	t.Parallel()
	volume, _ := home(t)
	s := open(t, volume)
	save(t, s, 1, small("text"))
	first := &within{do: func() {
		_, err := load(t, s, 1)
		assert.NoError(t, err)
		_, err = s.Save(t.Context(), 2, bytes.NewReader(small("more")))
		assert.ErrorIs(t, err, store.ErrBusy)
	}}
	_, err := s.Load(t.Context(), store.Wanted{Run: 1}, first)
	require.NoError(t, err)
	assert.True(t, first.done)
}

// within does something while a stream is written to it.
type within struct {
	do   func()
	done bool
}

func (w *within) Write(p []byte) (int, error) {
	if !w.done {
		w.done = true
		w.do()
	}
	return len(p), nil
}
