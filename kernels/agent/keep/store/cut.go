package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/elastichub/elastichub/kernels/agent/keep/frames"
)

// apart is the size of a buffer that shares no chunk with what is around it: if
// it has not changed, its chunks have not, wherever it stands in the stream.
const apart = 1 << 20

// cutter makes chunks of a stream. Records that turn out to be void are taken
// back.
type cutter struct {
	buffers chan []byte // free ones
	jobs    chan<- job
	data    []byte // of the chunk that is not full yet; nil if there is none
	chunks  []*chunk
	record  mark // where the last record begins

	header, report json.RawMessage
}

// job is a chunk that is cut and not stored yet.
type job struct {
	chunk *chunk
	data  []byte
}

// mark is a place in what was cut so far.
type mark struct {
	chunks, offset int
}

// cut reads a stream to its end.
func (c *cutter) cut(ctx context.Context, stream io.Reader) error {
	reader := frames.NewReader(stream)
	for {
		frame, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return c.flush(ctx)
		}
		if err != nil {
			return err
		}
		if err := c.frame(ctx, frame, reader); err != nil {
			return err
		}
	}
}

func (c *cutter) frame(ctx context.Context, frame frames.Frame, reader *frames.Reader) error {
	switch frame.Letter {
	case frames.Header:
		c.header = bytes.Clone(frame.Document)
	case frames.Record:
		c.record = mark{len(c.chunks), len(c.data)}
	case frames.End:
		c.report = bytes.Clone(frame.Document)
	case frames.Void:
		c.takeBack()
		return nil
	default: // a part of the record
	}
	if err := c.add(ctx, bytes.NewReader(frame.AppendHead(nil)), frames.HeadSize); err != nil {
		return err
	}
	if frame.Document != nil {
		return c.add(ctx, bytes.NewReader(frame.Document), frame.Size)
	}
	if frame.Large(apart) {
		return c.addApart(ctx, reader, frame.Size)
	}
	return c.add(ctx, reader, frame.Size)
}

func (c *cutter) addApart(ctx context.Context, from io.Reader, size int64) error {
	if err := c.flush(ctx); err != nil {
		return err
	}
	if err := c.add(ctx, from, size); err != nil {
		return err
	}
	return c.flush(ctx)
}

// add appends so many bytes.
func (c *cutter) add(ctx context.Context, from io.Reader, size int64) error {
	for size > 0 {
		if err := c.room(ctx); err != nil {
			return err
		}
		filled := len(c.data)
		some := min(size, int64(chunkSize-filled))
		c.data = c.data[:filled+int(some)]
		if _, err := io.ReadFull(from, c.data[filled:]); err != nil {
			return err
		}
		size -= some
	}
	return nil
}

// room makes sure of a chunk that is not full.
func (c *cutter) room(ctx context.Context) error {
	if len(c.data) == chunkSize {
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	if c.data != nil {
		return nil
	}
	select {
	case c.data = <-c.buffers:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flush ends the chunk.
func (c *cutter) flush(ctx context.Context) error {
	if len(c.data) == 0 {
		return nil
	}
	next := job{&chunk{Size: len(c.data), Use: len(c.data)}, c.data}
	select {
	case c.jobs <- next:
		c.data = nil
		c.chunks = append(c.chunks, next.chunk)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeBack forgets what was added since the record began. A chunk that was ended
// in between is used up to there only.
func (c *cutter) takeBack() {
	begun := c.record
	if len(c.chunks) == begun.chunks {
		if c.data != nil {
			c.data = c.data[:begun.offset]
		}
		return
	}
	c.data = c.data[:0]
	if begun.offset > 0 {
		c.chunks[begun.chunks].Use = begun.offset
		begun.chunks++
	}
	c.chunks = c.chunks[:begun.chunks]
}
