package kernels

import (
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/kernels/booking"
	"github.com/elastichub/elastichub/kernels/gateways"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/offers"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/queue"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/usage"
)

// SetupWithManager adds the controllers of kernels, admission, gateways and
// kernelspecs, and the sweep, to a manager with leader election. The manager's
// cache must cover cfg.Scope.
func SetupWithManager(mgr manager.Manager, cfg Config, agents Agents, registry prometheus.Registerer) (*offers.Catalogue, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	life, err := lifecycle.NewMetrics(registry)
	if err != nil {
		return nil, fmt.Errorf("kernels: metrics: %w", err)
	}
	scope := cfg.Scope
	if scope == nil {
		scope = namespaces.Only(cfg.Namespace)
	}
	cfg.Pods.Keeps, cfg.Pods.PolicyNamespace = cfg.KeepSeeds != nil, cfg.Namespace
	pods := podspec.NewBuilder(cfg.Pods)
	var metered lifecycle.Metered
	var standings func() *usage.Standings
	if cfg.Ledger != "" {
		booker, err := booking.SetupWithManager(mgr, scope, cfg.Ledger, registry)
		if err != nil {
			return nil, err
		}
		metered, standings = booker.Metered, booker.Standings
	}
	admission, err := queue.New(mgr, queue.Config{Scope: scope, Pods: pods, ClusterCapacity: cfg.ClusterCapacity, NodePools: cfg.NodePools, Allowances: cfg.Allowances, Standings: standings}, agents, life, registry)
	if err != nil {
		return nil, err
	}
	for _, setup := range []func() error{
		func() error {
			return lifecycle.SetupWithManager(mgr, scope, cfg.Owner, pods, cfg.KeepSeeds, agents, admission.Expect, metered, standings, life, cfg.Tracer)
		},
		func() error { return admission.SetupWithManager(mgr) },
		func() error {
			return gateways.SetupWithManager(mgr, gateways.Config{Scope: scope, Owner: cfg.Owner, Pods: cfg.Pods, Tokens: cfg.Tokens, MetricsToken: cfg.MetricsToken, Tracing: cfg.Tracing, PullSecrets: cfg.PullSecrets})
		},
	} {
		if err := setup(); err != nil {
			return nil, fmt.Errorf("kernels: %w", err)
		}
	}
	return offers.New(scope, cfg.Pods, mgr.GetClient(), admission.Capacity()), nil
}
