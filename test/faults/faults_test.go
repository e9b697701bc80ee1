//go:build e2e

package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
)

const gatewayPods = "app.kubernetes.io/component=kernel-gateway,elastichub.io/gateway=default"

func demo(t *testing.T) *Demo {
	t.Helper()
	d, err := FromEnv()
	require.NoError(t, err)
	return d
}

func (d *Demo) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.Kubectl(args...)
	require.NoError(t, err)
	return out
}

// replicas has the gateway run with that many, for the length of a test.
func (d *Demo) replicas(t *testing.T, n int) []Pod {
	t.Helper()
	var pods []Pod
	scaled := func(n int) {
		require.Eventually(t, func() bool {
			var err error
			pods, err = d.ReadyPods(gatewayPods)
			return err == nil && len(pods) == n
		}, 2*time.Minute, 250*time.Millisecond, "%d replicas of the gateway", n)
	}
	scale := func(n int) {
		d.must(t, "patch", "jupytergateway", "default", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"replicas":%d}}`, n))
		scaled(n) // also in the end, or the next test would take one that goes
	}
	if n == 1 {
		scaled(1)
		return pods
	}
	t.Cleanup(func() { scale(1) })
	scale(n)
	return pods
}

// start starts a kernel, waits until it has run a cell, and removes it in the end.
func (d *Demo) start(t *testing.T, name string) *client.Kernel {
	t.Helper()
	k, err := d.Start(name)
	require.NoError(t, err)
	t.Cleanup(func() {
		k.Close()
		require.Eventually(t, func() bool {
			status, err := d.Gateway.Call(context.Background(), "DELETE", "/api/kernels/"+k.ID, nil, nil)
			return err == nil && (status == 204 || status == 404 || status == 401)
		}, time.Minute, time.Second)
	})
	require.NoError(t, k.Open(t.Context()))
	run(t, k, "import time")
	return k
}

func run(t *testing.T, k *client.Kernel, code string) string {
	t.Helper()
	c, err := k.Run(code)
	require.NoError(t, err)
	require.Equal(t, "ok", c.Status, c)
	return c.Stdout
}

func (d *Demo) podOf(t *testing.T, k *client.Kernel) string {
	t.Helper()
	name := d.must(t, "get", "jupyterkernel", k.ID, "-o", "jsonpath={.status.podName}")
	require.NotEmpty(t, name)
	return name
}

// count is a cell that counts for some seconds.
func count(lines int) (code, output string) {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintln(&b, i)
	}
	return fmt.Sprintf("for i in range(%d):\n    print(i, flush=True)\n    time.sleep(.004)", lines), b.String()
}

// TestKilledGateways: both replicas die with SIGKILL, one after the other,
// while a cell counts.
func TestKilledGateways(t *testing.T) {
	d := demo(t)
	pods := d.replicas(t, 2)
	k := d.start(t, "python-cpu")
	pod := d.podOf(t, k)
	plain := d.Kernel(k.ID, wire.SubprotocolV1)
	require.NoError(t, plain.Open(t.Context()))
	defer plain.Close()
	run(t, plain, "0") // it is there

	code, want := count(2500)
	id, err := k.Execute(code)
	require.NoError(t, err)
	go func() {
		for _, p := range pods {
			time.Sleep(2 * time.Second)
			assert.NoError(t, KillPod(p, "gateway"))
		}
	}()
	seen := make(chan map[int]int, 1)
	go func() { seen <- d.watch(t, plain, id) }()
	c, err := k.Result(id)
	require.NoError(t, err)
	assert.Equal(t, want, c.Stdout, "every line once, in order")
	assert.Equal(t, "ok", c.Status)
	assert.NotZero(t, k.Returns, "its gateway did die")
	assert.Equal(t, pod, d.podOf(t, k), "on the same Pod")

	lines := <-seen
	assert.Len(t, lines, 2500, "a client that knows no numbers misses nothing either")
	repeated := 0
	for _, n := range lines {
		repeated += n - 1
	}
	t.Logf("the plain client saw %d lines twice", repeated)
	assert.Equal(t, "fine\n", run(t, k, "print('fine')"))
}

// watch counts how often each line of a cell comes to a client which reconnects
// as a plain jupyter_server does.
func (d *Demo) watch(t *testing.T, k *client.Kernel, id string) map[int]int {
	lines := map[int]int{}
	for {
		m, err := k.Next()
		if err != nil {
			for again := time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
				if k.Open(context.Background()) == nil {
					break
				}
				if time.Now().After(again) {
					assert.Fail(t, "no gateway any more")
					return lines
				}
			}
			continue
		}
		if m.ParentID() != id {
			continue
		}
		switch m.Type() {
		case wire.TypeStream:
			for _, line := range strings.Fields(wire.Member(m.Content, "text")) {
				n, err := strconv.Atoi(line)
				if !assert.NoError(t, err) {
					return lines
				}
				lines[n]++
			}
		case wire.TypeStatus:
			if m.ExecutionState() == string(wire.StateIdle) {
				return lines
			}
		}
	}
}

// TestRollingUpdate: every replica is replaced while a cell counts.
func TestRollingUpdate(t *testing.T) {
	d := demo(t)
	d.replicas(t, 2)
	k := d.start(t, "python-cpu")
	code, want := count(3000)
	id, err := k.Execute(code)
	require.NoError(t, err)
	deployment := d.must(t, "get", "deployments", "-o", "name", "-l", gatewayPods)
	d.must(t, "rollout", "restart", deployment)
	c, err := k.Result(id)
	require.NoError(t, err)
	assert.Equal(t, want, c.Stdout)
	d.must(t, "rollout", "status", deployment, "--timeout=120s")
	for i := range 20 {
		assert.Equal(t, fmt.Sprintln(i), run(t, k, fmt.Sprintf("print(%d)", i)))
	}
	assert.NotZero(t, k.Returns)
}

// TestTwoReplicasShowOneKernel: a client on each sees what either does.
func TestTwoReplicasShowOneKernel(t *testing.T) {
	d := demo(t)
	pods := d.replicas(t, 2)
	k := d.start(t, "python-cpu")
	var clients []*client.Kernel
	for _, p := range pods {
		c := d.Kernel(k.ID, wire.SubprotocolV1)
		c.Gateway.URL = "http://" + p.Status.PodIP + ":8888"
		require.NoError(t, c.Open(t.Context()))
		defer c.Close()
		run(t, c, "0") // it is there
		clients = append(clients, c)
	}
	for i, c := range clients {
		other := clients[1-i]
		id, err := c.Execute(fmt.Sprintf("x = %d; print('from', x)", i))
		require.NoError(t, err)
		own, err := c.Result(id)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("from %d\n", i), own.Stdout)
		for {
			m, err := other.Next()
			require.NoError(t, err)
			if m.ParentID() == id && m.Type() == wire.TypeStream {
				assert.Equal(t, own.Stdout, wire.Member(m.Content, "text"))
				break
			}
		}
	}
	var listed []struct{ ID string }
	for _, p := range pods {
		_, err := client.Gateway{URL: "http://" + p.Status.PodIP + ":8888", Token: d.Gateway.Token}.Call(t.Context(), "GET", "/api/kernels", nil, &listed)
		require.NoError(t, err)
		assert.Contains(t, listed, struct{ ID string }{k.ID})
	}
}

// TestAPIServerAway: the API server hangs for longer than everybody's
// patience. What runs goes on, also over new connections; then starts work again.
func TestAPIServerAway(t *testing.T) {
	d := demo(t)
	d.replicas(t, 1)
	k := d.start(t, "python-cpu")
	pod := d.podOf(t, k)
	pids, err := processes("", "kube-apiserver", filepath.Dir(os.Getenv("KUBECONFIG"))) // where it keeps its state
	require.NoError(t, err)
	require.Len(t, pids, 1, "one API server on this machine")
	require.NoError(t, syscall.Kill(pids[0], syscall.SIGSTOP))
	resumed := false
	resume := func() {
		if !resumed {
			resumed = true
			assert.NoError(t, syscall.Kill(pids[0], syscall.SIGCONT))
		}
	}
	t.Cleanup(resume)

	const away = 90 * time.Second
	for i, end := 0, time.Now().Add(away); time.Now().Before(end); i++ {
		require.Equal(t, fmt.Sprintln(i), run(t, k, fmt.Sprintf("print(%d)", i)))
		if i%5 == 4 { // the connection breaks, too
			k.Close()
		}
		time.Sleep(2 * time.Second)
	}
	assert.Greater(t, k.Returns, 2)
	resume()
	require.Eventually(t, func() bool {
		out, err := d.Kubectl("get", "jupyterkernel", k.ID, "-o", "jsonpath={.status.phase} {.status.run} {.status.podName}")
		return err == nil && out == "Ready 1 "+pod
	}, time.Minute, time.Second, "the same run on the same Pod")
	assert.Equal(t, "still\n", run(t, k, "print('still')"))
	other := d.start(t, "python-cpu")
	assert.Equal(t, "new\n", run(t, other, "print('new')"))
}

// TestFloodAndADeafClient: a kernel that prints without end, and a client of
// it that never reads, cost bounded memory and disturb nobody.
func TestFloodAndADeafClient(t *testing.T) {
	d := demo(t)
	pods := d.replicas(t, 1)
	flood, calm := d.start(t, "python-cpu"), d.start(t, "python-cpu")
	deaf := d.Kernel(flood.ID, wire.SubprotocolV1)
	require.NoError(t, deaf.Open(t.Context()))
	defer deaf.Close()
	id, err := flood.Execute("while True: print('x' * 5000, flush=True)")
	require.NoError(t, err)
	reading := make(chan client.Cell, 1)
	go func() {
		c, err := flood.Result(id)
		assert.NoError(t, err)
		c.Stdout = ""
		reading <- c
	}()
	for i := range 40 {
		require.Equal(t, fmt.Sprintln(i), run(t, calm, fmt.Sprintf("print(%d)", i)))
		time.Sleep(300 * time.Millisecond)
	}
	rss := metric(t, pods[0], "process_resident_memory_bytes")
	t.Logf("the gateway's resident memory: %.0f MiB", rss/(1<<20))
	assert.Less(t, rss, float64(200<<20))
	status, err := d.Gateway.Call(t.Context(), "POST", "/api/kernels/"+flood.ID+"/interrupt", struct{}{}, nil)
	require.NoError(t, err)
	assert.Equal(t, 204, status)
	select {
	case c := <-reading:
		assert.Equal(t, "KeyboardInterrupt", c.Error)
	case <-time.After(time.Minute):
		require.Fail(t, "the flood cannot be interrupted")
	}
	assert.Equal(t, "0", d.must(t, "get", "pod", d.podOf(t, flood), "-o", "jsonpath={.status.containerStatuses[0].restartCount}"))
}

func metric(t *testing.T, p Pod, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + p.Status.PodIP + ":9090/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return f
		}
	}
	require.Fail(t, "no metric "+name)
	return 0
}

// TestRestartLeavesNothingBehind: the Pod stays, and no child of the old
// process, wherever it hides.
func TestRestartLeavesNothingBehind(t *testing.T) {
	d := demo(t)
	k := d.start(t, "python-cpu")
	pod := d.podOf(t, k)
	run(t, k, "import subprocess; subprocess.Popen(['sleep', '98765'], start_new_session=True)")
	const look = `import pathlib
print(sum(b"98765" in p.read_bytes() for p in pathlib.Path("/proc").glob("[0-9]*/cmdline") if b"sleep" in p.read_bytes()))`
	require.Equal(t, "1\n", run(t, k, look))
	status, err := d.Gateway.Call(t.Context(), "POST", "/api/kernels/"+k.ID+"/restart", struct{}{}, nil)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	assert.Equal(t, "0\n", run(t, k, look))
	assert.Equal(t, pod, d.podOf(t, k))
}

// TestOutOfMemory: the user reads why the kernel died, and the next cell has a new one.
func TestOutOfMemory(t *testing.T) {
	d := demo(t)
	k := d.start(t, "python-cpu")
	c, err := k.Run("x = b'x' * (1 << 30); y = bytearray(x); print(len(y))")
	require.NoError(t, err)
	require.Equal(t, "error", c.Status, "the kernel may have 1 GiB")
	t.Logf("%s: %s", c.Error, c.Stderr)
	out := d.must(t, "get", "jupyterkernel", k.ID, "-o", "json")
	var object struct {
		Status struct{ Phase, Cause, Message string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	assert.Contains(t, strings.ToLower(c.Stderr+c.Error+object.Status.Cause), "memory", "%+v", object)
	assert.Equal(t, "back\n", run(t, k, "print('back')"))
}

// TestARevokedTokenLosesItsSockets: the notebook server that a token is for is stopped.
func TestARevokedTokenLosesItsSockets(t *testing.T) {
	d := demo(t)
	const user = "researcher"
	hub := func(method, path string, body any) int {
		g := client.Gateway{URL: d.HubURL + "/hub/api", Token: d.hubToken}
		status, err := g.Call(t.Context(), method, path, body, nil)
		require.NoError(t, err)
		return status
	}
	require.Contains(t, []int{201, 409}, hub("POST", "/users/"+user, map[string]any{}))
	require.Contains(t, []int{201, 202}, hub("POST", "/users/"+user+"/server", map[string]any{}))
	t.Cleanup(func() {
		g := client.Gateway{URL: d.HubURL + "/hub/api", Token: d.hubToken}
		_, err := g.Call(context.Background(), "DELETE", "/users/"+user+"/server", nil, nil)
		assert.NoError(t, err)
	})
	selector := "app.kubernetes.io/component=singleuser-server,hub.jupyter.org/username=" + user
	var pods []Pod
	require.Eventually(t, func() bool {
		var err error
		pods, err = d.ReadyPods(selector)
		return err == nil && len(pods) == 1
	}, 2*time.Minute, time.Second)
	token := d.must(t, "exec", pods[0].Metadata.Name, "--", "printenv", "JUPYTER_GATEWAY_AUTH_TOKEN")
	their := &Demo{Namespace: d.Namespace, kubectl: d.kubectl, Gateway: client.Gateway{URL: d.Gateway.URL, Token: token}}
	k := their.start(t, "python-cpu")
	watch := their.Kernel(k.ID, wire.SubprotocolV1)
	require.NoError(t, watch.Open(t.Context()))
	defer watch.Close()
	require.Contains(t, []int{202, 204}, hub("DELETE", "/users/"+user+"/server", nil))
	stopped := time.Now()
	for {
		_, err := watch.Next()
		if err == nil {
			continue
		}
		// The token's end, or that of the notebook's kernel, whichever is seen first.
		assert.Contains(t, []websocket.StatusCode{websocket.StatusPolicyViolation, websocket.StatusNormalClosure}, websocket.CloseStatus(err), "%v", err)
		break
	}
	assert.Less(t, time.Since(stopped), time.Minute)
	status, err := their.Gateway.Call(t.Context(), "GET", "/api/kernels/"+k.ID, nil, nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, status)
	d.must(t, "delete", "jupyterkernel", k.ID, "--ignore-not-found")
}

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	os.Exit(code)
}

// TestAnIdleServerIsStopped: a server of the demo's analysts, whose policy has
// an idle time for once, is asked by its own API whether it is used, stopped
// when it is not, and the Hub notices.
func TestAnIdleServerIsStopped(t *testing.T) {
	d := demo(t)
	const user = "analyst"
	g := client.Gateway{URL: d.HubURL + "/hub/api", Token: d.hubToken}
	hub := func(method, path string, into any) int {
		status, err := g.Call(context.Background(), method, path, map[string]any{}, into)
		require.NoError(t, err)
		return status
	}
	d.must(t, "patch", "grouppolicy", "analysts", "--type=merge", "-p", `{"spec":{"serverIdleSeconds":20}}`)
	t.Cleanup(func() {
		d.must(t, "patch", "grouppolicy", "analysts", "--type=merge", "-p", `{"spec":{"serverIdleSeconds":0}}`)
		hub("DELETE", "/users/"+user+"/server", nil)
	})
	require.Contains(t, []int{201, 409}, hub("POST", "/users/"+user, nil))
	require.Contains(t, []int{201, 202}, hub("POST", "/users/"+user+"/server", nil))
	notebook := func() (v struct {
		Spec   struct{ Stopped bool }
		Status struct{ Phase, StopCause, Reason, Message string }
	}) {
		out := d.must(t, "get", "jupyternotebooks", "-o", "json", "-l", "hub.jupyter.org/username="+user)
		var list struct{ Items []json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(out), &list))
		if len(list.Items) > 0 {
			require.NoError(t, json.Unmarshal(list.Items[0], &v))
		}
		return v
	}
	require.Eventually(t, func() bool { return notebook().Status.Phase == "Ready" }, 2*time.Minute, time.Second)
	ready := time.Now()
	require.Eventually(t, func() bool { return notebook().Status.Phase == "Stopped" }, 3*time.Minute, time.Second, "%+v", notebook())
	assert.Greater(t, time.Since(ready), 10*time.Second)
	stopped := notebook()
	assert.True(t, stopped.Spec.Stopped)
	assert.Contains(t, strings.ToLower(stopped.Status.Message+stopped.Status.Reason), "idle")
	require.Eventually(t, func() bool {
		var model struct{ Servers map[string]any }
		return hub("GET", "/users/"+user, &model) == 200 && len(model.Servers) == 0
	}, 2*time.Minute, time.Second, "the Hub knows")
}
