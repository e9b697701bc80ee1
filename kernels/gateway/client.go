package gateway

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/slab"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	pingEvery = 30 * time.Second
	// stallLimit is how long a client may take to read one message, and to
	// answer a ping.
	stallLimit = 60 * time.Second
	// keepBuffer is the size above which a rendering buffer is lent, in bytes.
	keepBuffer = smallFrame
)

// clientConn is the client's end of a socket. Writes block while the client
// does not read; whoever writes then stops reading from the kernel.
type clientConn struct {
	conn    *websocket.Conn
	framing framing
	metrics *metrics

	writing atomic.Int64 // when the current write began, in ns since the epoch; 0 if none
	// binary: a client of the legacy framing takes binary frames, since it sends
	// them. jupyter_server, which dies of one, sends none: it passes those of its
	// browsers on as text.
	binary atomic.Bool

	mu          sync.Mutex
	builder     wire.Builder
	buffer      []byte
	toldBuffers bool
}

func newClientConn(conn *websocket.Conn, m *metrics) *clientConn {
	return &clientConn{conn: conn, framing: framingOf(conn.Subprotocol()), metrics: m, builder: *wire.NewBuilder("kernel")}
}

// speakAs makes messages of our own bear the kernel's session: JupyterLab
// gives up handling a message when one of another session follows at once.
func (c *clientConn) speakAs(session []byte) {
	if len(session) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.builder.Session != string(session) {
		c.builder.Session = string(session)
	}
}

// say writes messages of our own, in one go.
func (c *clientConn) say(make func(b *wire.Builder) []wire.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range make(&c.builder) {
		if err := c.write(&m, nil); err != nil {
			return err
		}
	}
	return nil
}

// hello is the gateway's first text frame to a client of the resume protocol;
// see docs/resume-protocol.md.
type hello struct {
	Hello greeting `json:"hello"`
}

type greeting struct {
	Epoch string `json:"epoch"` // names the agent process
	Next  uint64 `json:"next"`  // the number of the next new message
}

// greet tells a client of the resume protocol which numbers follow.
func (c *clientConn) greet(epoch string, next uint64) error {
	if c.framing != framingResume {
		return nil
	}
	text, err := json.Marshal(hello{Hello: greeting{Epoch: epoch, Next: next}})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(websocket.MessageText, text)
}

// pass writes a message of the kernel's. data is the agent's frame: the
// number and the message in the v1 framing.
func (c *clientConn) pass(m *wire.Message, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.write(m, data); err != nil {
		return err
	}
	c.metrics.toClient.count(len(data))
	return nil
}

// write renders and sends one message; mu is held. data is the agent's frame,
// nil for a message of our own.
func (c *clientConn) write(m *wire.Message, data []byte) error {
	switch {
	case data == nil:
	case c.framing == framingV1:
		return c.put(websocket.MessageBinary, data[protocol.SequenceBytes:])
	case c.framing == framingResume:
		return c.put(websocket.MessageBinary, data)
	}
	f := c.framing
	if f == framingLegacy && c.binary.Load() {
		f = framingLegacyBinary
	}
	buffer := c.buffer[:0]
	if size := f.rendersTo(m); size > keepBuffer {
		buffer = slab.Get(size + memberNames)
	}
	rendered, kind, lost, err := f.render(buffer, m, &c.builder)
	if err != nil { // a kernel that does not write JSON
		c.metrics.dropped.WithLabelValues("unreadable").Inc()
		return nil // one message is lost, and not the socket
	}
	if cap(rendered) <= keepBuffer {
		c.buffer = rendered[:0]
	} else {
		defer slab.Put(rendered)
	}
	if lost != "" {
		c.metrics.dropped.WithLabelValues(lost).Inc()
	}
	if err := c.put(kind, rendered); err != nil {
		return err
	}
	if lost == "buffers" && !c.toldBuffers {
		c.toldBuffers = true
		note := c.builder.Stream(m.ParentHeader, "stderr", buffersLost)
		return c.write(&note, nil)
	}
	return nil
}

func (c *clientConn) put(kind websocket.MessageType, data []byte) error {
	c.writing.Store(time.Now().UnixNano())
	defer c.writing.Store(0)
	return c.conn.Write(context.Background(), kind, data)
}

// lastWords is how long a client may take to read what is said at the end.
const lastWords = 3 * time.Second

// guard pings the client until ctx ends and cuts it off when it neither reads
// nor answers, or when closed takes too long to follow the end of ctx.
func (c *clientConn) guard(ctx context.Context, closed <-chan struct{}) {
	tick := time.NewTicker(pingEvery / 3)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			select {
			case <-closed:
			case <-time.After(lastWords):
				_ = c.conn.CloseNow()
			}
			return
		case now := <-tick.C:
			if began := c.writing.Load(); began != 0 {
				if now.Sub(time.Unix(0, began)) > stallLimit {
					_ = c.conn.CloseNow()
					return
				}
				continue // the write will tell
			}
			if now.Sub(last) < pingEvery {
				continue
			}
			last = now
			ping, cancel := context.WithTimeout(ctx, stallLimit)
			err := c.conn.Ping(ping)
			cancel()
			if err != nil {
				_ = c.conn.CloseNow()
				return
			}
		}
	}
}
