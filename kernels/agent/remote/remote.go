// Package remote is how the controllers speak to agents; see
// docs/agent-protocol.md. Gateways have a client of their own, for messages.
package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/tracing"
)

const dialTimeout = 2 * time.Second

// mostIdleSeconds is more than any kernel is idle; it fits a time.Duration.
const mostIdleSeconds = 1e9

// keptFor is how long a connection is kept after a call: longer than it takes until every
// agent is asked again how it is. To make one costs both sides more than all else of a call.
const keptFor = 90 * time.Second

// Caller calls agents that listen on one port. It is safe for concurrent use.
type Caller struct {
	port int
	seen *skew.Seen

	mu       sync.Mutex
	lines    map[peer]*line
	sweeping bool // sweep will be called
}

// NewCaller makes a caller of agents on that port. seen notes their releases; nil: nobody wants
// to know.
func NewCaller(port int, seen *skew.Seen) *Caller {
	return &Caller{port: port, seen: seen, lines: map[peer]*line{}}
}

// peer is the agent of one run: an address may be another Pod's later.
type peer struct {
	address string
	secret  keys.Secret
}

// line leads to one agent, and to nobody else who has its address later: that one would be shown this one's secret. Its
// transport is its own. One for all would remember each agent that did not answer for as long as the service runs: net/http
// keeps a queue of who waits for a connection to a host until one of them comes free.
type line struct {
	calls *http.Client
	used  time.Time
}

// line returns the client for an agent.
func (c *Caller) line(to peer) *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sweeping {
		c.sweeping = true
		time.AfterFunc(keptFor, c.sweep)
	}
	if c.lines[to] == nil {
		c.lines[to] = &line{calls: &http.Client{Transport: &http.Transport{DialTLSContext: to.dial, MaxIdleConns: 1, IdleConnTimeout: keptFor}}}
	}
	c.lines[to].used = time.Now()
	return c.lines[to].calls
}

// sweep lets go of the lines that have no connection any more, and will do so again as long as there are any.
func (c *Caller) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.lines, func(_ peer, l *line) bool { return time.Since(l.used) >= keptFor })
	if c.sweeping = len(c.lines) > 0; c.sweeping {
		time.AfterFunc(keptFor, c.sweep)
	}
}

// dial connects to the agent, which has to hold the secret.
func (p peer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return (&tls.Dialer{Config: p.secret.ClientTLS()}).DialContext(ctx, network, p.address)
}

// SetIdle sets when the kernel is parked. An agent of a former release is told what
// it knows.
func (c *Caller) SetIdle(ctx context.Context, ip string, secrets keys.Secrets, limits protocol.IdleLimits) error {
	state, _, err := c.state(ctx, ip, secrets)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, ip, secrets, http.MethodPut, protocol.PathIdle, limits.Body(state.Protocol), http.StatusNoContent)
	return err
}

// SetVariables sets what the kernel has in its environment over what its Pod says, and where it runs.
// An error means, too, that the kernel is of a language that cannot be told.
func (c *Caller) SetVariables(ctx context.Context, ip string, secrets keys.Secrets, told protocol.Variables) error {
	_, err := c.call(ctx, ip, secrets, http.MethodPut, protocol.PathVariables, told, http.StatusNoContent)
	return err
}

// SetKeep tells how the kernel's state is kept, once, before anybody speaks to it, and
// reports whether the agent agreed.
func (c *Caller) SetKeep(ctx context.Context, ip string, secrets keys.Secrets, state protocol.KeepState) (bool, error) {
	status, err := c.call(ctx, ip, secrets, http.MethodPut, protocol.PathKeep, state, http.StatusNoContent, http.StatusConflict, http.StatusBadRequest)
	return err == nil && status == http.StatusNoContent, err
}

// Idle tells for how long the kernel has been idle; a busy one: not at all.
func (c *Caller) Idle(ctx context.Context, ip string, secrets keys.Secrets) (time.Duration, error) {
	report, err := c.Report(ctx, ip, secrets)
	return report.Idle, err
}

// IdleToYield is Idle for somebody who waits for what the kernel holds; one that does not yield
// that: not at all.
func (c *Caller) IdleToYield(ctx context.Context, ip string, secrets keys.Secrets) (time.Duration, error) {
	report, err := c.Report(ctx, ip, secrets)
	if report.Unyielding {
		return 0, err
	}
	return report.Idle, err
}

// Report tells how the kernel is.
func (c *Caller) Report(ctx context.Context, ip string, secrets keys.Secrets) (protocol.Report, error) {
	state, told, err := c.state(ctx, ip, secrets)
	if err != nil {
		return protocol.Report{}, err
	}
	report := protocol.Report{Unyielding: state.Unyielding, Told: told}
	if state.Meter.Counts() {
		report.Meter = state.Meter
	}
	busy := state.Busy
	if state.Protocol < 2 { // an agent of a former release
		busy = state.ExecutionState != wire.StateIdle
	}
	if !busy && state.IdleSeconds >= 0 && state.IdleSeconds <= mostIdleSeconds {
		report.Idle = time.Duration(state.IdleSeconds * float64(time.Second))
	}
	return report, nil
}

