package podspec

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/podrules"
)

// Config is what every Pod of a kernel is made with.
type Config struct {
	// Image is that of the service: gateways run it, and kernel Pods take the agent from it.
	Image string
	// ImagePullPolicy is for kernel images, where a template says nothing; empty:
	// Kubernetes' own rule.
	ImagePullPolicy corev1.PullPolicy
	// KernelImage is that of the built-in kernel python_kubernetes.
	KernelImage string
	// IdleSeconds until a kernel is parked, where nobody else says anything; zero
	// or less means never.
	IdleSeconds int64
	// MaxRunSeconds is how long one Pod of a kernel may run, busy or not, where no
	// policy says anything; zero or less means for ever.
	MaxRunSeconds int64
	// BusyCPU is how many cores' worth of computing that nobody has asked for
	// keeps a kernel from being idle; 0: none does.
	BusyCPU float64
	// BusyGPU is the same for the busiest of the kernel's GPUs, in percent of it.
	BusyGPU float64
	// DoNotDisrupt asks autoscalers to leave the nodes of kernels alone that
	// somebody has.
	DoNotDisrupt bool
	// HubEnvironment names the variables of c.Spawner.environment that kernels have,
	// too, where nobody else says anything.
	HubEnvironment []string
	// Proxy is by which kernels reach what is outside of the cluster, where nobody else says
	// anything.
	Proxy podrules.Proxy
	// APIAudiences are those of the cluster's API server, as far as they are known: no
	// Pod gets a token for them.
	APIAudiences []string
	// Images says which images of kernels are replaced.
	Images podrules.ImageMap
	// PolicyNamespace is where GroupPolicies are; empty: in each kernel's own.
	PolicyNamespace string
	// Keeps: there is a seed for the keys of states. Without it none is kept.
	Keeps bool
	// Keep is how the states of kernels are kept, where nobody else says anything.
	Keep Keep
}
