package spawner

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestLifeOfAServer(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	one, two := c.replica(true), c.replica(false)
	req := testRequest("alice", "", "s1")
	const name = "jupyter-alice"

	_, err := one.State(t.Context(), req.Key)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorIs(t, one.Stop(t.Context(), req.Key), ErrNotFound)
	_, err = one.Events(t.Context(), req.Key, "s1", "")
	require.ErrorIs(t, err, ErrNotFound)

	state, err := one.Start(t.Context(), req)
	require.NoError(t, err)
	assert.Equal(t, State{Key: req.Key, Start: "s1", Phase: v1alpha1.NotebookPending, Options: req.Options}, state)
	state, err = one.State(t.Context(), req.Key)
	require.NoError(t, err, "known at once where it was started")
	assert.Equal(t, "s1", state.Start)

	// The same start again changes nothing, whatever else it says.
	d := c.deployment(name, "s1", 1)
	var before, after v1alpha1.JupyterNotebook
	require.NoError(t, c.get(name, &before))
	again := req
	again.Args = []string{"--other"}
	_, err = two.Start(t.Context(), again)
	require.NoError(t, err)
	require.NoError(t, c.get(name, &after))
	assert.Equal(t, before.Spec, after.Spec)
	assert.Equal(t, before.Generation, after.Generation)

	// What was made.
	var env corev1.Secret
	require.NoError(t, c.get(name+"-env", &env))
	assert.Equal(t, "secret-of-s1", string(env.Data["JUPYTERHUB_API_TOKEN"]))
	assert.True(t, metav1.IsControlledBy(&env, &before))
	identity, err := publicVerifier(t, c.issuer).Verify(string(env.Data[envGatewayToken]))
	require.NoError(t, err)
	assert.Equal(t, []string{c.namespace, name, string(before.UID), "s1", "alice"},
		[]string{identity.Namespace, identity.Name, identity.UID, identity.Start, identity.User})
	var svc corev1.Service
	require.NoError(t, c.get(name, &svc))
	assert.Equal(t, selector(&before), svc.Spec.Selector)
	var volume corev1.PersistentVolumeClaim
	require.NoError(t, c.get("home-"+name, &volume))
	assert.Empty(t, volume.OwnerReferences)

	// Its way up, told on the other replica, cut off in the middle.
	pod := c.pod(d)
	const normal, notebook = corev1.EventTypeNormal, "spec.containers{notebook}"
	c.event(&volume, "PersistentVolumeClaim", normal, "Provisioning", "External provisioner is provisioning volume", "")
	c.event(pod, "Pod", corev1.EventTypeWarning, "FailedScheduling", "0/1 nodes are available: 1 Insufficient memory.", "")
	c.event(pod, "Pod", normal, "Scheduled", "Successfully assigned "+c.namespace+"/"+pod.Name+" to node-1", "")
	c.event(pod, "Pod", normal, "Pulling", `Pulling image "registry.example/lab:stable"`, notebook)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := two.Events(ctx, req.Key, "s1", "")
	require.NoError(t, err)
	var first []Event
	for event := range stream {
		first = append(first, event)
		if event.Message == "Pulling image registry.example/lab:stable" {
			cancel()
			break
		}
	}
	cancel()
	require.NotEmpty(t, first)
	for range stream { // closes when ctx ends
	}
	c.event(pod, "Pod", normal, "Pulled", `Successfully pulled image "registry.example/lab:stable" in 3.104s (3.104s including waiting). Image size: 1000000 bytes.`, notebook)
	c.event(pod, "Pod", normal, "Created", "Container created", notebook)
	c.event(pod, "Pod", normal, "Started", "Container started", notebook)
	c.event(pod, "Pod", corev1.EventTypeWarning, "Unhealthy", "Readiness probe failed: connection refused", notebook)
	c.eventually("started told", func() bool {
		require.NoError(t, c.get(name, &after))
		log := after.Status.Progress
		return len(log) > 0 && log[len(log)-1].Message == "Container started: waiting for the server to answer"
	})
	c.ready(pod)
	state = c.phase(one, req.Key, v1alpha1.NotebookReady)
	assert.Equal(t, "http://jupyter-alice."+c.namespace+".svc:8888", state.URL)
	assert.Equal(t, "ServerReady", state.Reason)
	c.phase(two, req.Key, v1alpha1.NotebookReady)
	c.eventually("both say the same", func() bool { // the status may still change, from second to second
		other, err := two.State(t.Context(), req.Key)
		require.NoError(t, err)
		state, err = one.State(t.Context(), req.Key)
		require.NoError(t, err)
		return assert.ObjectsAreEqual(state, other)
	})
	states, err := two.States(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []State{state}, states)
	assert.JSONEq(t, string(req.Options), string(state.Options))

	rest := c.all(one, req.Key, "s1", first[len(first)-1].ID)
	whole := c.all(two, req.Key, "s1", "")
	assert.Equal(t, whole, append(first, rest...), "another replica goes on with the same ids")
	assert.Subset(t, messages(whole), []string{
		"Request accepted", "Volume home-jupyter-alice is being created",
		"Placed on node node-1",
		"Pulling image registry.example/lab:stable", "Image pulled in 3.1 s (1 MB)", "Container created", "Container started: waiting for the server to answer", "Server answers",
	})
	assert.NotContains(t, messages(whole), "Unhealthy")
	for i, event := range whole {
		assert.Equal(t, i == len(whole)-1, event.Final)
		assert.False(t, event.Failed)
		if i > 0 {
			assert.GreaterOrEqual(t, event.Progress, whole[i-1].Progress)
		}
	}
	assert.Equal(t, 100, whole[len(whole)-1].Progress)
	assert.Empty(t, c.all(one, req.Key, "s1", whole[len(whole)-1].ID), "nothing after the final event")

	// Stop keeps object and volume.
	require.NoError(t, two.Stop(t.Context(), req.Key))
	require.NoError(t, two.Stop(t.Context(), req.Key))
	state, err = two.State(t.Context(), req.Key)
	require.NoError(t, err)
	assert.Equal(t, v1alpha1.NotebookStopping, state.Phase)
	assert.Empty(t, state.URL)
	c.deployment(name, "s1", 0)
	c.phase(one, req.Key, v1alpha1.NotebookStopping)
	c.end(pod)
	c.phase(one, req.Key, v1alpha1.NotebookStopped)
	require.NoError(t, c.get("home-"+name, &volume))
	assert.Nil(t, volume.DeletionTimestamp)

	// A late repetition of the start does not undo the stop.
	_, err = one.Start(t.Context(), req)
	require.NoError(t, err)
	c.phase(one, req.Key, v1alpha1.NotebookStopped)

	// Start again: same object, new Pod, new environment and token.
	next := testRequest("alice", "", "s2")
	next.Image = "registry.example/lab:next"
	_, err = two.Start(t.Context(), next)
	require.NoError(t, err)
	d = c.deployment(name, "s2", 1)
	assert.Equal(t, "registry.example/lab:next", d.Spec.Template.Spec.Containers[0].Image)
	require.NoError(t, c.get(name+"-env", &env))
	assert.Equal(t, "secret-of-s2", string(env.Data["JUPYTERHUB_API_TOKEN"]))
	identity, err = publicVerifier(t, c.issuer).Verify(string(env.Data[envGatewayToken]))
	require.NoError(t, err)
	assert.Equal(t, "s2", identity.Start)
	ended := c.all(one, req.Key, "s1", whole[2].ID)
	require.Len(t, ended, 1)
	assert.Equal(t, "A newer start has taken over", ended[0].Message)
	assert.True(t, ended[0].Final)
	pod = c.pod(d)
	c.ready(pod)
	c.phase(one, req.Key, v1alpha1.NotebookReady)
	assert.Equal(t, "1", c.all(two, req.Key, "s2", "")[0].ID)

	// Remove takes everything.
	require.NoError(t, one.Remove(t.Context(), req.Key))
	_, err = one.State(t.Context(), req.Key)
	require.ErrorIs(t, err, ErrNotFound)
	assert.True(t, apierrors.IsNotFound(c.get(name, &after)))
	assert.True(t, apierrors.IsNotFound(c.get(name+"-env", &env)))
	// Protection holds the claim until its Pod is gone; its controller does not run here.
	if err := c.get("home-"+name, &volume); !apierrors.IsNotFound(err) {
		require.NoError(t, err)
		assert.NotNil(t, volume.DeletionTimestamp)
	}
	require.NoError(t, one.Remove(t.Context(), req.Key), "once more does nothing")
}

