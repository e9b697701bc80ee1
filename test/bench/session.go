package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/elastichub/elastichub/kernels/wire"
)

// framing of a channels WebSocket.
type framing string

const (
	v1     framing = "v1"
	legacy framing = "legacy"
)

// server is something that speaks Jupyter's kernel API.
type server struct {
	name  string
	url   string
	token string
	// quickAck has clients acknowledge what they receive at once. Servers that
	// leave Nagle's algorithm on hold back a message until the one before it is
	// acknowledged, which Linux otherwise does after up to 40 ms.
	quickAck bool
}

// quickConn acknowledges at once. Linux forgets the option with time.
type quickConn struct{ *net.TCPConn }

func (c quickConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if raw, e := c.SyscallConn(); e == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1) })
	}
	return n, err
}

var quickClient = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return quickConn{c.(*net.TCPConn)}, nil
}}}

// call makes a request and decodes the answer, if into is not nil.
func (s *server) call(ctx context.Context, method, path string, body, into any) error {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "token "+s.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s %s: %s %.300s", s.name, method, path, resp.Status, raw)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}

// startKernel starts a kernel and returns its id.
func (s *server) startKernel(ctx context.Context, name string) (string, error) {
	var model struct {
		ID string `json:"id"`
	}
	body := map[string]any{"name": name, "env": map[string]string{"KERNEL_USERNAME": "bench"}}
	err := s.call(ctx, http.MethodPost, "/api/kernels", body, &model)
	return model.ID, err
}

// session is one client on one kernel. It is used by one goroutine at a time.
type session struct {
	ws      *websocket.Conn
	framing framing
	build   *wire.Builder
	buffer  []byte
}

// open connects to a kernel with a session of its own.
func (s *server) open(ctx context.Context, kernel string, f framing) (*session, error) {
	return s.reopen(ctx, kernel, f, uuid.NewString())
}

// reopen connects to a kernel with a session that may have been connected before.
func (s *server) reopen(ctx context.Context, kernel string, f framing, id string) (*session, error) {
	options := &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"token " + s.token}}}
	if s.quickAck {
		options.HTTPClient = quickClient
	}
	if f == v1 {
		options.Subprotocols = []string{wire.SubprotocolV1}
	}
	address := fmt.Sprintf("%s/api/kernels/%s/channels?session_id=%s", strings.Replace(s.url, "http", "ws", 1), kernel, url.QueryEscape(id))
	ws, _, err := websocket.Dial(ctx, address, options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	if got := ws.Subprotocol(); f == v1 && got != wire.SubprotocolV1 {
		return nil, fmt.Errorf("%s does not speak the v1 framing but %q", s.name, got)
	}
	ws.SetReadLimit(-1)
	build := wire.NewBuilder("bench")
	build.Session = id
	return &session{ws: ws, framing: f, build: build}, nil
}

func (s *session) close() { _ = s.ws.CloseNow() }

// execution is a request to run code, as JupyterLab sends it.
func execution(build *wire.Builder, code string) wire.Message {
	return build.New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{
		"code": code, "silent": false, "store_history": true, "user_expressions": struct{}{}, "allow_stdin": true, "stop_on_error": true,
	})
}

func (s *session) send(ctx context.Context, m *wire.Message) error {
	if s.framing == v1 {
		return s.ws.Write(ctx, websocket.MessageBinary, m.AppendV1(nil))
	}
	data, err := m.AppendLegacyText(nil)
	if err != nil {
		return err
	}
	return s.ws.Write(ctx, websocket.MessageText, data)
}

// frame returns the next frame; it is valid until the next call.
func (s *session) frame(ctx context.Context) ([]byte, error) {
	_, r, err := s.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	s.buffer = s.buffer[:0]
	for {
		if len(s.buffer) == cap(s.buffer) {
			s.buffer = append(s.buffer, make([]byte, max(4096, cap(s.buffer)))...)[:len(s.buffer)]
		}
		n, err := r.Read(s.buffer[len(s.buffer):cap(s.buffer)])
		s.buffer = s.buffer[:len(s.buffer)+n]
		if err == io.EOF {
			return s.buffer, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *session) parse(frame []byte) (wire.Message, error) {
	if s.framing == v1 {
		return wire.ParseV1(frame)
	}
	return wire.ParseLegacy(frame)
}

// receive returns the next message; it is valid until the next call.
func (s *session) receive(ctx context.Context) (wire.Message, error) {
	frame, err := s.frame(ctx)
	if err != nil {
		return wire.Message{}, err
	}
	return s.parse(frame)
}

// roundTrip runs code and returns how long its reply took, and how long it
// took until the kernel had also said that it is idle.
func (s *session) roundTrip(ctx context.Context, code string) (reply, idle time.Duration, err error) { //nolint:unparam // as a tripper it is called with others
	m := execution(s.build, code)
	id := m.ID()
	began := time.Now()
	if err := s.send(ctx, &m); err != nil {
		return 0, 0, err
	}
	for reply == 0 || idle == 0 {
		m, err := s.receive(ctx)
		if err != nil {
			return 0, 0, err
		}
		if m.ParentID() != id {
			continue
		}
		switch {
		case m.Type() == wire.TypeExecuteReply:
			reply = time.Since(began)
			if status := wire.Member(m.Content, "status"); status != "ok" {
				return 0, 0, fmt.Errorf("the kernel answered %s", m.Content)
			}
		case m.Channel == wire.IOPub && m.ExecutionState() == string(wire.StateIdle):
			idle = time.Since(began)
		}
	}
	return reply, max(reply, idle), nil
}

// ask sends kernel_info_request until it is answered, for kernels and servers
// that lose what comes too early.
func (s *session) ask(ctx context.Context) error {
	answered := make(chan error, 1)
	go func() {
		for {
			m, err := s.receive(ctx)
			if err != nil || m.Type() == wire.TypeKernelInfoReply {
				answered <- err
				return
			}
		}
	}()
	for {
		m := s.build.New(wire.Shell, wire.TypeKernelInfoRequest, nil, struct{}{})
		if err := s.send(ctx, &m); err != nil {
			return err
		}
		select {
		case err := <-answered:
			return err
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
