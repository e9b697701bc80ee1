package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sync/errgroup"
)

// Load writes the stream of the wanted snapshot, in the order and to the byte as
// it was saved, without void records. What is written was authenticated before.
// After an error the stream has no last frame, so its reader does not take it for
// whole; a *DamagedError names the file. Writing that takes too long is the
// caller's to end.
func (s *Store) Load(ctx context.Context, wanted Wanted, to io.Writer) (Snapshot, error) {
	lock, err := s.volume.Lock(s.path(lockFile), true)
	if errors.Is(err, fs.ErrNotExist) {
		return Snapshot{}, ErrNoSnapshot
	}
	if err != nil {
		return Snapshot{}, err
	}
	defer lock.Close()
	m, keys, err := s.find(wanted)
	if err != nil {
		return Snapshot{}, err
	}
	if err := s.give(ctx, m, keys, to); err != nil {
		s.suspect(err)
		return Snapshot{}, err
	}
	return m.snapshot(), nil
}

// suspect has the next save take no chunk for kept, if one was damaged: others may
// be, too.
func (s *Store) suspect(err error) {
	var damaged *DamagedError
	if errors.As(err, &damaged) {
		_ = s.volume.Write(s.path(suspectFile), nil) // a volume that fails says so at the save
	}
}

// loading is a chunk that was asked for.
type loading struct {
	chunk *chunk
	data  []byte
	err   error
	done  chan struct{}
}

// give reads several chunks at a time, and writes them in their order.
func (s *Store) give(ctx context.Context, m *manifest, keys *ring, to io.Writer) error {
	hands := workers()
	buffers := make(chan []byte, hands+2)
	for range cap(buffers) {
		buffers <- make([]byte, chunkSize+maxOverhead)
	}
	jobs, order := make(chan *loading), make(chan *loading, cap(buffers))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(jobs)
		defer close(order)
		return ask(ctx, m.body.Chunks, buffers, jobs, order)
	})
	for range hands {
		group.Go(func() error { return s.fetch(keys, jobs) })
	}
	group.Go(func() error { return pass(ctx, order, buffers, to) })
	return group.Wait()
}

// ask asks for one chunk after the other, as many as there are buffers.
func ask(ctx context.Context, chunks []*chunk, buffers <-chan []byte, jobs, order chan<- *loading) error {
	for _, c := range chunks {
		next := &loading{chunk: c, done: make(chan struct{})}
		select {
		case next.data = <-buffers:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		order <- next // has room for every buffer
		select {
		case jobs <- next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// pass writes the chunks in their order. The first that fails ends it.
func pass(ctx context.Context, order <-chan *loading, buffers chan<- []byte, to io.Writer) error {
	for next := range order {
		select {
		case <-next.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if next.err != nil {
			return next.err
		}
		if _, err := to.Write(next.data[:next.chunk.Use]); err != nil {
			return fmt.Errorf("giving back the state of the kernel: %w", err)
		}
		buffers <- next.data[:cap(next.data)]
	}
	return nil
}

func (s *Store) fetch(keys *ring, jobs <-chan *loading) error {
	unpacker, err := newUnpacker()
	if err != nil {
		return err
	}
	defer unpacker.close()
	reader := &chunkReader{store: s, keys: keys, unpacker: unpacker}
	for next := range jobs {
		next.err = reader.read(next)
		close(next.done)
	}
	return nil
}
