package agent

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/kernels/wire"
)

// Subprotocol of the channels WebSocket.
const Subprotocol = "v1.agent.elastichub.io"

// Close codes of the channels WebSocket.
const (
	closeEnded    websocket.StatusCode = 4000
	closeReplaced websocket.StatusCode = 4001
)

const (
	sessionBytes = 256
	batchBytes   = 1 << 20 // taken from the replay buffer at once
	scratchKept  = 1 << 20 // a client's encoding buffer beyond this is not kept
	writeTimeout = 30 * time.Second
	pingEvery    = 30 * time.Second
)

// Hello is the first text frame to a client.
type Hello struct {
	Epoch          string     `json:"epoch"`
	First          uint64     `json:"first"`
	Next           uint64     `json:"next"`
	ExecutionState wire.State `json:"executionState"`
	Dropped        uint64     `json:"dropped"`
}

// fromAgent and fromGateway are the text frames.
type fromAgent struct {
	Hello *Hello `json:"hello,omitempty"`
}

type fromGateway struct {
	Ack uint64 `json:"ack"`
}

// client is one connection of a session.
type client struct {
	ws   *websocket.Conn
	conn *batchConn
	stop chan ending   // has the order to close
	quit chan struct{} // closed when nothing is taken from the replay buffer any more
	done chan struct{} // closed when the connection is over
}

// ending is how a connection is to be closed.
type ending struct {
	flush  time.Time // until then what is left may be written
	code   websocket.StatusCode
	reason string
}

func (a *agent) getChannels(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	id := query.Get("session")
	if id == "" || len(id) > sessionBytes {
		problem(w, http.StatusBadRequest, "BadSession", "session must have 1 to 256 bytes")
		return
	}
	var resume uint64
	if query.Has("resume") && query.Get("epoch") == a.epoch {
		var err error
		if resume, err = strconv.ParseUint(query.Get("resume"), 10, 64); err != nil {
			problem(w, http.StatusBadRequest, "BadResume", "resume must be a sequence number")
			return
		}
	}
	s, err := a.session(id)
	if err != nil {
		reason := "Ending"
		if errors.Is(err, errTooManySessions) {
			reason = "TooManySessions"
		}
		problem(w, http.StatusServiceUnavailable, reason, err.Error())
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol},
		InsecureSkipVerify: true, // no browser comes here; the bearer token decides
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != Subprotocol {
		_ = ws.Close(websocket.StatusPolicyViolation, "subprotocol "+Subprotocol+" is required")
		return
	}
	ws.SetReadLimit(int64(a.cfg.MaxMessage))
	c := &client{ws: ws, conn: connOf(r), stop: make(chan ending, 1), quit: make(chan struct{}), done: make(chan struct{})}
	defer close(c.done)
	s.replace(c)
	defer s.release(c)

	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		e, told := a.write(ctx, s, c, resume)
		close(c.quit)
		if told {
			_ = ws.Close(e.code, e.reason)
		}
	}()
	go ping(ctx, ws)
	err = a.read(ctx, s, c)
	a.log.Debug("client went", slog.Any("error", err))
	cancel()
	<-writing
}

// ping makes a client that is gone known: reads fail once a ping got no answer.
func ping(ctx context.Context, ws *websocket.Conn) {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			limited, cancel := context.WithTimeout(ctx, pingEvery)
			err := ws.Ping(limited)
			cancel()
			if err != nil {
				_ = ws.CloseNow()
				return
			}
		}
	}
}

// read forwards what the client sends until the connection ends.
func (a *agent) read(ctx context.Context, s *session, c *client) error {
	for {
		kind, data, err := c.ws.Read(ctx)
		if err != nil {
			return err
		}
		if kind == websocket.MessageText {
			var f fromGateway
			if err := json.Unmarshal(data, &f); err != nil {
				return errors.Join(err, c.ws.Close(websocket.StatusInvalidFramePayloadData, "no JSON"))
			}
			s.out.ack(f.Ack)
			continue
		}
		m, err := wire.ParseV1(data)
		if err != nil {
			return errors.Join(err, c.ws.Close(websocket.StatusInvalidFramePayloadData, err.Error()))
		}
		if err := a.forward(s, m); err != nil {
			return errors.Join(err, c.ws.Close(websocket.StatusPolicyViolation, err.Error()))
		}
	}
}

