package spawner

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/health/healthtest"
)

// TestHealthOfEveryPhase: a phase that is not known to standingOf would be in progress.
func TestHealthOfEveryPhase(t *testing.T) {
	want := map[v1alpha1.NotebookPhase]health.Standing{
		v1alpha1.NotebookPending: health.Coming, v1alpha1.NotebookStarting: health.Coming, v1alpha1.NotebookReady: health.Ready,
		v1alpha1.NotebookStopping: health.Coming, v1alpha1.NotebookStopped: health.Resting, v1alpha1.NotebookFailed: health.Stalled,
	}
	isReady := podCondition(corev1.PodReady, corev1.ConditionTrue, "", "")
	stop := func(o *observed) { o.notebook.Spec.Stopped = true }
	gone := func(o *observed) { zero := int32(0); o.deployment.Spec.Replicas = &zero; o.pods = nil }
	seen := map[v1alpha1.NotebookPhase]bool{}
	for name, o := range map[string]observed{
		"starts": starting(), "ready": starting(isReady), "stopping": starting(isReady, stop), "stopped": starting(stop, gone),
		"fails":   starting(waiting("InvalidImageName", "x")),
		"pending": starting(func(o *observed) { o.blocked = &blocked{v1alpha1.NotebookPending, ReasonWaitingForVolume, "m"} }),
	} {
		next, _ := decide(o)
		is, reason, _ := health.Of(next.Conditions)
		assert.Equal(t, want[next.Phase], is, name)
		assert.Equal(t, next.Reason, reason, name)
		seen[next.Phase] = true
	}
	assert.Len(t, seen, len(want))
}

func TestObjectEvents(t *testing.T) {
	at := func(phase v1alpha1.NotebookPhase, start string, reason Reason) v1alpha1.JupyterNotebookStatus {
		return v1alpha1.JupyterNotebookStatus{Phase: phase, Start: start, Reason: string(reason), Message: string(reason) + "."}
	}
	unreadable, silent := at(v1alpha1.NotebookReady, "1", ReasonReady), at(v1alpha1.NotebookReady, "1", ReasonReady)
	health.Set(&unreadable.Conditions, 1, noon, health.Stalled, string(v1alpha1.ReasonMalformed), "Numbers.")
	silent.Conditions = []metav1.Condition{{Type: ConditionAnswers, Status: metav1.ConditionFalse, Reason: string(ReasonNoAnswer), Message: "Silence."}}
	starts := []health.Event{health.Normal("Starting", "PodStarting.")}
	for name, row := range map[string]struct {
		before, next v1alpha1.JupyterNotebookStatus
		want         []health.Event
	}{
		"a first start":              {at("", "", ""), at(v1alpha1.NotebookStarting, "1", ReasonPodStarting), starts},
		"a start after a stop":       {at(v1alpha1.NotebookStopped, "1", ReasonStopped), at(v1alpha1.NotebookStarting, "1", ReasonPodStarting), starts},
		"another start":              {at(v1alpha1.NotebookReady, "1", ReasonReady), at(v1alpha1.NotebookStarting, "2", ReasonPodStarting), starts},
		"what a start goes by":       {at(v1alpha1.NotebookPending, "1", ReasonWaitingForVolume), at(v1alpha1.NotebookStarting, "1", ReasonPodStarting), nil},
		"it is up":                   {at(v1alpha1.NotebookStarting, "1", ReasonPodStarting), at(v1alpha1.NotebookReady, "1", ReasonReady), []health.Event{health.Normal("Ready", "ServerReady.")}},
		"nothing new":                {at(v1alpha1.NotebookReady, "1", ReasonReady), at(v1alpha1.NotebookReady, "1", ReasonReady), nil},
		"its Pod is replaced":        {at(v1alpha1.NotebookReady, "1", ReasonReady), at(v1alpha1.NotebookStarting, "1", ReasonReplacing), []health.Event{health.Warning("Replacing", "Replacing.")}},
		"it is refused":              {at("", "", ""), at(v1alpha1.NotebookFailed, "1", ReasonGatewayRefused), []health.Event{health.Warning("GatewayRefused", "GatewayRefused.")}},
		"it is still refused":        {at(v1alpha1.NotebookFailed, "1", ReasonGatewayRefused), at(v1alpha1.NotebookFailed, "1", ReasonGatewayRefused), nil},
		"it is refused for more":     {at(v1alpha1.NotebookFailed, "1", ReasonGatewayRefused), at(v1alpha1.NotebookFailed, "1", ReasonTemplateRefused), []health.Event{health.Warning("TemplateRefused", "TemplateRefused.")}},
		"it is being stopped":        {at(v1alpha1.NotebookReady, "1", ReasonReady), at(v1alpha1.NotebookStopping, "1", ReasonStopping), nil},
		"it is stopped":              {at(v1alpha1.NotebookStopping, "1", ReasonStopping), at(v1alpha1.NotebookStopped, "1", ReasonStoppedIdle), []health.Event{health.Normal("StoppedIdle", "StoppedIdle.")}},
		"it was made to be at rest":  {at("", "", ""), at(v1alpha1.NotebookStopped, "", ReasonStopped), []health.Event{health.Normal("Stopped", "Stopped.")}},
		"it cannot be read any more": {at(v1alpha1.NotebookReady, "1", ReasonReady), unreadable, []health.Event{health.Warning("Malformed", "Numbers.")}},
		"it does not answer":         {at(v1alpha1.NotebookReady, "1", ReasonReady), silent, []health.Event{health.Warning("NoAnswer", "Silence.")}},
	} {
		assert.Equal(t, row.want, objectEvents(row.before, row.next), name)
	}
}

