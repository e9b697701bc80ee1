package gateways

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// ensureKey makes a gateway's key once. An existing one is never changed: the
// agents of running kernels know nothing but what was derived from it.
// It returns the name of its Secret.
func ensureKey(ctx context.Context, c client.Client, live client.Reader, gw *v1alpha1.JupyterGateway) (string, error) {
	found, err := podspec.FindKeySecret(ctx, live, gw)
	if err == nil {
		return found.Name, nil
	}
	if !errors.As(err, new(*podspec.MissingError)) {
		return "", err
	}
	key := make([]byte, keys.Size)
	_, _ = rand.Read(key) // never fails
	secret := &corev1.Secret{
		ObjectMeta: gatewayMeta(gw, podspec.KeySecretName(gw)),
		Immutable:  ptr.To(true),
		StringData: map[string]string{podspec.KeyName: hex.EncodeToString(key)},
	}
	if err := c.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("kernels: create gateway key: %w", err)
	}
	return secret.Name, nil
}
