//go:build e2e

package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/test/helm"
	"github.com/elastichub/elastichub/test/loopback"
)

const (
	namespace = "monitoring-test"
	chart     = "../../charts/elastichub"
	// login is the owner's, of each server.
	login    = "of-their-owner"
	patience = 4 * time.Minute
)

// values are of a release of its own. A terminal is somebody's work here.
const values = `
replicas: 1
crds: {upgrade: false}
podDisruptionBudget: {enabled: false}
groups: {hub: {sent: true}}
notebooks: {gateway: ""}
kernels: {clusterCapacity: false, podDisruptionBudget: {enabled: false}}
metrics: {notebooks: {enabled: true}}
prometheus:
  required: true
  window: 30s
  keepWhile: terminal_currently_running_total{namespace="$namespace",pod="$pod"}
`

// notebooks are idle for all that they know. Prometheus looks for the last one where nothing is.
const notebooks = `
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterNotebook
metadata: {name: idle}
spec:
  auth: {mode: enable, token: of-their-owner}
  idleStop: {seconds: 20}
  template:
    spec: {containers: [{name: notebook, resources: {requests: {cpu: 50m, memory: 128Mi}}}]}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterNotebook
metadata: {name: held}
spec:
  auth: {mode: enable, token: of-their-owner}
  idleStop: {seconds: 20}
  template:
    spec: {containers: [{name: notebook, resources: {requests: {cpu: 50m, memory: 128Mi}}}]}
---
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterNotebook
metadata: {name: unknown}
spec:
  auth: {mode: enable, token: of-their-owner}
  idleStop: {seconds: 20}
  template:
    metadata: {annotations: {elastichub.io/metrics-path: /nowhere}}
    spec: {containers: [{name: notebook, resources: {requests: {cpu: 50m, memory: 128Mi}}}]}
`

func need(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmpty(t, value, "%s is not set: run make panels-test", name)
	return value
}

func kubectl(ctx context.Context, input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Getenv("KUBECTL"), append([]string{"-n", namespace}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := kubectl(t.Context(), "", args...)
	require.NoError(t, err)
	return out
}

// notebook is what the test looks at.
type notebook struct {
	Spec   struct{ Stopped bool }
	Status struct {
		Phase, PodName  string
		Reason, Message string
		Conditions      []metav1.Condition
	}
}

func look(t *testing.T, name string) (nb notebook) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(run(t, "get", "jupyternotebook", name, "-o", "json")), &nb))
	return nb
}

// says is the reason of a condition.
func (n notebook) says(kind string) string {
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			return c.Reason
		}
	}
	return ""
}

// ask asks a server and returns the status and the text.
func ask(t *testing.T, method, url, authorization, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	require.Eventually(t, is, patience, 500*time.Millisecond, what)
}

