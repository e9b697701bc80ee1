package spawner

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tracing"
)

// trace records a start when a written status holds its outcome for the first time: the
// whole, and the phases that are counted, too. Of one that failed it says the reason. pod is
// the server's, nil if there is none.
func (c *controller) trace(nb *v1alpha1.JupyterNotebook, before, after v1alpha1.JupyterNotebookStatus, pod *corev1.Pod) {
	parent := tracing.NotedParent(nb)
	if c.cfg.Tracer == nil || parent.IsNone() {
		return
	}
	s, over := startOver(before, after)
	if !over {
		return
	}
	request := tracing.Noted(nb)
	ctx := tracing.WithObject(tracing.Under(context.Background(), parent), nb)
	_, whole := c.cfg.Tracer.BeginAt(ctx, "start of the server", s.asked)
	whole.Set("notebook", nb.Name)
	whole.Set("outcome", string(s.outcome))
	if s.outcome == v1alpha1.OutcomeFailed {
		whole.Fail(after.Reason)
	}
	if pod != nil {
		whole.Set("k8s.pod.name", pod.Name)
		whole.Set("k8s.node.name", pod.Spec.NodeName)
		steps := make([]tracing.Step, 0, len(startPhases))
		for i, end := range phaseEnds(pod) {
			steps = append(steps, tracing.Step{Name: startPhases[i], End: end})
		}
		c.cfg.Tracer.Steps(whole.Parent(), request, s.asked, steps...)
	}
	whole.EndAt(s.over)
}
