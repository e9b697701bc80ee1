package spawner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
)

// hubDouble is a Hub that does with the Service what a Hub does; a real one is in
// test/hub/scenarios.
type hubDouble struct {
	mu      sync.Mutex
	service *Service
	// starts is how the Hub starts servers; its Start is made anew.
	starts map[Key]Request
	active map[Key]bool
	asked  []HubAct
	fault  error // of whatever is asked
	silent bool  // it does what it is asked for, and says nothing
}

func (h *hubDouble) Ask(ctx context.Context, act HubAct, k Key) (HubServer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, act)
	if h.fault != nil {
		return HubServer{}, h.fault
	}
	found := HubServer{Active: h.active[k]}
	switch {
	case act == HubStop && found.Active:
		h.active[k] = false
		if err := h.service.Stop(ctx, k); err != nil {
			return found, err
		}
	case act == HubStart:
		request, ok := h.starts[k]
		if !ok {
			return found, &HubRefusal{Message: "no policy is yours."}
		}
		h.active[k] = true
		request.Start = fmt.Sprintf("hub-%d", len(h.asked))
		if _, err := h.service.Start(ctx, request); err != nil {
			return found, err
		}
	}
	if h.silent && act != HubLook {
		return HubServer{}, context.DeadlineExceeded
	}
	return found, nil
}

func (h *hubDouble) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *hubDouble) acts() []HubAct {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.asked)
}

// withHub is a leader beside a Hub that has started a server, whose Pod is ready.
func withHub(t *testing.T, req Request) (*cluster, *Service, *hubDouble, *corev1.Pod) {
	t.Helper()
	c := newCluster(t)
	c.gateway("default")
	c.asker.set(func(string) (Activity, error) { return Activity{Last: time.Now().Add(-time.Hour)}, nil })
	h := &hubDouble{starts: map[Key]Request{req.Key: req}, active: map[Key]bool{req.Key: true}}
	c.hub = h
	s := c.replica(true)
	h.set(func() { h.service = s })
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	pod := c.pod(c.deployment(Name(req.Key), req.Start, 1))
	c.ready(pod)
	return c, s, h, pod
}

// patch is what somebody does with kubectl.
func (c *cluster) patch(name, body string) {
	c.t.Helper()
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name}}
	require.NoError(c.t, c.client.Patch(c.t.Context(), nb, client.RawPatch("application/merge-patch+json", []byte(body))))
}

// stoppedByKubectl waits until a server that kubectl stops is.
func (c *cluster) stoppedByKubectl(s *Service, k Key, pod *corev1.Pod) *v1alpha1.JupyterNotebook {
	c.t.Helper()
	c.patch(Name(k), `{"spec":{"stopped":true}}`)
	c.deployment(Name(k), pod.Annotations[v1alpha1.AnnotationStart], 0)
	c.end(pod)
	c.phase(s, k, v1alpha1.NotebookStopped)
	return c.notebook(Name(k), inPhase(v1alpha1.NotebookStopped))
}

// told waits for an Event about a notebook.
func (c *cluster) told(name string, reason Reason) eventsv1.Event {
	c.t.Helper()
	var found eventsv1.Event
	c.eventually("event "+string(reason), func() bool {
		var all eventsv1.EventList
		require.NoError(c.t, c.client.List(c.t.Context(), &all, client.InNamespace(c.namespace)))
		i := slices.IndexFunc(all.Items, func(e eventsv1.Event) bool { return e.Regarding.Name == name && e.Reason == string(reason) })
		if i >= 0 {
			found = all.Items[i]
		}
		return i >= 0
	})
	return found
}

func TestIdleServerOfTheHubIsStoppedThroughIt(t *testing.T) {
	req := testRequest("alice", "", "s1")
	req.ServerIdleSeconds, req.MaxRunSeconds = 1, 0
	c, s, h, pod := withHub(t, req)
	c.deployment("jupyter-alice", "s1", 0)
	c.end(pod)
	state := c.phase(s, req.Key, v1alpha1.NotebookStopped)
	assert.Equal(t, "StoppedIdle", state.Reason, "its announcement is kept")
	assert.Equal(t, []HubAct{HubLook, HubStop}, h.acts(), "asked once")
	nb := c.notebook("jupyter-alice", inPhase(v1alpha1.NotebookStopped))
	for _, m := range nb.ManagedFields {
		if m.Manager == stopManager {
			assert.NotContains(t, m.FieldsV1.GetRawString(), "f:stopped", "the Hub's stop wrote it")
		}
	}
}

