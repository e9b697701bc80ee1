package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/tracing"
)

// Cluster is a gateway's view of the API server: a cache of the namespaces'
// objects and a client for writes.
type Cluster struct {
	Cache cache.Cache
	API   client.Client
}

// kinds are those the gateway reads; it needs get, list and watch for each.
func kinds() []client.Object {
	return []client.Object{
		&v1alpha1.JupyterKernel{}, &v1alpha1.JupyterKernelSpec{}, &v1alpha1.JupyterGateway{},
		&v1alpha1.JupyterNotebook{}, &v1alpha1.GroupPolicy{},
	}
}

// NewCluster prepares a cache of a gateway's namespace, of those that it serves, too, and of
// the policies. Nothing is read before the cache is started.
func NewCluster(cfg *rest.Config, of Config) (*Cluster, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("gateway: scheme: %w", err)
	}
	own := map[string]cache.Config{of.Namespace: {}}
	served := map[string]cache.Config{}
	for _, namespace := range of.namespaces() {
		served[namespace] = cache.Config{}
	}
	c, err := cache.New(cfg, cache.Options{
		Scheme:            scheme,
		DefaultNamespaces: own,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.JupyterNotebook{}: {Namespaces: served},
			&v1alpha1.JupyterKernel{}:   {Namespaces: served},
			&v1alpha1.GroupPolicy{}:     {Namespaces: map[string]cache.Config{of.policies(): {}}},
		},
		DefaultTransform:            cache.TransformStripManagedFields(),
		ReaderFailOnMissingInformer: true,
	})
	if err != nil {
		return nil, fmt.Errorf("gateway: cache: %w", err)
	}
	api, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("gateway: client: %w", err)
	}
	return &Cluster{Cache: c, API: api}, nil
}

// follow runs the informers until ctx ends, passes kernels on to w, and calls
// synced once everything has been read.
func (c *Cluster) follow(ctx context.Context, w *watch, synced func()) error {
	for _, kind := range kinds() {
		informer, err := c.Cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("gateway: informer: %w", err)
		}
		if _, ok := kind.(*v1alpha1.JupyterKernel); ok {
			if _, err := informer.AddEventHandler(w); err != nil {
				return fmt.Errorf("gateway: informer: %w", err)
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Cache.Start(ctx) })
	group.Go(func() error {
		if c.Cache.WaitForCacheSync(ctx) {
			synced()
		}
		return nil
	})
	return group.Wait()
}

// Run is a whole gateway process: it serves until ctx ends.
func Run(ctx context.Context, cfg Config, cluster *rest.Config, registry *prometheus.Registry, tracer *tracing.Tracer, log *slog.Logger) error {
	c, err := NewCluster(cluster, cfg)
	if err != nil {
		return err
	}
	var synced atomic.Bool
	s, err := New(cfg, Deps{Cache: c.Cache, API: c.API, Synced: synced.Load, Registry: registry, Tracer: tracer, Log: log})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	// The informers outlive the sockets, which need them until they are closed.
	informers, stop := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		return c.follow(informers, s.watch, func() { synced.Store(true); log.Info("cache is complete") })
	})
	recording, last := context.WithCancel(context.WithoutCancel(ctx)) // to the end of what sockets record
	group.Go(func() error { return tracer.Start(recording) })
	group.Go(func() error {
		defer stop()
		defer last()
		return s.Run(ctx)
	})
	return group.Wait()
}
