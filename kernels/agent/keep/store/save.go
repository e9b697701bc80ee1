package store

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

// Save stores a stream to its end. Whatever fails, the former snapshot is what it
// was: a stream that is no whole snapshot is a *frames.Error, one that is too
// large ErrTooLarge, a volume without room ErrVolumeFull. Of an error the stream's
// writer learns by the stream's being closed, which is the caller's to do; so is
// ending a read that takes too long, for ctx is looked at between reads.
func (s *Store) Save(ctx context.Context, run int64, stream io.Reader) (*Draft, error) {
	lock, err := s.volume.Lock(s.path(lockFile), false)
	if err != nil {
		return nil, err
	}
	d := &Draft{store: s, lock: lock, keys: s.rings[0]}
	if err := d.fill(ctx, run, stream); err != nil {
		d.Discard()
		return nil, err
	}
	return d, nil
}

func (d *Draft) fill(ctx context.Context, run int64, stream io.Reader) error {
	former, err := d.former()
	if err != nil {
		return err
	}
	now := d.store.config.Now().UTC().Truncate(time.Second)
	d.manifest = &manifest{header: header{
		Format: manifestFormat, Kernel: d.store.config.Kernel, Key: d.keys.id, Run: run,
		Generation: former.header.Generation + 1, Saved: now, Expires: now.Add(d.store.config.TTL),
	}}
	known, err := d.present(former)
	if err != nil {
		return err
	}
	d.shelf = newShelf(known, d.store.config.MaxBytes)
	return d.take(ctx, stream)
}

// take cuts the stream and stores its chunks, several at a time.
func (d *Draft) take(ctx context.Context, stream io.Reader) error {
	hands := workers()
	jobs := make(chan job)
	buffers := make(chan []byte, hands+2)
	for range cap(buffers) {
		buffers <- make([]byte, 0, chunkSize+1)
	}
	group, ctx := errgroup.WithContext(ctx)
	for range hands {
		group.Go(func() error { return d.work(ctx, jobs, buffers) })
	}
	cutter := &cutter{buffers: buffers, jobs: jobs}
	group.Go(func() error {
		defer close(jobs)
		return cutter.cut(ctx, stream)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for _, c := range cutter.chunks {
		c.Sealed = d.shelf.used[c.Name]
	}
	report, err := brief(cutter.report)
	d.manifest.body = body{Header: cutter.header, Report: report, Chunks: cutter.chunks}
	return err
}

// workers is how many chunks are worked at: more would take more memory than an
// agent should have.
func workers() int { return min(max(runtime.GOMAXPROCS(0), 2), 4) }

func (d *Draft) work(ctx context.Context, jobs <-chan job, buffers chan<- []byte) error {
	packer, err := newPacker()
	if err != nil {
		return err
	}
	defer packer.close()
	sealed := make([]byte, 0, chunkSize+maxOverhead)
	for next := range jobs {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if sealed, err = d.put(next, packer, sealed); err != nil {
			return err
		}
		buffers <- next.data[:0]
	}
	return nil
}

// put names a chunk, and writes it if it is not there. It returns the memory that
// it was lent.
func (d *Draft) put(next job, packer *packer, sealed []byte) ([]byte, error) {
	name, err := d.keys.name(next.data)
	if err != nil {
		return sealed, err
	}
	next.chunk.Name = name
	if there, err := d.shelf.claim(name); there || err != nil {
		return sealed, err
	}
	sealed = d.keys.sealChunk(sealed[:0], name, packer.pack(next.data))
	size := int64(len(sealed))
	if err := d.shelf.writes(name, size); err != nil {
		return sealed, err
	}
	if err := d.leave(size); err != nil {
		return sealed, err
	}
	return sealed, d.store.volume.Write(d.store.path(chunkDir, name), sealed)
}

// leave refuses to write what would take the room that is left to others.
func (d *Draft) leave(size int64) error {
	if d.store.config.FreePercent == 0 {
		return nil
	}
	free, total, err := d.store.volume.Space()
	if err != nil {
		return err
	}
	rest := total / 100 * int64(d.store.config.FreePercent)
	if most := d.store.config.FreeAtMost; most > 0 {
		rest = min(rest, most)
	}
	if free-size < rest {
		return fmt.Errorf("%w: %d bytes are free, and %d are left to others", ErrVolumeFull, free, rest)
	}
	return nil
}
