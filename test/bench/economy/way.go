package economy

import (
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
)

const (
	gpu        = "nvidia.com/gpu"
	kernelSpec = "python-gpu"
	policyName = "notebooks"
)

// Way is one way to lend GPUs.
type Way struct {
	Name    string
	config  podspec.Config
	gateway v1alpha1.JupyterGateway
	policy  v1alpha1.GroupPolicy
	// Imports is how much longer every return takes than Measured says, and Lossy which share of
	// the sessions has something that cannot be kept.
	Imports time.Duration
	Lossy   float64
}

// Keeps is a notebook with a GPU of its own, from the start of its server to its stop.
func Keeps() Way {
	return Way{Name: "a GPU of its own", gateway: v1alpha1.JupyterGateway{Spec: v1alpha1.JupyterGatewaySpec{CullIdleTimeout: ptr.To[int32](0)}}}
}

// Culls is Enterprise Gateway as its chart has it, in its best case: it culls a kernel that is idle for
// an hour, also while a page is connected, and the variables are gone.
func Culls() Way {
	return Way{Name: "Enterprise Gateway, 1 h", gateway: v1alpha1.JupyterGateway{Spec: v1alpha1.JupyterGatewaySpec{CullIdleTimeout: ptr.To[int32](3600)}}}
}

// Defaults is elastichub as its chart has it: the values of a chart's values.yaml.
func Defaults(values string) (Way, error) {
	raw, err := os.ReadFile(values)
	if err != nil {
		return Way{}, fmt.Errorf("economy: defaults: %w", err)
	}
	var chart struct {
		Kernels struct {
			IdleTimeoutSeconds int64 `json:"idleTimeoutSeconds"`
			Keep               struct {
				Enabled     bool              `json:"enabled"`
				IdleSeconds int64             `json:"idleSeconds"`
				MaxBytes    resource.Quantity `json:"maxBytes"`
				TTL         metav1.Duration   `json:"ttl"`
			} `json:"keep"`
		} `json:"kernels"`
	}
	if err := yaml.Unmarshal(raw, &chart); err != nil {
		return Way{}, fmt.Errorf("economy: %s: %w", values, err)
	}
	keep := chart.Kernels.Keep
	return Way{Name: "elastichub, defaults", config: podspec.Config{
		IdleSeconds: chart.Kernels.IdleTimeoutSeconds, Keeps: keep.Enabled,
		Keep: podspec.Keep{Enabled: keep.Enabled, IdleSeconds: keep.IdleSeconds, MaxBytes: keep.MaxBytes.Value(), TTL: keep.TTL.Duration},
	}}, nil
}

// KeepFor is the same with another keep.idleSeconds in its policy.
func (w Way) KeepFor(seconds int64) Way {
	w.Name = fmt.Sprintf("elastichub, %d s", seconds)
	w.policy.Spec.Kernels.Keep = &v1alpha1.PolicyKeep{IdleSeconds: &seconds}
	return w
}

// Warm is the same with so many kernels kept ready.
func (w Way) Warm(count int32) Way {
	w.Name += fmt.Sprintf(", %d warm", count)
	w.gateway.Spec.WarmKernels = []v1alpha1.WarmKernel{{KernelSpec: kernelSpec, Count: count}}
	return w
}

// Yields is the same with idle kernels that yield to who waits.
func (w Way) Yields(seconds int64) Way {
	w.Name += fmt.Sprintf(", yield after %d s", seconds)
	w.gateway.Spec.YieldIdleSeconds = seconds
	return w
}

// Importing is the same where every return takes so much longer.
func (w Way) Importing(d time.Duration) Way {
	w.Name += fmt.Sprintf(", imports %s", d)
	w.Imports = d
	return w
}

// Losing is the same where a share of the sessions has something that cannot be kept.
func (w Way) Losing(share float64) Way {
	w.Name += fmt.Sprintf(", %.0f %% not kept whole", 100*share)
	w.Lossy = share
	return w
}

// parts are those of a kernel.
func (w *Way) parts(user string) podspec.Parts {
	return podspec.Parts{
		Kernel: &v1alpha1.JupyterKernel{Spec: v1alpha1.JupyterKernelCRDSpec{User: user, KernelSpec: kernelSpec}}, Gateway: &w.gateway,
		Spec:     &v1alpha1.JupyterKernelSpec{},
		Policies: []v1alpha1.GroupPolicy{w.policy},
		Notebook: &v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{User: user, Storage: &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{}}}},
	}
}
