package gateway

import (
	"bytes"
	"io"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBudget(t *testing.T) {
	b := roomFor(800)
	of := func(owner string) *share { return &share{budget: b, owner: owner} }
	first, second := of("alice"), of("alice")
	assert.ErrorIs(t, first.grow(401), errNoRoom, "half is the most for one owner")
	require.NoError(t, first.grow(250))
	require.NoError(t, second.grow(50))
	require.NoError(t, b.hold("alice", 100))
	assert.ErrorIs(t, b.hold("alice", 1), errNoRoom, "an eighth may wait")
	assert.ErrorIs(t, second.grow(1), errNoRoom)
	for _, owner := range []string{"bob", "carol", "dora"} {
		require.NoError(t, b.hold(owner, 100))
	}
	assert.ErrorIs(t, b.hold("eve", 1), errNoRoom, "half of all may wait")
	other := of("eve")
	require.NoError(t, other.grow(100))
	assert.ErrorIs(t, other.grow(1), errNoRoom, "that is all there is")
	assert.InDelta(t, 800, testutil.ToFloat64(b.gauge), 0)
	assert.InDelta(t, 400, testutil.ToFloat64(b.heldNow), 0)
	first.free()
	first.free()
	require.NoError(t, other.grow(250))
	second.free()
	other.free()
	for _, owner := range []string{"alice", "bob", "carol"} {
		b.release(owner, 100)
	}
	assert.Equal(t, map[string]int64{"dora": 100}, b.by)
	assert.Equal(t, map[string]int64{"dora": 100}, b.heldBy)
}

func TestReadWithinABudget(t *testing.T) {
	b := roomFor(16 << 20)
	s := &share{budget: b, owner: "alice"}
	small, err := s.read(nil, bytes.NewReader(make([]byte, smallFrame/2)))
	require.NoError(t, err)
	assert.Len(t, small, smallFrame/2)
	assert.Zero(t, s.bytes, "small frames are not counted")
	large, err := s.read(small[:0], bytes.NewReader(make([]byte, 3<<20)))
	require.NoError(t, err)
	assert.Len(t, large, 3<<20)
	assert.Equal(t, int64(cap(large)), s.bytes)
	more := &share{budget: b, owner: "alice"}
	buffer, err := more.read(nil, bytes.NewReader(make([]byte, 3<<20)))
	assert.ErrorIs(t, err, errNoRoom)
	assert.Equal(t, int64(cap(buffer)), more.bytes)
	more.free()
	s.free()
	assert.Zero(t, b.taken)

	told := &share{budget: b, owner: "alice", sizeOf: func([]byte) int { return 3 << 20 }}
	reads := 0
	whole, err := told.read(nil, readerFunc(func(p []byte) (int, error) {
		if reads++; reads == 1 {
			assert.Len(t, p, 4<<20, "all of it at once")
			return 3 << 20, nil
		}
		return 0, io.EOF
	}))
	require.NoError(t, err)
	assert.Len(t, whole, 3<<20)
	assert.Equal(t, int64(cap(whole)), told.bytes)
	told.free()
	assert.Zero(t, b.taken)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
