package lifecycle

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/recheck"
)

// Conditions of a JupyterKernel. The first three are elastic-jupyter-operator's.
const (
	ConditionRunning   = "Running"
	ConditionSucceeded = "Succeeded"
	ConditionFailed    = "Failed"
	// ConditionResolved is false while something the kernel refers to does not exist.
	ConditionResolved = "Resolved"
	// ConditionTaken is false while the cluster does not take the Pod for a reason that may pass:
	// a quota of the namespace, a webhook that does not answer.
	ConditionTaken = "Taken"
	// ConditionStartable is false while something keeps the Pod from starting.
	ConditionStartable = "Startable"
	// ConditionTemplateApplied is there once the template of a bare kernel has changed: false
	// until there is a Pod of the new one.
	ConditionTemplateApplied = "TemplateApplied"
	// ConditionBudgetLeft is there while most of a budget of the kernel is used, and false once
	// it is spent: its last transition is when people were told.
	ConditionBudgetLeft = "BudgetLeft"
	// ConditionAgentReachable is false while the controllers get no answer from the kernel's agent.
	ConditionAgentReachable = "AgentReachable"
)

const (
	// StartLimit is how long a Pod that has a node may take to become ready,
	// its image included.
	StartLimit = 30 * time.Minute
	// askGrowth is how often an autoscaler's events are looked for, and askGrowthLater how
	// often once the Pod has waited for growthSlow.
	askGrowth, askGrowthLater, growthSlow = 4 * time.Second, time.Minute, 15 * time.Minute
	// askAgain is how often the cluster is asked whether it would take a Pod by now, and
	// askAgainLater how often once a webhook has not answered for long.
	askAgain, askAgainLater = 5 * time.Second, 30 * time.Second
	// hintAfter is when a Pod that does not start is asked for its events.
	hintAfter = 8 * time.Second
)

// observed is what next looks at.
type observed struct {
	kernel *v1alpha1.JupyterKernel
	// pods are all Pods of the kernel, of any run: pod, which is that of the
	// present run, if there is one, and others.
	pods   []*corev1.Pod
	pod    *corev1.Pod
	others []*corev1.Pod
	// vanished is how the run's Pod looked before it vanished, if known.
	vanished *corev1.Pod
	// hint is what the cluster last said about a Pod that does not start.
	hint string
	// growth is what an autoscaler says of a Pod that no node can take.
	growth growth
	// onIdle is the gateway's.
	onIdle v1alpha1.OnIdle
	// gatewayMade is when the gateway was made that the kernel has now.
	gatewayMade time.Time
	// keyMade is when its key was made anew.
	keyMade time.Time
	// key is how the secret of the run's agent stands to it.
	key keyStanding
	// agent is what the backstop has found.
	agent finding
	// snoozeBound is how long in all the run may be kept by hand.
	snoozeBound time.Duration
	// park is what became of spec.park, or of the end of a budget.
	park parkAnswer
	// budget is how those of the kernel's policy stand.
	budget budgetFinding
	// nodes are those of Pods whose deletion takes too long.
	nodes map[string]nodeState
	now   time.Time
	// restored is what is known of a kernel that may be a copy, made from a backup.
	restored restored
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
	// kernelSpec that spec is to name again; empty: what it names.
	kernelSpec string
	// lookAgain asks to look again after a time although nothing changes.
	lookAgain time.Duration
	// ended is set in the step in which the run's end is first seen.
	ended *podstate.Ending
}

// next decides the transition of one kernel. It never creates a Pod where
// another of the same kernel is left.
func next(v observed) plan {
	p := plan{status: *v.kernel.Status.DeepCopy()}
	wanted := v.kernel.WantedRun()
	switch {
	case p.status.Phase == "" && v.restored.is:
		p.restore(v)
	case p.status.Phase == "" || p.status.Run < wanted:
		p.enqueue(wanted, v)
	case p.templateChanged(v.kernel):
		p.runAnew(v)
	}
	switch p.status.Phase {
	case v1alpha1.KernelStarting, v1alpha1.KernelReady:
		p.followPod(v)
	case v1alpha1.KernelQueued:
		if p.park(v) {
			break
		}
		p.removePods(v, v.pods)
		p.waitOut(v.now)
	case v1alpha1.KernelParked, v1alpha1.KernelDead:
		p.removePods(v, v.pods)
		p.noteGateway(v)
	}
	p.status.KeptAs = v.restored.keptAs
	p.noteTemplate(v)
	p.noteKernelSpec(v.kernel)
	p.snooze(v)
	return p
}