// forward hands a client's message to the kernel, unless the kernel is being
// ended: then it is left to the gateway, which has no answer to it and gets a
// close code that says why.
func (a *agent) forward(s *session, m wire.Message) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	box := s.in[m.Channel]
	if a.ending || box == nil { // nobody writes to iopub
		return nil
	}
	f := m.Fields()
	a.activity.request(time.Now(), f)
	s.requested(&m, f)
	return box.add(m)
}

// write sends hello, what is kept and what comes, until the connection fails
// or write is told how to end it.
func (a *agent) write(ctx context.Context, s *session, c *client, resume uint64) (e ending, told bool) {
	p := s.out.connect(resume)
	hello, err := json.Marshal(fromAgent{Hello: &Hello{
		Epoch: a.epoch, First: p.first, Next: p.next, Dropped: p.dropped, ExecutionState: a.stateNow().ExecutionState,
	}})
	if err != nil || c.ws.Write(ctx, websocket.MessageText, hello) != nil {
		return ending{}, false
	}
	var batch []numbered
	var scratch []byte
	for {
		batch = s.out.take(batch[:0], batchBytes)
		if len(batch) == 0 {
			select {
			case <-s.out.wake:
			case e := <-c.stop:
				return e, true
			case <-ctx.Done():
				return ending{}, false
			}
			continue
		}
		if len(batch) > 1 {
			c.conn.hold()
		}
		limited, cancel := context.WithTimeout(ctx, writeTimeout)
		for _, n := range batch {
			scratch = append(binary.LittleEndian.AppendUint64(scratch[:0], n.seq), n.data...)
			if err = c.ws.Write(limited, websocket.MessageBinary, scratch); err != nil {
				break
			}
		}
		cancel()
		if len(batch) > 1 {
			err = errors.Join(err, c.conn.release())
		}
		if err != nil {
			return ending{}, false
		}
		clear(batch)
		if cap(scratch) > scratchKept {
			scratch = nil
		}
		select {
		case e := <-c.stop:
			if time.Now().Before(e.flush) && !s.out.idle() {
				c.stop <- e
				continue
			}
			return e, true
		default:
		}
	}
}

// replace makes c the session's connection and closes the one before, which
// has taken its last message when replace returns.
func (s *session) replace(c *client) {
	s.mu.Lock()
	before := s.client
	s.client = c
	s.mu.Unlock()
	if before == nil {
		return
	}
	before.close(ending{code: closeReplaced, reason: "replaced by a newer connection"})
	select {
	case <-before.quit:
	case <-time.After(time.Second):
		_ = before.conn.Close() // it does not read
		<-before.quit
	}
}

func (c *client) close(e ending) {
	select {
	case c.stop <- e:
	default: // it is being closed already
	}
}

// release is called when a connection is over.
func (s *session) release(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == c {
		s.client, s.left = nil, time.Now()
	}
}

// away tells whether nobody is connected, and since when.
func (s *session) away() (since time.Time, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left, s.client == nil
}

// disconnect closes the session's connection, if there is one, after it had
// until flush to read what is left.
func (s *session) disconnect(flush time.Time, code websocket.StatusCode, reason string) {
	s.mu.Lock()
	c := s.client
	s.mu.Unlock()
	if c == nil {
		return
	}
	c.close(ending{flush: flush, code: code, reason: reason})
	select {
	case <-c.done:
	case <-time.After(time.Until(flush)):
		_ = c.conn.Close() // CloseNow would wait for the handshake of Close
		<-c.done
	}
}
