package spawner

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// readyGateway is a gateway that has what testRequest's policy allows.
func readyGateway() remote {
	gateway := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: "hub", Name: "default"}}
	gateway.Spec.Kernels = []string{"python-cpu", "python-gpu"}
	gateway.Status.ReadyReplicas = 1
	return remote{gateway: gateway, allowed: []string{"python-gpu", "python-cpu"}, specs: []string{"python-cpu", "python-gpu"}}
}

// starting is a server whose Pod of the current start exists.
func starting(change ...func(*observed)) observed {
	nb := requested(testRequest("alice", "", "s1"))
	d := deployment(testConfig(), nb, "", tokenAlone(nb))
	pod := corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy()}
	pod.Name, pod.UID = "jupyter-alice-1-2", "pod"
	o := observed{notebook: nb, deployment: d, pods: []corev1.Pod{pod}, remote: readyGateway(), now: noon}
	for _, c := range change {
		c(&o)
	}
	return o
}

func waiting(reason, message string) func(*observed) {
	return func(o *observed) {
		o.pods[0].Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "notebook", Image: "lab", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}
	}
}

func podCondition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) func(*observed) {
	return func(o *observed) {
		o.pods[0].Status.Conditions = append(o.pods[0].Status.Conditions, corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message})
	}
}

// unbound is a server whose home claim waits, with an event about it.
func unbound(class, reason string) func(*observed) {
	return func(o *observed) {
		o.claim = claim(o.notebook)
		o.claim.UID, o.claim.Spec.StorageClassName = "claim", nil
		if class != "" {
			o.claim.Spec.StorageClassName = &class
		}
		o.events = []corev1.Event{{
			ObjectMeta:     metav1.ObjectMeta{Name: "home.1"},
			InvolvedObject: corev1.ObjectReference{Kind: "PersistentVolumeClaim", UID: "claim"},
			Reason:         reason, Type: corev1.EventTypeNormal, FirstTimestamp: metav1.NewTime(noon),
		}}
	}
}

const noClass = "The home volume home-jupyter-alice cannot be made, because it names no storage class and the cluster has no default one: " +
	"an administrator names one in spec.storage.home.storageClassName of the policy ml and deletes this claim, or makes one the default."

