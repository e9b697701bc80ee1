package plugin_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/plugin"
	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/test/apiserver"
)

const (
	place   = "lab"
	waiting = "11111111-aaaa-4aaa-8aaa-000000000001"
	ready   = "22222222-aaaa-4aaa-8aaa-000000000002"
	parked  = "33333333-aaaa-4aaa-8aaa-000000000003"
)

// lab is a namespace of a real API server with servers and kernels of two people.
type lab struct {
	*testing.T
	config *rest.Config
	api    client.Client
	now    time.Time
}

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS must be set in CI")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	environment := apiserver.Environment(filepath.Join("..", "charts", "elastichub", "crds"))
	config, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	api, err := client.New(config, client.Options{Scheme: scheme})
	require.NoError(t, err)
	l := &lab{T: t, config: config, api: api, now: time.Now().Truncate(time.Second)}
	l.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: place}})
	l.fill()
	return l
}

func (l *lab) create(o client.Object) {
	l.Helper()
	require.NoError(l, l.api.Create(l.Context(), o), o.GetName())
}

func (l *lab) before(d time.Duration) *metav1.Time { return &metav1.Time{Time: l.now.Add(-d)} }

func (l *lab) fill() {
	spec := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: "python-gpu", Namespace: place}}
	spec.Spec.DisplayName = "Python GPU"
	spec.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}}
	l.create(spec)
	l.server("jupyter-alice", "alice", "start-1", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady, StartTime: l.before(time.Hour), Busy: []v1alpha1.NotebookBusy{
		{Kind: v1alpha1.BusyTerminal, Name: "1 (make)", Since: l.before(20 * time.Minute)}, {Kind: v1alpha1.BusyKernel, Name: ready}, {Kind: "download"},
	}})
	l.server("jupyter-zoe", "zoe", "start-1", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady, StartTime: l.before(24 * time.Hour), Conditions: []metav1.Condition{{
		Type: v1alpha1.ConditionOrphan, Status: metav1.ConditionTrue, Reason: "HubServerStopped", LastTransitionTime: *l.before(time.Hour),
		Message: "The server runs, and the Hub says that it is stopped: nobody comes to it through the Hub.",
	}}})
	l.server("plain", "", "", v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookFailed, Reason: "ImagePullBackOff", Message: "The image cannot be had"})
	queued := metav1.NewMicroTime(l.now.Add(-3 * time.Minute))
	l.kernel(waiting, "bob", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued, QueuedSince: &queued,
		Queue: &v1alpha1.QueueStatus{Position: 2, Length: 5, Reason: "all 2 nvidia.com/gpu of the cluster are in use"}})
	l.kernel(ready, "alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Node: "gpu-1", PodName: "kernel-pod", ReadyTime: l.before(time.Hour),
		Policies: []string{"research"}, Held: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("2")}})
	l.kernel(parked, "alice", v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelParked, CompletionTime: l.before(5 * time.Minute),
		Cause: v1alpha1.CauseIdle, Message: "The kernel was idle for 5 minutes.", Kept: &v1alpha1.KeptState{Outcome: "part", Variables: 12, Bytes: 3 << 20, Lost: []string{"socket"}}})
	l.create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "kernel-pod", Namespace: place}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "kernel", Image: "x", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("4Gi")}},
	}}}})
	l.create(&corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "old.1", Namespace: place}, Type: corev1.EventTypeWarning, Reason: "FailedScheduling", Message: "0/2 nodes are available",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "kernel-pod", Namespace: place}, LastTimestamp: *l.before(2 * time.Minute)})
}

func (l *lab) server(name, user, start string, status v1alpha1.JupyterNotebookStatus) {
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: place}}
	nb.Spec.User, nb.Spec.Start, nb.Spec.Gateway = user, start, &corev1.ObjectReference{Name: "default"}
	l.create(nb)
	nb.Status = status
	require.NoError(l, l.api.Status().Update(l.Context(), nb))
}

func (l *lab) kernel(name, user string, status v1alpha1.JupyterKernelStatus) {
	k := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: place}}
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: "default", KernelSpec: "python-gpu", User: user, Notebook: "jupyter-alice", Run: 1}
	l.create(k)
	status.Run = 1
	k.Status = status
	require.NoError(l, l.api.Status().Update(l.Context(), k))
}

// as is the cluster as a user sees it, who may what rules say.
func (l *lab) as(user string, rules ...rbacv1.PolicyRule) *plugin.Cluster {
	l.Helper()
	config := rest.CopyConfig(l.config)
	if user != "" {
		config.Impersonate.UserName = user
		l.create(&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: place}, Rules: rules})
		l.create(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: user, Namespace: place}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}})
	}
	c, err := plugin.Open(config, place)
	require.NoError(l, err)
	c.Now = func() time.Time { return l.now }
	return c
}

