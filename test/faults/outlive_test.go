//go:build e2e

package faults

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
)

const serverToken = "faults-outlive"

// server is a notebook without a Hub.
type server struct {
	*Demo
	t        *testing.T
	notebook string
	client.Gateway
}

// notebook makes one whose Pod has these variables and a home of that size, if any, and
// waits until it answers. More are fields of its spec.
func (d *Demo) notebook(t *testing.T, name string, env map[string]string, home string, more ...map[string]any) *server {
	t.Helper()
	image := d.must(t, "get", "grouppolicy", "ml-research", "-o", "jsonpath={.spec.images[0].image}")
	variables := []map[string]string{{"name": "JUPYTER_TOKEN", "value": serverToken}}
	for name, value := range env {
		variables = append(variables, map[string]string{"name": name, "value": value})
	}
	spec := map[string]any{
		"gateway": map[string]any{"name": "default"},
		"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{
			"name": "notebook", "image": image, "env": variables, "command": []string{"jupyter", "server", "--ServerApp.ip=0.0.0.0", "--no-browser"},
			"resources": map[string]any{"requests": map[string]string{"cpu": "50m", "memory": "128Mi"}, "limits": map[string]string{"memory": "512Mi"}},
		}}}},
	}
	if home != "" {
		spec["storage"] = map[string]any{"home": map[string]any{"size": home}}
		t.Cleanup(func() {
			d.must(t, "delete", "persistentvolumeclaim", "home-"+name, "--ignore-not-found", "--wait=false")
		})
	}
	for _, fields := range more {
		maps.Copy(spec, fields)
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": "kubeflow.tkestack.io/v1alpha1", "kind": "JupyterNotebook", "metadata": map[string]any{"name": name}, "spec": spec,
	})
	require.NoError(t, err)
	t.Cleanup(func() { d.must(t, "delete", "jupyternotebook", name, "--ignore-not-found", "--wait=true") })
	d.must(t, "delete", "jupyternotebook", name, "--ignore-not-found", "--wait=true")
	d.apply(t, string(object))
	s := &server{Demo: d, t: t, notebook: name, Gateway: client.Gateway{Token: serverToken}}
	s.ready()
	address := d.must(t, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
	s.URL = "http://" + address
	require.Eventually(t, func() bool {
		status, err := s.Call(t.Context(), "GET", "/api/kernelspecs", nil, nil)
		return err == nil && status == 200
	}, time.Minute, 250*time.Millisecond)
	return s
}

func (s *server) selector() string {
	return "app.kubernetes.io/component=singleuser-server,elastichub.io/notebook=" + s.notebook
}

// ready waits for the notebook's Pod, which is none of those before.
func (s *server) ready(before ...Pod) Pod {
	s.t.Helper()
	var pods []Pod
	require.Eventually(s.t, func() bool {
		var err error
		pods, err = s.ReadyPods(s.selector())
		return err == nil && len(pods) == 1 && (len(before) == 0 || pods[0].Metadata.UID != before[0].Metadata.UID)
	}, 2*time.Minute, 100*time.Millisecond)
	return pods[0]
}

// session is what /api/sessions tells.
type session struct {
	ID, Path string
	Kernel   struct{ ID string }
}

func (s *server) sessions() []session {
	s.t.Helper()
	var list []session
	require.Eventually(s.t, func() bool {
		status, err := s.Call(s.t.Context(), "GET", "/api/sessions", nil, &list)
		return err == nil && status == 200
	}, time.Minute, 100*time.Millisecond)
	return list
}

// open makes a session with a kernel, and the connection of a page to that.
func (s *server) open(subprotocol string) (session, *client.Kernel) {
	s.t.Helper()
	return s.openAt("a.ipynb", subprotocol)
}

// openAt is open for a document.
func (s *server) openAt(path, subprotocol string) (session, *client.Kernel) {
	s.t.Helper()
	var made session
	status, err := s.Call(s.t.Context(), "POST", "/api/sessions",
		map[string]any{"path": path, "name": "a", "type": "notebook", "kernel": map[string]string{"name": "python-cpu"}}, &made)
	require.NoError(s.t, err)
	require.Equal(s.t, 201, status)
	k := &client.Kernel{Gateway: s.Gateway, ID: made.Kernel.ID, Session: uuid.NewString(), Subprotocol: subprotocol, Patience: 90 * time.Second}
	require.NoError(s.t, k.Open(s.t.Context()))
	s.t.Cleanup(k.Close)
	run(s.t, k, "import time; x = 6")
	return made, k
}

// evict asks for a Pod's eviction, as a drain does.
func (d *Demo) evict(t *testing.T, pod string) (string, error) {
	t.Helper()
	file := t.TempDir() + "/eviction.json"
	body := fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":%q}}`, pod, d.Namespace)
	require.NoError(t, os.WriteFile(file, []byte(body), 0o600))
	return d.Kubectl("create", "--raw", "/api/v1/namespaces/"+d.Namespace+"/pods/"+pod+"/eviction", "-f", file)
}

// counting is a cell that counts for so long that a server is replaced under it.
const counting = "for i in range(250):\n    print(i, flush=True)\n    time.sleep(.1)"

