package kernels

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/tokens"
)

// Config is what the controllers of this package need to know.
type Config struct {
	// Namespace is where the kinds live and everything is made.
	Namespace string
	// Image is that of the service: gateways run it, and kernel Pods take the agent from it.
	Image string
	// ImagePullPolicy is for Image and, where a template says nothing, for kernel images.
	ImagePullPolicy corev1.PullPolicy
	// KernelImage is that of the built-in kernel python_kubernetes.
	KernelImage string
	// TokenPublicKey verifies notebook tokens (tokens.Issuer.PublicKey).
	TokenPublicKey string
	// IdleSeconds applies where nobody else says anything; zero or less means never.
	IdleSeconds int64
	// ClusterCapacity lets admission read Nodes and Pods of all namespaces.
	// Without it only the policies limit, and the scheduler decides the rest.
	ClusterCapacity bool
}

// Validate returns all faults at once.
func (c Config) Validate() error {
	var faults []error
	for _, required := range []struct{ path, value string }{
		{"kernels.namespace", c.Namespace}, {"kernels.image", c.Image}, {"kernels.kernelImage", c.KernelImage},
	} {
		if required.value == "" {
			faults = append(faults, fmt.Errorf("%s: must be set", required.path))
		}
	}
	switch c.ImagePullPolicy {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		faults = append(faults, fmt.Errorf("kernels.imagePullPolicy: %q is none of Always, IfNotPresent, Never", c.ImagePullPolicy))
	}
	if _, err := tokens.NewVerifier(c.TokenPublicKey); err != nil {
		faults = append(faults, fmt.Errorf("kernels.tokenPublicKey: %w", err))
	}
	return errors.Join(faults...)
}
