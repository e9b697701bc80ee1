package lifecycle

import (
	"context"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// keepKeys are those of a kernel whose state is kept.
func (r *kernelReconciler) keepKeys(k *v1alpha1.JupyterKernel, built *podspec.Built) ([]keys.KeepKey, error) {
	if !r.pods.StateOf(built.Parts).Enabled {
		return nil, nil
	}
	return r.keepSeeds.Derive(k.Namespace, k.StateUID())
}

// discardState has a kernel that is about to be deleted end by its agent, if its state
// is kept: told by nobody but the kubelet, the agent would save it. One that was not
// seen ready may have been used all the same.
func (r *kernelReconciler) discardState(ctx context.Context, k *v1alpha1.JupyterKernel) error {
	if !k.Status.Phase.HasPod() || k.Status.PodIP == "" {
		return nil
	}
	in, err := r.pods.Gather(ctx, r.client, k)
	if err != nil || !r.pods.StateOf(in).Enabled {
		return err
	}
	secrets, err := podspec.AgentSecrets(ctx, r.live, k)
	if err != nil {
		return err
	}
	calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
	defer cancel()
	return r.agents.Shutdown(calling, k.Status.PodIP, secrets)
}