// TestAKernelOutlivesItsServer: the notebook's Pod is taken away while a cell counts. The
// page gets every line, and the next server has the same session and kernel.
func TestAKernelOutlivesItsServer(t *testing.T) {
	d := demo(t)
	s := d.notebook(t, "faults-outlive", nil, "")
	made, k := s.open(wire.SubprotocolV1)
	kernelPod := d.podOf(t, k)
	node := d.must(t, "get", "pod", kernelPod, "-o", "jsonpath={.spec.nodeName}")
	for _, way := range []struct {
		name string
		take func(t *testing.T, server Pod)
	}{
		{"deleted", func(t *testing.T, server Pod) { d.must(t, "delete", "pod", server.Metadata.Name) }},
		{"evicted and its kernel is not", func(t *testing.T, server Pod) {
			_, err := d.evict(t, kernelPod)
			require.ErrorContains(t, err, "disruption budget")
			_, err = d.evict(t, server.Metadata.Name)
			require.NoError(t, err)
		}},
		{"drained with no room for the next one for a while", func(t *testing.T, _ Pod) {
			t.Cleanup(func() { d.must(t, "uncordon", node) })
			d.must(t, "drain", node, "--pod-selector="+s.selector(), "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
			time.Sleep(5 * time.Second)
			assert.Equal(t, kernelPod, d.podOf(t, k), "with no server at all")
			d.must(t, "uncordon", node)
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			before := s.ready()
			id, err := k.Execute(counting)
			require.NoError(t, err)
			seen := make(chan map[int]int, 1)
			go func() { seen <- d.watch(t, k, id) }()
			time.Sleep(2 * time.Second)
			began := time.Now()
			way.take(t, before)
			s.ready(before)
			assert.Equal(t, []session{made}, s.sessions())
			t.Logf("the next server answers after %.1f s", time.Since(began).Seconds())
			lines, repeated := <-seen, 0
			assert.Len(t, lines, 250)
			for _, n := range lines {
				repeated += n - 1
			}
			t.Logf("%d lines came twice", repeated)
			assert.Equal(t, "6\n", run(t, k, "print(x)"))
			assert.Equal(t, kernelPod, d.podOf(t, k), "the same process")
		})
	}

	status, err := s.Call(t.Context(), "DELETE", "/api/sessions/"+made.ID, nil, nil)
	require.NoError(t, err)
	require.Equal(t, 204, status)
	d.ended(t, made.Kernel.ID, kernelPod)
}

// ended waits until a kernel and its Pod are no more.
func (d *Demo) ended(t *testing.T, kernel, pod string) {
	t.Helper()
	require.Eventually(t, func() bool {
		out, err := d.Kubectl("get", "jupyterkernel/"+kernel, "pod/"+pod, "--ignore-not-found", "-o", "name")
		return err == nil && out == ""
	}, time.Minute, 250*time.Millisecond)
}

// TestAPlainServerLeavesItsKernelsToo: jupyter_server without the extension deletes its
// kernels at the gateway when its Pod is taken away. They go on all the same, until the
// notebook's owner stops it.
func TestAPlainServerLeavesItsKernelsToo(t *testing.T) {
	d := demo(t)
	s := d.notebook(t, "faults-plain", map[string]string{"JUPYTER_NO_CONFIG": "1"}, "")
	made, k := s.open("") // it speaks no other framing for kernels of a gateway
	kernelPod := d.podOf(t, k)
	_, err := k.Execute("for x in range(100): time.sleep(.1)")
	require.NoError(t, err)
	time.Sleep(2 * time.Second) // it runs
	before := s.ready()
	d.must(t, "delete", "pod", before.Metadata.Name)
	var asked string
	for line := range strings.Lines(d.must(t, "logs", "deployment/default", "--tail=500")) {
		if strings.Contains(line, made.Kernel.ID) && strings.Contains(line, "kernel deleted") {
			asked = line
		}
	}
	require.NotEmpty(t, asked, "it did ask for its kernel's end")
	require.Eventually(t, func() bool {
		shutdown, err := d.Kubectl("get", "jupyterkernel", made.Kernel.ID, "-o", "jsonpath={.spec.shutdown}")
		return err == nil && shutdown == ""
	}, time.Minute, 250*time.Millisecond)

	next := s.ready(before)
	their := &Demo{Gateway: client.Gateway{URL: d.Gateway.URL, Token: d.must(t, "exec", next.Metadata.Name, "--", "printenv", "JUPYTER_GATEWAY_AUTH_TOKEN")}}
	other := their.Kernel(made.Kernel.ID, client.SubprotocolResume)
	require.NoError(t, other.Open(t.Context()))
	defer other.Close()
	assert.Equal(t, "99\n", run(t, other, "print(x)"), "the cell went on to its end")
	assert.Equal(t, kernelPod, d.podOf(t, other))

	d.must(t, "patch", "jupyternotebook", s.notebook, "--type=merge", "-p", `{"spec":{"stopped":true}}`)
	d.ended(t, made.Kernel.ID, kernelPod)
}