// snooze grants what the annotation asks for, as long as there is a Pod to keep.
func (p *plan) snooze(v observed) {
	asked := ""
	if p.status.Phase == v1alpha1.KernelReady {
		asked = v.kernel.Annotations[v1alpha1.AnnotationSnoozeUntil]
	}
	granted := v1alpha1.Snooze{Until: p.status.SnoozedUntil, Seconds: p.status.SnoozedSeconds}.Grant(asked, v.now, v.snoozeBound)
	p.status.SnoozedUntil, p.status.SnoozedSeconds = granted.Until, granted.Seconds
	if granted.Until == nil {
		return
	}
	if left := granted.Until.Sub(v.now); p.lookAgain == 0 || left < p.lookAgain {
		p.lookAgain = left
	}
}

// noteKernelSpec notes as what the kernel runs, or takes back what it could not return as.
func (p *plan) noteKernelSpec(k *v1alpha1.JupyterKernel) {
	switch named := k.Spec.KernelSpec; {
	case p.status.Phase == v1alpha1.KernelReady, p.status.Phase.IsOver() && p.status.KernelSpec == "":
		p.status.KernelSpec = named
	case p.status.Phase.IsOver() && p.status.KernelSpec != named:
		p.kernelSpec = p.status.KernelSpec
	}
}

// goesBack reports whether the run that ends is that of a kernel that was to return as
// another, and has not come to that: it stays what it was, with what is kept of it. An
// agent that tells how its kernel ended had one, whether or not that was seen here.
func (p *plan) goesBack(k *v1alpha1.JupyterKernel, e podstate.Ending) bool {
	if p.status.ReadyTime != nil || e.Kept != nil || e.Clean {
		p.status.KernelSpec = k.Spec.KernelSpec
	}
	return p.status.KernelSpec != "" && k.Spec.KernelSpec != p.status.KernelSpec
}

// enqueue begins a run: the kernel waits for admission, and for the end of
// whatever its former run left.
func (p *plan) enqueue(run int64, v observed) {
	former := p.status
	p.status = v1alpha1.JupyterKernelStatus{
		Phase: v1alpha1.KernelQueued, Run: run, KernelSpec: former.KernelSpec, Held: former.Held, Kept: former.Kept, KeptAs: former.KeptAs,
		QueuedSince: &metav1.MicroTime{Time: v.now}, Conditions: former.Conditions,
	}
	p.setCondition(v.now, ConditionRunning, false, "Queued", "")
	p.backOff(former, v.now)
}

// followPod follows the Pod of an admitted run.
func (p *plan) followPod(v observed) {
	pod, others := v.pod, v.others
	if len(others) > 0 {
		p.remove, p.force = v.deletions(others)
	}
	if pod == nil {
		if p.status.PodName == "" {
			p.create = len(others) == 0
			return
		}
		p.end(v, podstate.Vanished(v.vanished))
		return
	}
	if p.status.PodName == "" {
		p.status.PodName = pod.Name
		p.status.StartTime = ptrTo(pod.CreationTimestamp)
	}
	if p.status.StartTime == nil { // a warm Pod: it starts when it is taken
		p.status.StartTime = &metav1.Time{Time: v.now}
	}
	p.status.Node = pod.Spec.NodeName
	p.status.PodIP = pod.Status.PodIP
	if e := podstate.EndingOf(pod); e != nil {
		p.end(v, *e)
		return
	}
	if podstate.Halved(pod) && pod.DeletionTimestamp == nil { // its agent says how it ended, and leaves
		p.remove = append(p.remove, pod)
		return
	}
	if pod.DeletionTimestamp != nil {
		p.lookAgain, p.force = v.overdue(pod)
		if e := podstate.Disruption(pod); e != nil && e.Cause == v1alpha1.CauseNodeLost {
			p.end(v, *e)
		}
		return
	}
	if v.gatewayMade.After(pod.CreationTimestamp.Time) { // its agent knows the key of a former gateway
		p.end(v, podstate.Ending{Cause: v1alpha1.CauseOrphaned, Disrupted: true, Message: "The kernel's gateway was removed and made again."})
		return
	}
	if v.keyMade.After(pod.CreationTimestamp.Time) {
		p.end(v, podstate.Ending{Cause: v1alpha1.CauseOrphaned, Disrupted: true, Message: "The key of the kernel's gateway was deleted, and another was made."})
		return
	}
	if v.key.lost {
		p.end(v, podstate.Ending{Cause: v1alpha1.CauseOrphaned, Disrupted: true, Message: "The key of the kernel's gateway was changed, and the kernel's agent, of a former release, knows the former alone."})
		return
	}
	if !v.key.until.IsZero() {
		p.lookAgain = recheck.Sooner(p.lookAgain, max(v.key.until.Sub(v.now), time.Second))
	}
	p.followBudget(v)
	if p.followAgent(v) || p.park(v) {
		return
	}
	if podstate.Ready(pod) {
		if p.status.Phase != v1alpha1.KernelReady {
			p.status.Phase = v1alpha1.KernelReady
			p.status.ReadyTime = &metav1.Time{Time: v.now}
			p.status.Message = ""
			meta.RemoveStatusCondition(&p.status.Conditions, ConditionStartable)
			meta.RemoveStatusCondition(&p.status.Conditions, ConditionFailed)
			meta.RemoveStatusCondition(&p.status.Conditions, ConditionSucceeded)
			p.setCondition(v.now, ConditionRunning, true, "Ready", "")
		}
		return
	}
	if p.status.Phase == v1alpha1.KernelStarting {
		p.watchStart(v, pod)
	}
}