// TestHealth of a notebook in each phase as kstatus, Argo CD and kubectl read it, and the
// Events that tell of it: two of a start.
func TestHealth(t *testing.T) {
	c := newCluster(t)
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "lab"}}
	nb.Spec.User, nb.Spec.Template = "alice", &v1alpha1.PodTemplate{}
	resting := nb.DeepCopy()
	resting.Name, resting.Spec.Stopped = "resting", true
	refused := nb.DeepCopy()
	refused.Name = "refused"
	refused.Spec.Gateway = &corev1.ObjectReference{Name: "gw", Namespace: "elsewhere"}
	for _, each := range []*v1alpha1.JupyterNotebook{nb, resting, refused} {
		require.NoError(t, c.client.Create(t.Context(), each))
	}
	judged := func(name, want string) {
		t.Helper()
		c.eventually(name+" "+want, func() bool {
			return healthtest.Judged(t, c.client, "../docs", "JupyterNotebook", c.namespace, name) == want
		})
	}
	kubectl := func(arguments ...string) string {
		t.Helper()
		said, err := healthtest.Kubectl(t, c.rest, c.namespace, arguments...)
		require.NoError(t, err, said)
		return said
	}
	said := func(o *v1alpha1.JupyterNotebook, want ...string) {
		t.Helper()
		assert.EventuallyWithT(t, func(check *assert.CollectT) {
			assert.Equal(check, want, healthtest.Told(t, c.client, o))
		}, 30*time.Second, 50*time.Millisecond)
	}
	judged("lab", "InProgress Progressing") // no controller has looked at it
	c.replica(true)
	d := c.deployment("lab", "", 1)
	judged("lab", "InProgress Progressing")
	pod := c.pod(d)
	c.ready(pod)
	judged("lab", "Current Healthy")
	kubectl("wait", "--for=condition=Ready", "--timeout=30s", "jn/lab")
	said(nb, "Starting", "Ready")
	assert.Regexp(t, `^NAME +USER +PHASE +REASON +IDLE +STOP AT +CAUSE +AGE\nlab +alice +Ready +ServerReady +\d+s\n$`, kubectl("get", "jn", "lab"))

	kubectl("patch", "jn", "lab", "--type=merge", "-p", `{"spec":{"stopped":true}}`)
	c.deployment("lab", "", 0)
	judged("lab", "InProgress Progressing")
	c.end(pod)
	judged("lab", "Current Healthy")
	kubectl("wait", "--for=condition=Resting", "--timeout=30s", "jn/lab")
	out, err := healthtest.Kubectl(t, c.rest, c.namespace, "wait", "--for=condition=Ready", "--timeout=1s", "jn/lab")
	assert.Error(t, err, "a stopped server is not ready: %s", out)
	said(nb, "Starting", "Ready", "Stopped")

	judged("resting", "Current Healthy")
	said(resting, "Stopped")
	judged("refused", "Failed Degraded")
	said(refused, "GatewayRefused!")
	for _, line := range strings.Split(strings.TrimSpace(kubectl("get", "jn")), "\n") {
		assert.Less(t, len(line), 100, "a row of a usual terminal: %s", line)
	}
}
