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
		tlsConfig, err := secret.ServerTLS()
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", net.JoinHostPort(a.IP, strconv.Itoa(protocol.Port)))
		if err != nil {
			return err
		}
		k := &agentKernel{secret: secret, build: wire.NewBuilder("synthetic"), epoch: a.IP}
		mux := http.NewServeMux()
		mux.HandleFunc("GET "+protocol.PathState, k.state)
		mux.HandleFunc("GET "+protocol.PathChannels, k.channels)
		server := &http.Server{Handler: k.authorized(mux), TLSConfig: tlsConfig, ReadHeaderTimeout: 10 * time.Second}
		go func() { failed <- server.ServeTLS(l, "", "") }()
	}
	if _, err := fmt.Fprintln(w, "ready"); err != nil {
		return err
	}
	return <-failed
}

// agentKernel keeps nothing: a connection that breaks loses what was on it.
type agentKernel struct {
	secret keys.Secret
	build  *wire.Builder
	epoch  string
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
	_ = json.NewEncoder(w).Encode(protocol.State{ExecutionState: wire.StateIdle, LastActivity: protocol.Instant{Time: time.Now()}, Connections: 1})
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