// followAgent says whether the agent answers, and ends a kernel whose agent
// should have parked it. It reports whether it did.
func (p *plan) followAgent(v observed) bool {
	if p.status.Phase != v1alpha1.KernelReady {
		return false
	}
	switch v.agent.answers {
	case agentUnreachable:
		p.setCondition(v.now, ConditionAgentReachable, false, "NoAnswer",
			"The controllers get no answer from the kernel's agent. Work in the kernel may go on; it ends when its longest run time is over.")
	case agentReachable:
		p.status.IdleSince, p.status.ParkAt = v.agent.idleSince(), v.agent.parkAt()
		if meta.IsStatusConditionFalse(p.status.Conditions, ConditionAgentReachable) {
			p.setCondition(v.now, ConditionAgentReachable, true, "Answers", "")
		}
	case agentUnknown:
	}
	if v.agent.overdue == "" {
		return false
	}
	p.end(v, podstate.Ending{Cause: v1alpha1.CauseIdle, Message: v.agent.overdue + " Its Pod was deleted."})
	return true
}

// watchStart decides whether what keeps a Pod from starting has lasted too long.
func (p *plan) watchStart(v observed, pod *corev1.Pod) {
	t := podstate.TroubleOf(pod)
	switch {
	case t == nil && pod.Spec.NodeName != "":
		t = p.overLimit(v)
	case t != nil && pod.Spec.NodeName == "":
		p.lookAgain = askGrowth
		if v.now.Sub(p.status.StartTime.Time) > growthSlow {
			p.lookAgain = askGrowthLater
		}
		t = v.growth.onto(t)
	}
	if t == nil {
		if meta.FindStatusCondition(p.status.Conditions, ConditionStartable) != nil {
			meta.RemoveStatusCondition(&p.status.Conditions, ConditionStartable)
			p.status.Message = ""
		}
		return
	}
	p.status.Message = t.Message
	p.setCondition(v.now, ConditionStartable, false, t.Reason, t.Message)
	if t.Cause == "" || isBare(v.kernel) && len(p.status.Held) == 0 {
		return
	}
	since := meta.FindStatusCondition(p.status.Conditions, ConditionStartable).LastTransitionTime.Time
	if left := t.Grace - v.now.Sub(since); left > 0 {
		p.lookAgain = left
		return
	}
	if isBare(v.kernel) { // others may use what it holds meanwhile
		p.startAnew(v, podstate.Ending{Cause: t.Cause, Message: t.Message})
		return
	}
	p.end(v, podstate.Ending{Cause: t.Cause, Message: t.Message})
}

// onto puts what an autoscaler says into the trouble of a Pod that no node can take.
func (g growth) onto(t *podstate.Trouble) *podstate.Trouble {
	told := *t
	switch {
	case !g.known:
		return t
	case g.coming:
		told.Message = podstate.Sentence("The cluster adds a node for the kernel", g.why)
	default:
		told.Message = podstate.Sentence("No node can take the kernel's Pod, and the cluster adds none", g.why)
	}
	return &told
}

