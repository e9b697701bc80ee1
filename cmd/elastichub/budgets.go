package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	hours "github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/usage/budgets"
)

// budgetsAge is how old what is told of budgets may be.
const budgetsAge = 5 * time.Second

// newStandings reads, for whoever asks, the ledger of hours and the policies.
func newStandings(config serveConfig, cached client.Reader, live client.Reader) func(context.Context) (*hours.Standings, []hours.Budget, error) {
	ledger := hours.Store{Reader: live, Namespace: config.Namespace, Name: config.Usage.ConfigMaps}
	var mu sync.Mutex
	var saved *hours.Saved
	var read time.Time
	return func(ctx context.Context) (*hours.Standings, []hours.Budget, error) {
		var policies v1alpha1.GroupPolicyList
		if err := cached.List(ctx, &policies, client.InNamespace(config.Namespace)); err != nil {
			return nil, nil, fmt.Errorf("list policies: %w", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if age := time.Since(read); saved == nil || age > budgetsAge {
			now, err := ledger.Read(ctx)
			if err != nil {
				return nil, nil, err
			}
			saved, read = now, time.Now()
		}
		all := budgets.All(policies.Items)
		return hours.NewStandings(saved.All(), all, time.Now()), all, nil
	}
}
