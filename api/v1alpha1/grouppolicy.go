package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GroupPolicy says what the members of some directory groups may have.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=gp,categories=jupyter
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="CPU",type=string,JSONPath=`.spec.cpu.max`
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=`.spec.memory.max`
// +kubebuilder:printcolumn:name="GPUs",type=integer,JSONPath=`.spec.kernels.gpusPerUser`
type GroupPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   GroupPolicySpec   `json:"spec"`
	Status GroupPolicyStatus `json:"status,omitempty"`
}

// GroupPolicySpec is the allowance and who it is for.
//
// +kubebuilder:validation:XValidation:rule="self.default || size(self.groups) > 0",message="groups must name at least one group unless default is true"
type GroupPolicySpec struct {
	// DisplayName is shown in the form.
	DisplayName string `json:"displayName,omitempty"`
	// Groups are names (the CN) or whole DNs.
	// +kubebuilder:default={}
	// +kubebuilder:validation:MaxItems=256
	Groups []string `json:"groups,omitempty"`
	// Default applies the policy to users whom no other policy matches.
	// +kubebuilder:default=false
	Default bool `json:"default,omitempty"`
	// Priority decides when several policies match: the highest wins, the
	// name in alphabetical order decides between equals.
	Priority int32 `json:"priority,omitempty"`

	CPU    ResourceRange `json:"cpu"`
	Memory ResourceRange `json:"memory"`
	// Images are the notebook images on offer; the first visible one is the default.
	// +kubebuilder:validation:MinItems=1
	Images []ImageChannel `json:"images"`
	// Presets set both sliders at once.
	Presets []Preset `json:"presets,omitempty"`

	NodeSelector      map[string]string   `json:"nodeSelector,omitempty"`
	Tolerations       []corev1.Toleration `json:"tolerations,omitempty"`
	PriorityClassName string              `json:"priorityClassName,omitempty"`
	Storage           *NotebookStorage    `json:"storage,omitempty"`
	// Env is plain values for the notebook and its kernels.
	Env []PolicyEnv `json:"env,omitempty"`

	Kernels PolicyKernels `json:"kernels,omitempty"`
	// ServersPerUser is how many servers a user may have running; 0 means one.
	// +kubebuilder:validation:Minimum=0
	ServersPerUser int32 `json:"serversPerUser,omitempty"`
	// ServerIdleSeconds stops an idle notebook server; 0 means never. Nothing
	// acts on it yet.
	// +kubebuilder:validation:Minimum=0
	ServerIdleSeconds int64 `json:"serverIdleSeconds,omitempty"`
	// MaxRunSeconds is how long a server may run; 0 means for ever. Nothing
	// acts on it yet.
	// +kubebuilder:validation:Minimum=0
	MaxRunSeconds int64 `json:"maxRunSeconds,omitempty"`
	// HelpText is shown above the form.
	HelpText string `json:"helpText,omitempty"`
}

// ResourceRange bounds one slider: cpu in cores, memory in bytes.
type ResourceRange struct {
	Min resource.Quantity `json:"min"`
	Max resource.Quantity `json:"max"`
	// Step defaults to 1 core or 1Gi.
	Step *resource.Quantity `json:"step,omitempty"`
	// Default defaults to min.
	Default *resource.Quantity `json:"default,omitempty"`
	// RequestRatio is the request over the limit, e.g. "0.33". The default is
	// a third for cpu and 1 for memory.
	// +kubebuilder:validation:Pattern=`^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$`
	RequestRatio string `json:"requestRatio,omitempty"`
}

// ImageChannel is a name for an image, such as "stable", whose image can
// change without anyone's choice becoming invalid.
type ImageChannel struct {
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`
	ID          string `json:"id"`
	DisplayName string `json:"displayName,omitempty"`
	Description string `json:"description,omitempty"`
	Image       string `json:"image"`
	// Hidden channels are not offered, yet still valid for who has chosen them.
	Hidden   bool             `json:"hidden,omitempty"`
	Redirect *ChannelRedirect `json:"redirect,omitempty"`
}

// ChannelRedirect proposes another channel; it is never applied by itself.
type ChannelRedirect struct {
	To      string `json:"to"`
	Message string `json:"message,omitempty"`
}

// Preset is a named pair of values.
type Preset struct {
	Name   string            `json:"name"`
	CPU    resource.Quantity `json:"cpu"`
	Memory resource.Quantity `json:"memory"`
}

// PolicyEnv is one environment variable with a plain value.
type PolicyEnv struct {
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// PolicyKernels bounds what a gateway gives to the members.
type PolicyKernels struct {
	// Allowed are names of JupyterKernelSpecs.
	Allowed []string `json:"allowed,omitempty"`
	// GPUResource is the extended resource that the limits below count.
	// +kubebuilder:default="nvidia.com/gpu"
	GPUResource string `json:"gpuResource,omitempty"`
	// GPUsPerKernel, GPUsPerUser and GPUPool (all members together) limit it;
	// absent means none for the first two, unlimited for the pool.
	// +kubebuilder:validation:Minimum=0
	GPUsPerKernel int32 `json:"gpusPerKernel,omitempty"`
	// +kubebuilder:validation:Minimum=0
	GPUsPerUser int32 `json:"gpusPerUser,omitempty"`
	// +kubebuilder:validation:Minimum=0
	GPUPool *int32 `json:"gpuPool,omitempty"`
	// PerUser is how many kernels with a Pod a user may have; 0 means no limit.
	// +kubebuilder:validation:Minimum=0
	PerUser int32 `json:"perUser,omitempty"`
	// AtLimit is what happens at the user's own limit; default queue.
	// +kubebuilder:validation:Enum=queue;refuse
	AtLimit AtLimit `json:"atLimit,omitempty"`
	// IdleSeconds after which a kernel is parked; 0 means the gateway's.
	// +kubebuilder:validation:Minimum=0
	IdleSeconds int64 `json:"idleSeconds,omitempty"`
	// Weight of the group when capacity is shared out; 0 means 1.
	// +kubebuilder:validation:Minimum=0
	Weight int32 `json:"weight,omitempty"`
}

// AtLimit is what happens to a request beyond a limit.
type AtLimit string

// What happens to a request beyond a limit.
const (
	AtLimitQueue  AtLimit = "queue"
	AtLimitRefuse AtLimit = "refuse"
)

// GroupPolicyStatus is current use.
type GroupPolicyStatus struct {
	// Servers and Kernels that run, and GPUs held, under this policy.
	Servers    int32              `json:"servers,omitempty"`
	Kernels    int32              `json:"kernels,omitempty"`
	GPUs       int32              `json:"gpus,omitempty"`
	Queued     int32              `json:"queued,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true

// GroupPolicyList is a list of GroupPolicy.
type GroupPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GroupPolicy `json:"items"`
}