func TestDecide(t *testing.T) {
	isReady := podCondition(corev1.PodReady, corev1.ConditionTrue, "", "")
	stopped := func(o *observed) { o.notebook.Spec.Stopped = true }
	zero := int32(0)
	scaled := func(o *observed) { o.deployment.Spec.Replicas = &zero; o.pods = nil }
	killed := func(reason, message string) func(*observed) {
		return func(o *observed) {
			waiting("CrashLoopBackOff", "back-off")(o)
			o.pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3, Reason: reason, Message: message}
		}
	}
	for name, row := range map[string]struct {
		observed observed
		phase    v1alpha1.NotebookPhase
		reason   Reason
		message  string
		wait     time.Duration
	}{
		"nothing yet":    {starting(func(o *observed) { o.deployment, o.pods = nil, nil }), v1alpha1.NotebookStarting, ReasonCreating, "The server is being created.", 0},
		"no pod yet":     {starting(func(o *observed) { o.pods = nil }), v1alpha1.NotebookStarting, ReasonCreating, "The server is being created.", 0},
		"pod":            {starting(), v1alpha1.NotebookStarting, ReasonPodStarting, "The server is starting.", 0},
		"ready":          {starting(isReady), v1alpha1.NotebookReady, ReasonReady, "The server answers.", 0},
		"former pod":     {starting(isReady, func(o *observed) { o.pods[0].Annotations[v1alpha1.AnnotationStart] = "s0" }), v1alpha1.NotebookStarting, ReasonReplacing, "The former Pod is going away.", 0},
		"pod going away": {starting(isReady, func(o *observed) { o.pods[0].DeletionTimestamp = &metav1.Time{Time: noon} }), v1alpha1.NotebookStarting, ReasonCreating, "The server is being created.", 0},
		"evicted pod":    {starting(isReady, func(o *observed) { o.pods[0].Status.Phase = corev1.PodFailed }), v1alpha1.NotebookStarting, ReasonCreating, "The server is being created.", 0},
		"no node": {starting(podCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "0/1 nodes")), v1alpha1.NotebookStarting, ReasonUnschedulable,
			"Waiting for a node: 0/1 nodes", 0},
		"pull fails":         {starting(waiting("ErrImagePull", "x")), v1alpha1.NotebookStarting, ReasonImagePullFailed, "Image lab cannot be pulled: x", troubleGrace},
		"invalid image":      {starting(waiting("InvalidImageName", "x")), v1alpha1.NotebookFailed, ReasonImagePullFailed, "Image lab cannot be used: x", 0},
		"bad config":         {starting(waiting("CreateContainerConfigError", "secret")), v1alpha1.NotebookStarting, ReasonContainerConfig, "The container cannot be started: secret", troubleGrace},
		"creating":           {starting(waiting("ContainerCreating", "")), v1alpha1.NotebookStarting, ReasonPodStarting, "The server is starting.", 0},
		"crash loop":         {starting(killed("Error", "no such\nmodule")), v1alpha1.NotebookFailed, ReasonCrashed, "The server ended again and again, with exit code 3: no such module", 0},
		"memory":             {starting(killed("OOMKilled", "")), v1alpha1.NotebookFailed, ReasonOutOfMemory, "The server ended again and again: it used more memory than its limit.", 0},
		"stopping":           {starting(isReady, stopped), v1alpha1.NotebookStopping, ReasonStopping, "The server is being stopped.", 0},
		"stopped":            {starting(stopped, scaled), v1alpha1.NotebookStopped, ReasonStopped, "The server is stopped.", 0},
		"pod may still come": {starting(stopped, scaled, func(o *observed) { o.deployment.Generation = 5 }), v1alpha1.NotebookStopping, ReasonStopping, "The server is being stopped.", 0},
		"blocked":            {starting(func(o *observed) { o.blocked = &blocked{v1alpha1.NotebookPending, ReasonWaitingForVolume, "m"} }), v1alpha1.NotebookPending, ReasonWaitingForVolume, "m", 0},
		"no gateway":         {starting(isReady, func(o *observed) { o.remote = remote{} }), v1alpha1.NotebookReady, ReasonReady, "The server answers.", 0},
		"no storage class":   {starting(unbound("", "FailedBinding")), v1alpha1.NotebookStarting, ReasonNoStorageClass, noClass, troubleGrace},
		"class comes late":   {starting(unbound("standard", "FailedBinding")), v1alpha1.NotebookStarting, ReasonPodStarting, "The server is starting.", 0},
		"waits for consumer": {starting(unbound("", "WaitForFirstConsumer")), v1alpha1.NotebookStarting, ReasonPodStarting, "The server is starting.", 0},
		"bound after all": {starting(unbound("", "FailedBinding"), func(o *observed) { o.claim.Status.Phase = corev1.ClaimBound }), v1alpha1.NotebookStarting, ReasonPodStarting,
			"The server is starting.", 0},
	} {
		t.Run(name, func(t *testing.T) {
			status, wait := decide(row.observed)
			assert.Equal(t, row.phase, status.Phase)
			assert.Equal(t, string(row.reason), status.Reason)
			assert.Equal(t, row.message, status.Message)
			assert.Equal(t, row.wait, wait)
			assert.Equal(t, "s1", status.Start)
			assert.Equal(t, int64(7), status.ObservedGeneration)
			assert.Equal(t, row.phase == v1alpha1.NotebookReady, status.URL != "")
			// Deciding again from the result changes nothing: no write loops.
			o := row.observed
			o.notebook = o.notebook.DeepCopy()
			o.notebook.Status = status
			again, _ := decide(o)
			assert.Equal(t, status, again)
		})
	}
}

func TestTroubleMustLast(t *testing.T) {
	o := starting(waiting("ImagePullBackOff", "x"))
	pass := func(after time.Duration) v1alpha1.NotebookPhase {
		o.now = noon.Add(after)
		o.notebook.Status, _ = decide(o)
		return o.notebook.Status.Phase
	}
	assert.Equal(t, v1alpha1.NotebookStarting, pass(0))
	assert.Equal(t, v1alpha1.NotebookStarting, pass(troubleGrace-time.Second))
	waiting("ContainerCreating", "")(&o)
	assert.Equal(t, v1alpha1.NotebookStarting, pass(troubleGrace))
	waiting("ImagePullBackOff", "x")(&o)
	assert.Equal(t, v1alpha1.NotebookStarting, pass(troubleGrace+time.Second), "it had passed meanwhile")
	assert.Equal(t, v1alpha1.NotebookFailed, pass(2*troubleGrace+time.Second))
	// For good: the Pod is gone, the cause stays.
	o.pods = nil
	assert.Equal(t, v1alpha1.NotebookFailed, pass(3*troubleGrace))
	assert.Equal(t, "Image lab cannot be pulled: x", o.notebook.Status.Message)
	// Without a Hub, what recovers is ready again.
	o = starting(waiting("ImagePullBackOff", "x"))
	o.notebook.Spec.Start, o.pods[0].Annotations[v1alpha1.AnnotationStart] = "", ""
	pass(0)
	assert.Equal(t, v1alpha1.NotebookFailed, pass(troubleGrace))
	assert.False(t, o.notebook.StartHasFailed())
	o.pods[0].Status.ContainerStatuses = nil
	podCondition(corev1.PodReady, corev1.ConditionTrue, "", "")(&o)
	assert.Equal(t, v1alpha1.NotebookReady, pass(troubleGrace+time.Second))
}

