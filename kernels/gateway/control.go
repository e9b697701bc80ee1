package gateway

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

const (
	// stateTimeout bounds how long a list waits for a kernel to say its state.
	stateTimeout = time.Second
	// askAtOnce is how many agents one list asks at the same time.
	askAtOnce = 16
)

// models renders kernels. The state of a kernel that no socket of this replica
// is linked to is asked of its agent: a culler that believes a busy kernel to
// be idle would end it.
func (s *Server) models(ctx context.Context, kernels []*v1alpha1.JupyterKernel) []kernelModel {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	models := make([]kernelModel, len(kernels))
	slots := make(chan struct{}, askAtOnce)
	var wg sync.WaitGroup
	for i, k := range kernels {
		known := s.activity.of(k.UID)
		t, reachable := targetOf(k)
		if known.state != "" || !reachable || phaseOf(k) != v1alpha1.KernelReady {
			models[i] = model(k, known)
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if state, err := s.agents.state(ctx, t); err == nil {
				known.state, known.connections = state.ExecutionState, max(known.connections, state.Connections)
				known.activity = state.LastActivity.Time
			}
			models[i] = model(k, known)
		})
	}
	wg.Wait()
	return models
}

// restartKernel restarts a running kernel in its Pod, and asks for a new Pod
// for one that has none. A kernel that is on its way is fresh anyway.
func (s *Server) restartKernel(w http.ResponseWriter, c *call) error {
	k, err := s.store.kernel(c.Context(), c.id, c.PathValue("id"))
	if err != nil {
		return err
	}
	t, up := s.running(c.Context(), k)
	switch phase := phaseOf(k); {
	case up:
		err = s.agents.restart(c.Context(), t)
	case phase == v1alpha1.KernelReady:
		return fail(kindUnavailable, "The kernel cannot be reached now.")
	case phase.IsOver():
		err = s.store.wake(c.Context(), k)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, model(k, s.activity.of(k.UID)))
	return nil
}

// running returns the agent of a kernel that has answered. Cells may run for
// seconds before the kernel's object shows that it is ready, so the agent of
// one that starts is asked.
func (s *Server) running(ctx context.Context, k *v1alpha1.JupyterKernel) (target, bool) {
	t, reachable := targetOf(k)
	if !reachable || phaseOf(k) == v1alpha1.KernelReady {
		return t, reachable
	}
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	state, err := s.agents.state(ctx, t)
	return t, err == nil && state.ExecutionState != wire.StateStarting
}

// interruptKernel interrupts a running kernel; for one that does not run, the
// cells that wait for it are given up, at every replica.
func (s *Server) interruptKernel(w http.ResponseWriter, c *call) error {
	k, err := s.store.kernel(c.Context(), c.id, c.PathValue("id"))
	if err != nil {
		return err
	}
	if t, up := s.running(c.Context(), k); up {
		err = s.agents.interrupt(c.Context(), t)
	} else {
		err = s.store.interrupted(c.Context(), k, s.now())
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
