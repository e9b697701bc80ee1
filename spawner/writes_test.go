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

// askedAbout begins what is asked: whether the cluster would take something. Nobody writes that; aboutPods are those that
// are about Pods.
const (
	askedAbout = http.MethodGet + " an answer about "
	aboutPods  = askedAbout + "pods"
)

// kindOf is the method and the resource of a request, with its subresource; empty for what
// begins once and is kept open, and for discovery.
func kindOf(req *http.Request) string {
	_, path, namespaced := strings.Cut(req.URL.Path, "/namespaces/")
	if !namespaced || req.URL.Query().Get("watch") != "" {
		return ""
	}
	if req.URL.Query().Get("dryRun") != "" {
		return askedAbout + strings.Split(path, "/")[1] // nothing is written
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

// rest waits until nothing more is asked.
func (a *asked) rest(t *testing.T) {
	t.Helper()
	n := func() int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return requests(a.count).all()
	}
	for before := -1; before != n(); {
		before = n()
		time.Sleep(tellEvery + 200*time.Millisecond)
	}
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

// mostWrites is what a start may cost the API server in writes of ours.
const mostWrites = 15

// TestWritesOfAStart counts what a start and a stop ask the API server for, whatever
// Kubernetes itself writes beside: docs/hub.md has the table.
func TestWritesOfAStart(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	counts := counted(c)
	s := c.replica(true)
	for _, row := range []struct {
		start  string
		writes requests
	}{
		{"first", requests{
			"POST configmaps": 1, "PATCH configmaps": 1, // the slot, and that it is confirmed
			"POST secrets": 1, "PATCH secrets": 1, // the environment; its owner and the gateway's token
			"POST jupyternotebooks": 1, "POST persistentvolumeclaims": 1, "POST services": 1, "POST deployments": 1,
			"POST events": 2, // that it begins, and that it is over
		}},
		{"second", requests{
			"PATCH configmaps": 2, "POST secrets": 1, "PATCH secrets": 1, "PATCH jupyternotebooks": 1, "PATCH deployments": 1,
			"PATCH events": 2,
		}},
	} {
		counts.take()
		req := testRequest("alice", "", row.start)
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
		d := c.deployment("jupyter-alice", row.start, 1)
		pod := c.pod(d)
		const normal, notebook = corev1.EventTypeNormal, "spec.containers{notebook}"
		c.event(pod, "Pod", normal, "Scheduled", "Successfully assigned "+c.namespace+"/"+pod.Name+" to node-1", "")
		c.event(pod, "Pod", normal, "Pulling", `Pulling image "registry.example/lab:stable"`, notebook)
		c.event(pod, "Pod", normal, "Pulled", `Successfully pulled image "registry.example/lab:stable" in 3.104s (3.104s including waiting). Image size: 1 bytes.`, notebook)
		c.event(pod, "Pod", normal, "Created", "Container created", notebook)
		c.event(pod, "Pod", normal, "Started", "Container started", notebook)
		c.ready(pod)
		c.phase(s, req.Key, v1alpha1.NotebookReady)
		c.eventually("told", func() bool { return counts.of("POST events")+counts.of("PATCH events") >= 2 })
		counts.rest(t)
		writes, reads := counts.take()
		assert.LessOrEqual(t, reads[aboutPods], 4, "the %s start", row.start)
		delete(reads, aboutPods)
		assert.LessOrEqual(t, writes.all(), mostWrites, "the %s start:%s", row.start, writes)
		assert.LessOrEqual(t, reads.all(), 12, "the %s start:%s", row.start, reads)
		for _, status := range []string{"PATCH jupyternotebooks/status"} {
			assert.GreaterOrEqual(t, writes[status], 2, "it begins, and is over")
			delete(writes, status) // how many come between depends on how long that takes
		}
		assert.Equal(t, row.writes, writes, "the %s start", row.start)

		require.NoError(t, s.Stop(t.Context(), req.Key))
		c.deployment("jupyter-alice", row.start, 0)
		c.end(pod)
		c.phase(s, req.Key, v1alpha1.NotebookStopped)
		c.eventually("told", func() bool { return counts.of("POST events")+counts.of("PATCH events") >= 1 })
		counts.rest(t)
		writes, reads = counts.take()
		told := "POST events"
		if row.start == "second" {
			told = "PATCH events"
		}
		assert.Equal(t, requests{
			"PATCH jupyternotebooks": 1, "PATCH deployments": 1, "DELETE secrets": 1,
			"PATCH jupyternotebooks/status": 2, told: 1,
		}, writes, "the %s stop", row.start)
		assert.LessOrEqual(t, reads.all(), 2, "the %s stop:%s", row.start, reads)
	}
}

// TestStartsOfOnePersonAtOnce: a dozen servers that one person starts at once ask the API server for
// what a dozen starts ask, and for no race between them.
func TestStartsOfOnePersonAtOnce(t *testing.T) {
	const starts = 12
	c := newCluster(t)
	counts := counted(c)
	s := c.replica(false)
	var all sync.WaitGroup
	for i := range starts {
		all.Go(func() {
			req := testRequest("alice", fmt.Sprintf("server-%d", i), "first")
			req.ServersPerUser = starts
			_, err := s.Start(t.Context(), req)
			assert.NoError(t, err)
		})
	}
	all.Wait()
	writes, reads := counts.take()
	groups := reads["GET configmaps"]
	assert.LessOrEqual(t, groups, starts, "the slots are read once for each at most:%s", reads)
	assert.Equal(t, groups, writes["POST configmaps"]+writes["PATCH configmaps"], "and written as often:%s", writes)
	t.Logf("%d starts reserved their slots by %d writes", starts, groups)
}
