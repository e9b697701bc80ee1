package lifecycle

import (
	"context"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tracing"
)

// trace records the beginning of a run when a written status shows that its agent answers, or
// that it has come to nothing: the whole, and how long it waited for its turn, for its Pod and
// for the agent.
func (r *kernelReconciler) trace(k *v1alpha1.JupyterKernel, former, current v1alpha1.JupyterKernelStatus) {
	parent := tracing.NotedParent(k)
	if r.tracer == nil || parent.IsNone() || current.QueuedSince == nil || former.Run != current.Run || former.Phase == current.Phase {
		return
	}
	ready := current.Phase == v1alpha1.KernelReady
	failed := current.Phase == v1alpha1.KernelDead && current.ReadyTime == nil
	if !ready && !failed {
		return
	}
	now := r.now()
	ctx := tracing.WithObject(tracing.Under(context.Background(), parent), k)
	_, whole := r.tracer.BeginAt(ctx, "start of the kernel", current.QueuedSince.Time)
	for key, value := range map[string]string{
		"kernel": k.Name, "kernelspec": k.Spec.KernelSpec, "k8s.pod.name": current.PodName, "k8s.node.name": current.Node, "warm": current.Warm,
	} {
		whole.Set(key, value)
	}
	if failed {
		whole.Fail(string(current.Cause))
	}
	r.tracer.Steps(whole.Parent(), tracing.Noted(k), current.QueuedSince.Time, r.steps(k, current, now)...)
	whole.EndAt(now)
}

// steps are those of a run that began, or failed to, now.
func (r *kernelReconciler) steps(k *v1alpha1.JupyterKernel, s v1alpha1.JupyterKernelStatus, now time.Time) []tracing.Step {
	if s.Warm != "" {
		return []tracing.Step{{Name: "queue and taking of a warm Pod", End: now}}
	}
	var clock startClock
	if value, ok := r.clocks.Load(client.ObjectKeyFromObject(k)); ok {
		clock = value.(startClock)
	} else if s.StartTime != nil { // made by a former leader, and told in whole seconds
		clock.created = s.StartTime.Time
	}
	if clock.created.IsZero() {
		return []tracing.Step{{Name: "queue", End: now}}
	}
	steps := []tracing.Step{{Name: "queue", End: clock.created}}
	if clock.addressed.IsZero() {
		return append(steps, tracing.Step{Name: "pod", End: now})
	}
	return append(steps, tracing.Step{Name: "pod", End: clock.addressed}, tracing.Step{Name: "agent", End: now})
}
