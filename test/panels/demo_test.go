//go:build e2e

package panels

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// demo is what `make run` started, as `make env` describes it.
type demo struct{ namespace, hub, token, kubectl string }

func running(t *testing.T) demo {
	t.Helper()
	need := func(name string) string {
		value := os.Getenv(name)
		require.NotEmpty(t, value, "%s is not set: run make panels-test", name)
		return value
	}
	need("KUBECONFIG")
	return demo{need("ELASTICHUB_DEMO_NAMESPACE"), need("HUB_URL"), need("HUB_API_TOKEN"), need("KUBECTL")}
}

// run is kubectl's output.
func (d demo) run(ctx context.Context, input string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.kubectl, append([]string{"-n", d.namespace}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}

// target is a Pod with metrics.
type target struct{ pod, job, gateway string }

// targets are the Pods that the chart's monitors choose.
func (d demo) targets(ctx context.Context) ([]target, error) {
	var all []target
	for selector, job := range map[string]string{
		"app.kubernetes.io/name=elastichub,app.kubernetes.io/component=service":              "elastichub",
		"app.kubernetes.io/managed-by=elastichub,app.kubernetes.io/component=kernel-gateway": "elastichub-gateways",
	} {
		out, err := d.run(ctx, "", "get", "pods", "-l", selector, "--field-selector", "status.phase=Running",
			"-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.labels.elastichub\.io/gateway}{"\n"}{end}`)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); len(words) > 0 {
				all = append(all, target{pod: words[0], job: job, gateway: strings.Join(words[1:], "")})
			}
		}
	}
	return all, nil
}

// scrape reads every target once, and kube-state-metrics' part of the Pods.
func (d demo) scrape(ctx context.Context, into *Prometheus) error {
	targets, err := d.targets(ctx)
	if err != nil {
		return err
	}
	for _, target := range targets {
		text, err := d.run(ctx, "", "get", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:9090/proxy/metrics", d.namespace, target.pod))
		if err != nil {
			return err
		}
		labels := map[string]string{"namespace": d.namespace, "pod": target.pod, "job": target.job, "instance": target.pod + ":9090"}
		if target.gateway != "" {
			labels["gateway"] = target.gateway
		}
		if err := into.Scraped(ctx, time.Now(), labels, text, false); err != nil {
			return fmt.Errorf("%s: %w", target.pod, err)
		}
	}
	pods, err := d.run(ctx, "", "get", "pods", "-o", "json")
	if err != nil {
		return err
	}
	text, err := KubeState(pods)
	if err != nil {
		return err
	}
	return into.Scraped(ctx, time.Now(), map[string]string{"namespace": "kube-system", "job": "kube-state-metrics", "instance": "fixture"}, text, true)
}

// ask asks the Hub, or a server behind it, and decodes the answer.
func (d demo) ask(ctx context.Context, method, path, token string, body, into any) (int, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, method, d.hub+path, bytes.NewReader(text))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "token "+token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil || into == nil || answer.StatusCode >= 300 {
		return answer.StatusCode, err
	}
	return answer.StatusCode, json.Unmarshal(raw, into)
}

// flowSchema is what the API server says of the rank of a request of an account.
func (d demo) flowSchema(ctx context.Context, account string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.kubectl, "-n", d.namespace, "get", "jupyterkernels", "--as", account, "-v", "8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(strings.ToLower(line), "x-kubernetes-pf-flowschema-uid") {
			return line, nil
		}
	}
	return "", fmt.Errorf("the API server tells no FlowSchema: %w", err)
}
