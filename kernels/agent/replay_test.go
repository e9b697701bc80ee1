package agent

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
)

var testBuilder = wire.NewBuilder("test")

func testFrame(n int, droppable bool) frame {
	m := wire.Message{Channel: wire.IOPub, ParentHeader: []byte(`{"msg_id":"cell"}`), Content: bytes.Repeat([]byte{'x'}, n)}
	return frame{data: m.AppendV1(nil), droppable: droppable}
}

func takeAll(r *replay) (seqs []uint64, markers []string) {
	for {
		batch := r.take(nil, 1<<30)
		if len(batch) == 0 {
			return seqs, markers
		}
		for _, n := range batch {
			seqs = append(seqs, n.seq)
			m, _ := wire.ParseV1(n.data)
			if m.Type() == wire.TypeStream {
				markers = append(markers, m.ParentID()+": "+wire.Member(m.Content, "text"))
			}
		}
	}
}

func TestReplay(t *testing.T) {
	r := newReplay(1<<20, testBuilder)
	assert.Equal(t, position{first: 1, next: 1}, r.connect(0))
	for range 5 {
		r.add(testFrame(10, true))
	}
	assert.False(t, r.idle())
	seqs, _ := takeAll(r)
	assert.Equal(t, []uint64{1, 2, 3, 4, 5}, seqs)
	assert.True(t, r.idle())
	r.ack(2)
	r.ack(1)
	r.ack(99)
	assert.Equal(t, position{first: 3, next: 6}, r.connect(0))
	seqs, _ = takeAll(r)
	assert.Equal(t, []uint64{3, 4, 5}, seqs)
	assert.Equal(t, position{first: 5, next: 6}, r.connect(4))
	r.ack(5)
	assert.Equal(t, position{first: 6, next: 6}, r.connect(0))
	assert.Zero(t, r.bytes)
}

func TestReplayDropsOldestOutputAndSaysSo(t *testing.T) {
	r := newReplay(100_000, testBuilder)
	r.add(testFrame(100, false)) // 1: a reply
	for range 200 {
		r.add(testFrame(1000, true)) // 2…201
	}
	r.add(testFrame(100, false)) // 202
	p := r.connect(0)
	assert.Equal(t, uint64(1), p.first)
	seqs, markers := takeAll(r)
	assert.LessOrEqual(t, r.bytes, r.limit)
	assert.Equal(t, []uint64{1, 2}, seqs[:2], "the reply and the marker, where the gap begins")
	assert.Equal(t, uint64(202), seqs[len(seqs)-1])
	require.Len(t, markers, 1)
	kept := len(seqs) - 3
	assert.Equal(t, uint64(200-kept), p.dropped)
	assert.Contains(t, markers[0], fmt.Sprintf("cell: [%d messages of output (", 200-kept))
	for i, seq := range seqs[2:] {
		assert.Equal(t, seqs[2]+uint64(i), seq, "behind the gap nothing is missing")
	}
}

func TestReplayMarksAGapThatTheClientReachedAnew(t *testing.T) {
	r := newReplay(50_000, testBuilder)
	flood := func() {
		for range 100 {
			r.add(testFrame(1000, true))
		}
	}
	flood()
	r.connect(0)
	_, first := takeAll(r)
	require.Len(t, first, 1)
	flood()
	_, second := takeAll(r)
	assert.Len(t, second, 1, "the first marker was seen already")
	r.connect(0)
	_, again := takeAll(r)
	assert.Len(t, again, 3, "and what the first connection had, but did not acknowledge, is gone too")
}

func TestReplayKeepsTheNewest(t *testing.T) {
	r := newReplay(1000, testBuilder)
	r.add(testFrame(1_000_000, true))
	r.connect(0)
	seqs, _ := takeAll(r)
	assert.Equal(t, []uint64{1}, seqs)
	for range 1000 {
		r.add(testFrame(10, false)) // replies go when there is no output left
	}
	assert.Less(t, r.bytes, 2000)
}

// TestReplayHoldsItsInvariants plays random acks, connections and floods.
func TestReplayHoldsItsInvariants(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r := newReplay(20_000, testBuilder)
	var last, acked uint64
	for range 20_000 {
		switch random.IntN(10) {
		case 0:
			r.connect(0)
			last = acked
		case 1, 2:
			for _, n := range r.take(nil, random.IntN(5000)) {
				require.Greater(t, n.seq, last)
				last = n.seq
			}
		case 3:
			if last > acked {
				acked += random.Uint64N(last-acked) + 1
				r.ack(acked)
			}
		default:
			r.add(testFrame(random.IntN(2000), random.IntN(4) > 0))
		}
		sum := 0
		for i, e := range r.entries {
			sum += e.size()
			require.Greater(t, e.seq, acked)
			require.True(t, i == 0 || r.entries[i-1].seq < e.seq)
		}
		require.Equal(t, sum, r.bytes)
		require.LessOrEqual(t, r.bytes, r.limit+4000)
	}
}

func BenchmarkReplayFlood(b *testing.B) {
	r := newReplay(32<<20, testBuilder)
	f := testFrame(200, true)
	b.ReportAllocs()
	for b.Loop() {
		r.add(f)
	}
}