func TestStopDuringStart(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	req := testRequest("bob", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment("jupyter-bob", "s1", 1)
	pod := c.pod(d)
	c.phase(s, req.Key, v1alpha1.NotebookStarting)
	stream, err := s.Events(t.Context(), req.Key, "s1", "")
	require.NoError(t, err)
	require.NoError(t, s.Stop(t.Context(), req.Key))
	var last Event
	for event := range stream {
		last = event
	}
	assert.True(t, last.Final)
	assert.False(t, last.Failed)
	assert.Equal(t, "Server was stopped", last.Message)
	c.deployment("jupyter-bob", "s1", 0)
	c.end(pod)
	c.phase(s, req.Key, v1alpha1.NotebookStopped)
}

func TestImageFailureEndsTheStart(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	req := testRequest("carol", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment("jupyter-carol", "s1", 1)
	pod := c.pod(d)
	began := time.Now()
	c.podStatus(pod, func(status *corev1.PodStatus) {
		status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "notebook", Image: "registry.example/lab:stable",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}},
		}}
	})
	state := c.phase(s, req.Key, v1alpha1.NotebookFailed)
	assert.Greater(t, time.Since(began), troubleGrace-2*time.Second, "a registry may recover")
	assert.Equal(t, "ImagePullFailed", state.Reason)
	assert.Equal(t, "Image registry.example/lab:stable cannot be pulled: the registry registry.example has no such image. Choose another image, or have an administrator correct its name or tag.", state.Message)
	events := c.all(s, req.Key, "s1", "")
	last := events[len(events)-1]
	assert.True(t, last.Final)
	assert.True(t, last.Failed)
	assert.Equal(t, state.Message, last.Message)
	// Nothing is left running, and the cause stays known.
	c.deployment("jupyter-carol", "s1", 0)
	c.end(pod)
	time.Sleep(300 * time.Millisecond)
	assert.Equal(t, state, c.phase(s, req.Key, v1alpha1.NotebookFailed))

	// A failed server does not count against the user.
	other := testRequest("carol", "second", "t1")
	_, err = s.Start(t.Context(), other)
	require.NoError(t, err)
	// The next attempt begins anew.
	require.NoError(t, s.Stop(t.Context(), other.Key))
	req.Start = "s2"
	_, err = s.Start(t.Context(), req)
	require.NoError(t, err)
	d = c.deployment("jupyter-carol", "s2", 1)
	c.ready(c.pod(d))
	c.phase(s, req.Key, v1alpha1.NotebookReady)
}

