package lifecycle

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestWhatEndsAKernel: every row of docs/kernels.md, "What ends a kernel".
func TestWhatEndsAKernel(t *testing.T) {
	for _, row := range []struct {
		event   string
		server  server
		request request
		want    outcome
	}{
		{"the server runs", serverWanted, requestNone, goesOn},
		{"its Pod is drained, evicted, killed for memory, deleted or rolled out", serverWanted, requestNone, goesOn},
		{"and jupyter_server deletes its kernels then", serverWanted, requestFarewell, asBefore},
		{"one kernel is shut down", serverWanted, requestEnd, ends},
		{"automatic stop, or an administrator's", serverPaused, requestNone, goesOn},
		{"and jupyter_server deletes its kernels then", serverPaused, requestFarewell, asBefore},
		{"an administrator shuts one down meanwhile", serverPaused, requestEnd, ends},
		{"its owner's stop", serverStopped, requestNone, ends},
		{"and jupyter_server deletes its kernels then", serverStopped, requestFarewell, ends},
		{"its owner's stop, a moment after one was shut down", serverStopped, requestEnd, ends},
		{"the notebook is deleted", serverGone, requestNone, ends},
		{"and jupyter_server deletes its kernels then", serverGone, requestFarewell, ends},
		{"the notebook is deleted, a moment after one was shut down", serverGone, requestEnd, ends},
	} {
		assert.Equal(t, row.want, outcomeOf(row.server, row.request), "%s: %s", row.server, row.event)
	}
}

func TestWhoStoppedAServer(t *testing.T) {
	for _, row := range []struct {
		stopped bool
		cause   string
		want    server
	}{
		{false, "", serverWanted},
		{false, string(v1alpha1.StopIdle), serverWanted}, // left over
		{true, "", serverStopped},
		{true, string(v1alpha1.StopIdle), serverPaused},
		{true, string(v1alpha1.StopMaxRun), serverPaused},
		{true, string(v1alpha1.StopBudget), serverPaused},
		{true, string(v1alpha1.StopAdmin), serverPaused},
		{true, "OfANewerRelease", serverPaused},
	} {
		nb := &v1alpha1.JupyterNotebook{}
		nb.Spec.Stopped = row.stopped
		nb.Annotations = map[string]string{v1alpha1.AnnotationStopCause: row.cause}
		assert.Equal(t, row.want, serverOf(nb), "%+v", row)
	}
}

func TestWhoAsksForAKernelsEnd(t *testing.T) {
	began := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	pod := func(change func(*corev1.Pod)) []corev1.Pod {
		p := corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(began)}}
		change(&p)
		return []corev1.Pod{p}
	}
	runs := pod(func(*corev1.Pod) {})
	starts := pod(func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse })
	leaves := pod(func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(began.Add(time.Minute))) })
	lingers := pod(func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(began)) })
	disrupted := func(is corev1.ConditionStatus) []corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: is})
		})
	}
	both := func(a, b []corev1.Pod) []corev1.Pod { return slices.Concat(a, b) }
	asked := func(by string, after time.Duration) *v1alpha1.KernelShutdown {
		return &v1alpha1.KernelShutdown{By: by, At: new(metav1.NewTime(began.Add(after)))}
	}
	fromServer := asked(v1alpha1.ShutdownByNotebook, time.Minute)
	for what, row := range map[string]struct {
		asked   *v1alpha1.KernelShutdown
		servers []corev1.Pod
		want    request
	}{
		"nobody":                                {nil, runs, requestNone},
		"a page of a server that runs":          {fromServer, runs, requestEnd},
		"a server of a former release":          {&v1alpha1.KernelShutdown{By: v1alpha1.ShutdownByNotebook}, runs, requestEnd},
		"a server that is deleted":              {fromServer, leaves, requestFarewell},
		"one that the node takes away":          {fromServer, disrupted(corev1.ConditionTrue), requestFarewell},
		"one that it did not after all":         {fromServer, disrupted(corev1.ConditionFalse), requestEnd},
		"one that was evicted":                  {fromServer, pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), requestFarewell},
		"one that has exited":                   {fromServer, pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), requestFarewell},
		"one that is gone":                      {fromServer, nil, requestFarewell},
		"one whose successor serves":            {asked(v1alpha1.ShutdownByNotebook, -time.Second), runs, requestFarewell},
		"one whose successor starts":            {fromServer, starts, requestFarewell},
		"one that leaves while the next starts": {fromServer, both(leaves, starts), requestFarewell},
		"one that leaves while the next serves": {fromServer, both(leaves, runs), requestFarewell},
		"the successor of one that was killed":  {asked(v1alpha1.ShutdownByNotebook, time.Minute), both(lingers, runs), requestEnd},
		"one of those, and nobody follows":      {fromServer, lingers, requestFarewell},
		"an administrator":                      {asked("admin", time.Minute), leaves, requestEnd},
		"kubectl":                               {&v1alpha1.KernelShutdown{}, nil, requestEnd},
	} {
		k := &v1alpha1.JupyterKernel{Spec: v1alpha1.JupyterKernelCRDSpec{Notebook: "nb", Shutdown: row.asked}}
		assert.Equal(t, row.want, requestOf(k, row.servers), what)
	}
}