func (l *lab) readKernel(name string) *v1alpha1.JupyterKernel {
	k := &v1alpha1.JupyterKernel{}
	require.NoError(l, l.api.Get(l.Context(), client.ObjectKey{Namespace: place, Name: name}, k))
	return k
}

func (l *lab) readServer(name string) *v1alpha1.JupyterNotebook {
	nb := &v1alpha1.JupyterNotebook{}
	require.NoError(l, l.api.Get(l.Context(), client.ObjectKey{Namespace: place, Name: name}, nb))
	return nb
}

// right is one to do something with some of the kinds.
func right(verbs, resources string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{"kubeflow.tkestack.io", ""}, Verbs: strings.Fields(verbs), Resources: strings.Fields(resources)}
}

// golden compares with testdata; UPDATE_GOLDEN=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestPlugin(t *testing.T) {
	l := newLab(t)
	t.Run("tables", l.tables)
	t.Run("why", l.why)
	t.Run("rights", l.rights)
	t.Run("acts", l.acts)
}

func (l *lab) tables(t *testing.T) {
	c := l.as("")
	seen, err := c.Read(t.Context())
	require.NoError(t, err)
	require.Empty(t, seen.Missing)
	var out bytes.Buffer
	for _, format := range []plugin.Format{plugin.Table, plugin.Wide} {
		p := plugin.Printer{Out: &out, Format: format, Now: l.now, Namespaces: format == plugin.Wide}
		for _, by := range []plugin.By{plugin.Users, plugin.Policies, plugin.Nodes} {
			require.NoError(t, p.Top(by, seen.Top(by)))
		}
		require.NoError(t, p.List(seen, ""))
		require.NoError(t, p.Queue(seen.Queue()))
	}
	golden(t, "tables.txt", out.String())

	out.Reset()
	require.NoError(t, plugin.Printer{Out: &out, Format: plugin.YAML}.Top(plugin.Users, seen.Top(plugin.Users)))
	golden(t, "top.yaml", out.String())
	assert.Equal(t, map[string]string{"jupyter-alice": "server, Ready", "jupyter-zoe": "server, Ready", "plain": "server, Failed"}, seen.Names("server"))
	assert.Equal(t, map[string]string{"alice": "user", "bob": "user", "zoe": "user"}, seen.Names("user"))
	assert.Contains(t, seen.Names("kernel"), waiting)
}

func (l *lab) why(t *testing.T) {
	c := l.as("")
	var out bytes.Buffer
	for _, name := range []string{"bob", "2222", "pod/kernel-pod", "kernel/" + parked, "plain", "jupyter-alice"} {
		answers, missing, err := c.Why(t.Context(), name)
		require.NoError(t, err, name)
		require.Empty(t, missing)
		out.WriteString("# " + name + "\n")
		require.NoError(t, plugin.Printer{Out: &out}.Why(answers))
	}
	golden(t, "why.txt", out.String())
	answers, _, err := c.Why(t.Context(), "alice")
	require.NoError(t, err)
	assert.Len(t, answers, 3, "her server and her kernels")

	_, _, err = c.Why(t.Context(), "alcie")
	assert.EqualError(t, err, `there is no kernel, server, Pod or user "alcie" in the namespace lab: did you mean alice?`)
	_, _, err = c.Why(t.Context(), "user/"+waiting)
	assert.EqualError(t, err, `there is no user "`+waiting+`" in the namespace lab`)
}

func (l *lab) rights(t *testing.T) {
	_, err := l.as("nobody").Read(t.Context())
	assert.EqualError(t, err, "You may not list jupyterkernels in the namespace lab: ask for a Role with the verb list on jupyterkernels")

	reader := l.as("reader", right("get list", "jupyterkernels jupyternotebooks"))
	seen, err := reader.Read(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{
		"You may not list jupyterkernelspecs in the namespace lab: titles of kernels, and what those that wait ask for, are missing.",
		"You may not list pods in the namespace lab: CPU and memory of kernels, and nodes of servers, are missing.",
	}, seen.Missing)
	_, missing, err := reader.Why(t.Context(), waiting)
	require.NoError(t, err)
	assert.Contains(t, missing, "You may not list events in the namespace lab: what happened before is missing.")

	_, err = reader.Release(t.Context(), ready, plugin.Wish{Reason: "a class begins"})
	assert.EqualError(t, err, "You may not patch jupyterkernels in the namespace lab: ask for a Role with the verb patch on jupyterkernels")
	assert.Nil(t, l.readKernel(ready).Spec.Park)
	_, err = l.as("stranger").Release(t.Context(), ready, plugin.Wish{Reason: "x"})
	assert.EqualError(t, err, "You may not get jupyterkernels in the namespace lab: ask for a Role with the verb get on jupyterkernels")
	everywhere := l.as("")
	everywhere.Namespace = ""
	_, err = everywhere.Release(t.Context(), ready, plugin.Wish{Reason: "x"})
	assert.ErrorContains(t, err, "name one namespace")
}

