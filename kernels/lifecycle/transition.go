package lifecycle

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/podrules"
)

// Conditions of a JupyterKernel. The first three are elastic-jupyter-operator's.
const (
	ConditionRunning   = "Running"
	ConditionSucceeded = "Succeeded"
	ConditionFailed    = "Failed"
	// ConditionResolved is false while something the kernel refers to does not exist.
	ConditionResolved = "Resolved"
	// ConditionStartable is false while something keeps the Pod from starting.
	ConditionStartable = "Startable"
)

const (
	// lostGrace is how long after its deadline a deleted Pod may linger before
	// it is taken from the API server by force: its node does not answer.
	lostGrace = 60 * time.Second
	// StartLimit is how long a Pod that has a node may take to become ready,
	// its image included.
	StartLimit = 30 * time.Minute
	// hintAfter is when a Pod that does not start is asked for its events.
	hintAfter = 15 * time.Second
)

// observed is what next looks at.
type observed struct {
	kernel *v1alpha1.JupyterKernel
	// pods are all Pods of the kernel, of any run.
	pods []*corev1.Pod
	// vanished is how the run's Pod looked before it vanished, if known.
	vanished *corev1.Pod
	// hint is what the cluster last said about a Pod that does not start.
	hint string
	// onIdle is the gateway's.
	onIdle v1alpha1.OnIdle
	now    time.Time
}

// plan is what follows from a view.
type plan struct {
	status v1alpha1.JupyterKernelStatus
	// create asks for the Pod of status.run.
	create bool
	// remove lists Pods to delete; force those of them whose node is lost.
	remove, force []*corev1.Pod
	// deleteKernel: the kernel itself is to go.
	deleteKernel bool
	// lookAgain asks to look again after a time although nothing changes.
	lookAgain time.Duration
	// ended is set in the step in which the run's end is first seen.
	ended *podstate.Ending
}

// next decides the transition of one kernel. It never creates a Pod where
// another of the same kernel is left.
func next(v observed) plan {
	s := plan{status: *v.kernel.Status.DeepCopy()}
	wanted := v.kernel.WantedRun()
	if s.status.Phase == "" || s.status.Run < wanted {
		s.enqueue(wanted, v)
	}
	switch s.status.Phase {
	case v1alpha1.KernelStarting, v1alpha1.KernelReady:
		s.followPod(v)
	case v1alpha1.KernelQueued:
		s.removePods(v, v.pods)
		s.waitOut(v.now)
	case v1alpha1.KernelParked, v1alpha1.KernelDead:
		s.removePods(v, v.pods)
	}
	return s
}

// enqueue begins a run: the kernel waits for admission, and for the end of
// whatever its former run left.
func (s *plan) enqueue(run int64, v observed) {
	former := s.status
	s.status = v1alpha1.JupyterKernelStatus{
		Phase: v1alpha1.KernelQueued, Run: run, Held: former.Held,
		QueuedSince: &metav1.MicroTime{Time: v.now}, Conditions: former.Conditions,
	}
	s.setCondition(v.now, ConditionRunning, false, "Queued", "")
	s.backOff(former, v.now)
}

// followPod follows the Pod of an admitted run.
func (s *plan) followPod(v observed) {
	pod, others := splitByName(v.pods, podspec.CurrentPodName(v.kernel.Name, s.status))
	if len(others) > 0 {
		s.remove, s.force = deletions(others, v.now)
	}
	if pod == nil {
		if s.status.PodName == "" {
			s.create = len(others) == 0
			return
		}
		s.end(v, podstate.Vanished(v.vanished))
		return
	}
	if s.status.PodName == "" {
		s.status.PodName = pod.Name
		s.status.StartTime = ptrTo(pod.CreationTimestamp)
	}
	if s.status.StartTime == nil { // a warm Pod: it starts when it is taken
		s.status.StartTime = &metav1.Time{Time: v.now}
	}
	s.status.Node = pod.Spec.NodeName
	s.status.PodIP = pod.Status.PodIP
	if e := podstate.EndingOf(pod); e != nil {
		s.end(v, *e)
		return
	}
	if pod.DeletionTimestamp != nil {
		s.lookAgain, s.force = overdue(pod, v.now)
		if e := podstate.Disruption(pod); e != nil && e.Cause == v1alpha1.CauseNodeLost {
			s.end(v, *e)
		}
		return
	}
	if podstate.Ready(pod) {
		if s.status.Phase != v1alpha1.KernelReady {
			s.status.Phase = v1alpha1.KernelReady
			s.status.ReadyTime = &metav1.Time{Time: v.now}
			s.status.Message = ""
			meta.RemoveStatusCondition(&s.status.Conditions, ConditionStartable)
			meta.RemoveStatusCondition(&s.status.Conditions, ConditionFailed)
			meta.RemoveStatusCondition(&s.status.Conditions, ConditionSucceeded)
			s.setCondition(v.now, ConditionRunning, true, "Ready", "")
		}
		return
	}
	if s.status.Phase == v1alpha1.KernelStarting {
		s.watchStart(v, pod)
	}
}

