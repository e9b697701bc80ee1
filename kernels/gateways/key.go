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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// ensureKey makes a gateway's key once. An existing one is changed by its rotation alone,
// which agents of running kernels follow: status says which it is. It returns the name of its
// Secret, and notes in status if that is another than before.
func (r *gatewayReconciler) ensureKey(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) (string, error) {
	secret, err := r.keySecret(ctx, gw, status)
	if err != nil {
		return "", err
	}
	if secret.Immutable != nil && *secret.Immutable {
		if secret, err = r.copyKey(ctx, gw, secret); err != nil {
			return "", err
		}
		status.KeySecret = secret.Name
	}
	key, err := podspec.ParseGatewayKey(secret, r.now())
	if err != nil { // of somebody who has changed it: what there is goes on
		log.FromContext(ctx).Error(err, "the gateway's key cannot be read")
		return secret.Name, nil
	}
	status.KeyID = key.ID()
	return secret.Name, r.removeCopied(ctx, secret, key)
}

// keySecret is the Secret with a gateway's key. One that was deleted, or is not ours any
// more, cannot be made again under its name (see podspec.KeySecretName), and all that was
// derived from it is lost.
func (r *gatewayReconciler) keySecret(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) (*corev1.Secret, error) {
	found, err := podspec.FindKeySecret(ctx, r.live, gw)
	if err == nil || !errors.As(err, new(*podspec.MissingError)) {
		return found, err
	}
	name, lost := podspec.KeySecretName(gw), gw.Status.URL != ""
	if !lost {
		made, err := r.createKey(ctx, gw, name)
		if !apierrors.IsAlreadyExists(err) {
			return made, wrapKey(err)
		}
		if found, err = podspec.FindKeySecret(ctx, r.live, gw); err == nil { // of another pass
			return found, nil
		}
	}
	current := &v1alpha1.JupyterGateway{} // the cache may not know yet of one that was made again
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(gw), current); err != nil {
		return nil, fmt.Errorf("kernels: read gateway: %w", err)
	}
	if found, err = podspec.FindKeySecret(ctx, r.live, current); err == nil {
		return found, nil
	}
	name += "-" + rand.String(keySuffix)
	made, err := r.createKey(ctx, gw, name)
	if err != nil {
		return nil, wrapKey(err)
	}
	log.FromContext(ctx).Info("the gateway's key was lost and is made anew", "secret", name)
	status.KeySecret, status.KeySince = name, &metav1.Time{Time: r.now()}
	return made, nil
}

// copySuffix is what the copy of a Secret that cannot be changed is called beside that.
const copySuffix = "-copy"

// copyKey gives the key of a former release, in a Secret that is immutable, another Secret that
// can be changed. The gateway's Pods are made anew with it, as they are by an upgrade.
func (r *gatewayReconciler) copyKey(ctx context.Context, gw *v1alpha1.JupyterGateway, from *corev1.Secret) (*corev1.Secret, error) {
	made := &corev1.Secret{ObjectMeta: gatewayMeta(gw, from.Name+copySuffix), Data: map[string][]byte{podspec.KeyName: from.Data[podspec.KeyName]}}
	made.Annotations = map[string]string{v1alpha1.AnnotationCopiedFrom: from.Name}
	err := r.client.Create(ctx, made)
	if !apierrors.IsAlreadyExists(err) {
		return made, wrapKey(err)
	}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(made), made); err != nil {
		return nil, wrapKey(err)
	}
	if !podspec.BelongsTo(made, gw.UID) {
		return nil, fmt.Errorf("%w: Secret %s", errNameTaken, made.Name)
	}
	return made, nil
}

// removeCopied removes what a Secret was copied from, once the key is another: who goes back to
// a release that knows nothing of the copy would have a former key count.
func (r *gatewayReconciler) removeCopied(ctx context.Context, secret *corev1.Secret, key podspec.GatewayKey) error {
	from := secret.Annotations[v1alpha1.AnnotationCopiedFrom]
	if from == "" || !key.Rotated() {
		return nil
	}
	copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: from, Namespace: secret.Namespace}}
	if err := r.client.Delete(ctx, copied); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("kernels: remove the gateway's former key: %w", err)
	}
	changed := secret.DeepCopy()
	delete(changed.Annotations, v1alpha1.AnnotationCopiedFrom)
	if err := r.client.Patch(ctx, changed, client.MergeFrom(secret)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("kernels: note that the gateway's former key is removed: %w", err)
	}
	return nil
}

// keySuffix is how many letters tell a key that was made again from the one before.
const keySuffix = 5

func wrapKey(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("kernels: create gateway key: %w", err)
}

func (r *gatewayReconciler) createKey(ctx context.Context, gw *v1alpha1.JupyterGateway, name string) (*corev1.Secret, error) {
	key := make([]byte, keys.Size)
	_, _ = cryptorand.Read(key) // never fails
	made := &corev1.Secret{ObjectMeta: gatewayMeta(gw, name), Data: map[string][]byte{podspec.KeyName: []byte(hex.EncodeToString(key))}}
	return made, r.client.Create(ctx, made)
}