// overLimit is the trouble of a Pod that has a node and nothing wrong with it
// that its status would say, or nil: what is amiss is in hint, if anywhere.
func (p *plan) overLimit(v observed) *podstate.Trouble {
	age := v.now.Sub(p.status.StartTime.Time)
	if age >= StartLimit {
		return &podstate.Trouble{Reason: "NotReady", Cause: v1alpha1.CauseStartFailed, Message: podstate.Sentence(fmt.Sprintf("The kernel did not come up within %s", StartLimit), v.hint)}
	}
	p.lookAgain = min(max(hintAfter-age, time.Second), hintAfter)
	if age >= hintAfter {
		p.lookAgain = hintAfter
		if t := podstate.TroubleBeside(v.pod); t != nil {
			return t
		}
	}
	if v.hint == "" {
		return nil
	}
	return &podstate.Trouble{Reason: "Waiting", Message: podstate.Sentence("The kernel's Pod does not start yet", v.hint)}
}

// end ends the run: idle kernels are parked or deleted, the rest is dead.
func (p *plan) end(v observed, e podstate.Ending) {
	if p.startsAnew(e) {
		p.startAnew(v, e)
		return
	}
	if e.Cause == v1alpha1.CauseIdle {
		if wish := parkWish(v.kernel); wish != nil {
			e.Message = parkedBy(v.kernel, wish)
		} else if v.agent.apart != "" {
			e.Message = v.agent.apart
		} else if p.endsByBudget(v) {
			e.Cause, e.Message = v1alpha1.CauseBudget, v.budget.parked()
		}
	}
	goesBack := p.goesBack(v.kernel, e)
	if goesBack {
		e.Message = cannotReturn(v.kernel.Spec.KernelSpec, p.status.KernelSpec, e)
	}
	p.ended = &e
	if e.Cause == v1alpha1.CauseIdle && v.onIdle == v1alpha1.OnIdleDelete {
		p.deleteKernel = true
	}
	p.status.Phase = v1alpha1.KernelDead
	if e.Cause == v1alpha1.CauseIdle || e.Cause == v1alpha1.CauseBudget || goesBack {
		p.status.Phase = v1alpha1.KernelParked
	}
	switch {
	case e.Kept != nil:
		p.status.Kept = e.Kept
	case p.status.ReadyTime != nil: // what was kept of an earlier run is not what the kernel was like
		p.status.Kept = nil
	}
	p.status.Cause, p.status.Message = e.Cause, e.Message
	p.status.CompletionTime = &metav1.Time{Time: v.now}
	meta.RemoveStatusCondition(&p.status.Conditions, ConditionTaken)
	meta.RemoveStatusCondition(&p.status.Conditions, ConditionStartable)
	meta.RemoveStatusCondition(&p.status.Conditions, ConditionAgentReachable)
	meta.RemoveStatusCondition(&p.status.Conditions, ConditionBudgetLeft)
	p.setCondition(v.now, ConditionRunning, false, string(e.Cause), e.Message)
	how, other := ConditionFailed, ConditionSucceeded
	if e.Clean {
		how, other = other, how
	}
	p.setCondition(v.now, how, true, string(e.Cause), e.Message)
	meta.RemoveStatusCondition(&p.status.Conditions, other)
	p.status.IdleSince, p.status.ParkAt = nil, nil
	p.removePods(v, v.pods)
}

// removePods deletes Pods and frees what is held once none of them lives. The
// kernel's place and address are gone at once.
func (p *plan) removePods(v observed, pods []*corev1.Pod) {
	p.status.PodIP, p.status.PodName, p.status.Warm, p.status.Node = "", "", "", ""
	p.remove, p.force = v.deletions(pods)
	for _, pod := range pods {
		if !podstate.Alive(pod) {
			continue
		}
		if pod.DeletionTimestamp != nil {
			p.lookAgain, _ = v.overdue(pod)
		}
		return
	}
	p.status.Held = nil
}

// setCondition sets a condition; its time advances only when its status does.
func (p *plan) setCondition(now time.Time, kind string, is bool, reason, message string) {
	if reason == "" {
		reason = "Unknown"
	}
	if old := meta.FindStatusCondition(p.status.Conditions, kind); old == nil && !is && kind == ConditionRunning && reason == "Queued" {
		return // nothing to take back
	}
	podrules.SetCondition(&p.status.Conditions, 0, now, kind, is, reason, message)
}

func ptrTo(t metav1.Time) *metav1.Time { return &t }

