package spawner

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podtrouble"
)

// unscheduled has the condition that the scheduler writes.
func unscheduled(message string) func(*observed) {
	return podCondition(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, message)
}

// TestReasonsHaveFigures: what is told of a server that is stuck says what was asked for, and what there is.
func TestReasonsHaveFigures(t *testing.T) {
	asks := func(o *observed) {
		o.pods[0].Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8")}}}}
	}
	const noCPU = "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
	refused := func(message string) func(*observed) {
		return func(o *observed) {
			o.pods = nil
			o.deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: message}}
		}
	}
	backOff := func(o *observed) {
		waiting("ImagePullBackOff", `Back-off pulling image "lab"`)(o)
		for _, message := range []string{"Error: ErrImagePull", `Failed to pull image "lab": rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/lab:latest": not found`} {
			o.events = append(o.events, corev1.Event{
				InvolvedObject: corev1.ObjectReference{UID: "pod"}, Reason: "Failed", Message: message, Type: corev1.EventTypeWarning, FirstTimestamp: metav1.NewTime(noon),
			})
		}
	}
	for want, o := range map[string]observed{
		"No node has 8 CPUs free.": starting(asks, unscheduled(noCPU)),
		"No node has 8 CPUs free; the largest free is 6.": starting(asks, unscheduled(noCPU), func(o *observed) {
			o.room = &podtrouble.Room{Nodes: 3, Free: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("6")}, Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8")}}
		}),
		"All 3 nodes do not match its node selector pool=a, which is that of the policy ml.": starting(func(o *observed) {
			o.pods[0].Spec.NodeSelector = map[string]string{"pool": "a"}
		}, unscheduled("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.")),
		"Waiting for a node: something new": starting(unscheduled("something new")),
		"The cluster refuses the server's Pod: a LimitRange of its namespace does not allow it: cpu for each Container has to be at most 4, and the limit is 8. Choose another size, or ask an administrator.": starting(
			refused(`pods "jupyter-alice-1-2" is forbidden: maximum cpu usage per Container is 4, but limit is 8`)),
		"Image lab cannot be pulled: the registry docker.io has no such image. Choose another image, or have an administrator correct its name or tag.": starting(backOff),
	} {
		status, _ := decide(o)
		assert.Equal(t, want, status.Message)
		count := 0
		for _, entry := range status.Progress {
			if entry.Message == want {
				count++
			}
		}
		assert.Equal(t, 1, count, "it is told once: %v", status.Progress)
	}
}

func TestEventsInSentences(t *testing.T) {
	for _, row := range []struct{ kind, reason, message, field, want string }{
		{"Normal", "Scheduled", "Successfully assigned hub/jupyter-alice-1-2 to ip-10-0-1-2.eu-west-1.compute.internal", "", "Placed on node ip-10-0-1-2"},
		{"Normal", "Scheduled", "Successfully assigned hub/jupyter-alice-1-2 to 10.0.1.2", "", "Placed on node 10.0.1.2"},
		{"Normal", "Pulled", `Successfully pulled image "lab:1" in 12.345s (12.345s including waiting). Image size: 493123456 bytes.`, "spec.containers{notebook}", "Image pulled in 12.3 s (493 MB)"},
		{"Normal", "Pulled", `Successfully pulled image "lab:1" in 2m5.4s (3m1s including waiting). Image size: 4931234560 bytes.`, "spec.containers{notebook}", "Image pulled in 2 min 5 s (4.9 GB)"},
		{"Normal", "Pulled", `Container image "lab:1" already present on machine and can be accessed by the pod`, "spec.containers{notebook}", "Image is already on the node"},
		{"Normal", "Started", "Started container notebook", "spec.containers{notebook}", "Container started: waiting for the server to answer"},
		{"Normal", "Started", "Started container fix", "spec.initContainers{fix}", "Container started (fix)"},
		{"Warning", "FailedScheduling", "0/3 nodes are available: 3 Insufficient cpu.", "", ""},
		{"Warning", "Failed", "Error: ErrImagePull", "spec.containers{notebook}", ""},
		{"Warning", "Failed", "Error: ImagePullBackOff", "spec.containers{notebook}", ""},
		{"Normal", "BackOff", `Back-off pulling image "lab:1"`, "spec.containers{notebook}", ""},
		{"Warning", "BackOff", "Back-off restarting failed container notebook in pod x", "spec.containers{notebook}", "BackOff: Back-off restarting failed container notebook in pod x"},
		{"Warning", "FailedAttachVolume", `Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) jupyter-bob-1`, "",
			"Volume not ready yet: it can be in use on one node at a time, and is in use on another, by jupyter-bob-1. It comes when that has ended."},
	} {
		got := podEventProgress(&corev1.Event{Type: row.kind, Reason: row.reason, Message: row.message, InvolvedObject: corev1.ObjectReference{FieldPath: row.field}})
		if row.want == "" {
			assert.Nil(t, got, row.message)
			continue
		}
		require.NotNil(t, got, row.message)
		assert.Equal(t, row.want, got.message)
	}
	claim := claimEventProgress(&corev1.Event{Type: "Warning", Reason: "ProvisioningFailed", Message: `storageclass.storage.k8s.io "fast" not found`}, "home")
	assert.Equal(t, "Volume home: there is no storage class fast. An administrator makes it, or has the policy name another.", claim.message)
}

