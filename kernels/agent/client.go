package agent

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	batchBytes   = 1 << 20  // taken from the replay buffer at once
	wholeBytes   = 32 << 10 // a larger message is not copied to have its number put in front
	writeTimeout = 30 * time.Second
	pingEvery    = 30 * time.Second
)

// client is one connection of a session, of which there may be several.
type client struct {
	ws   *websocket.Conn
	conn *batchConn
	out  *reader
	stop chan ending   // has the order to close
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
	id := query.Get(protocol.QuerySession)
	if id == "" || len(id) > protocol.SessionBytes {
		problem(w, http.StatusBadRequest, "BadSession", "session must have 1 to 256 bytes")
		return
	}
	var resume uint64
	if query.Has(protocol.QueryResume) && query.Get(protocol.QueryEpoch) == a.epoch {
		var err error
		if resume, err = strconv.ParseUint(query.Get(protocol.QueryResume), 10, 64); err != nil {
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
		Subprotocols:       []string{protocol.Subprotocol},
		InsecureSkipVerify: true, // no browser comes here; the bearer token decides
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	defer ws.CloseNow()
	if ws.Subprotocol() != protocol.Subprotocol {
		_ = ws.Close(websocket.StatusPolicyViolation, "subprotocol "+protocol.Subprotocol+" is required")
		return
	}
	ws.SetReadLimit(int64(a.cfg.MaxMessage))
	c := &client{ws: ws, conn: connOf(r), stop: make(chan ending, 1), done: make(chan struct{})}
	defer close(c.done)
	s.admit(c)
	defer s.release(c)
	out, from := s.out.join(resume)
	c.out = out

	ctx, cancel := context.WithCancel(a.ctx)
	defer cancel()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		e, closes := a.write(ctx, c, from)
		if closes {
			_ = ws.Close(e.code, e.reason)
		}
	}()
	go ping(ctx, ws)
	log := a.logger(r)
	log.Debug("client came", slog.String("session", id))
	err = a.read(ctx, s, c)
	log.Debug("client went", slog.Any("error", err))
	cancel()
	<-writing
	out.leave(websocket.CloseStatus(err) == websocket.StatusNormalClosure)
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
			var f protocol.FromGateway
			if err := json.Unmarshal(data, &f); err != nil {
				return errors.Join(err, c.ws.Close(websocket.StatusInvalidFramePayloadData, "no JSON"))
			}
			c.out.ack(f.Ack)
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
	executes := f.Type == wire.TypeExecuteRequest
	silent := executes && wire.IsTrue(m.Content, "silent")
	if s.requested(&m, f, silent) {
		return nil
	}
	if f.Type == wire.TypeShutdownRequest {
		a.takesLeave(&m, time.Now())
	}
	a.activity.request(time.Now(), f, silent)
	if executes && !silent {
		s.welcome(a.builder)
	}
	err := box.add(m)
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return err
}

// write sends hello, what is kept and what comes, until the connection fails
// or write is told how to end it.
func (a *agent) write(ctx context.Context, c *client, p position) (e ending, closes bool) {
	hello, err := json.Marshal(protocol.FromAgent{Hello: &protocol.Hello{
		Epoch: a.epoch, First: p.first, Next: p.next, Dropped: p.dropped, ExecutionState: a.stateNow().ExecutionState,
		Keeps: a.keep.Load() != nil,
	}})
	if err != nil || c.ws.Write(ctx, websocket.MessageText, hello) != nil {
		return ending{}, false
	}
	var batch []numbered
	var scratch []byte
	for {
		batch = c.out.next(batch[:0], batchBytes)
		if len(batch) == 0 {
			select {
			case <-c.out.wake:
			case e := <-c.stop:
				return e, true
			case <-ctx.Done():
				return ending{}, false
			}
			continue
		}
		several := len(batch) > 1 || len(batch[0].data) > wholeBytes
		if several {
			c.conn.hold()
		}
		limited, cancel := context.WithTimeout(ctx, writeTimeout)
		for _, n := range batch {
			if len(n.data) > wholeBytes {
				err = c.writeLarge(limited, n)
			} else {
				scratch = append(binary.LittleEndian.AppendUint64(scratch[:0], n.seq), n.data...)
				err = c.ws.Write(limited, websocket.MessageBinary, scratch)
			}
			if err != nil {
				break
			}
		}
		cancel()
		if several {
			err = errors.Join(err, c.conn.release())
		}
		if err != nil {
			return ending{}, false
		}
		clear(batch)
		select {
		case e := <-c.stop:
			if time.Now().Before(e.flush) && !c.out.idle() {
				c.stop <- e
				continue
			}
			return e, true
		default:
		}
	}
}

// writeLarge writes a message as two fragments, without a copy of it.
func (c *client) writeLarge(ctx context.Context, n numbered) error {
	w, err := c.ws.Writer(ctx, websocket.MessageBinary)
	if err != nil {
		return err
	}
	var seq [protocol.SequenceBytes]byte
	binary.LittleEndian.PutUint64(seq[:], n.seq)
	if _, err := w.Write(seq[:]); err != nil {
		return err
	}
	if _, err := w.Write(n.data); err != nil {
		return err
	}
	return w.Close()
}

// mostClients is how many connections one session may have. The oldest makes
// room for a new one.
const mostClients = 4

// admit makes c one of the session's connections.
func (s *session) admit(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, c)
	if over := len(s.clients) - mostClients; over > 0 {
		for _, old := range s.clients[:over] {
			old.close(ending{code: protocol.CloseReplaced, reason: "replaced by a newer connection"})
		}
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
	s.clients = slices.DeleteFunc(s.clients, func(other *client) bool { return other == c })
	s.left = time.Now()
}

// away reports whether nobody is connected, and since when.
func (s *session) away() (since time.Time, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left, len(s.clients) == 0
}

// disconnect closes the session's connections after they had until flush to
// read what is left.
func (s *session) disconnect(flush time.Time, code websocket.StatusCode, reason string) {
	s.mu.Lock()
	clients := slices.Clone(s.clients)
	s.mu.Unlock()
	for _, c := range clients {
		c.close(ending{flush: flush, code: code, reason: reason})
	}
	for _, c := range clients {
		select {
		case <-c.done:
		case <-time.After(time.Until(flush)):
			_ = c.conn.Close() // CloseNow would wait for the handshake of Close
			<-c.done
		}
	}
}
