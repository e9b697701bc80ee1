package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/elastichub/elastichub/kernels/agent/keep/frames"
	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

func TestMain(m *testing.M) {
	if child(os.Args) {
		return
	}
	goleak.VerifyTestMain(m)
}

// random is a stream of records of all sizes, some of them void, some equal.
func random(r *rand.Rand) *stream {
	s := newStream()
	sizes := []int{0, 1, 63, 1000, 65_537, 1<<20 - 1, 1 << 20, 1<<20 + 5, 4 << 20, 4<<20 + 1, 9 << 20}
	buffers := func() (all [][]byte) {
		for range r.IntN(3) {
			data := noise(r.Uint64N(4), sizes[r.IntN(len(sizes))])
			if r.IntN(3) == 0 {
				data = bytes.Repeat([]byte("1234567\x00"), len(data)/8+1)[:len(data)]
			}
			all = append(all, data)
		}
		return all
	}
	for i := range r.IntN(6) {
		if r.IntN(3) == 0 {
			s.void(fmt.Sprint("void", i), buffers()...)
		}
		if r.IntN(4) > 0 {
			s.record(fmt.Sprint("v", i), buffers()...)
		}
	}
	return s.end()
}

// TestGivesBackWhatItTook: whatever stream, also over a former one, comes back to
// the byte, but for void records.
func TestGivesBackWhatItTook(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	r := rand.New(rand.NewPCG(1, 2))
	void, shared := 0, 0
	for i := range 40 {
		sent := random(r)
		snapshot := save(t, s, int64(i), sent.all)
		assert.EqualValues(t, i+1, snapshot.Generation)
		assert.EqualValues(t, len(sent.kept), snapshot.StreamBytes)
		back, err := load(t, s, int64(i))
		require.NoError(t, err)
		require.True(t, bytes.Equal(sent.kept, back), "round %d: %d bytes, %d came back", i, len(sent.kept), len(back))
		onVolume := int64(0)
		for _, name := range chunks(t, dir) {
			info, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			onVolume += info.Size()
		}
		assert.Equal(t, onVolume, snapshot.StoredBytes, "nothing else is left")
		if len(sent.kept) < len(sent.all) {
			void++
		}
		if snapshot.NewBytes < snapshot.StoredBytes {
			shared++
		}
	}
	assert.Positive(t, void, "streams had void records")
	assert.Positive(t, shared, "snapshots shared chunks with the former one")
}

func TestTellsOfTheSnapshot(t *testing.T) {
	t.Parallel()
	volume, _ := home(t)
	s := open(t, volume)
	committed := save(t, s, 7, small("text"))
	found, err := s.Find(store.Wanted{Run: 7})
	require.NoError(t, err)
	assert.Positive(t, committed.NewBytes)
	committed.NewBytes = 0
	assert.Equal(t, committed, found)
	assert.EqualValues(t, 7, found.Run)
	assert.Equal(t, started, found.SavedAt)
	assert.Equal(t, started.Add(week), found.ExpiresAt)
	assert.JSONEq(t, `{"outcome":"saved","whole":true,"variables":2}`, string(found.Report))
	assert.JSONEq(t, `{"format":1,"python":"3.11.2","variables":2,"records":2}`, string(found.Header))
	loaded, err := s.Load(t.Context(), store.Wanted{Run: 7, Generation: 1}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, found, loaded)
}

// What has not changed is not written again, wherever it stands now.
func TestWritesWhatIsNew(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	state := func(first string, arrays ...uint64) []byte {
		made := newStream()
		made.record("first", []byte(first))
		for _, seed := range arrays {
			made.record(fmt.Sprint("array", seed), noise(seed, 5<<20+seed2(seed)))
		}
		return made.end().all
	}
	whole := save(t, s, 1, state("a", 1, 2, 3))
	assert.Equal(t, whole.StoredBytes, whole.NewBytes)
	same := save(t, s, 2, state("a", 1, 2, 3))
	assert.Zero(t, same.NewBytes)
	moved := save(t, s, 3, state(strings.Repeat("longer", 1000), 3, 1, 2))
	assert.Less(t, moved.NewBytes, int64(100_000))
	one := save(t, s, 4, state("a", 1, 2, 4))
	assert.InDelta(t, 5<<20, one.NewBytes, 100_000)
	back, err := load(t, s, 4)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(state("a", 1, 2, 4), back))
	assert.Less(t, len(chunks(t, dir)), 12, "what is in no snapshot any more is gone")
}

func seed2(seed uint64) int { return int(seed) * 8 }

