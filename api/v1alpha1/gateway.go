package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// JupyterGateway is a kernel gateway that notebook servers talk to: a
// Deployment, a Service of the same name on port 8888, a ServiceAccount and a
// RoleBinding.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.selector
// +kubebuilder:resource:shortName=jg,categories=jupyter
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.readyReplicas`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.spec.replicas`
// +kubebuilder:printcolumn:name="Idle",type=integer,JSONPath=`.spec.cullIdleTimeout`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type JupyterGateway struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec JupyterGatewaySpec `json:"spec,omitempty"`
	// Status is what the controllers have seen last; before that, it speaks of no generation.
	// +kubebuilder:default:={"observedGeneration":-1}
	Status JupyterGatewayStatus `json:"status,omitempty"`

	malformed *malformed `json:"-"`
}

// JupyterGatewaySpec says which kernels a gateway offers and when it takes them back.
type JupyterGatewaySpec struct {
	// Kernels are names of JupyterKernelSpecs in the gateway's namespace;
	// none means the built-in Python kernel, python_kubernetes.
	Kernels []string `json:"kernels,omitempty"`
	// DefaultKernel defaults to the first of kernels.
	DefaultKernel *string `json:"defaultKernel,omitempty"`
	// CullIdleTimeout is in seconds; zero or less disables; default 3600.
	CullIdleTimeout *int32 `json:"cullIdleTimeout,omitempty"`
	// CullInterval is accepted for compatibility: idleness is judged in the
	// kernel's Pod, to the second.
	CullInterval *int32 `json:"cullInterval,omitempty"`
	// LogLevel is how much the gateway writes to its log.
	// +kubebuilder:validation:Enum=DEBUG;INFO;WARNING
	LogLevel *LogLevel `json:"logLevel,omitempty"`
	// Resources of each of the gateway's Pods.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// Image of the gateway; an Enterprise Gateway image is replaced by ours.
	Image string `json:"image,omitempty"`
	// ClusterRole is bound to the gateway's ServiceAccount in its namespace,
	// beside the rules the gateway itself needs.
	ClusterRole *string `json:"clusterRole,omitempty"`

	// Replicas defaults to 1. The API server writes it, since without a number
	// there is nothing to scale.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`
	// CullConnected, by default true, lets a kernel be taken back although a
	// browser tab is connected to it.
	CullConnected *bool `json:"cullConnected,omitempty"`
	// OnIdle is what becomes of an idle kernel; default park.
	// +kubebuilder:validation:Enum=park;delete
	OnIdle OnIdle `json:"onIdle,omitempty"`
	// Auth admits clients that are not notebook servers of this cluster.
	Auth *GatewayAuth `json:"auth,omitempty"`
	// Warm is how many kernels of the default kernelspec are kept ready, running:
	// each for the notebook of somebody who is likely to need one, with its volumes,
	// and the rest for nobody in particular, if there are clients or notebooks without
	// volumes. A kernel is started from one if its Pod would be the same; see
	// docs/kernels.md. They give way to whoever waits for what they hold.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Warm int32 `json:"warm,omitempty"`
	// WarmKernels are kept ready beside those of warm, in the same way.
	// +kubebuilder:validation:MaxItems=32
	WarmKernels []WarmKernel `json:"warmKernels,omitempty"`

	// YieldIdleSeconds lets a kernel be parked early, once it has been idle for
	// so long, while somebody waits for what it holds; the one idle longest goes
	// first. Absent or zero: no kernel is parked before its idle time.
	// +kubebuilder:validation:Minimum=0
	YieldIdleSeconds int64 `json:"yieldIdleSeconds,omitempty"`
	// ParkNoticeSeconds is how long before a kernel is parked its user is told,
	// if its idle time is long enough for that; default 60, 0 means not at all.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	ParkNoticeSeconds *int64 `json:"parkNoticeSeconds,omitempty"`
	// IOPub bounds what a kernel may publish to each of its clients.
	IOPub *IOPubLimits `json:"iopub,omitempty"`

	// Keep says whether and where the variables of parked kernels are kept.
	Keep *GatewayKeep `json:"keep,omitempty"`
	// AllowedNamespaces are those, beside the gateway's own, whose notebooks it serves: their
	// kernels are there, of this namespace's kernelspecs. The release has to look after them.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	AllowedNamespaces []string `json:"allowedNamespaces,omitempty"`
}

