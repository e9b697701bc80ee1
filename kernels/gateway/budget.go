package gateway

import (
	"errors"
	"io"
	"math/bits"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/kernels/slab"
)

// errNoRoom means that what is in memory at this moment leaves no room for
// more. What it is about is still with its sender.
var errNoRoom = errors.New("gateway: no memory for a message now")

// smallFrame is the size up to which a frame on its way is read without asking
// the budget, in bytes: what a socket costs anyway.
const smallFrame = 64 << 10

// Parts of a budget, as divisors of its limit. A frame's buffer has up to
// twice its size and is copied when it grows or is held: a largest frame takes
// three times its size for a moment, which an owner's part has room for beside
// all that he may have held.
const (
	perOwner   = 2 // of all, for one owner
	heldOfAll  = 2 // of all, for what waits for a kernel; the rest is for what is on its way
	heldOfEach = 8 // of all, for what waits for the kernels of one owner
	perFrame   = 8 // of all, for one frame
)

// budget bounds the memory that messages of all sockets take together: those
// on their way in either direction, and those held for kernels that are not
// up. It is safe for concurrent use.
type budget struct {
	limit   int64
	gauge   prometheus.Gauge // of all
	heldNow prometheus.Gauge

	mu     sync.Mutex
	taken  int64
	held   int64 // part of taken
	by     map[string]int64
	heldBy map[string]int64 // part of by
}

func newBudget(limit int64, gauge, held prometheus.Gauge) *budget {
	return &budget{limit: limit, gauge: gauge, heldNow: held, by: map[string]int64{}, heldBy: map[string]int64{}}
}

// fits reports whether an owner may take n more bytes; mu is held.
func (b *budget) fits(owner string, n int64) bool {
	return b.taken+n <= b.limit && b.by[owner]+n <= b.limit/perOwner
}

// add takes n bytes, or gives them back; mu is held.
func (b *budget) add(owner string, n int64) {
	b.taken += n
	addTo(b.by, owner, n)
	b.gauge.Set(float64(b.taken))
}

func addTo(by map[string]int64, owner string, n int64) {
	if by[owner] += n; by[owner] == 0 {
		delete(by, owner)
	}
}

// hold takes n bytes for a message that waits, or errNoRoom. Give them back
// with release.
func (b *budget) hold(owner string, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(owner, n) || b.held+n > b.limit/heldOfAll || b.heldBy[owner]+n > b.limit/heldOfEach {
		return errNoRoom
	}
	b.addHeld(owner, n)
	return nil
}

func (b *budget) release(owner string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addHeld(owner, -n)
}

func (b *budget) addHeld(owner string, n int64) {
	b.add(owner, n)
	b.held += n
	addTo(b.heldBy, owner, n)
	b.heldNow.Set(float64(b.held))
}

// bodyTakes is what a request's body can take once it is decoded, as a multiple of
// its size: a map with many short names takes most.
const bodyTakes = 10

// countedBody is a request's body that is counted, from its first byte until free.
type countedBody struct {
	io.ReadCloser
	share share
}

// Read fails with errNoRoom where there is no room for what it has read.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if full := b.share.grow(bodyTakes * int64(n)); full != nil {
			return 0, full
		}
	}
	return n, err
}

// share is the part of the budget that one connection's frame on its way has.
// Give it back with free.
type share struct {
	budget *budget
	owner  string
	bytes  int64
	// sizeOf tells from the beginning of a frame how many bytes there will be, 0 if
	// it cannot. Nil where the sender is not believed.
	sizeOf func(beginning []byte) int
}

// grow takes n more bytes, or errNoRoom.
func (s *share) grow(n int64) error {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fits(s.owner, n) {
		return errNoRoom
	}
	s.bytes += n
	b.add(s.owner, n)
	return nil
}

func (s *share) free() { s.shrink(s.bytes) }

func (s *share) shrink(n int64) {
	if n == 0 {
		return
	}
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.bytes -= n
	s.budget.add(s.owner, -n)
}

// counted is what a frame's buffer takes of the budget.
func counted(buffer []byte) int64 {
	if cap(buffer) <= smallFrame {
		return 0
	}
	return int64(cap(buffer))
}

// read appends r, to its end, to buffer, as far as there is room. After
// errNoRoom it can be called again with the buffer it returned. While the
// buffer grows both the old and the new one count.
func (s *share) read(buffer []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buffer) == cap(buffer) {
			old, size := counted(buffer), max(4096, 2*cap(buffer))
			if s.sizeOf != nil {
				size = max(size, 1<<bits.Len(uint(s.sizeOf(buffer)))) // more than that, to find the end
			}
			if size > smallFrame {
				if err := s.grow(int64(size)); err != nil {
					return buffer, err
				}
			}
			buffer = slab.Grow(buffer, size-len(buffer))
			s.shrink(old)
		}
		n, err := r.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		switch {
		case err == io.EOF:
			return buffer, nil
		case err != nil:
			return buffer, err
		}
	}
}
