package kernels

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// ensureKey makes a gateway's key once. An existing one is never changed: the
// agents of running kernels know nothing but what was derived from it.
func ensureKey(ctx context.Context, c client.Client, live client.Reader, gw *v1alpha1.JupyterGateway) error {
	_, err := readGatewayKey(ctx, live, gw.Namespace, gw.Name)
	if _, missing := err.(*MissingError); !missing {
		return err
	}
	key := make([]byte, keys.Size)
	_, _ = rand.Read(key) // never fails
	secret := &corev1.Secret{
		ObjectMeta: gatewayMeta(gw, KeySecretName(gw.Name)),
		Immutable:  ptr.To(true),
		StringData: map[string]string{keyName: hex.EncodeToString(key)},
	}
	if err := c.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("kernels: create gateway key: %w", err)
	}
	return nil
}

// readGatewayKey returns a *MissingError while the Secret does not exist.
func readGatewayKey(ctx context.Context, reader client.Reader, namespace, gateway string) ([]byte, error) {
	var secret corev1.Secret
	err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: KeySecretName(gateway)}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, &MissingError{Reason: "GatewayKeyMissing", Object: "Secret " + KeySecretName(gateway)}
	}
	if err != nil {
		return nil, fmt.Errorf("kernels: read gateway key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(secret.Data[keyName])))
	if err != nil || len(key) != keys.Size {
		return nil, fmt.Errorf("kernels: Secret %s: %q must be %d hexadecimal digits", secret.Name, keyName, 2*keys.Size)
	}
	return key, nil
}
