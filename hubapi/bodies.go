package hubapi

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// maxBodies bounds the bytes of all bodies that requests in progress have sent, as a
// decoded body can take ten times its size: a map with many short names does. What
// a Hub sends is a few KiB.
const maxBodies = 8 << 20

// bodies counts what has been read of the bodies of requests in progress, in bytes.
type bodies struct {
	read  atomic.Int64
	gauge prometheus.Gauge
}

// take counts n more bytes, unless that were too many.
func (b *bodies) take(n int64) error {
	if b.read.Add(n) > maxBodies {
		b.read.Add(-n)
		return errTooManyBodies
	}
	b.gauge.Add(float64(n))
	return nil
}

func (b *bodies) giveBack(n int64) {
	b.read.Add(-n)
	b.gauge.Sub(float64(n))
}

// count has a request's body counted from its first byte until the request is answered.
func (b *bodies) count(c *gin.Context) {
	counted := &countedBody{ReadCloser: http.MaxBytesReader(c.Writer, c.Request.Body, maxBody), of: b}
	c.Request.Body = counted
	defer func() { b.giveBack(counted.taken) }()
	c.Next()
}

type countedBody struct {
	io.ReadCloser
	of    *bodies
	taken int64
}

// Read fails with errTooManyBodies where there is no room for what it has read.
func (r *countedBody) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		if full := r.of.take(int64(n)); full != nil {
			return 0, full
		}
		r.taken += int64(n)
	}
	return n, err
}
