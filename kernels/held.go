package kernels

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Held counts how much of an extended resource the kernels of a user hold
// now, and those of everybody under a policy.
func (c *Catalogue) Held(ctx context.Context, user, policy, resource string) (byUser, byPolicy int64, err error) {
	var kernels v1alpha1.JupyterKernelList
	if err := c.reader.List(ctx, &kernels, client.InNamespace(c.cfg.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return 0, 0, fmt.Errorf("kernels: list kernels: %w", err)
	}
	for i := range kernels.Items {
		k := &kernels.Items[i]
		if !counted(k.Status) {
			continue
		}
		n := fromList(k.Status.Held)[resource]
		if k.Spec.User == user {
			byUser += n
		}
		if slices.Contains(k.Spec.Policies, policy) {
			byPolicy += n
		}
	}
	return byUser, byPolicy, nil
}