func TestServersPerUser(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	start := func(user, server, id string, limit int32) error {
		req := testRequest(user, server, id)
		req.ServersPerUser = limit
		_, err := s.Start(t.Context(), req)
		return err
	}
	require.NoError(t, start("dave", "", "a", 0))
	require.ErrorIs(t, start("dave", "two", "b", 0), ErrTooManyServers, "0 means one")
	var secret corev1.Secret
	require.True(t, apierrors.IsNotFound(c.get(Name(Key{User: "dave", Server: "two"})+"-env", &secret)), "nothing half made")
	require.NoError(t, start("dave", "two", "b", 2))
	require.ErrorIs(t, start("dave", "three", "c", 2), ErrTooManyServers)
	require.NoError(t, start("dave", "two", "b2", 2), "itself does not count")
	require.ErrorIs(t, start("Dave", "", "d", 2), ErrTooManyServers, "another spelling of the name is the same account")
	require.NoError(t, start("dav\u00e9", "", "d", 1), "another user")
	require.NoError(t, s.Stop(t.Context(), Key{User: "dave"}))
	require.NoError(t, start("DAVE", "", "d", 2), "stopped ones do not count")
	require.ErrorIs(t, start("dave", "three", "c", 2), ErrTooManyServers)
	for user, server := range map[string]string{"dave": "two", "DAVE": ""} {
		require.NoError(t, s.Stop(t.Context(), Key{User: user, Server: server}))
	}

	// Of Hub users, too: two spellings are two users of a Hub that takes them so.
	as := func(user, server, id string, who int64) error {
		req := testRequest(user, server, id)
		req.HubUser, req.ServersPerUser = HubUser{ID: who, Created: 1_700_000_000 + who}, 1
		_, err := s.Start(t.Context(), req)
		return err
	}
	require.NoError(t, as("erin", "", "a", 7))
	require.ErrorIs(t, as("eRIN", "", "b", 8), ErrTooManyServers)
	require.NoError(t, s.Stop(t.Context(), Key{User: "erin", HubUser: HubUser{ID: 7, Created: 1_700_000_007}}))
	require.NoError(t, as("eRIN", "", "b", 8))
}

