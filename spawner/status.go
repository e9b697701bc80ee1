package spawner

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
)

// troubleGrace is how long a Pod may be in a trouble that sometimes passes,
// such as a registry that does not answer, before its start has failed.
const troubleGrace = 10 * time.Second

// replaceGrace is the same for a server that has answered before in its start. Its
// Pod is being replaced, or its container started again, and its kernels go on: the
// Hub, which forgets a server that has failed, is told that it starts.
const replaceGrace = 10 * time.Minute

// observed is all that a notebook's status is made from.
type observed struct {
	notebook   *v1alpha1.JupyterNotebook
	deployment *appsv1.Deployment // nil: none
	// pods of the Deployment, of any start.
	pods  []corev1.Pod
	claim *corev1.PersistentVolumeClaim // nil: none
	// events about pods and claim, in any order.
	events []corev1.Event
	// blocked is why nothing is built for this generation, nil if it is.
	blocked *blocked
	remote  remote
	// room is what the nodes have that the Pod may be on, if it has none; nil: not known.
	room *podtrouble.Room
	// pulls are how long images took; nil: nothing is known of any.
	pulls *pulls
	// credentials are looked for unless the server is stopped.
	credentials credentials
	now         time.Time
}

// blocked says what a notebook waits for or was refused for.
type blocked struct {
	phase   v1alpha1.NotebookPhase // Pending or Failed
	reason  Reason
	message string
}

// phaseStatus is the changing part of a status.
type phaseStatus struct {
	phase   v1alpha1.NotebookPhase
	reason  Reason
	message string
	pod     string
	// trouble holds back a failure until it has lasted for grace.
	trouble *trouble
}

// decide makes the next status, and how long until time alone may change it
// (0: never).
func decide(o observed) (v1alpha1.JupyterNotebookStatus, time.Duration) {
	nb := o.notebook
	next := *nb.Status.DeepCopy()
	if nb.StartHasFailed() {
		return next, 0
	}
	restarted := next.Start != nb.Spec.Start ||
		!nb.Spec.Stopped && (next.Phase == v1alpha1.NotebookStopped || next.Phase == v1alpha1.NotebookStopping)
	if restarted || next.StartTime == nil {
		next.StartTime, next.LastActivity = &metav1.Time{Time: o.now}, nil
	}
	if restarted {
		next.Progress, next.SnoozedUntil, next.SnoozedSeconds = nil, nil, 0
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionAnswers)
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionSignals)
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionTrouble)
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionHub)
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionPodTaken)
		apimeta.RemoveStatusCondition(&next.Conditions, v1alpha1.ConditionOrphan) // the Hub has started it
	}
	next.Start = nb.Spec.Start
	next.ObservedGeneration = nb.Generation

	v := phaseOf(o)
	if next.Phase == v1alpha1.NotebookFailed && v.phase != v1alpha1.NotebookFailed && v.trouble == nil && nb.Spec.Start == "" && !nb.Spec.Stopped {
		next.Progress = nil // what had failed has become possible; a start of the Hub stays failed
	}
	wait := holdBack(o, &next, &v)
	noteTaking(o, &next, &v)
	next.Phase, next.Reason, next.Message, next.PodName = v.phase, string(v.reason), v.message, v.pod
	next.URL = ""
	if v.phase == v1alpha1.NotebookReady {
		next.URL = serverURL(nb)
	}
	health.Set(&next.Conditions, nb.Generation, o.now, standingOf(v.phase), string(v.reason), v.message)
	setGatewayCondition(o, &next)
	setHomeCondition(o, &next)
	setCredentialsCondition(o, &next)
	setEnvironmentCondition(o, &next)
	next.Progress = advance(next.Progress, progressEntries(o, v, next.Progress), o.now)
	return next, wait
}

// standingOf is how a notebook in a phase stands for what judges its health.
func standingOf(phase v1alpha1.NotebookPhase) health.Standing {
	switch phase {
	case v1alpha1.NotebookReady:
		return health.Ready
	case v1alpha1.NotebookStopped:
		return health.Resting
	case v1alpha1.NotebookFailed:
		return health.Stalled
	case v1alpha1.NotebookPending, v1alpha1.NotebookStarting, v1alpha1.NotebookStopping:
	}
	return health.Coming
}

// holdBack turns a trouble into Starting until it has lasted, and keeps the
// time it began in a condition, where the next leader finds it.
func holdBack(o observed, next *v1alpha1.JupyterNotebookStatus, v *phaseStatus) time.Duration {
	if v.trouble == nil {
		setCondition(o, next, ConditionTrouble, false, v.reason, "")
		return 0
	}
	setCondition(o, next, ConditionTrouble, true, v.reason, v.message)
	began := apimeta.FindStatusCondition(next.Conditions, ConditionTrouble).LastTransitionTime.Time
	grace := v.trouble.grace
	if hasAnswered(next.Progress) {
		grace = max(grace, replaceGrace)
	}
	left := began.Add(grace).Sub(o.now)
	if grace == 0 || left <= 0 {
		v.phase = v1alpha1.NotebookFailed
		return 0
	}
	v.phase = v1alpha1.NotebookStarting
	return min(left, troubleGrace)
}

// hasAnswered reports whether the server of a start's log was ready once.
func hasAnswered(log []v1alpha1.NotebookProgress) bool {
	return slices.ContainsFunc(log, func(e v1alpha1.NotebookProgress) bool { return e.Outcome == v1alpha1.OutcomeReady })
}