// watchStart decides whether what keeps a Pod from starting has lasted too long.
func (s *plan) watchStart(v observed, pod *corev1.Pod) {
	t := podstate.TroubleOf(pod)
	if t == nil && pod.Spec.NodeName != "" {
		t = s.overLimit(v, pod)
	}
	if t == nil {
		if meta.FindStatusCondition(s.status.Conditions, ConditionStartable) != nil {
			meta.RemoveStatusCondition(&s.status.Conditions, ConditionStartable)
			s.status.Message = ""
		}
		return
	}
	s.status.Message = t.Message
	s.setCondition(v.now, ConditionStartable, false, t.Reason, t.Message)
	if t.Cause == "" {
		return
	}
	since := meta.FindStatusCondition(s.status.Conditions, ConditionStartable).LastTransitionTime.Time
	if left := t.Grace - v.now.Sub(since); left > 0 {
		s.lookAgain = left
		return
	}
	s.end(v, podstate.Ending{Cause: t.Cause, Message: t.Message})
}

// overLimit is the trouble of a Pod that has a node and nothing wrong with it
// that its status would say, or nil: what is amiss is in hint, if anywhere.
func (s *plan) overLimit(v observed, pod *corev1.Pod) *podstate.Trouble {
	age := v.now.Sub(s.status.StartTime.Time)
	if age >= StartLimit {
		return &podstate.Trouble{Reason: "NotReady", Cause: v1alpha1.CauseStartFailed, Message: podstate.Sentence(fmt.Sprintf("The kernel did not come up within %s", StartLimit), v.hint)}
	}
	s.lookAgain = min(max(hintAfter-age, time.Second), hintAfter)
	if age >= hintAfter {
		s.lookAgain = hintAfter
	}
	if v.hint == "" {
		return nil
	}
	return &podstate.Trouble{Reason: "Waiting", Message: podstate.Sentence("The kernel's Pod does not start yet", v.hint)}
}

// end ends the run: idle kernels are parked or deleted, the rest is dead.
func (s *plan) end(v observed, e podstate.Ending) {
	if s.startsAnew(e) {
		s.startAnew(v, e)
		return
	}
	s.ended = &e
	if e.Cause == v1alpha1.CauseIdle && v.onIdle == v1alpha1.OnIdleDelete {
		s.deleteKernel = true
	}
	s.status.Phase = v1alpha1.KernelDead
	if e.Cause == v1alpha1.CauseIdle {
		s.status.Phase = v1alpha1.KernelParked
	}
	s.status.Cause, s.status.Message = e.Cause, e.Message
	s.status.CompletionTime = &metav1.Time{Time: v.now}
	meta.RemoveStatusCondition(&s.status.Conditions, ConditionStartable)
	s.setCondition(v.now, ConditionRunning, false, string(e.Cause), e.Message)
	if e.Clean {
		s.setCondition(v.now, ConditionSucceeded, true, string(e.Cause), e.Message)
	} else {
		s.setCondition(v.now, ConditionFailed, true, string(e.Cause), e.Message)
	}
	s.removePods(v, v.pods)
}

// removePods deletes Pods and frees what is held once none of them lives. The
// kernel's place and address are gone at once.
func (s *plan) removePods(v observed, pods []*corev1.Pod) {
	s.status.PodIP, s.status.PodName, s.status.Warm, s.status.Node = "", "", "", ""
	s.remove, s.force = deletions(pods, v.now)
	for _, pod := range pods {
		if !podstate.Alive(pod) {
			continue
		}
		if pod.DeletionTimestamp != nil {
			s.lookAgain, _ = overdue(pod, v.now)
		}
		return
	}
	s.status.Held = nil
}

// setCondition sets a condition; its time advances only when its status does.
func (s *plan) setCondition(now time.Time, kind string, is bool, reason, message string) {
	if reason == "" {
		reason = "Unknown"
	}
	if old := meta.FindStatusCondition(s.status.Conditions, kind); old == nil && !is && kind == ConditionRunning && reason == "Queued" {
		return // nothing to take back
	}
	podrules.SetCondition(&s.status.Conditions, 0, now, kind, is, reason, message)
}

// splitByName picks the Pod of that name.
func splitByName(pods []*corev1.Pod, name string) (own *corev1.Pod, others []*corev1.Pod) {
	for _, pod := range pods {
		if pod.Name == name {
			own = pod
		} else {
			others = append(others, pod)
		}
	}
	return own, others
}

// deletions tells which Pods are still to be deleted, and which by force.
func deletions(pods []*corev1.Pod, now time.Time) (remove, force []*corev1.Pod) {
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			remove = append(remove, pod)
			continue
		}
		_, lost := overdue(pod, now)
		force = append(force, lost...)
	}
	return remove, force
}

// overdue tells whether a Pod under deletion is to be taken by force, or how
// long until then. Its deletion timestamp already includes the grace period.
func overdue(pod *corev1.Pod, now time.Time) (time.Duration, []*corev1.Pod) {
	left := pod.DeletionTimestamp.Add(lostGrace).Sub(now)
	if left <= 0 {
		return time.Second, []*corev1.Pod{pod}
	}
	return left, nil
}

func ptrTo(t metav1.Time) *metav1.Time { return &t }

// Refused is the status of a waiting kernel that a limit forbids for good.
func Refused(status v1alpha1.JupyterKernelStatus, reason string, now time.Time) v1alpha1.JupyterKernelStatus {
	s := plan{status: *status.DeepCopy()}
	s.status.Queue = nil
	s.end(observed{now: now}, podstate.Ending{Cause: v1alpha1.CauseRefused, Message: reason})
	return s.status
}
