package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/rotation"
	"github.com/elastichub/elastichub/test/apiserver"
)

// TestServe runs the whole service on a real API server, and asks it as a kubelet, a Hub
// and a person do.
func TestServe(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	environment := apiserver.Environment(filepath.Join("..", "..", "charts", "elastichub", "crds"))
	cluster, err := environment.Start()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, environment.Stop()) })
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	api, err := client.New(cluster, client.Options{Scheme: scheme})
	require.NoError(t, err)
	require.NoError(t, api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "hub"}}))
	t.Setenv("KUBECONFIG", writeConfig(t, string(environment.KubeConfig)))

	// A Hub to whom every token is one of alice's.
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind": "user", "name": "alice", "scopes": ["access:services!service=elastichub"]}`)
	}))
	t.Cleanup(hub.Close)
	config, err := loadServeConfig(writeConfig(t, minimal), nil)
	require.NoError(t, err)
	config.HubAPI.Listen, config.Metrics.Listen = freeAddress(t), "0"
	config.HubAPI.TokenFile = writeConfig(t, strings.Repeat("h", 48))
	config.Signing.SeedFile = writeConfig(t, base64.StdEncoding.EncodeToString(make([]byte, 32)))
	config.Hub.APIURL, config.Hub.TokenFile = hub.URL, config.HubAPI.TokenFile
	config.Portal.Enabled, config.Portal.SignIn.KeyFile = true, config.HubAPI.TokenFile
	config.Prometheus.URL = "http://127.0.0.1:9" // nobody: no server is idle
	config.Prepull.Enabled = true
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, config) }()
	defer func() {
		stop()
		assert.NoError(t, <-ended)
	}()

	ask := func(method, path, token, body string) (int, string) {
		r, err := http.NewRequestWithContext(ctx, method, "http://"+config.HubAPI.Listen+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		return answer.StatusCode, string(text)
	}
	require.Eventually(t, func() bool {
		code, _ := ask(http.MethodGet, "/readyz", "", "")
		return code == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	checkMetricsPage(t)
	checkAlerts(t)
	code, text := ask(http.MethodGet, "/api/spawner/v1/servers", strings.Repeat("h", 48), "")
	assert.Equal(t, http.StatusOK, code)
	assert.JSONEq(t, `{"servers": []}`, text)
	code, _ = ask(http.MethodGet, "/api/spawner/v1/servers", "alices-token", "")
	assert.Equal(t, http.StatusUnauthorized, code, "who is let in to the console is not to the Hub API")

	k := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Namespace: "hub", Name: "k"}}
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: "none", KernelSpec: "none", User: "alice", Notebook: "jupyter-alice", Run: 1}
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: "hub", Name: "jupyter-alice"}}
	nb.Spec.User, nb.Spec.Gateway, nb.Spec.Start = "alice", &corev1.ObjectReference{Name: "none"}, "s"
	require.NoError(t, api.Create(t.Context(), nb))
	require.NoError(t, api.Create(t.Context(), k))
	const console = "/services/elastichub/"
	require.Eventually(t, func() bool {
		code, text = ask(http.MethodGet, console+"api/v1/me/kernels", "alices-token", "")
		return code == http.StatusOK && strings.Contains(text, `"id":"k"`)
	}, time.Minute, 50*time.Millisecond, "%s", text)
	for _, path := range []string{"", "kernels/k", "servers/jupyter-alice", "api/v1/kernels/k/events", "api/v1/openapi.yaml", "my-hours", "api/v1/me/usage"} {
		code, text = ask(http.MethodGet, console+path, "alices-token", "")
		assert.Equal(t, http.StatusOK, code, "%s: %s", path, text)
	}
	code, _ = ask(http.MethodGet, console+"cluster", "alices-token", "")
	assert.Equal(t, http.StatusForbidden, code)
	code, text = ask(http.MethodPost, console+"api/v1/servers/jupyter-alice/stop", "alices-token", `{"reason": "Lunch"}`)
	require.Equal(t, http.StatusAccepted, code, text)
	require.NoError(t, api.Get(t.Context(), client.ObjectKeyFromObject(nb), nb))
	assert.True(t, nb.Spec.Stopped)
	var events corev1.EventList
	require.NoError(t, api.List(t.Context(), &events, client.InNamespace("hub")))
	assert.Contains(t, fmt.Sprint(events.Items), "Asked for by alice: Lunch")
	gateway := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: "hub", Name: "default"}}
	require.NoError(t, api.Create(t.Context(), gateway))
	require.Eventually(t, func() bool { // for the images of its built-in kernel
		var all appsv1.DaemonSetList
		return api.List(t.Context(), &all, client.InNamespace("hub")) == nil && len(all.Items) == 1
	}, time.Minute, 50*time.Millisecond)
	// Secrets are changed under it: the Hub's token, and the key of tokens, which gateways are told.
	beside := func(file, key, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), key), []byte(text), 0o600))
	}
	beside(config.HubAPI.TokenFile, rotation.KeyNext, strings.Repeat("n", 48))
	beside(config.HubAPI.TokenFile, rotation.KeyMark, "m1")
	beside(config.Signing.SeedFile, rotation.KeyNext, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)))
	beside(config.Signing.SeedFile, rotation.KeyMark, "m2")
	require.Eventually(t, func() bool {
		var told corev1.ConfigMap
		return api.Get(t.Context(), client.ObjectKey{Namespace: "hub", Name: "default-gateway"}, &told) == nil &&
			strings.Count(told.Data["public-keys"], "\n") == 2 && told.Data[rotation.KeyMark] == "m2" && strings.HasPrefix(told.Data["public-keys"], told.Data["public-key"])
	}, time.Minute, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		_, text = ask(http.MethodGet, rotation.Path, "", "")
		return text == `{"hub-token":"m1","portal":"m1","signing":"m2"}`+"\n"
	}, time.Minute, 50*time.Millisecond, "%s", text)
	for _, token := range []string{strings.Repeat("n", 48), strings.Repeat("h", 48)} {
		code, _ = ask(http.MethodGet, "/api/spawner/v1/servers", token, "")
		assert.Equal(t, http.StatusOK, code)
	}
	code, _ = ask(http.MethodGet, console+"api/v1/images", "alices-token", "")
	assert.Equal(t, http.StatusForbidden, code)
	// The leader carries out what was asked for: an owner's stop ends the kernels.
	require.Eventually(t, func() bool {
		return apierrors.IsNotFound(api.Get(t.Context(), client.ObjectKeyFromObject(k), k))
	}, time.Minute, 50*time.Millisecond)
}

// freeAddress is one that nobody listens at now.
func freeAddress(t *testing.T) string {
	t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer probe.Close()
	return probe.Addr().String()
}
