package soak

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestFourHundredDays moves the clocks of service, gateways and agents across whatever ends after some time
// (docs/testing.md), while a notebook goes on with the token that it was given on its first day.
func TestFourHundredDays(t *testing.T) {
	if cycles(t) < long {
		t.Skip("elastichub is not built with other clocks for a few cycles: make test-long")
	}
	w := newWorld(t, true)
	w.kubelet.asProcesses = true
	p := w.person("ada")
	kept := p.start()
	defer kept.Close()
	const day = 24 * time.Hour
	passed := time.Duration(0)
	for _, until := range []time.Duration{3 * time.Minute, time.Hour, 25 * time.Hour, 8 * day, 36 * day, 366 * day, 400 * day} {
		w.clock.Pass(t, until-passed)
		passed = until
		// Idle for longer than it may be, the kernel is parked by its agent, and returns.
		if until >= time.Hour {
			w.until("the kernel is not parked", func() bool {
				var k v1alpha1.JupyterKernel
				return w.api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: kept.ID}, &k) == nil && k.Status.Phase == v1alpha1.KernelParked
			})
		}
		p.cell(kept, "after "+until.String())
		p.rounds++
		another := p.start()
		if assert.NotNil(t, another, until) {
			p.end(another)
		}
	}
	before := w.settled()
	w.leader().again(syscall.SIGKILL)
	w.clock.Pass(t, day)
	p.cell(kept, "with another leader")
	assert.Equal(t, before.Count["secrets"], w.settled().Count["secrets"])
	assert.Equal(t, before.Count["configmaps"], w.settled().Count["configmaps"])
}