// Park ends the kernel as its idle time would, if it has been idle for so long,
// and reports whether the agent agreed.
func (c *Caller) Park(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration) (bool, error) {
	return c.park(ctx, ip, secrets, idle, protocol.ParkRequest{})
}

// ParkByHand does so because somebody gives back what the kernel holds, and says so to people.
func (c *Caller) ParkByHand(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration) (bool, error) {
	state, _, err := c.state(ctx, ip, secrets)
	if err != nil {
		return false, err
	}
	return c.park(ctx, ip, secrets, idle, protocol.ParkRequest{ByHand: state.Protocol >= 4})
}

// ParkForBudget does so, also while clients hold the kernel, since a budget is spent; with
// whole only if all of its variables are kept. An agent of a former release does not know
// that, and parks as by hand, or not at all.
func (c *Caller) ParkForBudget(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration, whole bool) (bool, error) {
	state, _, err := c.state(ctx, ip, secrets)
	if err != nil {
		return false, err
	}
	switch {
	case state.Protocol >= 5:
		return c.park(ctx, ip, secrets, idle, protocol.ParkRequest{Budget: true, Whole: whole})
	case whole:
		return false, nil
	}
	return c.park(ctx, ip, secrets, idle, protocol.ParkRequest{ByHand: state.Protocol >= 4})
}

// Notify has people read a notice in their cells. An agent of a former release shows none.
func (c *Caller) Notify(ctx context.Context, ip string, secrets keys.Secrets, notice protocol.Notice) error {
	state, _, err := c.state(ctx, ip, secrets)
	if err != nil || state.Protocol < 5 {
		return err
	}
	_, err = c.call(ctx, ip, secrets, http.MethodPut, protocol.PathNotice, notice, http.StatusNoContent)
	return err
}

func (c *Caller) park(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration, body protocol.ParkRequest) (bool, error) {
	seconds := idle.Seconds()
	body.IfIdleSeconds = &seconds
	status, err := c.call(ctx, ip, secrets, http.MethodPost, protocol.PathPark, body, http.StatusAccepted, http.StatusConflict)
	return err == nil && status == http.StatusAccepted, err
}

// Shutdown ends the kernel, as its owner does: nothing is kept of it.
func (c *Caller) Shutdown(ctx context.Context, ip string, secrets keys.Secrets) error {
	_, err := c.call(ctx, ip, secrets, http.MethodPost, protocol.PathShutdown, nil, http.StatusAccepted)
	return err
}

// state is what an agent says of its kernel, and what it tells of itself.
func (c *Caller) state(ctx context.Context, ip string, secrets keys.Secrets) (state protocol.State, told skew.Told, err error) {
	var header http.Header
	if _, err = c.ask(ctx, ip, secrets, http.MethodGet, protocol.PathState, nil, &state, &header, http.StatusOK); err != nil {
		return protocol.State{}, skew.Told{}, err
	}
	told = skew.Parse(header.Get(skew.Header))
	c.seen.Note(skew.Agent, secrets[0].Bearer(), told)
	return state, told, nil
}

// call returns the status if it is one of those expected.
func (c *Caller) call(ctx context.Context, ip string, secrets keys.Secrets, method, path string, body any, expected ...int) (int, error) {
	return c.ask(ctx, ip, secrets, method, path, body, nil, nil, expected...)
}

// ask is call, and gives the answer and its header to whoever wants them.
func (c *Caller) ask(ctx context.Context, ip string, secrets keys.Secrets, method, path string, body, answer any, header *http.Header, expected ...int) (status int, err error) {
	err = secrets.Try(func(secret keys.Secret) (err error) {
		status, err = c.askAs(ctx, ip, secret, method, path, body, answer, header, expected...)
		return err
	})
	return status, err
}

// askAs is ask of an agent that has to have this very secret.
func (c *Caller) askAs(ctx context.Context, ip string, secret keys.Secret, method, path string, body, answer any, header *http.Header, expected ...int) (int, error) {
	if net.ParseIP(ip) == nil {
		return 0, errors.New("remote: the agent has no address")
	}
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, fmt.Errorf("remote: %w", err)
		}
		content = bytes.NewReader(raw)
	}
	to := peer{address: net.JoinHostPort(ip, strconv.Itoa(c.port)), secret: secret}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+to.address+path, content)
	if err != nil {
		return 0, fmt.Errorf("remote: %w", err)
	}
	req.Header = protocol.Header(secret)
	tracing.Send(ctx, req.Header)
	resp, err := c.line(to).Do(req)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil { // the rest is said below
			err = cause
		}
		return 0, fmt.Errorf("remote: %s %s of %s: %w", method, path, to.address, err)
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, protocol.MaxBody)) // what is left keeps a connection from being kept
		_ = resp.Body.Close()
	}()
	for _, status := range expected {
		if resp.StatusCode != status {
			continue
		}
		if header != nil {
			*header = resp.Header
		}
		if answer != nil {
			if err := json.NewDecoder(io.LimitReader(resp.Body, protocol.MaxBody)).Decode(answer); err != nil {
				return 0, fmt.Errorf("remote: %s %s: %w", method, path, err)
			}
		}
		return status, nil
	}
	return 0, fmt.Errorf("remote: the agent answered %s to %s %s", resp.Status, method, path)
}
