package gateway

import (
	"context"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// awaitLaunch waits, for a client that is no notebook, until its new kernel
// runs or has failed: Enterprise Gateway answers no earlier, and its clients send
// their first cell with the answer. A notebook server is answered at once, since
// it gives up after 42 s and a page has a place to say what it waits for; the
// others are answered then, too. It returns the kernel as it is.
func (s *Server) awaitLaunch(c *call, sub *subscription, k *v1alpha1.JupyterKernel) *v1alpha1.JupyterKernel {
	if c.id.Notebook != "" {
		return k
	}
	ctx, cancel := context.WithTimeout(c.Context(), s.timing.launch)
	defer cancel()
	sub.bind(k, func(k *v1alpha1.JupyterKernel) bool { return s.store.belongs(c.id, k) })
	for {
		now := sub.latest()
		switch {
		case now == nil:
			return k
		case phaseOf(now) == v1alpha1.KernelReady, phaseOf(now).IsOver():
			return now
		}
		k = now
		select {
		case <-sub.changed:
		case <-sub.over:
		case <-s.serving.Done():
			return k
		case <-ctx.Done():
			return k
		}
	}
}

// launchTime is how long awaitLaunch waits: as long as Enterprise Gateway does,
// which is what its clients reckon with.
const launchTime = 30 * time.Second
