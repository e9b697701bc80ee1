package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
)

// batchBytesHeld is what a batchConn holds at most before it writes.
const batchBytesHeld = 64 << 10

// batchListener makes its connections batchConns. There is one above TLS, which
// puts small messages together into records, and one below, which puts records
// together into writes.
type batchListener struct{ net.Listener }

func (l batchListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &batchConn{Conn: c}, nil
}

// batchConn can hold small writes together: a burst of messages then costs one
// TLS record and one system call, not one each.
type batchConn struct {
	net.Conn
	mu   sync.Mutex
	held bool
	buf  []byte
}

func (c *batchConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		return c.Conn.Write(p)
	}
	if len(c.buf)+len(p) > batchBytesHeld {
		if err := c.flush(); err != nil {
			return 0, err
		}
		if len(p) > batchBytesHeld {
			return c.Conn.Write(p)
		}
	}
	if c.buf == nil {
		c.buf = batchBuffers.Get().(*[batchBytesHeld]byte)[:0]
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

var batchBuffers = sync.Pool{New: func() any { return new([batchBytesHeld]byte) }}

func (c *batchConn) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// hold begins a batch.
func (c *batchConn) hold() {
	if below := c.below(); below != nil {
		below.hold()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// release ends a batch and writes it.
func (c *batchConn) release() error {
	err := c.let()
	if below := c.below(); below != nil {
		return errors.Join(err, below.release())
	}
	return err
}

func (c *batchConn) let() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	err := c.flush()
	if c.buf != nil {
		batchBuffers.Put((*[batchBytesHeld]byte)(c.buf[:batchBytesHeld]))
		c.buf = nil
	}
	return err
}

// below is the batchConn under the TLS connection, or nil.
func (c *batchConn) below() *batchConn {
	secured, ok := c.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	below, _ := secured.NetConn().(*batchConn)
	return below
}

type connKey struct{}

// withConn is the server's ConnContext; connOf finds the connection again.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connOf(r *http.Request) *batchConn {
	c, _ := r.Context().Value(connKey{}).(*batchConn)
	return c
}
