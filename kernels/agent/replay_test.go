package agent

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
)

var testBuilder = wire.NewBuilder("test")

func testFrame(n int, droppable bool) frame {
	m := wire.Message{Channel: wire.IOPub, ParentHeader: []byte(`{"msg_id":"cell"}`), Content: bytes.Repeat([]byte{'x'}, n)}
	return frame{data: m.AppendV1(nil), droppable: droppable}
}

// testReplay has a clock that stands still unless it is moved.
func testReplay(limit int) (r *replay, clock *time.Time) {
	r = newReplay(limit, testBuilder)
	now := time.Unix(1, 0)
	r.now = func() time.Time { return now }
	return r, &now
}

func takeAll(r *reader) (seqs []uint64, markers []string) {
	for {
		batch := r.next(nil, 1<<30)
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

func taken(r *reader) []uint64 {
	seqs, _ := takeAll(r)
	return seqs
}

func TestReplay(t *testing.T) {
	r, _ := testReplay(1 << 20)
	a, p := r.join(0)
	assert.Equal(t, position{first: 1, next: 1}, p)
	for range 5 {
		r.add(testFrame(10, true))
	}
	assert.False(t, a.idle())
	assert.Equal(t, []uint64{1, 2, 3, 4, 5}, taken(a))
	assert.True(t, a.idle())
	a.ack(2)
	a.ack(1)
	a.ack(99)
	a.leave(false)
	b, p := r.join(0)
	assert.Equal(t, position{first: 3, next: 6}, p)
	assert.Equal(t, []uint64{3, 4, 5}, taken(b))
	b.leave(false)
	c, p := r.join(4)
	assert.Equal(t, position{first: 5, next: 6}, p)
	assert.Equal(t, []uint64{5}, taken(c))
	c.ack(5)
	_, p = r.join(0)
	assert.Equal(t, position{first: 6, next: 6}, p)
	assert.Zero(t, r.bytes)
}

func TestEveryReaderGetsEverything(t *testing.T) {
	r, _ := testReplay(1 << 20)
	a, _ := r.join(0)
	b, _ := r.join(0)
	for range 4 {
		r.add(testFrame(10, true))
	}
	assert.Len(t, a.wake, 1)
	assert.Len(t, b.wake, 1)
	assert.Equal(t, []uint64{1, 2, 3, 4}, taken(a))
	a.ack(4)
	assert.Len(t, r.entries, 4, "the other one has acknowledged nothing")
	assert.Equal(t, []uint64{1, 2, 3, 4}, taken(b))
	b.ack(3)
	assert.Len(t, r.entries, 1)

	a.leave(false)
	b.leave(false)
	c, p := r.join(0)
	assert.Equal(t, uint64(4), p.first, "where the one that was behind left off")
	assert.Equal(t, []uint64{4}, taken(c))
	d, p := r.join(0)
	assert.Equal(t, uint64(5), p.first, "and then the other")
	assert.Empty(t, taken(d))
}

func TestAReaderThatEndsInOrderLeavesNothing(t *testing.T) {
	r, _ := testReplay(1 << 20)
	a, _ := r.join(0)
	b, _ := r.join(0)
	r.add(testFrame(10, true))
	r.add(testFrame(10, true))
	takeAll(a)
	takeAll(b)
	b.ack(2)
	a.leave(true)
	assert.Empty(t, r.entries)
	b.leave(true)
	r.add(testFrame(10, true))
	c, p := r.join(0)
	assert.Equal(t, position{first: 3, next: 4}, p, "nobody was there: kept for the next one")
	assert.Equal(t, []uint64{3}, taken(c))
}

func TestADeadReaderKeepsNothingBackForLong(t *testing.T) {
	r, now := testReplay(1 << 20)
	dead, _ := r.join(0)
	r.add(testFrame(10, true))
	r.add(testFrame(10, true))
	takeAll(dead)
	*now = now.Add(behindTime + 1)
	alive, p := r.join(0)
	assert.Equal(t, uint64(1), p.first, "alone, it keeps what it did not acknowledge")
	takeAll(alive)
	alive.ack(2)
	assert.Empty(t, r.entries)
	r.add(testFrame(10, true))
	takeAll(alive)
	alive.ack(3)

	alive.leave(false)
	assert.Len(t, r.readers, 2)
	*now = now.Add(lingerTime + 1)
	other, p := r.join(0)
	assert.Equal(t, uint64(4), p.first)
	r.add(testFrame(10, true))
	assert.Equal(t, []uint64{4}, taken(other))
	seqs, markers := takeAll(dead)
	assert.Equal(t, []uint64{3, 4}, seqs, "it has come to life, and is told of its gap")
	require.Len(t, markers, 1)
	assert.Contains(t, markers[0], "[1 messages of output were dropped here")
}

func TestLingeringReadersAreBounded(t *testing.T) {
	r, _ := testReplay(1 << 20)
	r.add(testFrame(10, true))
	keep, _ := r.join(0)
	var all []*reader
	for range 3 * mostLingering {
		d, _ := r.join(0)
		takeAll(d)
		all = append(all, d)
	}
	for _, d := range all {
		d.leave(false)
	}
	assert.Len(t, r.readers, mostLingering+1)
	takeAll(keep)
	keep.ack(1)
	assert.Len(t, r.entries, 1)
}

func TestReplayDropsOldestOutputAndSaysSo(t *testing.T) {
	r, _ := testReplay(100_000)
	r.add(testFrame(100, false)) // 1: a reply
	for range 200 {
		r.add(testFrame(1000, true)) // 2…201
	}
	r.add(testFrame(100, false)) // 202
	d, p := r.join(0)
	assert.Equal(t, uint64(1), p.first)
	seqs, markers := takeAll(d)
	assert.LessOrEqual(t, r.bytes, r.limit)
	assert.Equal(t, uint64(1), seqs[0], "the reply")
	assert.Equal(t, seqs[1]+1, seqs[2], "then the marker, at the end of the gap")
	assert.Equal(t, uint64(202), seqs[len(seqs)-1])
	require.Len(t, markers, 1)
	kept := len(seqs) - 3
	assert.Equal(t, uint64(200-kept), p.dropped)
	assert.Contains(t, markers[0], fmt.Sprintf("cell: [%d messages of output were dropped here", 200-kept))
	for i, seq := range seqs[2:] {
		assert.Equal(t, seqs[2]+uint64(i), seq, "behind the gap nothing is missing")
	}
}

func TestReplayMarksEachGapOnceToEachReader(t *testing.T) {
	r, _ := testReplay(50_000)
	flood := func() {
		for range 100 {
			r.add(testFrame(1000, true))
		}
	}
	flood()
	d, _ := r.join(0)
	_, first := takeAll(d)
	require.Len(t, first, 1)
	_, none := takeAll(d)
	require.Empty(t, none)
	flood()
	_, second := takeAll(d)
	assert.Len(t, second, 1)
	d.leave(false)
	d, p := r.join(0)
	_, again := takeAll(d)
	require.Len(t, again, 1)
	assert.Contains(t, again[0], fmt.Sprintf("[%d messages", p.dropped), "what the first connection had, but did not acknowledge, is gone too")
}

// TestGapsBetweenReplies: what is never dropped lies between the gaps; one
// notice speaks of all of them.
func TestGapsBetweenReplies(t *testing.T) {
	r, _ := testReplay(20_000)
	for range 20 {
		for range 10 {
			r.add(testFrame(200, true))
		}
		r.add(testFrame(10, false))
	}
	d, p := r.join(0)
	seqs, markers := takeAll(d)
	require.Len(t, markers, 1)
	assert.Contains(t, markers[0], fmt.Sprintf("[%d messages", p.dropped))
	assert.Len(t, seqs, 20*11-int(p.dropped)+1)
}

func TestReplayKeepsTheNewest(t *testing.T) {
	r, _ := testReplay(1000)
	r.add(testFrame(1_000_000, true))
	d, _ := r.join(0)
	assert.Equal(t, []uint64{1}, taken(d))
	for range 1000 {
		r.add(testFrame(10, false)) // replies go when there is no output left
	}
	assert.Less(t, r.bytes, 2000)
}

// player is a client with connections that break, in a model of the protocol:
// it acknowledges what it has and resumes there.
type player struct {
	d           *reader
	last, acked uint64
	got, missed uint64
}

func (p *player) take(t *testing.T, random *rand.Rand) {
	for _, n := range p.d.next(nil, random.IntN(5000)) {
		require.Greater(t, n.seq, p.last)
		if m, err := wire.ParseV1(n.data); err == nil && m.Type() == wire.TypeStream {
			var missed uint64
			_, err := fmt.Sscanf(strings.TrimSpace(wire.Member(m.Content, "text")), "[%d messages", &missed)
			require.NoError(t, err)
			p.missed += missed
		} else {
			p.got++
		}
		p.last = n.seq
	}
}

// TestReplayHoldsItsInvariants plays random acknowledgements, broken
// connections and floods with three clients of one session.
func TestReplayHoldsItsInvariants(t *testing.T) {
	for _, limit := range []int{20_000, 1 << 30} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) { playReplay(t, limit) })
	}
}

