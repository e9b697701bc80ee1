package gateway

import (
	"net"
	"sync"
)

// aheadBytes is how much is read at once while a peer sends much.
const aheadBytes = 128 << 10

var aheadBuffers = sync.Pool{New: func() any { return new([aheadBytes]byte) }}

// readAhead spares system calls under crypto/tls, which asks for little more
// than one record of 16 KiB at a time. It holds a buffer only while more has
// arrived than was asked for: an idle connection has none.
type readAhead struct {
	net.Conn
	buffer *[aheadBytes]byte // nil if there is nothing ahead
	rest   []byte            // of buffer
	full   bool              // the last read got all that it asked for: there is more
}

// Read is for one goroutine at a time.
func (c *readAhead) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		if c.rest = c.rest[n:]; len(c.rest) == 0 {
			c.let()
		}
		return n, nil
	}
	if !c.full || len(p) >= aheadBytes {
		n, err := c.Conn.Read(p)
		c.full = n == len(p) && n > 0
		return n, err
	}
	c.buffer = aheadBuffers.Get().(*[aheadBytes]byte)
	n, err := c.Conn.Read(c.buffer[:])
	c.full = n == aheadBytes
	m := copy(p, c.buffer[:n])
	if c.rest = c.buffer[m:n]; len(c.rest) == 0 {
		c.let()
	}
	return m, err
}

func (c *readAhead) let() {
	aheadBuffers.Put(c.buffer)
	c.buffer, c.rest = nil, nil
}
