package frames

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Reader reads the frames of a stream and refuses, with an *Error, what is not
// in the order or of the form that docs/parking-format.md says. Errors of the
// reader below are passed on.
type Reader struct {
	from   *bufio.Reader
	place  place
	began  int64 // of the frame
	read   int64
	left   int64 // of the frame, not read yet
	record about
	void   bool // the last record was
	buffer []byte
}

// NewReader returns a Reader at the start of a stream.
func NewReader(from io.Reader) *Reader {
	return &Reader{from: bufio.NewReaderSize(from, 64<<10)}
}

// Next returns the next frame, and io.EOF where the stream ends behind its last
// one. What was not read of the frame before is skipped.
func (r *Reader) Next() (Frame, error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return Frame{}, err
	}
	r.began = r.read
	frame, err := r.head()
	if err != nil {
		return Frame{}, err
	}
	if err := checkSize(frame.Letter, uint64(frame.Size)); err != nil {
		return Frame{}, r.fault(err)
	}
	if r.place, err = r.place.after(frame.Letter); err != nil {
		return Frame{}, r.fault(err)
	}
	r.left = frame.Size
	if _, ok := limits[frame.Letter]; ok {
		return r.document(frame)
	}
	r.void = frame.Letter == Void
	return frame, nil
}

// Read reads what follows the head of the frame, and io.EOF where that ends.
func (r *Reader) Read(into []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.from.Read(into[:min(int64(len(into)), r.left)])
	r.read += int64(n)
	r.left -= int64(n)
	if err != nil {
		err = r.broken(err)
	}
	return n, err
}

func (r *Reader) head() (Frame, error) {
	var head [HeadSize]byte
	n, err := io.ReadFull(r.from, head[:])
	r.read += int64(n)
	switch {
	case err == nil:
		return Frame{Letter: Letter(head[0]), Size: int64(binary.LittleEndian.Uint64(head[1:]))}, nil
	case errors.Is(err, io.EOF) && r.place == ended:
		return Frame{}, io.EOF
	default:
		return Frame{}, r.broken(err)
	}
}

// document reads and checks the frame's JSON.
func (r *Reader) document(frame Frame) (Frame, error) {
	if int64(cap(r.buffer)) < frame.Size {
		r.buffer = make([]byte, frame.Size)
	}
	frame.Document = r.buffer[:frame.Size]
	if _, err := io.ReadFull(r, frame.Document); err != nil && frame.Size > 0 {
		return Frame{}, err
	}
	if err := r.check(frame); err != nil {
		return Frame{}, r.fault(fmt.Errorf("frame %q: %w", byte(frame.Letter), err))
	}
	return frame, nil
}

func (r *Reader) check(frame Frame) error {
	switch frame.Letter {
	case Header:
		return checkHeader(frame.Document)
	case Record:
		return r.begin(frame.Document)
	case Hint:
		return checkHint(frame.Document)
	default:
		return checkReport(frame.Document)
	}
}

// begin notes a record. It has a number of its own, or that of the one before
// if that one is void.
func (r *Reader) begin(document []byte) error {
	found, err := decodeRecord(document)
	if err != nil {
		return err
	}
	if last := r.record.Number; last != nil {
		if *found.Number < *last || *found.Number == *last && !r.void {
			return fmt.Errorf("number %d does not follow %d", *found.Number, *last)
		}
	}
	r.record = found
	return nil
}

// broken is what an error of the reader below means here.
func (r *Reader) broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.fault(errors.New("the stream ends early"))
	}
	return fmt.Errorf("reading the state of the kernel: %w", err)
}

func (r *Reader) fault(reason error) error {
	fault := &Error{Offset: r.began, Reason: reason.Error()}
	if r.record.Number != nil {
		fault.Record = r.record.String()
	}
	return fault
}
