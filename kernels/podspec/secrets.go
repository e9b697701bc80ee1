package podspec

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/rotation"
)

// KeyName is the key of the one value in a Secret of ours, and the name of its
// file where it is mounted.
const KeyName = "key"

// KeepKeyName is, in the Secret of a kernel's Pod, what its state is sealed with, and
// the name of its file where it is mounted.
const KeepKeyName = "keep"

// RunSecret is the Secret that the Pod of a kernel's run mounts. The keep keys, the
// first of them that of today, are those of a kernel whose state is kept. It is not
// immutable: when the gateway's key is rotated, the agent reads another secret in it.
func RunSecret(k *v1alpha1.JupyterKernel, agent keys.Secret, keep ...keys.KeepKey) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: PodName(k.Name, k.Status.Run), Namespace: k.Namespace, Labels: KernelLabels(k, k.Status.Run),
			OwnerReferences: []metav1.OwnerReference{ownerReference(k)},
		},
		StringData: map[string]string{KeyName: agent.Hex()},
	}
	if len(keep) > 0 {
		var lines strings.Builder
		for _, key := range keep {
			lines.WriteString(key.Hex() + "\n")
		}
		secret.StringData[KeepKeyName] = lines.String()
	}
	return secret
}

// WarmSecret is the Secret that a warm Pod mounts. It belongs to the Pod, which
// has to exist.
func WarmSecret(pod *corev1.Pod, agent keys.Secret) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: pod.Name, Namespace: pod.Namespace, Labels: pod.Labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: ptr.To(true)}},
		},
		StringData: map[string]string{KeyName: agent.Hex()},
	}
}

// GatewayKey is the key of a gateway, with those that count beside it.
type GatewayKey struct {
	keys.GatewayKeys
	values rotation.Values
}

// ParseGatewayKey reads it from its Secret.
func ParseGatewayKey(secret *corev1.Secret, now time.Time) (GatewayKey, error) {
	values, err := rotation.Parse(KeyName, func(key string) string { return string(secret.Data[key]) })
	if err != nil {
		return GatewayKey{}, fmt.Errorf("kernels: Secret %s: %w", secret.Name, err)
	}
	counting, err := keys.ParseGatewayKeys(values, now)
	if err != nil {
		return GatewayKey{}, fmt.Errorf("kernels: Secret %s: %q: %w", secret.Name, KeyName, err)
	}
	return GatewayKey{counting, values}, nil
}

// ID tells the current key from others. It is empty before a first rotation: there are no others.
func (k GatewayKey) ID() string {
	if k.values.Mark == "" {
		return ""
	}
	return keys.ID(k.GatewayKeys[0])
}

// Rotated reports whether the current key is another than the first, and no other is to come.
func (k GatewayKey) Rotated() bool { return k.values.Mark != "" && k.values.Next == "" }

// FormerUntil is when the former key counts no more; zero: there is none, or for ever.
func (k GatewayKey) FormerUntil() time.Time { return k.values.FormerUntil }

// ReadGatewayKey returns a *MissingError while the Secret does not exist.
func ReadGatewayKey(ctx context.Context, reader client.Reader, namespace, gateway string) (GatewayKey, error) {
	gw := &v1alpha1.JupyterGateway{}
	if err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: gateway}, gw); apierrors.IsNotFound(err) {
		return GatewayKey{}, &MissingError{Reason: "GatewayMissing", Object: "JupyterGateway " + gateway}
	} else if err != nil {
		return GatewayKey{}, fmt.Errorf("kernels: read gateway: %w", err)
	}
	secret, err := FindKeySecret(ctx, reader, gw)
	if err != nil {
		return GatewayKey{}, err
	}
	return ParseGatewayKey(secret, time.Now())
}

// KeySecretName is the Secret that holds a gateway's key. One that is made again
// under the same name gets another: a node goes on giving its Pods what it has read
// of an immutable Secret, although that is gone and another has its name.
func KeySecretName(gw *v1alpha1.JupyterGateway) string {
	return formerKeySecretName(gw.Name) + "-" + strings.SplitN(string(gw.UID), "-", 2)[0]
}

// formerKeySecretName is what former releases called it.
func formerKeySecretName(gateway string) string { return gateway + "-gateway-key" }

// FindKeySecret reads the Secret with a gateway's key, of this release or of a former
// one; a *MissingError means that there is none of this very gateway.
func FindKeySecret(ctx context.Context, reader client.Reader, gw *v1alpha1.JupyterGateway) (*corev1.Secret, error) {
	names := []string{KeySecretName(gw), formerKeySecretName(gw.Name)}
	if again := gw.Status.KeySecret; again != "" {
		names = []string{again}
	}
	for _, name := range names {
		secret := &corev1.Secret{}
		err := reader.Get(ctx, types.NamespacedName{Namespace: gw.Namespace, Name: name}, secret)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("kernels: read gateway key: %w", err)
		}
		if err == nil && BelongsTo(secret, gw.UID) {
			return secret, nil
		}
	}
	return nil, &MissingError{Reason: "GatewayKeyMissing", Object: "Secret " + names[0]}
}

// AgentKey is the key from which the secrets of the agent of a kernel's present run follow.
func AgentKey(ctx context.Context, live client.Reader, k *v1alpha1.JupyterKernel) (GatewayKey, keys.Secrets, error) {
	at := k.GatewayKey()
	key, err := ReadGatewayKey(ctx, live, at.Namespace, at.Name)
	if err != nil {
		return GatewayKey{}, nil, err
	}
	secrets, err := key.ForRun(string(k.UID), k.Status.Run, k.Status.Warm)
	return key, secrets, err
}

// AgentSecrets are those secrets, of which the agent has one.
func AgentSecrets(ctx context.Context, live client.Reader, k *v1alpha1.JupyterKernel) (keys.Secrets, error) {
	_, secrets, err := AgentKey(ctx, live, k)
	return secrets, err
}
