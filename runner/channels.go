package runner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	dialTime  = 20 * time.Second
	pingEvery = 20 * time.Second
	// patience is how long a connection that broke is made anew.
	patience = 2 * time.Minute
	redial   = time.Second
)

// channels is the connection to a kernel. It survives breaks of the network: the server
// keeps what comes meanwhile for the same session.
type channels struct {
	server  *Server
	kernel  string
	session string
	builder *wire.Builder
	// messages come from the kernel, until the connection is given up; then fault is set.
	messages chan wire.Message
	fault    error

	closing atomic.Bool

	mu   sync.Mutex
	conn *websocket.Conn
	end  context.CancelFunc
	done sync.WaitGroup
}

// open connects to a kernel. Error: ErrKernel if there is none, ErrServer.
func (s *Server) open(ctx context.Context, kernel string) (*channels, error) {
	c := &channels{
		server: s, kernel: kernel, session: uuid.NewString(), builder: wire.NewBuilder("elastichub-run"),
		messages: make(chan wire.Message, 256),
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	ctx, c.end = context.WithCancel(ctx)
	c.done.Go(func() { c.read(ctx) })
	return c, nil
}

func (c *channels) dial(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	address := "ws" + strings.TrimPrefix(c.server.base, "http") + "api/kernels/" + url.PathEscape(c.kernel) + "/channels?session_id=" + c.session
	conn, answer, err := websocket.Dial(ctx, address, &websocket.DialOptions{
		HTTPHeader:   http.Header{"Authorization": {"token " + c.server.token}},
		Subprotocols: []string{wire.SubprotocolV1},
	})
	if err != nil {
		if answer != nil && answer.StatusCode == http.StatusNotFound {
			return nil, fmt.Errorf("%w: the server knows it no more", ErrKernel)
		}
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	conn.SetReadLimit(wire.MaxFrame)
	return conn, nil
}

// close ends the connection. The server has then read all that was sent. Going away, as a
// page that is closed, and unlike a notebook that is closed in its page.
func (c *channels) close() {
	c.done.Go(func() {
		for range c.messages { // nobody reads them any more
		}
	})
	c.closing.Store(true)
	_ = c.current().Close(websocket.StatusGoingAway, "") // who is gone needs no farewell
	c.end()
	c.done.Wait()
}

// read passes messages on, and connects again where the connection breaks.
func (c *channels) read(ctx context.Context) {
	defer close(c.messages)
	for {
		err := c.readConn(ctx, c.current())
		if ctx.Err() != nil || c.closing.Load() || websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			c.fault = fmt.Errorf("%w: the connection was closed", ErrServer)
			return
		}
		if c.fault = c.again(ctx); c.fault != nil {
			return
		}
	}
}

func (c *channels) current() *websocket.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

func (c *channels) again(ctx context.Context) error {
	until := time.Now().Add(patience)
	for {
		conn, err := c.dial(ctx)
		if err == nil {
			c.mu.Lock()
			c.conn = conn
			c.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrKernel) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(redial):
		}
	}
}

func (c *channels) readConn(ctx context.Context, conn *websocket.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	var pings sync.WaitGroup
	pings.Go(func() { ping(ctx, conn) })
	defer func() {
		cancel()
		pings.Wait()
		_ = conn.CloseNow()
	}()
	for {
		kind, frame, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		parse := wire.ParseLegacy
		if conn.Subprotocol() == wire.SubprotocolV1 && kind == websocket.MessageBinary {
			parse = wire.ParseV1
		}
		message, err := parse(frame)
		if err != nil {
			continue // of another server's making
		}
		select {
		case c.messages <- message:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ping finds a connection that is dead, as after a sleep of the machine.
func ping(ctx context.Context, conn *websocket.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pingEvery):
		}
		answer, cancel := context.WithTimeout(ctx, pingEvery)
		err := conn.Ping(answer)
		cancel()
		if err != nil {
			_ = conn.CloseNow()
			return
		}
	}
}

// execute sends a cell, and returns the id of the request. metadata is a JSON object, or nothing.
func (c *channels) execute(ctx context.Context, code string, metadata []byte) (string, error) {
	message := c.builder.New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{
		"code": code, "silent": false, "store_history": true, "user_expressions": struct{}{}, "allow_stdin": false, "stop_on_error": true,
	})
	if metadata != nil {
		message.Metadata = metadata
	}
	until := time.Now().Add(patience)
	for {
		conn := c.current()
		kind, frame := websocket.MessageBinary, []byte(nil)
		var err error
		if conn.Subprotocol() == wire.SubprotocolV1 {
			frame = message.AppendV1(nil)
		} else {
			kind = websocket.MessageText
			if frame, err = message.AppendLegacyText(nil); err != nil {
				return "", err
			}
		}
		if err = conn.Write(ctx, kind, frame); err == nil {
			return message.ID(), nil
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return "", fmt.Errorf("%w: %w", ErrServer, err)
		}
		time.Sleep(redial) // it is being made anew
	}
}