// TestPullsAreForetold by what the same image took elsewhere, once.
func TestPullsAreForetold(t *testing.T) {
	known := &pulls{}
	known.note(&corev1.Event{Reason: "Pulled", Message: `Container image "lab:1" already present on machine`})
	known.note(&corev1.Event{Reason: "Pulled", Message: `Successfully pulled image "lab:1" in 40s (41s including waiting). Image size: 2100000000 bytes.`})
	event := func(reason, message string) corev1.Event {
		return corev1.Event{
			InvolvedObject: corev1.ObjectReference{UID: "pod", FieldPath: "spec.containers{notebook}"}, Reason: reason, Message: message, FirstTimestamp: metav1.NewTime(noon),
		}
	}
	o := starting(func(o *observed) {
		o.pulls, o.events = known, []corev1.Event{event("Pulling", `Pulling image "lab:1"`)}
	})
	o.notebook.Status, _ = decide(o)
	last := o.notebook.Status.Progress[len(o.notebook.Status.Progress)-1]
	assert.Equal(t, "Pulling image lab:1 (2.1 GB, it took 40.0 s elsewhere)", last.Message)
	assert.Equal(t, int32(40), last.ExpectedSeconds)
	known.note(&corev1.Event{Reason: "Pulled", Message: `Successfully pulled image "lab:1" in 3s (3s including waiting)`})
	again, _ := decide(o)
	assert.Equal(t, o.notebook.Status.Progress, again.Progress, "it was said")

	for after, percent := range map[time.Duration]int{-time.Second: 45, 0: 45, 20 * time.Second: 54, 40 * time.Second: 63, time.Hour: 63} {
		assert.Equal(t, percent, moved(last, noon.Add(after)), after)
	}
	unknown := starting(func(o *observed) { o.events = []corev1.Event{event("Pulling", `Pulling image "lab:2"`)} })
	status, _ := decide(unknown)
	last = status.Progress[len(status.Progress)-1]
	assert.Equal(t, "Pulling image lab:2", last.Message)
	assert.Equal(t, 45, moved(last, noon.Add(time.Hour)))
}

// TestPercentageMovesWhileSomebodyLooks, without a write, by events of the same id.
func TestPercentageMovesWhileSomebodyLooks(t *testing.T) {
	s, nb := known(v1alpha1.NotebookProgress{ID: 1, Percent: 45, Message: "Pulling image lab:1", Time: metav1.NewMicroTime(noon), ExpectedSeconds: 10})
	now := noon
	s.now = func() time.Time { now = now.Add(2 * time.Second); return now }
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := s.Events(ctx, keyOf(nb), "s1", "")
	require.NoError(t, err)
	assert.Equal(t, "Pulling image lab:1", (<-stream).Message)
	moves := <-stream
	assert.Equal(t, "1", moves.ID)
	assert.Empty(t, moves.Message)
	assert.False(t, moves.Final)
	assert.Greater(t, moves.Progress, 45)
	next := nb.DeepCopy()
	next.ResourceVersion = "11"
	next.Status.Progress = append(next.Status.Progress, v1alpha1.NotebookProgress{ID: 2, Percent: 46, Message: "on", Time: metav1.NewMicroTime(noon)})
	s.snapshot.put(next)
	for event := range stream {
		if event.ID == "2" {
			assert.GreaterOrEqual(t, event.Progress, moves.Progress, "never falls")
			break
		}
	}
	cancel()
	for range stream {
	}
}

// TestRoomIsAskedFor when the scheduler says that it finds none.
func TestRoomIsAskedFor(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	c.cfg.Nodes = fullNodes{}
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	pod := c.pod(c.deployment(Name(req.Key), "s1", 1))
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/2 nodes are available: 2 Insufficient cpu."}}
	require.NoError(t, c.client.Status().Update(t.Context(), pod))
	c.eventually("told with figures", func() bool {
		state, err := s.State(t.Context(), req.Key)
		return err == nil && state.Message == "No node has 1 CPU free; the largest free is 0.25."
	})
}

// fullNodes answer with too little room, for a Pod that they know.
type fullNodes struct{}

func (fullNodes) RoomFor(_ context.Context, pod *corev1.PodSpec) (podtrouble.Room, error) {
	if len(pod.Containers) == 0 {
		return podtrouble.Room{}, errors.New("no Pod")
	}
	return podtrouble.Room{Nodes: 2, Free: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}, Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")}}, nil
}