func playReplay(t *testing.T, limit int) {
	random := rand.New(rand.NewPCG(1, 2))
	r, _ := testReplay(limit)
	players := make([]*player, 3)
	for i := range players {
		players[i] = &player{}
		players[i].d, _ = r.join(0)
	}
	for range 30_000 {
		p := players[random.IntN(len(players))]
		switch random.IntN(12) {
		case 0: // all it was told of a gap may be told again, so it reads on to the end first
			for !p.d.idle() {
				p.take(t, random)
			}
			p.d.leave(false)
			p.d, _ = r.join(p.last)
		case 1, 2, 3:
			p.take(t, random)
		case 4, 5:
			if p.last > p.acked {
				p.acked += random.Uint64N(p.last-p.acked) + 1
				p.d.ack(p.acked)
			}
		default:
			r.add(testFrame(random.IntN(2000), random.IntN(4) > 0))
		}
		if limit > 1<<20 && len(r.entries) > 1000 {
			continue // no bound that could be broken
		}
		sum := 0
		for i, e := range r.entries {
			sum += e.size()
			require.Greater(t, e.seq, r.floor)
			require.True(t, i == 0 || r.entries[i-1].seq < e.seq)
		}
		require.Equal(t, sum, r.bytes)
		require.LessOrEqual(t, r.bytes, r.limit+4000)
	}
	for _, p := range players {
		for !p.d.idle() {
			p.take(t, random)
		}
		assert.Equal(t, r.next-1, p.got+p.missed, "every message arrived or is known to be missed")
		assert.LessOrEqual(t, p.missed, r.dropped, "and only what was dropped is missed")
	}
}

func TestRecent(t *testing.T) {
	r := newRecent()
	header := func(i int) []byte { return fmt.Appendf(nil, `{"msg_id":"%d"}`, i) }
	for i := range mostRecent {
		require.True(t, r.add(header(i)))
	}
	assert.False(t, r.add(header(0)))
	assert.False(t, r.add(header(mostRecent-1)))
	assert.True(t, r.add(header(mostRecent)), "new")
	assert.True(t, r.add(header(0)), "forgotten")
	assert.False(t, r.add(header(2)))
	assert.Len(t, r.known, mostRecent)
}

func BenchmarkReplayFlood(b *testing.B) {
	r := newReplay(32<<20, testBuilder)
	f := testFrame(200, true)
	b.ReportAllocs()
	for b.Loop() {
		r.add(f)
	}
}
