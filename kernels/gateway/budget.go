package gateway

import (
	"errors"
	"io"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/kernels/slab"
)

// errNoRoom means that the large frames of this moment leave no room for
// another one. What it is about is still with its sender.
var errNoRoom = errors.New("gateway: no memory for a large frame now")

// smallFrame is the size up to which a frame is read without asking the budget, in bytes.
const smallFrame = slab.Smallest

// budget bounds what the large frames of all sockets take together. No owner
// may have more than half of it, and one frame may exceed it if there is no
// other. It is safe for concurrent use.
type budget struct {
	limit int64
	gauge prometheus.Gauge

	mu    sync.Mutex
	taken int64
	by    map[string]int64 // owner
}

func newBudget(limit int64, gauge prometheus.Gauge) *budget {
	return &budget{limit: limit, gauge: gauge, by: map[string]int64{}}
}

// share is one frame's part of the budget. Give it back with free.
type share struct {
	budget *budget
	owner  string
	bytes  int64
}

// grow takes n more bytes, or errNoRoom.
func (s *share) grow(n int64) error {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	others := b.taken - s.bytes
	mine := b.by[s.owner] - s.bytes
	want := s.bytes + n
	if others > 0 && others+want > b.limit || mine > 0 && mine+want > b.limit/2 {
		return errNoRoom
	}
	s.bytes += n
	b.taken += n
	b.by[s.owner] += n
	b.gauge.Set(float64(b.taken))
	return nil
}

func (s *share) free() {
	if s.bytes == 0 {
		return
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken -= s.bytes
	if b.by[s.owner] -= s.bytes; b.by[s.owner] == 0 {
		delete(b.by, s.owner)
	}
	s.bytes = 0
	b.gauge.Set(float64(b.taken))
}

// read appends r, to its end, to buffer, as far as there is room. After
// errNoRoom it can be called again with the buffer it returned.
func (s *share) read(buffer []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buffer) == cap(buffer) {
			size := max(4096, 2*cap(buffer))
			if size > smallFrame {
				if err := s.grow(int64(size) - s.bytes); err != nil {
					return buffer, err
				}
			}
			buffer = slab.Grow(buffer, size-len(buffer))
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
