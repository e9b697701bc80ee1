package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestAnOpenPageIsNoted at a parked kernel of which some are kept ready, once, and at no other.
func TestAnOpenPageIsNoted(t *testing.T) {
	w := newWorld(t)
	gw := &v1alpha1.JupyterGateway{}
	require.NoError(t, w.api.Get(t.Context(), client.ObjectKey{Namespace: testNS, Name: testGateway}, gw))
	gw.Spec.Warm = 1 // of python-cpu
	require.NoError(t, w.api.Update(t.Context(), gw))
	noted := func(id string) string { return w.kernel(id).Annotations[v1alpha1.AnnotationPageOpen] }

	cpu, gpu, ci := w.start("nb-alice", "python-cpu"), w.start("nb-alice", "python-gpu"), w.start("ci", "python-cpu")
	p := w.open("nb-alice", cpu, "s")
	w.open("nb-alice", gpu, "s")
	w.open("ci", ci, "s")
	for _, id := range []string{cpu, gpu, ci} {
		agent := w.agent(id, 1)
		w.phase(id, v1alpha1.KernelReady, 1, agent.ip)
	}
	p.execute("1")
	assert.Empty(t, noted(cpu), "it runs")
	for _, id := range []string{gpu, ci, cpu} {
		w.phase(id, v1alpha1.KernelParked, 1, "")
	}
	require.Eventually(t, func() bool { return noted(cpu) != "" }, patience, 10*time.Millisecond)
	first := w.kernel(cpu)
	at, err := time.Parse(time.RFC3339, first.Annotations[v1alpha1.AnnotationPageOpen])
	require.NoError(t, err)
	assert.WithinDuration(t, w.server.now(), at, time.Minute)
	w.open("nb-alice", cpu, "s2").ask() // another page: it is known already
	assert.Equal(t, first.ResourceVersion, w.kernel(cpu).ResourceVersion)
	assert.Empty(t, noted(gpu), "none of those is kept ready")
	assert.Empty(t, noted(ci), "it has no page")
}
