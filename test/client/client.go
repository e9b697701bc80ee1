// Package client is the client with which tests drive kernel gateways: Jupyter's
// REST API, and kernels over WebSockets that may break.
package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/kernels/wire"
)

// SubprotocolResume is docs/resume-protocol.md.
const SubprotocolResume = "v1.resume.elastichub.io"

// Gateway is one to talk to.
type Gateway struct{ URL, Token string }

// Call makes a request and decodes the answer, unless into is nil or the
// status is an error's.
func (g Gateway) Call(ctx context.Context, method, path string, body, into any) (status int, err error) {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, g.URL+path, reader)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "token "+g.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 || into == nil {
		return resp.StatusCode, err
	}
	return resp.StatusCode, json.Unmarshal(raw, into)
}

// Kernel is a client of one kernel. With SubprotocolResume it comes back
// whenever its connection breaks, and misses nothing. It is for one goroutine.
type Kernel struct {
	Gateway Gateway
	ID      string
	Session string
	// Subprotocol is SubprotocolResume, wire.SubprotocolV1, or "" for Jupyter's
	// legacy framing.
	Subprotocol string
	// AckOdds: one message in so many is acknowledged; 0 acknowledges none.
	AckOdds int
	// Patience is how long to wait for a message, and for a gateway to come back.
	Patience time.Duration

	// Returns is how often it came back.
	Returns int
	// Epoch and Last are where it is: the agent's process, and the number of the last message.
	Epoch string
	Last  uint64

	conn    *websocket.Conn
	build   *wire.Builder
	pending []wire.Message
}

// Open connects.
func (k *Kernel) Open(ctx context.Context) error {
	if k.build == nil {
		k.build = wire.NewBuilder("client")
		k.build.Session = k.Session
	}
	query := url.Values{"session_id": {k.Session}}
	if k.Epoch != "" {
		query.Set("epoch", k.Epoch)
		query.Set("resume", fmt.Sprint(k.Last))
	}
	options := &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"token " + k.Gateway.Token}}}
	if k.Subprotocol != "" {
		options.Subprotocols = []string{k.Subprotocol}
	}
	address := strings.Replace(k.Gateway.URL, "http", "ws", 1) + "/api/kernels/" + k.ID + "/channels?" + query.Encode()
	conn, _, err := websocket.Dial(ctx, address, options)
	if err != nil {
		return err
	}
	if conn.Subprotocol() != k.Subprotocol {
		_ = conn.CloseNow()
		return fmt.Errorf("client: the gateway speaks %q, not %q", conn.Subprotocol(), k.Subprotocol)
	}
	conn.SetReadLimit(-1)
	k.conn = conn
	for i := range k.pending {
		if err := k.write(&k.pending[i]); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connection without a word.
func (k *Kernel) Close() {
	if k.conn != nil {
		_ = k.conn.CloseNow()
	}
}

// Execute asks to run code and returns the request's id.
func (k *Kernel) Execute(code string) (id string, err error) {
	return k.Send(wire.Shell, wire.TypeExecuteRequest, map[string]any{
		"code": code, "silent": false, "store_history": true, "allow_stdin": false, "stop_on_error": true, "user_expressions": map[string]string{},
	})
}

// Send sends a request and returns its id. A client that comes back sends it
// again, if the kernel has shown no sign of it.
func (k *Kernel) Send(channel wire.Channel, msgType string, content any) (id string, err error) {
	m := k.build.New(channel, msgType, nil, content)
	if k.Subprotocol == SubprotocolResume {
		k.pending = append(k.pending, m)
		_ = k.write(&m) // the next read finds out
		return m.ID(), nil
	}
	return m.ID(), k.write(&m)
}

func (k *Kernel) write(m *wire.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), k.Patience)
	defer cancel()
	if k.Subprotocol != "" {
		return k.conn.Write(ctx, websocket.MessageBinary, m.AppendV1(nil))
	}
	frame, err := m.AppendLegacyText(nil)
	if err != nil {
		return err
	}
	return k.conn.Write(ctx, websocket.MessageText, frame)
}

// ErrRepeated means that a message came twice, or out of order.
var ErrRepeated = errors.New("client: a message came again")

