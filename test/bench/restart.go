package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/elastichub/elastichub/kernels/wire"
)

// restartRounds is how often each way restarts its ipykernel.
const restartRounds = 16

// restarted is how long a restart took one of the ways.
type restarted struct {
	Way string `json:"way"`
	// Call is the time until POST …/restart was answered, Ready that until a
	// cell had run in the new process.
	Call  summary `json:"call"`
	Ready summary `json:"ready"`

	server      *server
	id          string
	session     string
	call, ready times
}

// restarts measures the restart of an ipykernel, as JupyterLab does it: POST,
// then a new WebSocket, then the first cell.
func restarts(ctx context.Context, b *bench) (any, error) {
	ours, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	eg, err := b.enterpriseGateway(ctx)
	if err != nil {
		return nil, err
	}
	local, err := jupyterServer(ctx, b)
	if err != nil {
		return nil, err
	}
	defer local.process.stop()
	id, agent, err := ours.kernel(ctx, b.ipykernel())
	if err != nil {
		return nil, err
	}
	defer agent.stop()
	all := []*restarted{{Way: "elastichub", server: ours.server, id: id, session: newID()}}
	for name, p := range map[string]*peer{"Enterprise Gateway": eg, "jupyter_server": local} {
		id, err := p.startKernel(ctx, peerIPykernel)
		if err != nil {
			return nil, err
		}
		all = append(all, &restarted{Way: name, server: p.server, id: id, session: newID()})
	}
	pids := make([]int, len(all))
	for i, r := range all {
		if pids[i], err = r.pid(ctx); err != nil {
			return nil, err
		}
	}
	for range restartRounds {
		for _, i := range rand.Perm(len(all)) {
			r := all[i]
			began := time.Now()
			if err := r.server.call(ctx, http.MethodPost, "/api/kernels/"+r.id+"/restart", struct{}{}, nil); err != nil {
				return nil, err
			}
			call := time.Since(began)
			pid, err := r.pid(ctx)
			if err != nil {
				return nil, err
			}
			if pid == pids[i] {
				return nil, fmt.Errorf("%s: the process is still the same", r.Way)
			}
			pids[i] = pid
			r.call.add(call)
			r.ready.add(time.Since(began))
		}
	}
	for _, r := range all {
		r.Call, r.Ready = r.call.summary(), r.ready.summary()
		b.say("  %-20s until a cell ran %s   until the call was answered %s", r.Way, r.Ready, r.Call)
	}
	for _, r := range all[1:] {
		b.say("  %-20s takes %.2f times as long", r.Way, r.Ready.P50/all[0].Ready.P50)
	}
	return all, nil
}

// pid connects anew, as the same session, and has the kernel say its process id.
func (r *restarted) pid(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, tripPatience)
	defer cancel()
	s, err := r.server.reopen(ctx, r.id, legacy, r.session)
	if err != nil {
		return 0, err
	}
	defer s.close()
	m := execution(s.build, "import os; print(os.getpid())")
	if err := s.send(ctx, &m); err != nil {
		return 0, err
	}
	pid, replied := 0, false
	var seen []string
	for pid == 0 || !replied {
		m, err := s.receive(ctx)
		if err != nil {
			return 0, fmt.Errorf("%s: the process does not answer, after %q: %w", r.Way, seen, err)
		}
		seen = append(seen, m.Type()+" "+m.ExecutionState())
		switch m.Type() {
		case wire.TypeStream:
			if wire.Member(m.Content, "name") != "stdout" {
				continue
			}
			pid, err = strconv.Atoi(strings.TrimSpace(wire.Member(m.Content, "text")))
			if err != nil {
				return 0, err
			}
		case wire.TypeExecuteReply:
			replied = true
		}
	}
	return pid, nil
}
