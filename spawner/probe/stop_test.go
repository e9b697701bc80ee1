package probe_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/probe"
	"github.com/elastichub/elastichub/test/apiserver"
	"github.com/elastichub/elastichub/tokens"
)

// here asks the one server that there is, since no name of a Service leads to it.
type here struct {
	*probe.Client
	address string
}

func (h here) Ask(ctx context.Context, server spawner.Access) (spawner.Activity, error) {
	server.Address = h.address
	return h.Client.Ask(ctx, server)
}

func (h here) Forewarn(ctx context.Context, server spawner.Access, warning spawner.Forewarning) error {
	server.Address = h.address
	return h.Client.Forewarn(ctx, server, warning)
}

// TestARealServerIsStopped while a page in front polls it, and not while a silent command runs in a
// terminal: a real API server, the controller, the probe, a jupyter_server with the extension.
func TestARealServerIsStopped(t *testing.T) {
	const token, idle = "of-this-start", 4 * time.Second
	address := serve(t, token, withExtension)
	asker, err := probe.New()
	require.NoError(t, err)
	api, namespace := controllers(t, here{asker, address})
	ctx := t.Context()

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "env"}, StringData: map[string]string{"JUPYTERHUB_API_TOKEN": token}}
	require.NoError(t, api.Create(ctx, secret))
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "n"}}
	nb.Spec = v1alpha1.JupyterNotebookSpec{EnvSecret: "env", Template: &v1alpha1.PodTemplate{}, IdleStop: &v1alpha1.IdleStop{Seconds: new(int64(idle / time.Second))}}
	var terminal struct{ Name string }
	post(t, address, "api/terminals", token, "", &terminal)
	keys := typeInto(t, address, token, terminal.Name)
	keys("sleep 600\r")
	pollAsJupyterLab(t, address, token)
	require.NoError(t, api.Create(ctx, nb))
	makeReady(t, api, nb)

	look := func() v1alpha1.JupyterNotebookStatus {
		require.NoError(t, api.Get(ctx, client.ObjectKeyFromObject(nb), nb))
		return nb.Status
	}
	require.Eventually(t, func() bool { return len(look().Busy) == 1 }, patience, 50*time.Millisecond)
	began := time.Now()
	for time.Since(began) < idle+idle/2 {
		status := look()
		require.False(t, nb.Spec.Stopped)
		require.Nil(t, status.StopEligibleAt)
		require.Equal(t, "terminal "+terminal.Name+" (sleep)", status.Busy[0].Kind+" "+status.Busy[0].Name)
		time.Sleep(100 * time.Millisecond)
	}
	keys("\x03")
	require.Eventually(t, func() bool { return len(look().Busy) == 0 }, patience, 20*time.Millisecond)
	require.NotNil(t, nb.Status.StopEligibleAt)
	assert.True(t, nb.Status.StopEligibleAt.After(time.Now()), "%s", nb.Status.StopEligibleAt)
	told := false
	require.Eventually(t, func() bool {
		var page struct{ StopAt *time.Time }
		post(t, address, "elastichub/v1/activity/page", token, `{"usedSecondsAgo": null}`, &page)
		told = told || page.StopAt != nil
		look()
		return nb.Spec.Stopped
	}, patience, 50*time.Millisecond)
	assert.True(t, told, "its page could say so")
	assert.Equal(t, "Idle", nb.Annotations[v1alpha1.AnnotationStopCause])
}

const patience = time.Minute

// controllers run against a real API server.
func controllers(t *testing.T, asker spawner.Asker) (client.Client, string) {
	t.Helper()
	config, api := apiserver.Start(t)
	const namespace = "default"
	issuer, err := tokens.NewIssuer(make([]byte, 32))
	require.NoError(t, err)
	cfg := spawner.Config{Namespace: namespace, DefaultImage: "notebook"}
	apiserver.Run(t, config, api.Scheme(), namespace, func(mgr ctrl.Manager) error {
		servers, err := spawner.NewService(t.Context(), cfg, mgr.GetClient(), mgr.GetAPIReader(), mgr.GetCache())
		if err != nil {
			return err
		}
		return servers.SetupWithManager(mgr, issuer, asker, nil, prometheus.NewRegistry())
	})
	return api, namespace
}

// makeReady stands for the Deployment controller and the kubelet.
func makeReady(t *testing.T, api client.Client, nb *v1alpha1.JupyterNotebook) {
	t.Helper()
	var d appsv1.Deployment
	require.Eventually(t, func() bool { return api.Get(t.Context(), client.ObjectKeyFromObject(nb), &d) == nil }, patience, 50*time.Millisecond)
	pod := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
	pod.Namespace, pod.Name = nb.Namespace, d.Name+"-1-a"
	pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = "1"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: d.Name + "-1", UID: "rs", Controller: new(true)}}
	require.NoError(t, api.Create(t.Context(), pod))
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.NotebookContainer, Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	require.NoError(t, api.Status().Update(t.Context(), pod))
}

// typeInto returns what types into a terminal.
func typeInto(t *testing.T, address, token, name string) func(string) {
	t.Helper()
	url := "ws" + strings.TrimPrefix(address, "http") + "terminals/websocket/" + name
	ws, response, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"token " + token}}})
	require.NoError(t, err)
	if response.Body != nil {
		response.Body.Close()
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	go func() {
		for {
			if _, _, err := ws.Read(context.Background()); err != nil {
				return
			}
		}
	}()
	return func(text string) {
		t.Helper()
		message, err := json.Marshal([]string{"stdin", text})
		require.NoError(t, err)
		require.NoError(t, ws.Write(t.Context(), websocket.MessageText, message))
	}
}

// pollAsJupyterLab asks what its page in front does, only more often.
func pollAsJupyterLab(t *testing.T, address, token string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			for _, path := range []string{"api/kernels", "api/sessions", "api/terminals", "api/contents?content=1"} {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+path, http.NoBody)
				if !assert.NoError(t, err) {
					return
				}
				r.Header.Set("Authorization", "token "+token)
				if answer, err := http.DefaultClient.Do(r); err == nil {
					answer.Body.Close()
					assert.Equal(t, http.StatusOK, answer.StatusCode, path)
				}
			}
			time.Sleep(300 * time.Millisecond)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}
