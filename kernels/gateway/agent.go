package gateway

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/tracing"
)

const (
	dialTimeout  = 5 * time.Second
	agentTimeout = 10 * time.Second
	// restartTimeout is below the 42 s after which jupyter_server gives up.
	restartTimeout = 40 * time.Second
)

// target is the agent of one run of a kernel.
type target struct {
	uid string
	run int64
	ip  string
	// warm is the name of the warm Pod that the run took over, or empty.
	warm string
}

// targetOf returns where a kernel's agent is, if it can have one now.
func targetOf(k *v1alpha1.JupyterKernel) (target, bool) {
	if !phaseOf(k).HasPod() || net.ParseIP(k.Status.PodIP) == nil {
		return target{}, false
	}
	return target{uid: string(k.UID), run: k.Status.Run, ip: k.Status.PodIP, warm: k.Status.Warm}, true
}

// agents reaches agents with the gateway's keys.
type agents struct {
	keys *reread[gatewayKeys]
	seen *skew.Seen
}

// secrets are those of which the agent has one.
func (a *agents) secrets(t target) (keys.Secrets, error) {
	found, err := a.keys.get()
	if err != nil {
		return nil, failBecause(kindUnavailable, "The gateway's key cannot be read now.", err)
	}
	return found.counting.ForRun(t.uid, t.run, t.warm)
}

// secret is the one that the agent has. While the gateway's key is rotated that is asked of it.
func (a *agents) secret(ctx context.Context, t target) (keys.Secret, error) {
	all, err := a.secrets(t)
	if err != nil {
		return keys.Secret{}, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var has keys.Secret
	err = all.Try(func(secret keys.Secret) error {
		conn, err := (&tls.Dialer{Config: secret.ClientTLS()}).DialContext(ctx, "tcp", hostOf(t))
		if err != nil {
			return err
		}
		has = secret
		return conn.Close()
	})
	if err != nil {
		return keys.Secret{}, failBecause(kindUnavailable, "The kernel cannot be reached now.", err)
	}
	return has, nil
}

// clientOf returns an HTTP client for the agent that has the secret; it pins the agent's
// key. Close its idle connections after use.
func clientOf(secret keys.Secret) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &readAhead{Conn: conn}, nil
	}
	return protocol.Client(secret, dial, dialTimeout)
}

func (t target) url(scheme, path string, query url.Values) string {
	return protocol.URL(scheme, t.ip, protocol.Port, path, query)
}

func hostOf(t target) string { return net.JoinHostPort(t.ip, strconv.Itoa(protocol.Port)) }

func (a *agents) state(ctx context.Context, t target) (protocol.State, error) {
	var s protocol.State
	err := a.call(ctx, t, http.MethodGet, protocol.PathState, http.StatusOK, &s)
	return s, err
}

// interrupt interrupts what the kernel executes.
func (a *agents) interrupt(ctx context.Context, t target) error {
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	return a.call(ctx, t, http.MethodPost, protocol.PathInterrupt, http.StatusNoContent, nil)
}

// restart replaces the kernel process; Pod and GPU stay.
func (a *agents) restart(ctx context.Context, t target) error {
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	return a.call(ctx, t, http.MethodPost, protocol.PathRestart, http.StatusNoContent, nil)
}

func (a *agents) call(ctx context.Context, t target, method, path string, want int, answer any) error {
	secrets, err := a.secrets(t)
	if err != nil {
		return err
	}
	return secrets.Try(func(secret keys.Secret) error { return a.callAs(ctx, secret, t, method, path, want, answer) })
}

func (a *agents) callAs(ctx context.Context, secret keys.Secret, t target, method, path string, want int, answer any) error {
	c := clientOf(secret)
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, t.url("https", path, nil), nil)
	if err != nil {
		return err
	}
	req.Header = protocol.Header(secret)
	tracing.Send(ctx, req.Header)
	resp, err := c.Do(req)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return failBecause(kindTimeout, "The kernel did not answer in time.", err)
	case err != nil:
		return failBecause(kindUnavailable, "The kernel cannot be reached now.", err)
	}
	defer resp.Body.Close()
	if path == protocol.PathState {
		if err := a.checkAgent(t, resp.Header); err != nil {
			return failBecause(kindUnavailable, asSentence(err), err)
		}
	}
	body := io.LimitReader(resp.Body, protocol.MaxBody)
	switch {
	case resp.StatusCode == http.StatusGatewayTimeout:
		return fail(kindTimeout, "The kernel did not come back in time.")
	case resp.StatusCode != want:
		return failBecause(kindUnavailable, "The kernel refused the request.", fmt.Errorf("agent answered %s to %s %s", resp.Status, method, path))
	case answer == nil:
		return nil
	}
	if err := json.NewDecoder(body).Decode(answer); err != nil {
		return failBecause(kindUnavailable, "The kernel's answer makes no sense.", err)
	}
	return nil
}

// resume says where an earlier connection of the same client ended.
type resume struct {
	epoch     string // of the agent process
	delivered uint64 // the last number written to the client
	acked     uint64 // the last number it is known to have
}

// dial opens the channels WebSocket of a session. The caller closes it.
func (a *agents) dial(ctx context.Context, t target, session string, from resume) (conn *websocket.Conn, err error) {
	secrets, err := a.secrets(t)
	if err != nil {
		return nil, err
	}
	err = secrets.Try(func(secret keys.Secret) (err error) {
		conn, err = a.dialAs(ctx, secret, t, session, from)
		return err
	})
	return conn, err
}

func (a *agents) dialAs(ctx context.Context, secret keys.Secret, t target, session string, from resume) (*websocket.Conn, error) {
	query := url.Values{protocol.QuerySession: {session}}
	if from.epoch != "" {
		query.Set(protocol.QueryEpoch, from.epoch)
		query.Set(protocol.QueryResume, strconv.FormatUint(from.acked, 10))
	}
	header := protocol.Header(secret)
	tracing.Send(ctx, header)
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	conn, answer, err := websocket.Dial(ctx, t.url("wss", protocol.PathChannels, query), &websocket.DialOptions{
		HTTPClient:   clientOf(secret),
		HTTPHeader:   header,
		Subprotocols: []string{protocol.Subprotocol},
	})
	if err != nil {
		return nil, err
	}
	if err := a.checkAgent(t, answer.Header); err != nil {
		_ = conn.CloseNow()
		return nil, err
	}
	if conn.Subprotocol() != protocol.Subprotocol {
		_ = conn.CloseNow()
		return nil, errors.New("gateway: the agent speaks another protocol")
	}
	conn.SetReadLimit(-1) // the link leaves out what is too large and goes on
	return conn, nil
}
