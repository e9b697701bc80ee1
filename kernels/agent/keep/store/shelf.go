package store

import (
	"fmt"
	"sync"
)

// shelf knows which chunks of a snapshot that is being saved are on the volume.
type shelf struct {
	limit int64 // of the chunks' bytes, 0 for none

	mu     sync.Mutex
	former map[string]int64 // chunks of the former snapshot, by their files' sizes
	used   map[string]int64 // chunks of this one; 0 while one is being written
	total  int64            // bytes of those used
	added  int64            // bytes of those that were written
}

func newShelf(former map[string]int64, limit int64) *shelf {
	return &shelf{limit: limit, former: former, used: map[string]int64{}}
}

// claim says whether a chunk is there, or being written by another. If not,
// whoever asked writes it.
func (s *shelf) claim(name string) (there bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.used[name]; there {
		return true, nil
	}
	size, there := s.former[name]
	return there, s.use(name, size)
}

// writes tells the size of a chunk that was claimed, before it is written.
func (s *shelf) writes(name string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.added += size
	return s.use(name, size)
}

func (s *shelf) use(name string, size int64) error {
	s.used[name] = size
	s.total += size
	if s.limit > 0 && s.total > s.limit {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, s.limit)
	}
	return nil
}