func TestCompressesWhatIsWorthIt(t *testing.T) {
	t.Parallel()
	numbers := make([]byte, 8<<20)
	for i := range len(numbers) / 8 {
		copy(numbers[i*8:], fmt.Appendf(nil, "%07d\x00", i))
	}
	stored := func(data []byte) float64 {
		volume, _ := home(t)
		s := newStream()
		s.record("a", data)
		return float64(save(t, open(t, volume), 1, s.end().all).StoredBytes) / float64(len(data))
	}
	assert.Less(t, stored(numbers), 0.3)
	assert.Less(t, stored(make([]byte, 32<<20)), 0.001, "equal chunks are one")
	assert.InDelta(t, 1, stored(noise(1, 8<<20)), 0.001)
}

// The kernel's reply comes after the stream: until then there is no snapshot.
func TestADraftIsNoSnapshot(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, small("former"))
	before := files(t, dir)
	draft, err := s.Save(t.Context(), 2, bytes.NewReader(small("later")))
	require.NoError(t, err)
	assert.JSONEq(t, `{"outcome":"saved","whole":true,"variables":2}`, string(draft.Snapshot().Report))
	_, err = s.Find(store.Wanted{Run: 2})
	require.ErrorIs(t, err, store.ErrOtherRun)
	draft.Discard()
	draft.Discard()
	assert.True(t, maps.Equal(before, files(t, dir)))
}

// A stream that breaks leaves the former snapshot, and nothing else.
func TestABrokenStreamIsNoSnapshot(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 1, small("former"))
	before := files(t, dir)
	whole := small("later")
	for _, length := range []int{0, 5, 100, len(whole) / 2, len(whole) - 1} {
		_, err := s.Save(t.Context(), 2, bytes.NewReader(whole[:length]))
		var fault *frames.Error
		require.ErrorAs(t, err, &fault, "%d bytes", length)
		assert.True(t, maps.Equal(before, files(t, dir)))
	}
	_, err := s.Save(t.Context(), 2, io.MultiReader(bytes.NewReader(whole[:1000]), iotest.ErrReader(os.ErrDeadlineExceeded)))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	cancelled, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	_, err = s.Save(cancelled, 2, bytes.NewReader(whole))
	require.ErrorIs(t, err, errBroken)
	assert.True(t, maps.Equal(before, files(t, dir)))
}

func TestSnapshotsThatAreNotAskedFor(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	_, err := load(t, s, 1)
	require.ErrorIs(t, err, store.ErrNoSnapshot, "there is not even a directory")
	save(t, s, 1, small("first"))
	older := files(t, dir)
	save(t, s, 2, small("second"))

	refused := func(wanted store.Wanted, reason error, change ...func(*store.Config)) {
		t.Helper()
		var back bytes.Buffer
		_, err := open(t, volume, change...).Load(t.Context(), wanted, &back)
		require.ErrorIs(t, err, reason)
		assert.Empty(t, back.Bytes())
	}
	refused(store.Wanted{Run: 1}, store.ErrOtherRun)
	refused(store.Wanted{Run: 2, Generation: 1}, store.ErrOtherRun)
	refused(store.Wanted{Run: 2}, store.ErrExpired, func(c *store.Config) {
		c.Now = func() time.Time { return started.Add(week) }
	})
	refused(store.Wanted{Run: 2}, store.ErrOtherKey, func(c *store.Config) { c.Keys = []store.Key{{9}} })
	refused(store.Wanted{Run: 2}, store.ErrNoSnapshot, func(c *store.Config) { c.Kernel = another })

	// An older one is put back, with all that belongs to it.
	for name, content := range older {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	refused(store.Wanted{Run: 2}, store.ErrOtherRun)

	// A colleague's, or one's own other kernel's, is put into this kernel's place.
	require.NoError(t, os.CopyFS(filepath.Join(dir, another), os.DirFS(filepath.Join(dir, kernel))))
	refused(store.Wanted{Run: 1}, store.ErrOtherKernel, func(c *store.Config) { c.Kernel = another })
}

// A manifest whose first line was edited is not what was sealed.
func TestTheFirstLineIsAuthenticated(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"run":        {`"run":1`, `"run":2`},
		"generation": {`"generation":1`, `"generation":9`},
		"time":       {`"expires":"2026`, `"expires":"2036`},
		"kernel":     {kernel, another},
	} {
		volume, dir := home(t)
		save(t, open(t, volume), 1, small("text"))
		path := filepath.Join(dir, kernel, "manifest")
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		edited := strings.Replace(string(raw), change[0], change[1], 1)
		require.NotEqual(t, string(raw), edited, name)
		require.NoError(t, os.WriteFile(path, []byte(edited), 0o600))
		s := open(t, volume)
		if name == "kernel" {
			require.NoError(t, os.Rename(filepath.Join(dir, kernel), filepath.Join(dir, another)))
			s = open(t, volume, func(c *store.Config) { c.Kernel = another })
		}
		for run := range int64(3) {
			_, err = load(t, s, run)
			var damaged *store.DamagedError
			if assert.ErrorAs(t, err, &damaged, "%s of run %d", name, run) {
				assert.Equal(t, "manifest", damaged.File)
			}
		}
	}
}

