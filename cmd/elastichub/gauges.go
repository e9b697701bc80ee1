package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/elastichub/elastichub/kernels/offers"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/portal/gauges"
	"github.com/elastichub/elastichub/portal/holdings"
)

// registerGauges has what the console shows counted for Prometheus, with or without a
// console.
func registerGauges(mgr manager.Manager, scope *namespaces.Scope, lent *offers.Catalogue, log *slog.Logger, registry prometheus.Registerer) error {
	err := registry.Register(gauges.New(gauges.Sources{
		Elected: mgr.Elected(), Reader: mgr.GetClient(), Scope: scope, Log: log, Capacity: capacityOf(lent),
		Nodes: func(ctx context.Context) ([]gauges.Node, error) {
			uses, err := lent.Uses(ctx)
			nodes := make([]gauges.Node, len(uses))
			for i, u := range uses {
				nodes[i] = gauges.Node{Name: u.Name, Allocatable: u.Allocatable, Requested: u.Requested}
			}
			return nodes, err
		},
	}))
	if err != nil {
		return fmt.Errorf("metrics of what is held: %w", err)
	}
	return nil
}

// capacityOf is what the cluster has of extended resources.
func capacityOf(lent *offers.Catalogue) func(context.Context) (holdings.Capacity, error) {
	return func(ctx context.Context) (holdings.Capacity, error) {
		free, total, _, err := lent.Capacity(ctx)
		return holdings.Capacity{Total: total, Free: free}, err
	}
}
