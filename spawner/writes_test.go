package spawner

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// asked counts the requests of a replica to the API server.
type asked struct {
	next http.RoundTripper

	mu    sync.Mutex
	count map[string]int // by method and resource
}

// counted is a cluster whose replicas' requests are counted.
func counted(c *cluster) *asked {
	a := &asked{count: map[string]int{}}
	c.rest = rest.CopyConfig(c.rest)
	c.rest.Wrap(func(next http.RoundTripper) http.RoundTripper {
		a.next = next
		return a
	})
	return a
}

// RoundTrip implements http.RoundTripper.
func (a *asked) RoundTrip(req *http.Request) (*http.Response, error) {
	if what := kindOf(req); what != "" {
		a.mu.Lock()
		a.count[what]++
		a.mu.Unlock()
	}
	return a.next.RoundTrip(req)
}

// kindOf is the method and the resource of a request, with its subresource; empty for what
// begins once and is kept open, and for discovery.
func kindOf(req *http.Request) string {
	_, path, namespaced := strings.Cut(req.URL.Path, "/namespaces/")
	if !namespaced || req.URL.Query().Get("watch") != "" {
		return ""
	}
	parts := strings.Split(path, "/")[1:] // after the name of the namespace
	if len(parts) > 1 {
		parts = slices.Delete(parts, 1, 2) // and without that of the object
	} else if req.Method == http.MethodGet {
		parts[0] = "list of " + parts[0]
	}
	return req.Method + " " + strings.Join(parts, "/")
}

// take gives what has been counted and begins anew.
func (a *asked) take() (writes, reads requests) {
	a.mu.Lock()
	defer a.mu.Unlock()
	writes, reads = requests{}, requests{}
	for what, n := range a.count {
		if strings.HasPrefix(what, http.MethodGet) {
			reads[what] = n
		} else {
			writes[what] = n
		}
	}
	a.count = map[string]int{}
	return writes, reads
}

func (a *asked) of(what string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count[what]
}

type requests map[string]int

func (r requests) all() int {
	n := 0
	for _, each := range r {
		n += each
	}
	return n
}

func (r requests) String() string {
	var lines strings.Builder
	for _, what := range slices.Sorted(maps.Keys(r)) {
		fmt.Fprintf(&lines, "\n  %d %s", r[what], what)
	}
	return lines.String()
}

func TestWritesOfAStart(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	counts := counted(c)
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	for _, start := range []string{"s1", "s2"} {
		counts.take()
		req.Start = start
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
		d := c.deployment("jupyter-alice", start, 1)
		pod := c.pod(d)
		const normal, notebook = corev1.EventTypeNormal, "spec.containers{notebook}"
		c.event(pod, "Pod", normal, "Scheduled", "Successfully assigned "+c.namespace+"/"+pod.Name+" to node-1", "")
		c.event(pod, "Pod", normal, "Pulling", `Pulling image "registry.example/lab:stable"`, notebook)
		time.Sleep(2 * time.Second)
		c.event(pod, "Pod", normal, "Pulled", `Successfully pulled image "registry.example/lab:stable" in 3.104s (3.104s including waiting). Image size: 1 bytes.`, notebook)
		c.event(pod, "Pod", normal, "Created", "Container created", notebook)
		c.event(pod, "Pod", normal, "Started", "Container started", notebook)
		c.ready(pod)
		c.phase(s, req.Key, v1alpha1.NotebookReady)
		time.Sleep(2 * time.Second)
		writes, reads := counts.take()
		t.Logf("start: %d writes:%s\n%d reads:%s", writes.all(), writes, reads.all(), reads)

		require.NoError(t, s.Stop(t.Context(), req.Key))
		c.deployment("jupyter-alice", start, 0)
		c.end(pod)
		c.phase(s, req.Key, v1alpha1.NotebookStopped)
		time.Sleep(2 * time.Second)
		writes, reads = counts.take()
		t.Logf("stop: %d writes:%s\n%d reads:%s", writes.all(), writes, reads.all(), reads)
	}
	assert.Zero(t, 0)
}
