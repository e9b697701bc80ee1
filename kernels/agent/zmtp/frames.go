package zmtp

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

func appendHeader(dst []byte, flags byte, size int) []byte {
	if size <= math.MaxUint8 {
		return append(dst, flags, byte(size))
	}
	return binary.BigEndian.AppendUint64(append(dst, flags|flagLong), uint64(size))
}

// Send writes one message of one or more frames. Small messages are one write
// of one buffer, others one vectored write without a copy. A message is not
// interleaved with another; after an error the connection is of no use.
func (c *Conn) Send(parts [][]byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	out := c.out[:0]
	if c.socket == Req {
		out = appendHeader(out, flagMore, 0)
	}
	more := func(i int) byte {
		if i < len(parts)-1 {
			return flagMore
		}
		return 0
	}
	if total <= coalesce {
		for i, p := range parts {
			out = append(appendHeader(out, more(i), len(p)), p...)
		}
		c.out = out
		_, err := c.conn.Write(out)
		return err
	}
	const longest = 9
	if need := len(out) + longest*len(parts); cap(out) < need {
		out = append(make([]byte, 0, need), out...) // must not move below
	}
	vector, from := c.vector[:0], 0
	for i, p := range parts {
		out = appendHeader(out, more(i), len(p))
		vector = append(vector, out[from:], p)
		from = len(out)
	}
	c.out, c.vector = out, vector
	if cap(c.out) > keep {
		c.out = nil
	}
	_, err := vector.WriteTo(c.conn)
	clear(c.vector)
	return err
}

// Receive returns the frames of the next message. They are valid until the
// next call. Commands of the peer are answered or skipped.
func (c *Conn) Receive() ([][]byte, error) {
	if cap(c.body) > keep {
		c.body = nil
	}
	if cap(c.body) < c.options.Headroom {
		c.body = make([]byte, c.options.Headroom, c.options.Headroom+smallMessage)
	}
	c.body, c.ends = c.body[:c.options.Headroom], c.ends[:0]
	var tooLarge uint64
	for {
		flags, size, err := c.readHeader()
		if err != nil {
			return nil, err
		}
		if flags&flagCommand != 0 {
			if err := c.command(size); err != nil {
				return nil, err
			}
			continue
		}
		if tooLarge > 0 || size > uint64(c.options.MaxMessage-c.size()) || len(c.ends) >= c.options.MaxFrames {
			tooLarge += max(size, 1)
			if err := c.skip(size); err != nil {
				return nil, err
			}
		} else if err := c.readBody(int(size)); err != nil {
			return nil, err
		}
		if flags&flagMore == 0 {
			break
		}
	}
	if tooLarge > 0 {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, tooLarge+uint64(c.size()))
	}
	from := c.options.Headroom
	c.frames = c.frames[:0]
	for _, to := range c.ends {
		c.frames = append(c.frames, c.body[from:to:to])
		from = to
	}
	if c.socket == Req && len(c.frames) > 0 && len(c.frames[0]) == 0 {
		return c.frames[1:], nil
	}
	return c.frames, nil
}

// size is that of the message received last.
func (c *Conn) size() int { return len(c.body) - c.options.Headroom }

// Keep hands over the memory of the message received last: the headroom, and
// its frames one after the other. It stays the caller's. ok is false, and
// nothing is handed over, if that memory is much more than the message needs.
func (c *Conn) Keep() (memory []byte, ok bool) {
	if cap(c.body)-len(c.body) > len(c.body)/4 {
		return nil, false
	}
	memory, c.body = c.body, nil
	return memory, true
}

func (c *Conn) readHeader() (flags byte, size uint64, err error) {
	if flags, err = c.reader.ReadByte(); err != nil {
		return 0, 0, err
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 {
		return 0, 0, fmt.Errorf("%w: flags %#x", ErrProtocol, flags)
	}
	if flags&flagLong == 0 {
		short, err := c.reader.ReadByte()
		return flags, uint64(short), err
	}
	var long [8]byte
	if _, err := io.ReadFull(c.reader, long[:]); err != nil {
		return 0, 0, err
	}
	if size = binary.BigEndian.Uint64(long[:]); size > math.MaxInt64 {
		return 0, 0, fmt.Errorf("%w: size %#x", ErrProtocol, size)
	}
	return flags, size, nil
}

// readBody appends a frame to body. Memory grows with what has arrived, not
// with what the peer announced: a large frame gets all of it when its first
// part is there.
func (c *Conn) readBody(size int) error {
	for n := min(size, keep); n > 0; n = size {
		from := len(c.body)
		c.body = grow(c.body, n)[:from+n]
		if _, err := io.ReadFull(c.reader, c.body[from:]); err != nil {
			return err
		}
		size -= n
	}
	c.ends = append(c.ends, len(c.body))
	return nil
}

// grow returns b with room for n more bytes: exactly that many for a frame that
// is most of the message, so that the memory can be kept.
func grow(b []byte, n int) []byte {
	need := len(b) + n
	switch {
	case need <= cap(b):
		return b
	case n < len(b) || n < smallMessage:
		need = max(need, 2*cap(b))
	}
	return append(make([]byte, 0, need), b...)
}

func (c *Conn) skip(size uint64) error {
	_, err := io.CopyN(io.Discard, c.reader, int64(size))
	return err
}

func (c *Conn) readCommand(size uint64) ([]byte, error) {
	if size > maxCommand {
		return nil, fmt.Errorf("%w: command of %d bytes", ErrProtocol, size)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(c.reader, body)
	return body, err
}

// command answers PING (ZMTP 3.1) and takes ERROR for the end.
func (c *Conn) command(size uint64) error {
	body, err := c.readCommand(size)
	if err != nil {
		return err
	}
	if len(body) == 0 || int(body[0]) >= len(body) {
		return fmt.Errorf("%w: empty command", ErrProtocol)
	}
	name, rest := string(body[1:1+body[0]]), body[1+body[0]:]
	switch name {
	case "PING":
		if len(rest) < 2 {
			return fmt.Errorf("%w: PING of %d bytes", ErrProtocol, len(rest))
		}
		pong := append([]byte("\x04PONG"), rest[2:]...)
		c.sending.Lock()
		defer c.sending.Unlock()
		_, err := c.conn.Write(append(appendHeader(nil, flagCommand, len(pong)), pong...))
		return err
	case "ERROR":
		return fmt.Errorf("%w: peer says %q", ErrProtocol, rest)
	}
	return nil
}
