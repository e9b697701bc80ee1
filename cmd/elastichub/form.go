package main

import (
	"context"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/kernels/offers"
	hours "github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/web"
)

// catalogue tells the form what there is to lend, in the form's own terms:
// hubapi and kernels do not know each other.
type catalogue struct {
	kernels *offers.Catalogue
	// gateway is empty where servers have no remote kernels.
	gateway string
	// standings are how the budgets of policies stand.
	standings func(context.Context) (*hours.Standings, []hours.Budget, error)
}

func (c catalogue) Kernels(ctx context.Context, allowance groups.Allowance) ([]web.KernelChoice, error) {
	if c.gateway == "" {
		return nil, nil
	}
	offers, err := c.kernels.Offers(ctx, c.gateway, allowance.Policies)
	if err != nil {
		return nil, err
	}
	choices := make([]web.KernelChoice, 0, len(offers))
	for _, offer := range offers {
		choice := web.KernelChoice{Name: offer.Name, DisplayName: offer.DisplayName, GPUs: offer.Extended, IdleSeconds: offer.IdleSeconds}
		if allowance.Storage != nil && allowance.Storage.Home != nil {
			choice.KeepSeconds = offer.KeepSeconds
		}
		choices = append(choices, choice)
	}
	return choices, nil
}

func (c catalogue) GPUs(ctx context.Context, quotas []groups.GPUQuota) (map[string]web.GPUs, error) {
	free, total, known, err := c.kernels.Capacity(ctx)
	if err != nil || !known {
		return nil, err
	}
	now := map[string]web.GPUs{}
	for _, quota := range quotas {
		now[quota.Resource] = web.GPUs{Free: free[quota.Resource], Total: total[quota.Resource]}
	}
	return now, nil
}

func (c catalogue) Held(ctx context.Context, user string, quotas []groups.GPUQuota) (map[string]web.HeldGPUs, error) {
	byUser, byPolicy, err := c.kernels.Held(ctx, user)
	if err != nil {
		return nil, err
	}
	held := map[string]web.HeldGPUs{}
	for _, quota := range quotas {
		held[quota.Resource] = web.HeldGPUs{User: byUser[quota.Resource], Pool: byPolicy[quota.Policy]}
	}
	return held, nil
}

func (c catalogue) Budgets(ctx context.Context, user, policy string) ([]web.Budget, error) {
	standings, all, err := c.standings(ctx)
	if err != nil {
		return nil, err
	}
	var found []web.Budget
	for _, b := range all {
		if standing, known := standings.Of(b, user, false); known && b.Policy == policy {
			found = append(found, web.Budget{Standing: standing, Own: true})
		}
	}
	return found, nil
}
