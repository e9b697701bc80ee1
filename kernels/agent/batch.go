package agent

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// batchBytesHeld is what a batchConn holds at most before it writes.
const batchBytesHeld = 64 << 10

// batchListener makes its connections batchConns.
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
	c.buf = append(c.buf, p...)
	return len(p), nil
}

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
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

// release ends a batch and writes it.
func (c *batchConn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	err := c.flush()
	c.buf = nil
	return err
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
