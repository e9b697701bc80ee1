package gateway

import (
	"bytes"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBudget(t *testing.T) {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"})
	b := newBudget(100, gauge)
	of := func(owner string) *share { return &share{budget: b, owner: owner} }
	huge := of("alice")
	require.NoError(t, huge.grow(300), "one frame may exceed it")
	other := of("bob")
	assert.ErrorIs(t, other.grow(1), errNoRoom)
	huge.free()
	huge.free()
	assert.Zero(t, b.taken)

	first, second := of("alice"), of("alice")
	require.NoError(t, first.grow(30))
	require.NoError(t, second.grow(20))
	assert.ErrorIs(t, second.grow(1), errNoRoom, "half is the most for one owner")
	require.NoError(t, other.grow(50))
	assert.ErrorIs(t, of("carol").grow(1), errNoRoom)
	assert.InDelta(t, 100, testutil.ToFloat64(gauge), 0)
	first.free()
	require.NoError(t, of("carol").grow(30))
	second.free()
	other.free()
	assert.Equal(t, map[string]int64{"carol": 30}, b.by)
}

func TestReadWithinABudget(t *testing.T) {
	b := newBudget(4<<20, prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"}))
	s := &share{budget: b, owner: "alice"}
	small, err := s.read(nil, bytes.NewReader(make([]byte, smallFrame/2)))
	require.NoError(t, err)
	assert.Len(t, small, smallFrame/2)
	assert.Zero(t, s.bytes, "small frames are not counted")
	large, err := s.read(small[:0], bytes.NewReader(make([]byte, 3<<20)))
	require.NoError(t, err)
	assert.Len(t, large, 3<<20)
	assert.Equal(t, int64(cap(large)), s.bytes)
	more := &share{budget: b, owner: "bob"}
	_, err = more.read(nil, bytes.NewReader(make([]byte, 3<<20)))
	assert.ErrorIs(t, err, errNoRoom)
	more.free()
	s.free()
	assert.Zero(t, b.taken)
}
