package synthetic

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

// Agent is one agent of Agents: where it listens, and the secret of its run in hex.
type Agent struct {
	IP     string `json:"ip"`
	Secret string `json:"secret"`
}

// Agents plays as many agents as the list from r has, each with a kernel that
// answers at once, until the process is ended. It says "ready" on w when all
// of them listen. What it speaks is the agent's side of docs/agent-protocol.md.
func Agents(r io.Reader, w io.Writer) error {
	var list []Agent
	if err := json.NewDecoder(r).Decode(&list); err != nil {
		return err
	}
	failed := make(chan error, len(list))
	for _, a := range list {
		secret, err := keys.Parse(a.Secret)
		if err != nil {
			return err
		}
		if _, err := start(a.IP, secret, failed); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w, "ready"); err != nil {
		return err
	}
	return <-failed
}

// StartAgent is Agents for one, until stop is called. Its kernel is idle from the beginning.
func StartAgent(ip string, secret keys.Secret) (stop func(), err error) {
	server, err := start(ip, secret, make(chan error, 1))
	if err != nil {
		return nil, err
	}
	return func() { _ = server.Close() }, nil
}

func start(ip string, secret keys.Secret, failed chan<- error) (*http.Server, error) {
	tlsConfig, err := secret.ServerTLS()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(protocol.Port)))
	if err != nil {
		return nil, err
	}
	k := &agentKernel{secret: secret, build: wire.NewBuilder("synthetic"), epoch: ip, began: time.Now()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+protocol.PathState, k.state)
	mux.HandleFunc("PUT "+protocol.PathIdle, k.idle)
	mux.HandleFunc("GET "+protocol.PathChannels, k.channels)
	server := &http.Server{Handler: k.authorized(mux), TLSConfig: tlsConfig, ReadHeaderTimeout: 10 * time.Second}
	go func() { failed <- server.ServeTLS(l, "", "") }()
	return server, nil
}

// agentKernel keeps nothing: a connection that breaks loses what was on it.
type agentKernel struct {
	secret keys.Secret
	build  *wire.Builder
	epoch  string
	began  time.Time

	mu     sync.Mutex
	limits protocol.IdleTimeout
}

func (k *agentKernel) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !k.secret.Accepts(r.Header.Get("Authorization")) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (k *agentKernel) state(w http.ResponseWriter, _ *http.Request) {
	since := time.Since(k.began).Seconds()
	state := protocol.State{Protocol: protocol.Version, ExecutionState: wire.StateIdle, LastActivity: protocol.Instant{Time: k.began},
		IdleSeconds: since, Connections: 1, Meter: &protocol.Meter{HeldSeconds: since}}
	k.mu.Lock()
	defer k.mu.Unlock()
	if long := k.limits.TimeoutSeconds; long != nil {
		state.IdleTimeoutSeconds = *long
	}
	if short := k.limits.KeepSeconds; short != nil {
		state.KeepSeconds = *short
	}
	_ = json.NewEncoder(w).Encode(state)
}

// idle takes a limit and never acts on it.
func (k *agentKernel) idle(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := json.NewDecoder(r.Body).Decode(&k.limits); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (k *agentKernel) channels(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocol.Subprotocol}, InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer c.CloseNow()
	ctx := context.Background()
	if c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"hello":{"epoch":%q,"first":1,"next":1,"executionState":"idle","dropped":0}}`, k.epoch)) != nil {
		return
	}
	var seq uint64
	for {
		kind, data, err := c.Read(ctx)
		if err != nil {
			return
		}
		if kind == websocket.MessageText {
			continue // an acknowledgement
		}
		m, err := wire.ParseV1(data)
		if err != nil {
			return
		}
		content := map[string]any{"status": "ok", "execution_count": 1}
		for _, answer := range []wire.Message{
			k.build.Status(m.Header, wire.StateBusy),
			k.build.Stream(m.Header, "stdout", "1\n"),
			k.build.New(m.Channel, wire.ReplyType(m.Type()), m.Header, content),
			k.build.Status(m.Header, wire.StateIdle),
		} {
			seq++
			if c.Write(ctx, websocket.MessageBinary, answer.AppendV1(binary.LittleEndian.AppendUint64(nil, seq))) != nil {
				return
			}
		}
	}
}
