package agent

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// getLive tells the kubelet whether the kernel's container is to live.
func (a *agent) getLive(w http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(protocol.HeaderProbe)), []byte(a.cfg.Secret.Probe())) == 1 {
		a.asked(time.Now())
	}
	if a.over.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, "the kernel has ended")
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (a *agent) asked(now time.Time) { a.probed.Store(&now) }

// outlive has the kernel's container killed, and stays until nobody runs in it
// any more: a kernel that is still there would take the agent's port and say
// that all is well. That run-kernel is gone proves nothing, as the kernel can
// end it. That the kubelet asks no more, does. A kubelet that ends the agent ends
// the kernel with it, so nobody has to wait then.
func (a *agent) outlive(ctx context.Context, result protocol.Result) {
	if a.processes != nil {
		a.processes.end() // who ends by itself need not be killed
	}
	a.over.Store(true)
	if a.cfg.ProbePeriod == 0 {
		return
	}
	if a.cfg.TerminationLog != "" { // who is killed while it waits has said why
		_ = writeResult(a.cfg.TerminationLog, result)
	}
	a.asked(time.Now())
	for {
		left := 2*a.cfg.ProbePeriod + a.cfg.ProbePeriod/10 - time.Since(*a.probed.Load())
		if left <= 0 {
			return
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return
		}
	}
}
