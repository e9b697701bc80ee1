package offers

import (
	"context"
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/queue"
)

// Held counts the extended resources that the kernels of a user hold now, and
// what everybody's hold of the pool of each policy, which is of the policy's own
// resource. It books on pools as admission does.
func (c *Catalogue) Held(ctx context.Context, user string) (byUser admission.Resources, byPolicy map[string]int64, err error) {
	kernels, err := c.counted(ctx)
	if err != nil {
		return nil, nil, err
	}
	var list v1alpha1.GroupPolicyList
	if err := c.reader.List(ctx, &list, client.InNamespace(c.namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, fmt.Errorf("kernels: list policies: %w", err)
	}
	policies := map[string]admission.Policy{}
	for i := range list.Items {
		policies[list.Items[i].Name] = queue.PolicyOf(&list.Items[i])
	}
	byUser, byPolicy = admission.Resources{}, map[string]int64{}
	for _, k := range kernels {
		for resource, n := range podspec.InList(k.Status.Held) {
			if strings.EqualFold(k.Spec.User, user) {
				byUser[resource] += n
			}
			byPolicy[admission.Giver(resource, k.Spec.Policies, policies)] += n
		}
	}
	return byUser, byPolicy, nil
}

// counted lists the kernels that hold something, which are not to be changed.
func (c *Catalogue) counted(ctx context.Context) ([]*v1alpha1.JupyterKernel, error) {
	var all v1alpha1.JupyterKernelList
	if err := c.scope.List(ctx, c.reader, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("kernels: list kernels: %w", err)
	}
	var holding []*v1alpha1.JupyterKernel
	for i := range all.Items {
		if k := &all.Items[i]; lifecycle.Counted(k.Status) {
			holding = append(holding, k)
		}
	}
	return holding, nil
}
