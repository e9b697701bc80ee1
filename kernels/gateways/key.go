package gateways

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// ensureKey makes a gateway's key once. An existing one is never changed: the
// agents of running kernels know nothing but what was derived from it. It returns
// the name of its Secret, and notes in status if that is another than before: one that
// was deleted, or is not ours any more, cannot be made again under its name (see
// podspec.KeySecretName), and all that was derived from it is lost.
func (r *gatewayReconciler) ensureKey(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) (string, error) {
	found, err := podspec.FindKeySecret(ctx, r.live, gw)
	if err == nil {
		return found.Name, nil
	}
	if !errors.As(err, new(*podspec.MissingError)) {
		return "", err
	}
	name, lost := podspec.KeySecretName(gw), gw.Status.URL != ""
	if !lost {
		err := r.createKey(ctx, gw, name)
		if !apierrors.IsAlreadyExists(err) {
			return name, wrapKey(err)
		}
		if found, err = podspec.FindKeySecret(ctx, r.live, gw); err == nil { // of another pass
			return found.Name, nil
		}
	}
	current := &v1alpha1.JupyterGateway{} // the cache may not know yet of one that was made again
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(gw), current); err != nil {
		return "", fmt.Errorf("kernels: read gateway: %w", err)
	}
	if found, err = podspec.FindKeySecret(ctx, r.live, current); err == nil {
		return found.Name, nil
	}
	name += "-" + rand.String(keySuffix)
	if err := r.createKey(ctx, gw, name); err != nil {
		return "", wrapKey(err)
	}
	log.FromContext(ctx).Info("the gateway's key was lost and is made anew", "secret", name)
	status.KeySecret, status.KeySince = name, &metav1.Time{Time: r.now()}
	return name, nil
}

// keySuffix is how many letters tell a key that was made again from the one before.
const keySuffix = 5

func wrapKey(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("kernels: create gateway key: %w", err)
}

func (r *gatewayReconciler) createKey(ctx context.Context, gw *v1alpha1.JupyterGateway, name string) error {
	key := make([]byte, keys.Size)
	_, _ = cryptorand.Read(key) // never fails
	return r.client.Create(ctx, &corev1.Secret{
		ObjectMeta: gatewayMeta(gw, name),
		Immutable:  ptr.To(true),
		StringData: map[string]string{podspec.KeyName: hex.EncodeToString(key)},
	})
}
