package kernels

import (
	"testing"

	"github.com/stretchr/testify/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/tracing"
	"github.com/elastichub/elastichub/tracing/tracingtest"
)

// TestTheTraceOfARun: what a gateway has noted at a kernel is gone on with by the leader; the
// Pod's agent and the gateway are told what they need.
func TestTheTraceOfARun(t *testing.T) {
	tracer, receiver := tracingtest.Start(t, "service")
	to := tracing.Config{Endpoint: receiver.URL, SamplePercent: 12.5}
	c := startCluster(t, func(cfg *Config) { cfg.Tracer, cfg.Tracing = tracer, to })
	c.node("traced", 1)
	c.gateway("gw")
	var d appsv1.Deployment
	var told map[string]string
	c.eventually("gateway", func() bool {
		if !c.get("gw", &d) {
			return false
		}
		told = variables(&d.Spec.Template.Spec.Containers[0])
		return true
	})
	assert.Equal(t, receiver.URL, told["ELASTICHUB_TRACING_ENDPOINT"])
	assert.Equal(t, "12.5", told["ELASTICHUB_TRACING_SAMPLE_PERCENT"])
	ctx, cell := tracer.Begin(tracing.WithRequest(t.Context(), "r1"), "cell")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Kernel("k1", "gw", "gpu", func(k *v1alpha1.JupyterKernel) { tracing.Note(ctx, k) }))
	pod := c.pod("k1", 1)
	env := map[string]map[string]string{}
	for _, container := range pod.Spec.Containers {
		env[container.Name] = variables(&container)
	}
	assert.Equal(t, "r1", env[v1alpha1.AgentContainer][protocol.EnvRequest])
	assert.NotContains(t, env["kernel"], protocol.EnvRequest)
	c.bind(pod, "traced")
	c.report(pod, kerneltest.Running("10.0.0.7", false))
	c.eventually("address", func() bool { return c.kernel("k1").Status.PodIP == "10.0.0.7" })
	c.report(pod, kerneltest.Running("10.0.0.7", true))
	c.phase("k1", 1, v1alpha1.KernelReady)
	cell.End()

	spans := receiver.Await(t, "cell", "start of the kernel", "queue", "pod", "agent")
	whole := spans["start of the kernel"]
	assert.Equal(t, spans["cell"].ID, whole.Parent)
	assert.Equal(t, map[string]string{"request": "r1", "kernel": "k1", "kernelspec": "gpu", "k8s.pod.name": "k1-1", "k8s.node.name": "traced"}, whole.Attributes)
	for _, step := range []string{"queue", "pod", "agent"} {
		assert.Equal(t, whole.ID, spans[step].Parent, step)
		assert.Equal(t, whole.Trace, spans[step].Trace, step)
		assert.Equal(t, "r1", spans[step].Attributes["request"], step)
	}
	assert.Len(t, receiver.Spans(), 5, "each once")
}

func variables(of *corev1.Container) map[string]string {
	all := map[string]string{}
	for _, v := range of.Env {
		all[v.Name] = v.Value
	}
	return all
}
