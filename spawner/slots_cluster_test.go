package spawner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	runtimeconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// troubled is the way to an API server that is slow and loses messages.
// Watches, events and discovery pass unharmed.
type troubled struct {
	http.RoundTripper
	slowest time.Duration
	// losses is how many of a hundred requests, and of a hundred answers, are lost.
	losses int
	lost   *atomic.Int64
}

func (w troubled) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.RawQuery, "watch=true") || strings.Contains(r.URL.Path, "/events") || !strings.Contains(r.URL.Path, "/namespaces/") {
		return w.RoundTripper.RoundTrip(r)
	}
	time.Sleep(time.Duration(rand.Int64N(int64(w.slowest) + 1)))
	if rand.IntN(100) < w.losses {
		w.lost.Add(1)
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errors.New("connection refused")
	}
	answer, err := w.RoundTripper.RoundTrip(r)
	if err == nil && rand.IntN(100) < w.losses {
		w.lost.Add(1)
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		return nil, errors.New("connection reset by peer")
	}
	return answer, err
}

// process is a replica of the service with a life of its own.
type process struct {
	*Service
	kill func()
}

func (c *cluster) process(way func(http.RoundTripper) http.RoundTripper, leads bool) *process {
	c.t.Helper()
	config := rest.CopyConfig(c.rest)
	config.QPS = -1
	config.WrapTransport = way
	skip := true
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: c.scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logr.Discard(),
		Cache:      cache.Options{DefaultNamespaces: map[string]cache.Config{c.namespace: {}}},
		Controller: runtimeconfig.Controller{SkipNameValidation: &skip},
	})
	require.NoError(c.t, err)
	service, err := NewService(c.t.Context(), c.cfg, mgr.GetClient(), mgr.GetAPIReader(), mgr.GetCache())
	require.NoError(c.t, err)
	if leads {
		require.NoError(c.t, service.SetupWithManager(mgr, c.issuer, c.asker, c.hub, prometheus.NewRegistry()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = mgr.Start(ctx) }()
	kill := sync.OnceFunc(func() { cancel(); <-ended })
	c.t.Cleanup(kill)
	return &process{service, kill}
}

// TestHundredStartsAtOnce: of a hundred servers that one user asks two replicas
// for at once, exactly as many come up as the policy allows, while the API
// server is slow, messages are lost and leaders are killed.
func TestHundredStartsAtOnce(t *testing.T) {
	const limit, requests = 7, 100
	c := newCluster(t)
	c.gateway("default")
	var lost atomic.Int64
	way := func(inner http.RoundTripper) http.RoundTripper {
		return troubled{inner, 40 * time.Millisecond, 4, &lost}
	}
	calm := func(inner http.RoundTripper) http.RoundTripper { return inner }
	replicas := []*process{c.process(way, false), c.process(way, false)}
	leader := c.process(calm, true)

	var accepted, refused, asked atomic.Int64
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			req := testRequest("alice", fmt.Sprintf("server-%d", i), fmt.Sprintf("start-%d", i))
			req.ServersPerUser = limit
			for { // as the Hub's spawner does, until the answer is definite
				asked.Add(1)
				_, err := replicas[i%2].Start(t.Context(), req)
				switch {
				case err == nil:
					accepted.Add(1)
					return
				case errors.Is(err, ErrTooManyServers):
					refused.Add(1)
					return
				case t.Context().Err() != nil:
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	for range 3 { // leaders come and go meanwhile
		time.Sleep(200 * time.Millisecond)
		leader.kill()
		leader = c.process(calm, true)
	}
	all.Wait()
	assert.EqualValues(t, limit, accepted.Load())
	assert.EqualValues(t, requests-limit, refused.Load())
	assert.Positive(t, lost.Load(), "nothing was lost: the test tests nothing")

	var notebooks v1alpha1.JupyterNotebookList
	var deployments appsv1.DeploymentList
	c.eventually("all accepted servers get their Pod", func() bool {
		require.NoError(t, c.client.List(t.Context(), &deployments, client.InNamespace(c.namespace)))
		return len(deployments.Items) == limit
	})
	require.NoError(t, c.client.List(t.Context(), &notebooks, client.InNamespace(c.namespace)))
	assert.Len(t, notebooks.Items, limit, "refused requests leave nothing")
	for _, nb := range notebooks.Items {
		assert.NotEqual(t, v1alpha1.NotebookFailed, nb.Status.Phase, "%s: %s", nb.Name, nb.Status.Message)
	}
	for _, d := range deployments.Items {
		assert.EqualValues(t, 1, *d.Spec.Replicas)
	}

	// What is stopped makes room for exactly one more.
	c.eventually("a stop gets through", func() bool {
		return replicas[0].Stop(t.Context(), keyOf(&notebooks.Items[0])) == nil
	})
	accepted.Store(0)
	for i := range 20 {
		all.Go(func() {
			req := testRequest("alice", fmt.Sprintf("late-%d", i), fmt.Sprintf("late-%d", i))
			req.ServersPerUser = limit
			for {
				_, err := replicas[i%2].Start(t.Context(), req)
				if err == nil {
					accepted.Add(1)
				}
				if err == nil || errors.Is(err, ErrTooManyServers) || t.Context().Err() != nil {
					return
				}
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, accepted.Load())
}