func TestServersThatTheHubDoesNotKnowAreStoppedWithoutIt(t *testing.T) {
	for name, change := range map[string]func(*hubDouble, Key){
		"not active":         func(h *hubDouble, k Key) { h.active[k] = false },
		"renamed or deleted": func(h *hubDouble, _ Key) { h.fault = fmt.Errorf("look: %w", ErrHubUser) },
		"a token of others":  func(h *hubDouble, _ Key) { h.fault = ErrHubScopes },
		"refused":            func(h *hubDouble, _ Key) { h.fault = &HubRefusal{Message: "no"} },
	} {
		t.Run(name, func(t *testing.T) {
			req := testRequest("alice", "", "s1")
			req.ServerIdleSeconds, req.MaxRunSeconds = 2, 0
			c, s, h, pod := withHub(t, req)
			h.set(func() { change(h, req.Key) })
			c.deployment("jupyter-alice", "s1", 0)
			c.end(pod)
			assert.Equal(t, "StoppedIdle", c.phase(s, req.Key, v1alpha1.NotebookStopped).Reason)
			assert.Equal(t, []HubAct{HubLook}, h.acts())
		})
	}
}

// TestStopThroughAHub goes through its faults by a clock of the test.
func TestStopThroughAHub(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	nb := requested(testRequest("alice", "", "s1"))
	nb.Namespace = "hub"
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	h := &hubDouble{active: map[Key]bool{}, fault: errors.New("connection refused")}
	met, err := newMetrics(prometheus.NewRegistry(), func() map[v1alpha1.NotebookPhase]int { return nil })
	require.NoError(t, err)
	told := events.NewFakeRecorder(10)
	kept := fake.NewClientBuilder().WithScheme(scheme).WithObjects(nb).Build()
	c := &controller{
		client: kept, live: kept,
		hub: h, hubCalls: make(chan struct{}, hubCalls), met: met, recorder: health.RecorderTo(told, scheme), now: func() time.Time { return now },
	}
	read := func() { require.NoError(t, c.client.Get(t.Context(), client.ObjectKeyFromObject(nb), nb)) }
	stop := func() (time.Duration, error) {
		read()
		return c.stopDue(t.Context(), nb, v1alpha1.StopIdle)
	}
	// It is asked again, more and more seldom.
	var pauses []time.Duration
	for began := now; now.Sub(began) < hubPatience; {
		wait, err := stop()
		require.NoError(t, err)
		require.Positive(t, wait)
		pauses = append(pauses, wait)
		asked := len(h.acts())
		again, err := stop()
		require.NoError(t, err)
		assert.Equal(t, wait, again, "not at once")
		assert.Len(t, h.acts(), asked)
		now = now.Add(wait)
	}
	assert.Equal(t, []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}, pauses[:3])
	assert.Equal(t, hubLongestPause, pauses[len(pauses)-1])
	assert.False(t, nb.Spec.Stopped)
	assert.NotContains(t, nb.Annotations, v1alpha1.AnnotationStopCause, "nothing is announced that nobody will do")
	// And no longer than its patience lasts.
	wait, err := stop()
	require.NoError(t, err)
	assert.Zero(t, wait)
	read()
	assert.True(t, nb.Spec.Stopped)
	assert.Equal(t, "Idle", nb.Annotations[v1alpha1.AnnotationStopCause])
	assert.Contains(t, <-told.Events, "HubUnavailable The Hub has not stopped the server for 10 minutes")
	assert.InDelta(t, len(pauses), testutil.ToFloat64(met.hub.WithLabelValues("stop", "unavailable")), 0)

	// Another start is another matter. One that does not say that it has done it is waited for.
	nb.Spec.Start, nb.Spec.Stopped, nb.Annotations = "s2", false, nil
	require.NoError(t, c.client.Update(t.Context(), nb))
	h.fault, h.asked = nil, nil
	h.active[keyOf(nb)] = true
	h.service = &Service{cfg: testConfig(), client: c.client, live: c.client, snapshot: newSnapshot("elsewhere"), now: c.now}
	h.service.cfg.Namespace = "hub"
	h.silent = true
	wait, err = stop()
	require.NoError(t, err)
	assert.Positive(t, wait)
	wait, err = stop()
	require.NoError(t, err)
	assert.Equal(t, announcedFor, wait)
	read()
	assert.Equal(t, []HubAct{HubLook, HubStop}, h.acts())
	assert.True(t, nb.Spec.Stopped)
	assert.Equal(t, "Idle", nb.Annotations[v1alpha1.AnnotationStopCause])
}