func (l *lab) acts(t *testing.T) {
	c := l.as("operator", right("get list patch", "jupyterkernels jupyternotebooks"))
	_, err := c.Release(t.Context(), ready, plugin.Wish{})
	assert.EqualError(t, err, "say why, with --reason: it is alice's, who reads it")
	done, err := c.Release(t.Context(), ready, plugin.Wish{Reason: "a class begins", DryRun: true})
	require.NoError(t, err)
	assert.Contains(t, done.Text, "dry run")
	assert.Nil(t, l.readKernel(ready).Spec.Park)
	done, err = c.Release(t.Context(), ready[:6], plugin.Wish{Reason: "a class\nbegins", Force: true})
	require.NoError(t, err)
	assert.Contains(t, done.Missing, "You may not create events in the namespace lab")
	assert.Equal(t, &v1alpha1.KernelPark{Run: 1, Force: true, By: "kubernetes:operator", Reason: "a class begins"}, l.readKernel(ready).Spec.Park)
	_, err = c.Release(t.Context(), parked, plugin.Wish{Reason: "x"})
	assert.EqualError(t, err, parked+" neither runs nor waits")
	_, err = c.Release(t.Context(), strings.Replace(waiting, "1", "9", 1), plugin.Wish{Reason: "x"})
	assert.ErrorContains(t, err, "did you mean "+waiting)

	_, err = c.Move(t.Context(), waiting, acts.First, plugin.Wish{})
	assert.ErrorContains(t, err, "say why, with --reason")
	_, err = c.Move(t.Context(), ready, acts.First, plugin.Wish{Reason: "x"})
	assert.EqualError(t, err, ready+" does not wait in the queue")
	done, err = c.Move(t.Context(), waiting[:5], acts.First, plugin.Wish{Reason: "a talk"})
	require.NoError(t, err)
	assert.Contains(t, done.Text, "is moved to the front of the queue")
	spec := l.readKernel(waiting).Spec
	assert.EqualValues(t, 1, spec.QueuePriority)
	assert.Equal(t, &v1alpha1.KernelQueueMove{Run: 1, By: "kubernetes:operator", Reason: "a talk"}, spec.QueueMove)
	told, _, err := l.as("").Why(t.Context(), waiting)
	require.NoError(t, err)
	assert.Contains(t, told[0].Sentences, "kubernetes:operator has moved it to the front of the queue: a talk.")

	whole := l.as("whole", right("get list patch create", "jupyterkernels jupyternotebooks events"))
	done, err = whole.Stop(t.Context(), "jupyter-alice", plugin.Wish{Reason: "the node goes"})
	require.NoError(t, err)
	require.Empty(t, done.Missing)
	nb := l.readServer("jupyter-alice")
	assert.True(t, nb.Spec.Stopped)
	assert.Equal(t, "Admin", nb.Annotations[v1alpha1.AnnotationStopCause])
	answers, _, err := l.as("").Why(t.Context(), "jupyter-alice")
	require.NoError(t, err)
	said := strings.Join(answers[0].Sentences, "\n")
	assert.Contains(t, said, "an administrator asked for it")
	assert.Contains(t, said, "Asked for by kubernetes:whole: the node goes.")
	done, err = whole.Start(t.Context(), "jupyter-alice", plugin.Wish{})
	require.NoError(t, err)
	assert.Contains(t, done.Text, "jupyternotebook/jupyter-alice is the Hub's, which is asked to start it")
	nb = l.readServer("jupyter-alice")
	assert.True(t, nb.Spec.Stopped, "only the Hub starts it")
	asked, err := time.Parse(time.RFC3339, nb.Annotations[v1alpha1.AnnotationStartAsked])
	require.NoError(t, err)
	assert.Equal(t, l.now.UTC(), asked.UTC())

	_, err = whole.Start(t.Context(), "plain", plugin.Wish{})
	assert.EqualError(t, err, "plain is not stopped")
	_, err = whole.Stop(t.Context(), "plain", plugin.Wish{})
	require.NoError(t, err)
	assert.Empty(t, l.readServer("plain").Annotations[v1alpha1.AnnotationStopCause], "nobody's but who may write it")
	_, err = whole.Stop(t.Context(), "plain", plugin.Wish{})
	assert.EqualError(t, err, "plain neither runs nor waits")
	_, err = whole.Start(t.Context(), "plain", plugin.Wish{})
	require.NoError(t, err)
	assert.False(t, l.readServer("plain").Spec.Stopped)
	_, err = whole.Stop(t.Context(), "plane", plugin.Wish{})
	assert.EqualError(t, err, `there is no server "plane" in the namespace lab: did you mean plain?`)
}
