package lifecycle

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
)

const (
	// parkIdle is how long a kernel has to have been idle to be parked by hand.
	parkIdle = 100 * time.Millisecond
	// parkAgain is when an agent is asked again whose kernel was busy.
	parkAgain = 5 * time.Second
)

// parkAnswer is what became of the wish to park a run by hand.
type parkAnswer int

const (
	// parkNone: nobody wishes it.
	parkNone parkAnswer = iota
	// parkNow: nothing is lost, or whoever wishes it accepts what is.
	parkNow
	// parkAgreed: the agent takes leave of the kernel.
	parkAgreed
	// parkLater: the kernel is busy, or its agent did not answer.
	parkLater
)

// parkWish is spec.park if it means the present run, and that is not over.
func parkWish(k *v1alpha1.JupyterKernel) *v1alpha1.KernelPark {
	if k.Spec.Park == nil || k.Spec.Park.Run != k.Status.Run || k.WantedRun() > k.Status.Run || k.Status.Phase == "" || k.Status.Phase.IsOver() {
		return nil
	}
	return k.Spec.Park
}

// askToPark asks the agent of a kernel that is to be parked. It decides itself whether
// the kernel is idle, and takes leave of it as it does when the idle time is over.
func (r *kernelReconciler) askToPark(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod, budget budgetFinding) parkAnswer {
	wish := parkWish(k)
	if wish == nil {
		agent := r.backstop.of(k)
		if agent.apart == "" {
			return r.askForBudget(ctx, k, budget)
		}
		wish = &v1alpha1.KernelPark{Force: agent.apartLong}
	}
	if k.Status.Phase != v1alpha1.KernelReady && !mayHaveRun(pod) {
		return parkNow
	}
	refused := parkLater
	if wish.Force {
		refused = parkNow
	}
	if k.Status.Phase != v1alpha1.KernelReady || !HasAgent(k) || k.Spec.KernelSpec == "" {
		return refused
	}
	secrets, err := podspec.AgentSecrets(ctx, r.live, k)
	if err != nil {
		log.FromContext(ctx).Error(err, "the agent of a kernel that is to be parked cannot be asked")
		return refused
	}
	calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
	defer cancel()
	agreed, err := r.agents.ParkByHand(calling, k.Status.PodIP, secrets, parkIdle)
	switch {
	case err != nil:
		log.FromContext(ctx).Info("the agent of a kernel that is to be parked does not answer", "error", err.Error())
		return refused
	case agreed:
		return parkAgreed
	}
	return refused
}

// mayHaveRun reports whether code of somebody's may have run in a Pod: its gateway asks
// the agent as soon as that answers, which is before anybody here has seen it ready.
func mayHaveRun(pod *corev1.Pod) bool {
	return pod != nil && slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.State.Running != nil })
}

// park carries out what askToPark found, and reports whether it ended the run.
func (p *plan) park(v observed) bool {
	switch v.park {
	case parkNow:
		p.status.Queue, p.status.NotBefore = nil, nil
		p.end(v, podstate.Ending{Cause: v1alpha1.CauseIdle})
		return true
	case parkAgreed, parkLater:
		p.lookAgain = parkAgain
	case parkNone:
	}
	return false
}

// parkedBy is the sentence for the user of a kernel that was parked by hand.
func parkedBy(k *v1alpha1.JupyterKernel, wish *v1alpha1.KernelPark) string {
	text := "The kernel was parked by hand"
	if wish.By != "" && wish.By != k.Spec.User {
		text = "The kernel was parked by " + wish.By
	}
	if wish.Reason != "" {
		return podstate.Sentence(text, podstate.Clip(wish.Reason))
	}
	return text + "."
}
