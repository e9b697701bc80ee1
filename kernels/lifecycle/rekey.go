package lifecycle

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/rotation"
)

// keyStanding is how the secret of a run's agent stands to its gateway's key.
type keyStanding struct {
	// lost: it follows from none that counts, and the agent takes no other.
	lost bool
	// until is when it will be; zero: it will not.
	until time.Time
}

// rekey brings the secret of a run's agent up to date when the key of its gateway was rotated:
//
//	Secret of the run {S(a)} ──▶ {S(b), former: S(a), former-until}, with a cut-off {S(b)}
//
// The agent reads it again, and the kubelet brings it at once since an annotation of the Pod
// says which key it is of. The agent of a former release goes on with what it has while that counts.
func (r *kernelReconciler) rekey(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod, gw *v1alpha1.JupyterGateway) (keyStanding, error) {
	if gw.Status.KeyID == "" || k.Spec.KernelSpec == "" || pod == nil || pod.DeletionTimestamp != nil || !podstate.Alive(pod) ||
		pod.Annotations[v1alpha1.AnnotationAgentKey] == gw.Status.KeyID {
		return keyStanding{}, nil
	}
	key, secrets, err := podspec.AgentKey(ctx, r.live, k)
	if err != nil {
		return keyStanding{}, podspec.IgnoreUnbuildable(err)
	}
	secret := &corev1.Secret{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(pod), secret); err != nil {
		return keyStanding{}, client.IgnoreNotFound(err) // a Pod that waits for it gets another
	}
	has, err := keys.Parse(string(secret.Data[podspec.KeyName]))
	if err != nil {
		return keyStanding{}, fmt.Errorf("kernels: Secret %s: %w", secret.Name, err)
	}
	counts := false
	for _, one := range secrets {
		counts = counts || one == has
	}
	if !podspec.FollowsKey(pod) || secret.Immutable != nil && *secret.Immutable {
		if has == secrets[0] {
			return keyStanding{}, nil
		}
		return keyStanding{lost: !counts, until: key.FormerUntil()}, nil
	}
	if has != secrets[0] {
		changed := secret.DeepCopy()
		changed.Data[podspec.KeyName] = []byte(secrets[0].Hex())
		delete(changed.Data, rotation.KeyFormer)
		delete(changed.Data, rotation.KeyFormerUntil)
		if counts {
			changed.Data[rotation.KeyFormer] = []byte(has.Hex())
			if until := key.FormerUntil(); !until.IsZero() {
				changed.Data[rotation.KeyFormerUntil] = []byte(until.Format(time.RFC3339))
			}
		}
		if err := r.client.Patch(ctx, changed, podrules.PatchOver(secret)); err != nil {
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				return keyStanding{}, errChanged
			}
			return keyStanding{}, fmt.Errorf("kernels: change the secret of an agent: %w", err)
		}
	}
	noted := pod.DeepCopy()
	if noted.Annotations == nil {
		noted.Annotations = map[string]string{}
	}
	noted.Annotations[v1alpha1.AnnotationAgentKey] = key.ID()
	if err := r.client.Patch(ctx, noted, client.MergeFrom(pod)); client.IgnoreNotFound(err) != nil {
		return keyStanding{}, fmt.Errorf("kernels: note of which key an agent's secret is: %w", err)
	}
	log.FromContext(ctx).Info("the agent's secret follows the gateway's key", "pod", pod.Name, "formerCounts", counts)
	return keyStanding{}, nil
}
