package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// TestEveryWriteMayFail breaks each write of a save, once so that the process goes
// on and once so that it ends there: the snapshot is the former one or the new one,
// whole, and the next save leaves nothing else behind.
func TestEveryWriteMayFail(t *testing.T) {
	t.Parallel()
	former, later := small("former"), small(strings.Repeat("later", 3<<18))
	for _, dies := range []bool{false, true} {
		failed := 0
		for at := 1; ; at++ {
			volume, dir := home(t)
			good := open(t, volume)
			save(t, good, 1, former)
			broken := &faulty{Volume: volume, at: at, dies: dies, problem: errBroken}
			err := saveOn(t, broken, later)
			if broken.writes < at {
				require.NoError(t, err)
				break
			}
			back, wrong := load(t, good, 1)
			expected := former
			if errors.Is(wrong, store.ErrOtherRun) {
				expected = later
				back, wrong = load(t, good, 2)
			} else {
				failed++
				require.ErrorIs(t, err, errBroken, "write %d", at)
			}
			require.NoError(t, wrong, "write %d", at)
			require.True(t, bytes.Equal(expected, back), "write %d", at)

			save(t, good, 3, tiny())
			assert.Len(t, files(t, dir), 2, "write %d", at)
		}
		assert.Greater(t, failed, 3)
	}
}

func saveOn(t *testing.T, volume store.Volume, stream []byte) error {
	draft, err := open(t, volume).Save(t.Context(), 2, bytes.NewReader(stream))
	if err != nil {
		return err
	}
	defer draft.Discard()
	_, err = draft.Commit()
	return err
}

func TestAVolumeWithoutRoom(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	save(t, open(t, volume), 1, small("former"))
	before := files(t, dir)
	broken := &faulty{Volume: volume, at: 1, problem: store.ErrVolumeFull}
	require.ErrorIs(t, saveOn(t, broken, small("later")), store.ErrVolumeFull)
	assert.True(t, maps.Equal(before, files(t, dir)))
}

// TestKilledAtAnyMoment kills a process that saves one snapshot after the other: a
// whole one is there whenever one was, and it is none that is older.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	volume, dir := home(t)
	s := open(t, volume)
	save(t, s, 0, numbered(0))
	last := 0
	for range 15 {
		out := &bytes.Buffer{}
		saver := exec.Command(os.Args[0], childSaves, dir, strconv.Itoa(last+1))
		saver.Stdout, saver.Stderr = out, os.Stderr
		require.NoError(t, saver.Start())
		time.Sleep(time.Duration(50+rand.IntN(200)) * time.Millisecond)
		require.NoError(t, saver.Process.Kill())
		_ = saver.Wait()
		said := strings.Fields(out.String())
		if len(said) > 0 {
			last, _ = strconv.Atoi(said[len(said)-1])
		}
		back, err := load(t, s, int64(last))
		if errors.Is(err, store.ErrOtherRun) { // committed, and not said any more
			last++
			back, err = load(t, s, int64(last))
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(numbered(last), back))
	}
	assert.Positive(t, last, "it saved between two kills")
	save(t, s, 0, tiny())
	assert.Len(t, files(t, dir), 2)
}

// numbered is a state that changes in part from one number to the next.
func numbered(i int) []byte {
	s := newStream()
	s.record("same", noise(1, 2<<20))
	s.record("changes", noise(uint64(i), 2<<20), fmt.Appendf(nil, "number %d", i))
	return s.end().all
}