// TestPrometheusHasASay: of three idle servers the one is stopped of which Prometheus agrees. The
// one with a terminal is kept by what the administrator asks, and the one that Prometheus
// cannot read because it is required.
func TestPrometheusHasASay(t *testing.T) {
	for _, name := range []string{"KUBECONFIG", "KUBECTL"} {
		need(t, name)
	}
	run(t, "delete", "namespace", namespace, "--ignore-not-found")
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := kubectl(context.Background(), "", "logs", "deployment/elastichub", "--tail=60")
			objects, _ := kubectl(context.Background(), "", "get", "jupyternotebooks", "-o", "yaml")
			t.Log(logs, objects)
		}
		_, err := kubectl(context.Background(), "", "delete", "namespace", namespace, "--wait=false")
		assert.NoError(t, err)
	})
	node := run(t, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	address := fmt.Sprintf("%s:%d", node, loopback.Port())
	file := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(file, []byte(values), 0o600))
	service, tag, _ := strings.Cut(need(t, "SERVICE_IMAGE"), ":")
	said, err := helm.Run(t, "install", "elastichub", chart, "--namespace", namespace, "--create-namespace", "--values", file,
		"--set", "image.name="+service, "--set-string", "image.tag="+tag, "--set", "notebooks.image="+need(t, "NOTEBOOK_IMAGE"),
		"--set", "kernels.image="+need(t, "KERNEL_IMAGE"), "--set", "prometheus.url=http://"+address)
	require.NoError(t, err, said)
	token := startPrometheus(t, address)
	run(t, "rollout", "status", "deployment/elastichub", "--timeout=180s")
	_, err = kubectl(t.Context(), notebooks, "apply", "-f", "-")
	require.NoError(t, err)

	server := map[string]string{}
	for _, name := range []string{"idle", "held", "unknown"} {
		eventually(t, name+" is ready", func() bool { return look(t, name).Status.Phase == "Ready" })
		server[name] = "http://" + run(t, "get", "pod", look(t, name).Status.PodName, "-o", "jsonpath={.status.podIP}") + ":8888"
	}
	status, text := ask(t, http.MethodPost, server["held"]+"/api/terminals", "token "+login, "{}")
	require.Equal(t, http.StatusOK, status, text)

	// Prometheus' token is nobody's login, and the Pod has its hash alone.
	status, text = ask(t, http.MethodGet, server["held"]+"/metrics", "Bearer "+token, "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, "jupyter_server_last_activity_timestamp_seconds")
	for path, authorization := range map[string]string{"/metrics": "", "/api/kernels": "Bearer " + token, "/api/status": "Bearer " + token} {
		status, _ = ask(t, http.MethodGet, server["held"]+path, authorization, "")
		assert.Equal(t, http.StatusForbidden, status, path)
	}
	assert.Equal(t, "sha256", run(t, "exec", look(t, "held").Status.PodName, "--", "ls", "/etc/elastichub/metrics"))

	began := time.Now()
	eventually(t, "the idle one is stopped", func() bool { return look(t, "idle").Status.Phase == "Stopped" })
	t.Logf("stopped %s after it was ready", time.Since(began).Round(time.Second))
	reason := look(t, "idle").says("PrometheusAgrees")
	assert.Equal(t, "Agrees", reason)
	stopped := look(t, "idle").Status
	assert.Equal(t, "StoppedIdle", stopped.Reason, stopped.Message)
	for name, want := range map[string]string{"held": "KeptByQuery", "unknown": "NotMeasured"} {
		eventually(t, name+" is kept", func() bool {
			reason := look(t, name).says("PrometheusAgrees")
			return reason == want
		})
		answers := look(t, name).says("Answers")
		assert.Equal(t, "Answers", answers, "%s: it said itself that it is idle", name)
		assert.False(t, look(t, name).Spec.Stopped, name)
	}
}

// startPrometheus has one read what the chart's PodMonitor names, and returns the token that it shows.
func startPrometheus(t *testing.T, address string) (token string) {
	t.Helper()
	rendered, err := helm.Run(t, "template", "elastichub", chart, "--namespace", namespace, "--kube-version", "1.34", "--values", filepath.Join(chart, "testdata/smallest.yaml"),
		"--set", "notebookMonitor.enabled=true,notebookMonitor.interval=2s", "--show-only", "templates/monitoring.yaml")
	require.NoError(t, err, rendered)
	scrape, err := ScrapeConfig([]byte(rendered), namespace, need(t, "KUBECONFIG"), func(name, key string) (string, error) {
		value, err := kubectl(t.Context(), "", "get", "secret", name, "-o", "go-template={{index .data \""+key+"\" | base64decode}}")
		token = value
		return value, err
	})
	require.NoError(t, err)
	config, err := yaml.Marshal(map[string]any{"scrape_configs": []any{scrape}})
	require.NoError(t, err)
	directory := t.TempDir()
	file := filepath.Join(directory, "prometheus.yml")
	require.NoError(t, os.WriteFile(file, config, 0o600))
	var log bytes.Buffer
	cmd := exec.Command(need(t, "PROMETHEUS"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(directory, "data"), "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return token
}