// There are two keys while the seed changes: the former opens, the new one seals.
func TestKeysChange(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	save(t, open(t, volume), 1, small("text"))
	both := open(t, volume, func(c *store.Config) { c.Keys = []store.Key{{9}, key} })
	back, err := load(t, both, 1)
	require.NoError(t, err)
	assert.Equal(t, small("text"), back)
	former := len(chunks(t, dir))
	again := save(t, both, 2, small("text"))
	assert.Equal(t, again.StoredBytes, again.NewBytes, "nothing sealed with the former key is left in use")
	assert.Len(t, chunks(t, dir), former)
	back, err = load(t, open(t, volume, func(c *store.Config) { c.Keys = []store.Key{{9}} }), 2)
	require.NoError(t, err)
	assert.Equal(t, small("text"), back)
}

// What another key or a later release may read is kept until there is a new snapshot.
func TestWhatAnotherMayReadIsKept(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	save(t, open(t, volume), 1, small("text"))
	other := open(t, volume, func(c *store.Config) { c.Keys = []store.Key{{9}} })
	_, err := other.Save(t.Context(), 2, bytes.NewReader(small("later")[:100]))
	var fault *frames.Error
	require.ErrorAs(t, err, &fault)
	back, err := load(t, open(t, volume), 1)
	require.NoError(t, err)
	assert.Equal(t, small("text"), back)
	save(t, other, 2, tiny())
	assert.Len(t, files(t, dir), 2)
	save(t, open(t, volume), 3, tiny())

	path := filepath.Join(dir, kernel, "manifest")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(raw, []byte(`"format":1`), []byte(`"format":2`), 1), 0o600))
	_, err = load(t, open(t, volume), 1)
	require.ErrorIs(t, err, store.ErrUnknownFormat)
}

func TestNothingOnTheVolumeTellsWhatIsInIt(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	text := strings.Repeat("a plain secret ", 100)
	state := newStream()
	state.record("secret_name", []byte(text), noise(5, 2<<20))
	sent := state.end().all
	save(t, open(t, volume), 1, sent)
	save(t, open(t, volume, func(c *store.Config) { c.Kernel, c.Keys = another, []store.Key{{2}} }), 1, sent)
	names := map[string]int{}
	for name, content := range files(t, dir) {
		names[filepath.Base(name)]++
		for _, secret := range []string{"plain secret", "secret_name", "pickle", "outcome", string(noise(5, 2<<20)[:16])} {
			assert.NotContains(t, content, secret, name)
		}
	}
	assert.Len(t, names, 2*3+1, "of equal data, two kernels have no name in common but the manifest's: %v", names)
	var header map[string]any
	line, _, _ := strings.Cut(files(t, dir)[kernel+"/manifest"], "\n")
	require.NoError(t, json.Unmarshal([]byte(line), &header))
	assert.Len(t, header, 7, "what the first line says is documented")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	size := save(t, open(t, volume), 1, small("former")).StoredBytes
	before := files(t, dir)
	for name, row := range map[string]struct {
		change func(*store.Config)
		reason error
	}{
		"too large":              {func(c *store.Config) { c.MaxBytes = size / 2 }, store.ErrTooLarge},
		"room is left to others": {func(c *store.Config) { c.FreePercent = 99 }, store.ErrVolumeFull},
	} {
		_, err := open(t, volume, row.change).Save(t.Context(), 2, bytes.NewReader(small("latter")))
		require.ErrorIs(t, err, row.reason, name)
		assert.True(t, maps.Equal(before, files(t, dir)), name)
	}
	save(t, open(t, volume, func(c *store.Config) { c.MaxBytes = size + 100 }), 2, small("latter"))
	save(t, open(t, volume, func(c *store.Config) { c.FreePercent, c.FreeAtMost = 99, 1 }), 3, small("large volume"))
}

func TestDelete(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	require.NoError(t, s.Delete(), "nothing is there")
	save(t, s, 1, small("text"))
	require.NoError(t, s.Delete())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	_, err = load(t, s, 1)
	require.ErrorIs(t, err, store.ErrNoSnapshot)
	save(t, s, 2, small("again"))
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*store.Config){
		func(c *store.Config) { c.Kernel = "../" + kernel },
		func(c *store.Config) { c.Kernel = "" },
		func(c *store.Config) { c.Keys = nil },
		func(c *store.Config) { c.TTL = 0 },
		func(c *store.Config) { c.MaxBytes = -1 },
		func(c *store.Config) { c.FreePercent = 100 },
		func(c *store.Config) { c.FreeAtMost = -1 },
	} {
		c := config()
		change(&c)
		_, err := store.Open(nil, c)
		assert.Error(t, err, "%+v", c)
	}
}