// refusing lets the API server's answer to one kind of write be a refusal.
func refusing(c *cluster, kind client.Object) client.Client {
	inner, err := client.NewWithWatch(c.rest, client.Options{Scheme: c.scheme})
	require.NoError(c.t, err)
	return interceptor.NewClient(inner, interceptor.Funcs{
		Create: func(ctx context.Context, w client.WithWatch, object client.Object, opts ...client.CreateOption) error {
			if reflect.TypeOf(object) == reflect.TypeOf(kind) {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "jupyternotebooks"}, object.GetName(), errors.New("exceeded quota"))
			}
			return w.Create(ctx, object, opts...)
		},
	})
}

func TestRefusedNotebookLeavesNoSecret(t *testing.T) {
	c := newCluster(t)
	s := c.replica(false)
	s.client = refusing(c, &v1alpha1.JupyterNotebook{})
	_, err := s.Start(t.Context(), testRequest("erin", "", "s1"))
	require.True(t, apierrors.IsForbidden(err), "%v", err)
	assert.True(t, apierrors.IsNotFound(c.get("jupyter-erin-env", &corev1.Secret{})))
	_, err = s.State(t.Context(), Key{User: "erin"})
	assert.ErrorIs(t, err, ErrNotFound)
}

func TestInvalidStorageBuildsNothing(t *testing.T) {
	c := newCluster(t)
	s := c.replica(true)
	req := testRequest("erin", "", "s1")
	req.Storage.Shared[0].MountPath = ""
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	state := c.phase(s, req.Key, v1alpha1.NotebookFailed)
	assert.Equal(t, "StorageRefused", state.Reason)
	assert.True(t, apierrors.IsNotFound(c.get("jupyter-erin", &appsv1.Deployment{})))
	assert.True(t, apierrors.IsNotFound(c.get("home-jupyter-erin", &corev1.PersistentVolumeClaim{})))
	assert.True(t, apierrors.IsNotFound(c.get("jupyter-erin-gateway", &corev1.Secret{})))
}

func TestRemoveKeepsForeignVolume(t *testing.T) {
	c := newCluster(t)
	s := c.replica(false)
	volume := claim(requested(testRequest("gina", "", "s1")))
	volume.Namespace, volume.Labels = c.namespace, nil
	require.NoError(t, c.client.Create(t.Context(), volume))
	require.NoError(t, s.Remove(t.Context(), Key{User: "gina"}))
	require.NoError(t, c.get("home-jupyter-gina", volume))
	assert.Nil(t, volume.DeletionTimestamp)
}

func TestForeignNotebookIsNotTouched(t *testing.T) {
	c := newCluster(t)
	s := c.replica(true)
	foreign := &v1alpha1.JupyterNotebook{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "jupyter-frank"},
		Spec:       v1alpha1.JupyterNotebookSpec{Template: &v1alpha1.PodTemplate{}},
	}
	require.NoError(t, c.client.Create(t.Context(), foreign))
	key := Key{User: "frank"}
	_, err := s.Start(t.Context(), testRequest("frank", "", "s1"))
	require.ErrorIs(t, err, ErrNameTaken)
	require.ErrorIs(t, s.Stop(t.Context(), key), ErrNameTaken)
	require.ErrorIs(t, s.Remove(t.Context(), key), ErrNameTaken)
	states, err := s.States(t.Context())
	require.NoError(t, err)
	assert.Empty(t, states)
	assert.True(t, apierrors.IsNotFound(c.get("jupyter-frank-env", &corev1.Secret{})))
}
