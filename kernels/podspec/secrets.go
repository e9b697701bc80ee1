package podspec

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// KeyName is the key of the one value in a Secret of ours, and the name of its
// file where it is mounted.
const KeyName = "key"

// RunSecret is the Secret that the Pod of a kernel's run mounts.
func RunSecret(k *v1alpha1.JupyterKernel, agent keys.Secret) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: PodName(k.Name, k.Status.Run), Namespace: k.Namespace, Labels: KernelLabels(k, k.Status.Run),
			OwnerReferences: []metav1.OwnerReference{ownerReference(k)},
		},
		Immutable:  ptr.To(true),
		StringData: map[string]string{KeyName: agent.Hex()},
	}
}

// WarmSecret is the Secret that a warm Pod mounts. It belongs to the Pod, which
// has to exist.
func WarmSecret(pod *corev1.Pod, agent keys.Secret) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: pod.Name, Namespace: pod.Namespace, Labels: pod.Labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: ptr.To(true)}},
		},
		Immutable:  ptr.To(true),
		StringData: map[string]string{KeyName: agent.Hex()},
	}
}

// ReadGatewayKey returns a *MissingError while the Secret does not exist.
func ReadGatewayKey(ctx context.Context, reader client.Reader, namespace, gateway string) ([]byte, error) {
	var secret corev1.Secret
	err := reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: KeySecretName(gateway)}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, &MissingError{Reason: "GatewayKeyMissing", Object: "Secret " + KeySecretName(gateway)}
	}
	if err != nil {
		return nil, fmt.Errorf("kernels: read gateway key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(secret.Data[KeyName])))
	if err != nil || len(key) != keys.Size {
		return nil, fmt.Errorf("kernels: Secret %s: %q must be %d hexadecimal digits", secret.Name, KeyName, 2*keys.Size)
	}
	return key, nil
}

// KeySecretName is the Secret that holds a gateway's key.
func KeySecretName(gateway string) string { return gateway + "-gateway-key" }

// AgentSecret is the secret of the agent of a kernel's present run.
func AgentSecret(ctx context.Context, live client.Reader, k *v1alpha1.JupyterKernel) (keys.Secret, error) {
	key, err := ReadGatewayKey(ctx, live, k.Namespace, k.Spec.Gateway)
	if err != nil {
		return keys.Secret{}, err
	}
	return keys.ForRun(key, string(k.UID), k.Status.Run, k.Status.Warm)
}