// setGatewayCondition speaks of readiness only until a server is ready: a
// gateway's own status tells it, and need not be copied to all its notebooks.
func setGatewayCondition(o observed, next *v1alpha1.JupyterNotebookStatus) {
	switch {
	case o.notebook.Spec.Gateway == nil:
		apimeta.RemoveStatusCondition(&next.Conditions, ConditionGateway)
		return
	case o.notebook.Spec.Stopped:
		return // not looked for
	}
	short := kernelShortage(o.notebook, o.remote)
	switch {
	case short != nil && short.reason == ReasonGatewayMissing:
		setCondition(o, next, ConditionGateway, false, short.reason, short.message)
	case short != nil && short.reason == ReasonGatewayNotReady && next.Phase != v1alpha1.NotebookReady:
		setCondition(o, next, ConditionGateway, true, short.reason, short.message)
	default:
		setCondition(o, next, ConditionGateway, true, ReasonFound, "")
	}
}

// setHomeCondition tells of a home volume that is not as spec has it.
func setHomeCondition(o observed, next *v1alpha1.JupyterNotebookStatus) {
	if why := claimDiffers(o.notebook, o.claim); why != "" {
		setCondition(o, next, ConditionHome, false, ReasonClaimDiffers, why)
		return
	}
	apimeta.RemoveStatusCondition(&next.Conditions, ConditionHome)
}

func setCondition(o observed, next *v1alpha1.JupyterNotebookStatus, kind string, is bool, reason Reason, message string) {
	podrules.SetCondition(&next.Conditions, o.notebook.Generation, o.now, kind, is, string(reason), message)
}

func phaseOf(o observed) phaseStatus {
	nb := o.notebook
	switch {
	case nb.Spec.Stopped && noPodLeft(o):
		reason, message := stopReason(nb)
		return phaseStatus{phase: v1alpha1.NotebookStopped, reason: reason, message: message}
	case nb.Spec.Stopped && o.blocked != nil:
		return phaseStatus{phase: v1alpha1.NotebookStopping, reason: o.blocked.reason, message: o.blocked.message}
	case nb.Spec.Stopped:
		return phaseStatus{phase: v1alpha1.NotebookStopping, reason: ReasonStopping, message: "The server is being stopped."}
	case o.blocked != nil:
		return phaseStatus{phase: o.blocked.phase, reason: o.blocked.reason, message: o.blocked.message}
	case o.deployment == nil:
		return phaseStatus{phase: v1alpha1.NotebookStarting, reason: ReasonCreating, message: "The server is being created."}
	}
	if v := phaseOfClaim(o); v != nil {
		return *v
	}
	pod := current(nb, o.pods)
	if pod == nil {
		return phaseWithoutPod(o)
	}
	v := phaseOfPod(o, pod)
	v.pod = pod.Name
	return v
}

// phaseOfClaim knows the one trouble of a claim that waiting does not cure: it
// names no storage class and the cluster gave it none, which the volume
// controller says in an event FailedBinding (pkg/controller/volume/events). nil
// means no trouble.
func phaseOfClaim(o observed) *phaseStatus {
	if o.claim == nil || o.claim.Status.Phase == corev1.ClaimBound || o.claim.Spec.VolumeName != "" {
		return nil
	}
	if class := o.claim.Spec.StorageClassName; class != nil && *class != "" {
		return nil
	}
	for i := range o.events {
		if o.events[i].InvolvedObject.UID == o.claim.UID && o.events[i].Reason == "FailedBinding" {
			return &phaseStatus{reason: ReasonNoStorageClass, message: noStorageClass(o.notebook, o.claim.Name), trouble: &trouble{troubleGrace}}
		}
	}
	return nil
}

func noStorageClass(nb *v1alpha1.JupyterNotebook, claim string) string {
	field := "spec.storage.home.storageClassName of the JupyterNotebook"
	if policies := policiesOf(nb); len(policies) > 0 {
		field = "spec.storage.home.storageClassName of the policy " + enumerate(policies)
	}
	return fmt.Sprintf("The home volume %s cannot be made, because it names no storage class and the cluster has no default one: "+
		"an administrator names one in %s and deletes this claim, or makes one the default.", claim, field)
}

// noPodLeft tells that there is no Pod and that none is on its way.
func noPodLeft(o observed) bool {
	if len(o.pods) > 0 {
		return false
	}
	d := o.deployment
	return d == nil || d.Spec.Replicas != nil && *d.Spec.Replicas == 0 &&
		d.Status.ObservedGeneration >= d.Generation && d.Status.Replicas == 0
}

func phaseWithoutPod(o observed) phaseStatus {
	if failure := replicaFailure(o.deployment); failure != nil && podtrouble.Passing(failure.Message) == "" {
		return phaseStatus{reason: ReasonPodRefused, message: "The cluster refuses the server's Pod: " + translated(podtrouble.Unmade(failure.Message)), trouble: &trouble{troubleGrace}}
	}
	for i := range o.pods {
		if o.pods[i].Annotations[v1alpha1.AnnotationStart] != o.notebook.Spec.Start {
			return phaseStatus{phase: v1alpha1.NotebookStarting, reason: ReasonReplacing, message: "The former Pod is going away."}
		}
	}
	return phaseStatus{phase: v1alpha1.NotebookStarting, reason: ReasonCreating, message: "The server is being created."}
}

// current is the newest living Pod of the start that spec names.
func current(nb *v1alpha1.JupyterNotebook, pods []corev1.Pod) *corev1.Pod {
	var newest *corev1.Pod
	for i := range pods {
		pod := &pods[i]
		if pod.Annotations[v1alpha1.AnnotationStart] != nb.Spec.Start || pod.DeletionTimestamp != nil ||
			pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		if newest == nil || newest.CreationTimestamp.Before(&pod.CreationTimestamp) {
			newest = pod
		}
	}
	return newest
}