// A server that has answered is not given up while its Pod is replaced: the Hub
// would forget it.
func TestTroubleOfAReplacedPodHasTime(t *testing.T) {
	crashed := func(o *observed) {
		waiting("CrashLoopBackOff", "back-off")(o)
		o.pods[0].Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: "OOMKilled"}
	}
	for name, trouble := range map[string]func(*observed){
		"image": waiting("ImagePullBackOff", "x"), "memory": crashed, "bad image": waiting("InvalidImageName", "x"),
	} {
		o := starting(podCondition(corev1.PodReady, corev1.ConditionTrue, "", ""))
		pass := func(after time.Duration) v1alpha1.NotebookPhase {
			o.now = noon.Add(after)
			o.notebook.Status, _ = decide(o)
			return o.notebook.Status.Phase
		}
		require.Equal(t, v1alpha1.NotebookReady, pass(0), name)
		o.pods = nil
		require.Equal(t, v1alpha1.NotebookStarting, pass(time.Hour), name)
		o = starting(trouble, func(fresh *observed) { fresh.notebook.Status = o.notebook.Status })
		assert.Equal(t, v1alpha1.NotebookStarting, pass(time.Hour), name)
		assert.Equal(t, v1alpha1.NotebookStarting, pass(time.Hour+replaceGrace-time.Second), name)
		assert.NotEmpty(t, o.notebook.Status.Message, name)
		assert.Equal(t, v1alpha1.NotebookFailed, pass(time.Hour+replaceGrace), name)
		// Another start is another server.
		o.notebook.Spec.Start = "s2"
		o.pods[0].Annotations[v1alpha1.AnnotationStart] = "s2"
		pass(2 * time.Hour)
		assert.Equal(t, v1alpha1.NotebookFailed, pass(2*time.Hour+troubleGrace), name)
	}
}

// A start does not wait for a volume that nobody will make.
func TestNoStorageClassEndsTheStart(t *testing.T) {
	o := starting(unbound("", "FailedBinding"))
	o.notebook.Status, _ = decide(o)
	log := o.notebook.Status.Progress
	assert.Equal(t, noClass, log[len(log)-1].Message, "said at once")
	assert.Empty(t, log[len(log)-1].Outcome)
	o.now = noon.Add(troubleGrace)
	o.notebook.Status, _ = decide(o)
	log = o.notebook.Status.Progress
	assert.Equal(t, v1alpha1.NotebookFailed, o.notebook.Status.Phase)
	assert.Equal(t, noClass, log[len(log)-1].Message)
	assert.Equal(t, v1alpha1.OutcomeFailed, log[len(log)-1].Outcome)
}

func TestNewStartBeginsANewLog(t *testing.T) {
	o := starting(podCondition(corev1.PodReady, corev1.ConditionTrue, "", ""))
	o.notebook.Status, _ = decide(o)
	require.Equal(t, v1alpha1.OutcomeReady, o.notebook.Status.Progress[1].Outcome)
	o.notebook.Spec.Start = "s2"
	status, _ := decide(o)
	assert.Equal(t, v1alpha1.NotebookStarting, status.Phase)
	assert.Equal(t, "s2", status.Start)
	require.Len(t, status.Progress, 2)
	assert.Equal(t, v1alpha1.NotebookProgress{ID: 1, Percent: 2, Message: "Request accepted", Time: metav1.NewMicroTime(noon)}, status.Progress[0])
	assert.Equal(t, "The former Pod is going away.", status.Progress[1].Message)
}

