package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/clusterfault"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/ports"
)

// passedPerUser bounds the requests of one user to servers in kernels that are under way
// at this replica.
const passedPerUser = 64

// errFormerAgent is for a kernel whose agent was made before there were ports.
var errFormerAgent = fail(kindConflict, "This kernel runs since before an update, and its ports cannot be reached. Shut it down and start it again.")

// portPath finds kernel, port and the rest in a path that is for a server in a kernel.
func portPath(escaped string) (kernel string, port int, rest string, ok bool) {
	tail, below := strings.CutPrefix(escaped, "/api/kernels/")
	kernel, tail, _ = strings.Cut(tail, "/")
	port, rest, is := ports.Split(tail, "ports/")
	return kernel, port, rest, below && is
}

const routePort = "/api/kernels/{id}/ports/{port}/"

// passes counts requests by owner.
type passes struct {
	mu    sync.Mutex
	count map[string]int
}

func (p *passes) enter(owner string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[owner] >= passedPerUser {
		return false
	}
	p.count[owner]++
	return true
}

func (p *passes) leave(owner string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count[owner]--; p.count[owner] == 0 {
		delete(p.count, owner)
	}
}

// reachable is the agent of a kernel of the caller's own that has a Pod. The errors say
// what to do, to a person.
func (s *Server) reachable(c *call, kernelID string) (*v1alpha1.JupyterKernel, target, error) {
	k, err := s.store.kernel(c.Context(), c.id, kernelID)
	if err != nil {
		return nil, target{}, err
	}
	t, reachable := targetOf(k)
	switch phase := phaseOf(k); {
	case phase == v1alpha1.KernelParked:
		return nil, target{}, fail(kindConflict, "The kernel is parked, and what ran in it has ended. Run a cell to bring it back, and start the server again.")
	case phase.IsOver():
		return nil, target{}, fail(kindConflict, "The kernel has ended. Run a cell to start it again, and then the server.")
	case !reachable:
		return nil, target{}, fail(kindConflict, "The kernel does not run yet.")
	}
	return k, t, nil
}

// listPorts tells on which ports of a kernel something listens.
func (s *Server) listPorts(w http.ResponseWriter, c *call) error {
	_, t, err := s.reachable(c, c.PathValue("id"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), stateTimeout)
	defer cancel()
	var found protocol.Ports
	if err := s.agents.call(ctx, t, http.MethodGet, protocol.PathPorts, http.StatusOK, &found); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, found)
	return nil
}

// passPort passes a request on to a server in a kernel of the caller's own.
func (s *Server) passPort(w http.ResponseWriter, c *call) error {
	kernelID, port, rest, _ := portPath(c.URL.EscapedPath())
	k, t, err := s.reachable(c, kernelID)
	if err != nil {
		return err
	}
	if !s.enter() {
		return fail(kindUnavailable, "The gateway is stopping.")
	}
	defer s.sockets.Done()
	if !s.passes.enter(c.id.owner()) {
		return fail(kindUnavailable, fmt.Sprintf("%d of your requests to servers in kernels are under way; no more are taken at a time.", passedPerUser))
	}
	defer s.passes.leave(c.id.owner())
	secret, err := s.agents.secret(c.Context(), t)
	if err != nil {
		return err
	}
	transport, ok := clientOf(secret).Transport.(*http.Transport)
	if !ok {
		return errors.New("gateway: the agent's client has another transport")
	}
	transport.DisableCompression = true
	transport.ResponseHeaderTimeout = ports.Quiet + dialTimeout // the agent's word comes first
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	defer context.AfterFunc(s.serving, cancel)()
	go s.watchPass(ctx, cancel, c, k)
	var failure error
	ports.Pass(w, c.WithContext(ctx), ports.Next{
		URL:  &url.URL{Scheme: "https", Host: hostOf(t)},
		Path: fmt.Sprintf("%s/%d%s", protocol.PathPorts, port, rest), Header: protocol.Header(secret), Transport: transport,
		Answered: refusedByAgent,
		Failed:   func(_ http.ResponseWriter, err error) { failure = err },
	})
	switch {
	case failure == nil:
		return nil
	case errors.Is(failure, context.Canceled):
		return fail(kindUnavailable, "The request was broken off.")
	case !clusterfault.Passes(failure) && explain(failure).kind != kindInternal:
		return failure
	}
	return failBecause(kindUnavailable, "The kernel cannot be reached now.", failure)
}

// watchPass ends a request that outlasts its token, or its kernel's being the caller's.
func (s *Server) watchPass(ctx context.Context, cancel context.CancelFunc, c *call, k *v1alpha1.JupyterKernel) {
	ticker := time.NewTicker(s.timing.verify)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		id, err := s.auth.identify(ctx, c.token)
		if err == nil {
			var now *v1alpha1.JupyterKernel
			if now, err = s.store.kernel(ctx, id, k.Name); err == nil && now.UID != k.UID {
				err = errNoKernel
			}
		}
		if err != nil && explain(err).kind != kindUnavailable && explain(err).kind != kindTimeout {
			cancel()
			return
		}
	}
}

// refusedByAgent turns an answer that is not the server's into an error.
func refusedByAgent(resp *http.Response) error {
	if resp.Header.Get(ports.HeaderFrom) == ports.FromKernel {
		return nil
	}
	var said protocol.Problem
	body := io.LimitReader(resp.Body, protocol.MaxBody)
	if err := json.NewDecoder(bufio.NewReader(body)).Decode(&said); err != nil || said.Message == "" || resp.StatusCode == http.StatusUnauthorized {
		return errFormerAgent
	}
	for kind, status := range map[kind]int{kindForbidden: http.StatusForbidden, kindNothing: http.StatusBadGateway, kindUnavailable: http.StatusServiceUnavailable} {
		if resp.StatusCode == status {
			return fail(kind, said.Message)
		}
	}
	return fail(kindNotFound, said.Message)
}