// cannotReturn is the sentence for the user of a kernel that was to return as another.
func cannotReturn(other, own string, e podstate.Ending) string {
	text := e.Message // somebody has parked it meanwhile
	if e.Cause != v1alpha1.CauseIdle {
		text = podstate.Sentence(fmt.Sprintf("The kernel cannot return as %q", other), e.Message)
	}
	return fmt.Sprintf("%s. It is parked as it was, as %q.", strings.TrimSuffix(text, "."), own)
}

// Refused is the status of a waiting kernel that a limit forbids. With CauseBudget it is parked
// again, as it was.
func Refused(k *v1alpha1.JupyterKernel, cause v1alpha1.KernelCause, reason string, now time.Time) v1alpha1.JupyterKernelStatus {
	p := plan{status: *k.Status.DeepCopy()}
	p.status.Queue = nil
	p.end(observed{kernel: k, now: now}, podstate.Ending{Cause: cause, Message: reason})
	p.noteKernelSpec(k)
	return p.status
}

const (
	// shortLife: a kernel that ends sooner after it was ready has failed at once.
	shortLife = time.Minute
	// mostRetries bounds how often one run is begun anew because its Pod was
	// taken away before it was ready.
	mostRetries = 3
	// The pause before the run after the second failure in a row, and its bound.
	firstRetryPause = 5 * time.Second
	mostRetryPause  = 5 * time.Minute
)

// retryPause is how long a kernel waits after so many failures in a row. The
// first costs nothing: most are not repeated.
func retryPause(failures int32) time.Duration {
	if failures < 2 {
		return 0
	}
	return min(firstRetryPause<<min(failures-2, 10), mostRetryPause)
}

// failedAtOnce reports whether a run came to nothing soon after it began, by no
// decision of anybody's.
func failedAtOnce(s v1alpha1.JupyterKernelStatus) bool {
	switch s.Cause {
	case v1alpha1.CauseKernelExited, v1alpha1.CauseStartFailed, v1alpha1.CauseOutOfMemory, v1alpha1.CauseEvicted, v1alpha1.CauseNodeLost,
		v1alpha1.CauseImage, v1alpha1.CauseRejected, v1alpha1.CauseUnknown:
	case v1alpha1.CauseIdle, v1alpha1.CauseShutdown, v1alpha1.CauseInvalid, v1alpha1.CauseRefused, v1alpha1.CauseOrphaned, v1alpha1.CauseDeadline, v1alpha1.CauseBudget:
		return false
	default:
		return false // of a newer controller
	}
	return s.ReadyTime == nil || s.CompletionTime != nil && s.CompletionTime.Sub(s.ReadyTime.Time) < shortLife
}

// backOff begins a run later if those before have failed at once.
func (p *plan) backOff(former v1alpha1.JupyterKernelStatus, now time.Time) {
	if former.Phase != v1alpha1.KernelDead || !failedAtOnce(former) {
		return
	}
	p.status.Failures = former.Failures + 1
	if pause := retryPause(p.status.Failures); pause > 0 {
		p.status.NotBefore = &metav1.Time{Time: now.Add(pause)}
		p.status.Message = fmt.Sprintf("The kernel has ended %d times in a row soon after it was started; the next attempt begins in %s.",
			p.status.Failures, pause)
	}
}

// waitOut ends the pause when it is over, or looks again then.
func (p *plan) waitOut(now time.Time) {
	if p.status.NotBefore == nil {
		return
	}
	if left := p.status.NotBefore.Sub(now); left > 0 {
		p.lookAgain = left
		return
	}
	p.status.NotBefore, p.status.Message = nil, ""
}

// startsAnew reports whether a run whose Pod was taken away before it was ready is
// begun anew: nothing is lost by that. An agent that tells what is kept had a kernel
// that people could use, whether or not that was seen here.
func (p *plan) startsAnew(e podstate.Ending) bool {
	return e.Disrupted && e.Kept == nil && p.status.Phase == v1alpha1.KernelStarting && p.status.ReadyTime == nil && p.status.Failures < mostRetries
}

// startAnew takes the run back to the queue, in its old place.
func (p *plan) startAnew(v observed, e podstate.Ending) {
	p.status.Phase = v1alpha1.KernelQueued
	p.status.Failures++
	p.status.StartTime, p.status.Node = nil, ""
	p.status.Message = e.Message + " It is tried again."
	if pause := retryPause(p.status.Failures); pause > 0 {
		p.status.NotBefore = &metav1.Time{Time: v.now.Add(pause)}
	}
	p.removePods(v, v.pods)
}