// GatewayKeep says whether and where the variables of parked kernels are kept.
type GatewayKeep struct {
	// Enabled saves the variables of a kernel before it is parked.
	Enabled *bool `json:"enabled,omitempty"`
	// IdleSeconds after which a kernel is parked if all of its variables are kept; 0:
	// not before its idle time is over.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	IdleSeconds *int64 `json:"idleSeconds,omitempty"`
	// MaxBytes is how much is saved of one kernel.
	MaxBytes *resource.Quantity `json:"maxBytes,omitempty"`
	// TTL is how long what was saved is kept, e.g. 720h.
	TTL *metav1.Duration `json:"ttl,omitempty"`
	// Claim is a PersistentVolumeClaim to save to, instead of the home volume.
	// This field is not read yet.
	// +kubebuilder:validation:MaxLength=253
	Claim string `json:"claim,omitempty"`
}

// WarmKernel is a number of kernels that are kept ready.
type WarmKernel struct {
	// KernelSpec is one of those that the gateway offers.
	// +kubebuilder:validation:MinLength=1
	KernelSpec string `json:"kernelSpec"`
	// Count is how many of them are kept ready.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Count int32 `json:"count"`
	// Policies are GroupPolicies that those whom they are meant for have, all of them:
	// their environment and nodes. They count against nobody's quota until taken.
	// +kubebuilder:validation:MaxItems=16
	Policies []string `json:"policies,omitempty"`
}

// IOPubLimits are rates of one kernel's output; absent or zero means unlimited.
type IOPubLimits struct {
	// MessagesPerSecond that reach each client.
	// +kubebuilder:validation:Minimum=0
	MessagesPerSecond int64 `json:"messagesPerSecond,omitempty"`
	// BytesPerSecond that reach each client.
	// +kubebuilder:validation:Minimum=0
	BytesPerSecond int64 `json:"bytesPerSecond,omitempty"`
}

// LogLevel is a gateway's verbosity.
type LogLevel string

// OnIdle is what becomes of an idle kernel.
type OnIdle string

// What becomes of an idle kernel.
const (
	OnIdlePark   OnIdle = "park"
	OnIdleDelete OnIdle = "delete"
)

// GatewayAuth lists the clients that hold a token of their own.
type GatewayAuth struct {
	// Clients are those that hold a token.
	Clients []GatewayClient `json:"clients,omitempty"`
}

// GatewayClient is a client with a fixed token.
type GatewayClient struct {
	// Name is the user that the client's kernels are accounted to.
	Name string `json:"name"`
	// Policies are the GroupPolicies that bound it.
	Policies []string `json:"policies,omitempty"`
	// TokenSecretRef is where its token is.
	TokenSecretRef corev1.SecretKeySelector `json:"tokenSecretRef"`
}

// JupyterGatewayStatus is that of its Deployment, and ours.
type JupyterGatewayStatus struct {
	// ObservedGeneration is the generation of the gateway that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Replicas is how many Pods the gateway has.
	Replicas int32 `json:"replicas,omitempty"`
	// UpdatedReplicas is how many of them are of the newest template.
	UpdatedReplicas int32 `json:"updatedReplicas,omitempty"`
	// ReadyReplicas is how many of them are ready.
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`
	// AvailableReplicas is how many of them have been ready for long enough.
	AvailableReplicas int32 `json:"availableReplicas,omitempty"`
	// UnavailableReplicas is how many are still to become available.
	UnavailableReplicas int32 `json:"unavailableReplicas,omitempty"`
	// TerminatingReplicas is how many are being ended.
	TerminatingReplicas *int32 `json:"terminatingReplicas,omitempty"`
	// CollisionCount is how often a name of a ReplicaSet was taken.
	CollisionCount *int32 `json:"collisionCount,omitempty"`
	// Selector finds the gateway's Pods, as a string for the scale subresource.
	Selector string `json:"selector,omitempty"`
	// KeySecret names the Secret with the gateway's key, if the first was deleted, or is of a former
	// release and cannot be changed. Kernels whose Pods are older than keySince know no other key,
	// and have ended with it.
	// +kubebuilder:validation:MaxLength=253
	KeySecret string       `json:"keySecret,omitempty"`
	KeySince  *metav1.Time `json:"keySince,omitempty"`
	// KeyID tells the gateway's key from those before it, once it has been rotated. Agents of
	// running kernels follow it.
	// +kubebuilder:validation:MaxLength=64
	KeyID string `json:"keyID,omitempty"`
	// URL is where notebooks of this cluster reach the gateway.
	URL string `json:"url,omitempty"`
	// Conditions tell whether the gateway serves, what is missing or was replaced,
	// and what its Deployment says of itself; Ready comes first.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// GatewayConditions is a copy of conditions for clients of the former
	// release. The next one no longer has it.
	GatewayConditions []metav1.Condition `json:"gatewayConditions,omitempty"`
}

// +kubebuilder:object:root=true

// JupyterGatewayList is a list of JupyterGateway.
type JupyterGatewayList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []JupyterGateway `json:"items"`
}
