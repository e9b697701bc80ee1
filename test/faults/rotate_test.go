//go:build e2e

package faults

import (
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
)

// TestSecretsAreRotatedWhilePeopleWork: a cell prints while each secret that elastichub makes is
// changed, and that of its gateway, which is also cut off; no line is lost or comes twice, the
// kernel goes on, and what was parked has its variables. The Hub's former token counts beside the new one. Nothing is restarted.
func TestSecretsAreRotatedWhilePeopleWork(t *testing.T) {
	d := demo(t)
	elastichub := binary(t)
	s := d.notebook(t, "faults-rotate", nil, "64Mi")
	parked, other := s.openAt("parked.ipynb", wire.SubprotocolV1)
	run(t, other, "x = [6]; y = x")
	assert.Equal(t, "whole", d.park(t, parked.Kernel.ID, 1).Kept.Outcome)
	_, k := s.open(wire.SubprotocolV1)
	pods := d.must(t, "get", "pods", "-l", servicePods, "-o", "jsonpath={.items[*].metadata.uid}") + d.must(t, "get", "pods", "-l", gatewayPods, "-o", "jsonpath={.items[*].metadata.uid}")
	token := func(key string) string {
		raw, err := base64.StdEncoding.DecodeString(d.must(t, "get", "secret", "elastichub-hub-token", "-o", "jsonpath={.data."+key+"}"))
		require.NoError(t, err)
		return string(raw)
	}
	before := token("token")

	id, err := k.Execute(counting)
	require.NoError(t, err)
	seen := make(chan map[int]int, 1)
	go func() { seen <- d.watch(t, k, id) }()
	deployment := d.must(t, "get", "deployments", "-o", "name", "-l", gatewayPods)
	secret := d.must(t, "get", deployment, "-o", `jsonpath={.spec.template.spec.volumes[?(@.name=="key")].secret.secretName}`)
	d.must(t, "patch", "secret", secret, "--type=merge", "-p", `{"data":{"former-until":null}}`) // of a test before
	began := time.Now()
	code, out, errs := elastichub("rotate", "gateway-key", "default", "-n", d.Namespace)
	require.Zero(t, code, "%s%s", out, errs)
	assert.Contains(t, out, "which counts until")
	assert.Contains(t, out, "were given secrets of the new key")
	t.Logf("gateway-key: %.1f s", time.Since(began).Seconds())
	began = time.Now()
	code, out, errs = elastichub("rotate", "gateway-key", "default", "-n", d.Namespace, "--cut-off")
	require.Zero(t, code, "%s%s", out, errs)
	assert.Contains(t, out, "The former counts no more")
	assert.Less(t, time.Since(began), time.Minute)
	t.Logf("gateway-key, cut off: %.1f s", time.Since(began).Seconds())
	for _, name := range []string{"signing", "hub-token", "keep", "portal"} {
		d.must(t, "patch", "secret", "elastichub-"+name, "--type=merge", "-p", `{"data":{"former-until":null}}`) // of a test before
		began := time.Now()
		code, out, errs := elastichub("rotate", name, "-n", d.Namespace)
		require.Zero(t, code, "%s: %s%s", name, out, errs)
		assert.Contains(t, out, "which counts until")
		t.Logf("%s: %.1f s", name, time.Since(began).Seconds())
	}
	lines := <-seen
	assert.Len(t, lines, 250)
	for line, n := range lines {
		assert.Equal(t, 1, n, "line %d", line)
	}
	assert.Equal(t, "6\n", run(t, k, "print(x)"))

	ask := func(token string) int {
		pod, err := d.ReadyPods(servicePods)
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+pod[0].Status.PodIP+":8080/api/spawner/v1/servers", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		answer, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer.StatusCode
	}
	assert.Equal(t, before, token("former"))
	assert.NotEqual(t, before, token("token"))
	assert.Equal(t, http.StatusOK, ask(before))
	assert.Equal(t, http.StatusOK, ask(token("token")))
	assert.Equal(t, http.StatusUnauthorized, ask(before+"x"))

	other.Close()
	require.Eventually(t, func() bool { return other.Open(t.Context()) == nil }, time.Minute, time.Second)
	assert.Equal(t, "True [6, 7]\n", run(t, other, "x.append(7); print(x is y, y)"))
	assert.Equal(t, pods, d.must(t, "get", "pods", "-l", servicePods, "-o", "jsonpath={.items[*].metadata.uid}")+d.must(t, "get", "pods", "-l", gatewayPods, "-o", "jsonpath={.items[*].metadata.uid}"))

	code, out, errs = elastichub("rotate", "keep", "-n", d.Namespace, "--cut-off", "--dry-run")
	require.Zero(t, code, errs)
	assert.Contains(t, out, "Nothing is changed.")
	assert.Contains(t, out, "variables of all kernels that are parked now are lost")
}
