package main

import (
	"context"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/kernels"
	"github.com/elastichub/elastichub/web"
)

// catalogue tells the form what there is to lend, in the form's own terms:
// hubapi and kernels do not know each other.
type catalogue struct {
	kernels *kernels.Catalogue
	gateway string
}

func (c catalogue) Kernels(ctx context.Context, allowance groups.Allowance) ([]web.KernelChoice, error) {
	offers, err := c.kernels.Offers(ctx, c.gateway, allowance.Kernels.GPUResource, allowance.Policies)
	if err != nil {
		return nil, err
	}
	choices := make([]web.KernelChoice, 0, len(offers))
	for _, offer := range offers {
		choices = append(choices, web.KernelChoice{
			Name: offer.Name, DisplayName: offer.DisplayName, GPUs: int(offer.GPUs), IdleSeconds: offer.IdleSeconds,
		})
	}
	return choices, nil
}

func (c catalogue) GPUs(ctx context.Context, resource string) (*web.GPUs, error) {
	free, total, known, err := c.kernels.GPUs(ctx, resource)
	if err != nil || !known {
		return nil, err
	}
	return &web.GPUs{Free: int(free), Total: int(total)}, nil
}

func (c catalogue) Held(ctx context.Context, user string, allowance groups.Allowance) (web.HeldGPUs, error) {
	if len(allowance.GPUs) == 0 {
		return web.HeldGPUs{}, nil
	}
	quota := allowance.GPUs[0]
	byUser, byPolicy, err := c.kernels.Held(ctx, user, quota.Policy, quota.Resource)
	return web.HeldGPUs{User: int(byUser), Pool: int(byPolicy)}, err
}
