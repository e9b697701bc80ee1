package web

import (
	"context"
	"errors"

	"github.com/elastichub/elastichub/groups"
)

// Lender knows what there is to lend. It only informs: a form is shown without what it
// cannot say.
type Lender interface {
	// Kernels are those that the allowance can use.
	Kernels(ctx context.Context, allowance groups.Allowance) ([]KernelChoice, error)
	// GPUs counts what there is of each quota's resource, by its name; nil when
	// nobody counts.
	GPUs(ctx context.Context, quotas []groups.GPUQuota) (map[string]GPUs, error)
	// Held counts what a user holds of each quota's resource, and everybody of
	// its pool, by the resource's name.
	Held(ctx context.Context, user string, quotas []groups.GPUQuota) (map[string]HeldGPUs, error)
	// Budgets tells how those of a policy stand for a user.
	Budgets(ctx context.Context, user, policy string) ([]Budget, error)
}

// AddLent adds what there is for the allowance's user. The errors say what is missing.
func (in *SpawnFormInput) AddLent(ctx context.Context, from Lender, user string) error {
	var errs [4]error
	in.Kernels, errs[0] = from.Kernels(ctx, in.Allowance)
	if quotas := in.Allowance.GPUs; len(quotas) > 0 {
		in.GPUs, errs[1] = from.GPUs(ctx, quotas)
		in.Held, errs[2] = from.Held(ctx, user, quotas)
	}
	if len(in.Allowance.Kernels.Budget) > 0 && len(in.Allowance.Policies) > 0 {
		in.Budgets, errs[3] = from.Budgets(ctx, user, in.Allowance.Policies[0])
	}
	return errors.Join(errs[:]...)
}