// Next returns the next message, over as many connections as it takes. With
// the resume protocol, messages of the gateway itself are left out.
func (k *Kernel) Next() (wire.Message, error) {
	deadline := time.Now().Add(k.Patience)
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		kind, data, err := k.conn.Read(ctx)
		cancel()
		if err != nil {
			if err := k.comeBack(deadline, err); err != nil {
				return wire.Message{}, err
			}
			continue
		}
		switch k.Subprotocol {
		case "":
			return wire.ParseLegacy(data)
		case wire.SubprotocolV1:
			return wire.ParseV1(data)
		}
		if kind == websocket.MessageText {
			if err := k.greeted(data); err != nil {
				return wire.Message{}, err
			}
			continue
		}
		m, own, err := k.numbered(data)
		if err != nil || !own {
			return m, err
		}
	}
}

func (k *Kernel) comeBack(deadline time.Time, cause error) error {
	if k.Subprotocol != SubprotocolResume || time.Now().After(deadline) {
		return cause
	}
	k.Returns++
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := k.Open(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("client: no way back: %w", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (k *Kernel) greeted(data []byte) error {
	var text struct {
		Hello *struct{ Epoch string }
	}
	if err := json.Unmarshal(data, &text); err != nil || text.Hello == nil {
		return fmt.Errorf("client: text frame %q: %w", data, err)
	}
	if text.Hello.Epoch != k.Epoch {
		k.Epoch, k.Last = text.Hello.Epoch, 0
	}
	return nil
}

func (k *Kernel) numbered(data []byte) (m wire.Message, own bool, err error) {
	if len(data) < 8 {
		return m, false, fmt.Errorf("client: frame of %d bytes", len(data))
	}
	seq := binary.LittleEndian.Uint64(data)
	if m, err = wire.ParseV1(data[8:]); err != nil {
		return m, false, err
	}
	if seq == 0 {
		return m, true, nil
	}
	if seq <= k.Last {
		return m, false, fmt.Errorf("%w: %d after %d", ErrRepeated, seq, k.Last)
	}
	k.Last = seq
	if k.AckOdds > 0 && rand.IntN(k.AckOdds) == 0 {
		k.Ack()
	}
	parent := m.ParentID()
	for i := range k.pending {
		if k.pending[i].ID() == parent {
			k.pending = append(k.pending[:i:i], k.pending[i+1:]...)
			break
		}
	}
	return m, false, nil
}

// Ack acknowledges everything so far.
func (k *Kernel) Ack() {
	ctx, cancel := context.WithTimeout(context.Background(), k.Patience)
	defer cancel()
	_ = k.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"ack":%d,"epoch":%q}`, k.Last, k.Epoch))
}

// Cell is what became of a request to execute.
type Cell struct {
	Stdout, Stderr string
	Status         string // of the reply
	Error          string // ename of the reply
}

// Result collects what a cell puts out until it has its reply and is idle.
func (k *Kernel) Result(id string) (Cell, error) {
	var stdout, stderr strings.Builder
	var c Cell
	for idle := false; !idle || c.Status == ""; {
		m, err := k.Next()
		if err != nil {
			return Cell{Stdout: stdout.String(), Stderr: stderr.String()}, err
		}
		if m.ParentID() != id {
			continue
		}
		switch m.Type() {
		case wire.TypeStream:
			if wire.Member(m.Content, "name") == "stdout" {
				stdout.WriteString(wire.Member(m.Content, "text"))
			} else {
				stderr.WriteString(wire.Member(m.Content, "text"))
			}
		case wire.TypeExecuteReply:
			c.Status, c.Error = wire.Member(m.Content, "status"), wire.Member(m.Content, "ename")
		case wire.TypeStatus:
			idle = idle || m.ExecutionState() == string(wire.StateIdle)
		}
	}
	c.Stdout, c.Stderr = stdout.String(), stderr.String()
	return c, nil
}

// Run executes code and waits for its result.
func (k *Kernel) Run(code string) (Cell, error) {
	id, err := k.Execute(code)
	if err != nil {
		return Cell{}, err
	}
	return k.Result(id)
}