func TestStartOfAServerOfTheHubByKubectlIsAdopted(t *testing.T) {
	req := testRequest("bob", "", "s1")
	c, s, h, pod := withHub(t, req)
	h.set(func() { h.active[req.Key] = false })
	former := c.stoppedByKubectl(s, req.Key, pod)
	h.set(func() { h.fault = errors.New("connection refused") })
	c.patch(former.Name, `{"spec":{"stopped":false}}`)

	// The Hub is away: nothing runs, and it says why.
	nb := c.notebook(former.Name, func(nb *v1alpha1.JupyterNotebook) bool {
		is := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionHub)
		return is != nil && is.Reason == string(ReasonHubUnavailable)
	})
	assert.True(t, nb.Spec.Stopped)
	assert.Equal(t, "s1", nb.Spec.Start)
	assert.Equal(t, v1alpha1.NotebookStopped, nb.Status.Phase)
	assert.Equal(t, corev1.EventTypeWarning, c.told(nb.Name, ReasonHubUnavailable).Type)

	// It is back: the start is its own.
	h.set(func() { h.fault = nil })
	nb = c.notebook(former.Name, func(nb *v1alpha1.JupyterNotebook) bool {
		return !nb.Spec.Stopped && nb.Status.Phase == v1alpha1.NotebookStarting
	})
	assert.NotEqual(t, "s1", nb.Spec.Start)
	assert.NotContains(t, nb.Annotations, v1alpha1.AnnotationStartAsked)
	assert.Nil(t, apimeta.FindStatusCondition(nb.Status.Conditions, ConditionHub))
	c.ready(c.pod(c.deployment(nb.Name, nb.Spec.Start, 1)))
	c.phase(s, req.Key, v1alpha1.NotebookReady)
	c.told(nb.Name, ReasonStartedByHub)
	asked := h.acts()
	time.Sleep(300 * time.Millisecond)
	assert.Equal(t, asked, h.acts(), "and that is all")
}

func TestStartOfAServerOfTheHubByKubectlIsRefused(t *testing.T) {
	for name, row := range map[string]struct {
		change  func(*cluster, *hubDouble)
		reason  Reason
		message string
	}{
		"no Hub to be asked": {func(c *cluster, _ *hubDouble) { c.hub = nil }, ReasonNoHubAPI, "hub.apiURL"},
		"by the Hub":         {func(_ *cluster, h *hubDouble) { h.starts = nil }, ReasonHubRefused, "The Hub does not start the server: no policy is yours. The server stays stopped."},
		"the user is gone":   {func(_ *cluster, h *hubDouble) { h.fault = ErrHubUser }, ReasonHubUserGone, "renamed or deleted"},
		"scopes":             {func(_ *cluster, h *hubDouble) { h.fault = ErrHubScopes }, ReasonHubRefused, "read:users and servers"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.gateway("default")
			req := testRequest("carol", "", "s1")
			h := &hubDouble{active: map[Key]bool{}, starts: map[Key]Request{req.Key: req}}
			c.hub = h
			row.change(c, h)
			s := c.replica(true)
			h.set(func() { h.service = s })
			_, err := s.Start(t.Context(), req)
			require.NoError(t, err)
			pod := c.pod(c.deployment("jupyter-carol", "s1", 1))
			c.ready(pod)
			former := c.stoppedByKubectl(s, req.Key, pod)

			c.patch(former.Name, `{"spec":{"stopped":false}}`)
			nb := c.notebook(former.Name, func(nb *v1alpha1.JupyterNotebook) bool {
				return apimeta.IsStatusConditionFalse(nb.Status.Conditions, ConditionHub) && nb.Annotations[v1alpha1.AnnotationStartAsked] == ""
			})
			is := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionHub)
			assert.Equal(t, string(row.reason), is.Reason)
			assert.Contains(t, is.Message, row.message)
			assert.Contains(t, c.told(nb.Name, row.reason).Note, row.message)
			assert.True(t, nb.Spec.Stopped)
			assert.Equal(t, v1alpha1.NotebookStopped, nb.Status.Phase)
			c.deployment(nb.Name, "s1", 0)
			asked := len(h.acts())
			time.Sleep(300 * time.Millisecond)
			assert.Len(t, h.acts(), asked, "it is not asked again")

			// The Hub's own start is as ever, and clears it.
			req.Start = "s2"
			_, err = s.Start(t.Context(), req)
			require.NoError(t, err)
			c.deployment(nb.Name, "s2", 1)
			c.notebook(nb.Name, func(nb *v1alpha1.JupyterNotebook) bool {
				return nb.Status.Start == "s2" && apimeta.FindStatusCondition(nb.Status.Conditions, ConditionHub) == nil
			})
		})
	}
}

// TestStartWhileItStops: the Pod of a start that is ending does not come back.
func TestStartWhileItStops(t *testing.T) {
	req := testRequest("dave", "", "s1")
	c, s, h, pod := withHub(t, req)
	h.set(func() { h.active[req.Key] = false })
	c.patch("jupyter-dave", `{"spec":{"stopped":true}}`)
	c.notebook("jupyter-dave", inPhase(v1alpha1.NotebookStopping))
	c.patch("jupyter-dave", `{"spec":{"stopped":false}}`)
	c.notebook("jupyter-dave", func(nb *v1alpha1.JupyterNotebook) bool { return nb.Spec.Stopped })
	assert.Empty(t, h.acts(), "its Pod goes first")
	c.deployment("jupyter-dave", "s1", 0)
	c.end(pod)
	nb := c.notebook("jupyter-dave", func(nb *v1alpha1.JupyterNotebook) bool { return nb.Spec.Start != "s1" })
	c.ready(c.pod(c.deployment(nb.Name, nb.Spec.Start, 1)))
	c.phase(s, req.Key, v1alpha1.NotebookReady)
	assert.Equal(t, []HubAct{HubStart}, h.acts())
}