func TestAdvance(t *testing.T) {
	var log []v1alpha1.NotebookProgress
	for i := range 200 {
		log = advance(log, []progressEntry{{percent: int32(200-i) % 90, message: fmt.Sprint("step ", i)}, {percent: 1, message: fmt.Sprint("step ", i)}}, noon)
	}
	require.Len(t, log, maxProgress)
	for i, entry := range log {
		assert.Equal(t, int64(200-maxProgress+1+i), entry.ID)
		assert.Equal(t, int32(89), entry.Percent, "never falls")
	}
	log = advance(log, []progressEntry{{message: "over", outcome: v1alpha1.OutcomeFailed}}, noon)
	log = advance(log, []progressEntry{{percent: 99, message: "late"}, {message: "again", outcome: v1alpha1.OutcomeReady}}, noon)
	require.Len(t, log, maxProgress)
	assert.Equal(t, v1alpha1.NotebookProgress{ID: 201, Percent: 89, Message: "over", Time: metav1.NewMicroTime(noon), Outcome: v1alpha1.OutcomeFailed}, log[maxProgress-1])
}

func TestPodSteps(t *testing.T) {
	for _, row := range []struct{ kind, reason, message, field, want string }{
		{"Normal", "Scheduled", "Successfully assigned ns/pod to node-1", "", "Placed on node node-1"},
		{"Warning", "FailedScheduling", "0/3 nodes", "", "Waiting for a node: 0/3 nodes"},
		{"Normal", "Pulling", `Pulling image "lab:1"`, "spec.containers{notebook}", "Pulling image lab:1"},
		{"Normal", "Pulling", `Pulling image "fix:1"`, "spec.initContainers{fix}", "Pulling image fix:1 (fix)"},
		{"Normal", "Pulled", `Successfully pulled image "lab:1" in 850ms (850ms including waiting)`, "spec.containers{notebook}", "Image pulled in 0.8 s"},
		{"Normal", "Pulled", `Successfully pulled image "lab:1" in 1m3.2s (1m4s including waiting)`, "spec.containers{notebook}", "Image pulled in 1 min 3 s"},
		{"Normal", "Pulled", `Container image "lab:1" already present on machine`, "spec.containers{notebook}", "Image is already on the node"},
		{"Warning", "FailedMount", "MountVolume.SetUp failed\nfor volume", "", "Volume not ready yet: MountVolume.SetUp failed for volume"},
		{"Warning", "Brand-New", "text", "", "Brand-New: text"},
		{"Normal", "Brand-New", "text", "", ""},
		{"Warning", "Unhealthy", "Readiness probe failed", "spec.containers{notebook}", ""},
	} {
		event := &corev1.Event{Type: row.kind, Reason: row.reason, Message: row.message, InvolvedObject: corev1.ObjectReference{FieldPath: row.field}}
		got := podEventProgress(event)
		if row.want == "" {
			assert.Nil(t, got, row.reason)
			continue
		}
		require.NotNil(t, got, row.reason)
		assert.Equal(t, row.want, got.message)
	}
}

func TestShorten(t *testing.T) {
	long := ""
	for range 400 {
		long += "日本"
	}
	for _, cut := range []string{shorten(long), lastLines(long)} {
		assert.LessOrEqual(t, len(cut), maxMessageBytes+len("…"))
		assert.NotContains(t, cut, "\ufffd")
	}
	assert.Equal(t, "a b", shorten(" a\n\tb\xff"[:4]+"b"))
}

func TestStateOfLaggingStatus(t *testing.T) {
	nb := requested(testRequest("alice", "", "s2"))
	nb.Status = v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady, Start: "s1", URL: "http://old", ObservedGeneration: 6}
	assert.Equal(t, v1alpha1.NotebookPending, stateOf(nb).Phase)
	assert.Empty(t, stateOf(nb).URL)
	nb.Status.Start = "s2"
	assert.Equal(t, v1alpha1.NotebookReady, stateOf(nb).Phase)
	assert.Equal(t, "http://old", stateOf(nb).URL)
	nb.Spec.Stopped = true
	assert.Equal(t, v1alpha1.NotebookStopping, stateOf(nb).Phase)
	nb.Status.Phase, nb.Status.ObservedGeneration = v1alpha1.NotebookStopped, 7
	assert.Equal(t, v1alpha1.NotebookStopped, stateOf(nb).Phase)
	nb.Spec.Stopped = false
	assert.Equal(t, v1alpha1.NotebookPending, stateOf(nb).Phase)
}

func TestDeploymentNamesOfPods(t *testing.T) {
	controller := true
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Labels:          map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: "abc"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "jupyter-alice-abc", Controller: &controller}},
	}}
	assert.True(t, madeBy(pod, "jupyter-alice"))
	assert.False(t, madeBy(pod, "jupyter"))
	pod.OwnerReferences[0].Kind = "JupyterKernel"
	assert.False(t, madeBy(pod, "jupyter-alice"))
}
