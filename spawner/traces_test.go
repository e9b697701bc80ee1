package spawner

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tracing"
	"github.com/elastichub/elastichub/tracing/tracingtest"
)

// TestTheTraceOfAStart: from the request, by the object, to what the leader sees of the Pod.
func TestTheTraceOfAStart(t *testing.T) {
	c := newCluster(t)
	tracer, receiver := tracingtest.Start(t, "service")
	c.cfg.Tracer = tracer
	c.gateway("default")
	s := c.replica(true)
	key := Key{User: "alice", Server: "traced"}
	ctx, asked := tracer.Begin(tracing.WithRequest(t.Context(), "start-1"), "PUT /server")
	req := testRequest("alice", "traced", "s1")
	_, err := s.Start(ctx, req)
	asked.End()
	require.NoError(t, err)
	d := c.deployment(Name(key), "s1", 1)
	nb := c.notebook(Name(key), func(nb *v1alpha1.JupyterNotebook) bool { return nb.Annotations[v1alpha1.AnnotationTraceparent] != "" })
	assert.Equal(t, "start-1", nb.Annotations[v1alpha1.AnnotationRequest])
	pod := c.pod(d)
	for key := range pod.Annotations {
		assert.NotContains(t, []string{v1alpha1.AnnotationRequest, v1alpha1.AnnotationTraceparent}, key)
	}
	now := metav1.Now()
	c.podStatus(pod, func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now}}
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.NotebookContainer, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}}}
	})
	c.phase(s, key, v1alpha1.NotebookReady)

	spans := receiver.Await(t, "PUT /server", "start of the server", "pod", "node", "container", "answer")
	whole := spans["start of the server"]
	assert.Equal(t, spans["PUT /server"].ID, whole.Parent)
	assert.Equal(t, map[string]string{"request": "start-1", "notebook": nb.Name, "outcome": "ready", "k8s.pod.name": pod.Name}, whole.Attributes)
	for _, phase := range startPhases {
		assert.Equal(t, whole.ID, spans[phase].Parent, phase)
		assert.Equal(t, whole.Trace, spans[phase].Trace, phase)
	}
	assert.Len(t, receiver.Spans(), 6, "each once")

	// Started again by nobody's request it is no part of that trace any more.
	require.NoError(t, s.Stop(t.Context(), key))
	c.deployment(Name(key), "s1", 0)
	req.Start = "s2"
	_, err = s.Start(t.Context(), req)
	require.NoError(t, err)
	nb = c.notebook(Name(key), func(nb *v1alpha1.JupyterNotebook) bool { return nb.Spec.Start == "s2" })
	assert.NotContains(t, nb.Annotations, v1alpha1.AnnotationRequest)
	assert.NotContains(t, nb.Annotations, v1alpha1.AnnotationTraceparent)
}

// TestAPassLogsTheRequest that the object's start was asked for by.
func TestAPassLogsTheRequest(t *testing.T) {
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationRequest: "start-1"}}}
	var lines bytes.Buffer
	ctx := log.IntoContext(context.Background(), logr.FromSlogHandler(slog.NewJSONHandler(&lines, nil)))
	log.FromContext(tracing.WithObject(ctx, nb)).Info("server stopped")
	assert.Equal(t, 1, strings.Count(lines.String(), `"request":"start-1"`))
}
