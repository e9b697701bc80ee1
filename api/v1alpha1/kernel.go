package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// JupyterKernel is one kernel for its whole life, including while it has no
// Pod. Its name is the kernel id that Jupyter clients use.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=jk,categories=jupyter
// +kubebuilder:printcolumn:name="User",type=string,JSONPath=`.spec.user`
// +kubebuilder:printcolumn:name="Kernel",type=string,JSONPath=`.spec.kernelSpec`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Cause",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Queue",type=integer,JSONPath=`.status.queue.position`
// +kubebuilder:printcolumn:name="Idle",type=date,JSONPath=`.status.idleSince`
// +kubebuilder:printcolumn:name="Park At",type=string,JSONPath=`.status.parkAt`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Held",type=string,JSONPath=`.status.held`,priority=1
// +kubebuilder:printcolumn:name="Kept",type=string,JSONPath=`.status.kept.outcome`,priority=1
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`,priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="Waits For",type=string,JSONPath=`.status.queue.reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:validation:XValidation:rule=`(has(self.spec) && has(self.spec.user) ? self.spec.user : "") == (has(oldSelf.spec) && has(oldSelf.spec.user) ? oldSelf.spec.user : "")`,fieldPath=".spec.user",message="cannot be changed: a kernel belongs to one user for its whole life"
// +kubebuilder:validation:XValidation:rule=`(has(self.spec) && has(self.spec.notebook) ? self.spec.notebook : "") == (has(oldSelf.spec) && has(oldSelf.spec.notebook) ? oldSelf.spec.notebook : "")`,fieldPath=".spec.notebook",message="cannot be changed: a kernel belongs to one notebook for its whole life"
// +kubebuilder:validation:XValidation:rule=`(has(self.spec) && has(self.spec.gateway) ? self.spec.gateway : "") == (has(oldSelf.spec) && has(oldSelf.spec.gateway) ? oldSelf.spec.gateway : "")`,fieldPath=".spec.gateway",message="cannot be changed: a kernel belongs to one gateway for its whole life"
// +kubebuilder:validation:XValidation:rule=`(has(self.spec) && has(self.spec.kernelSpec) ? self.spec.kernelSpec : "") == (has(oldSelf.spec) && has(oldSelf.spec.kernelSpec) ? oldSelf.spec.kernelSpec : "") || (has(self.spec) && has(self.spec.run) ? self.spec.run : 0) > (has(oldSelf.spec) && has(oldSelf.spec.run) ? oldSelf.spec.run : 0) || has(self.spec) && has(self.spec.kernelSpec) && has(self.status) && has(self.status.kernelSpec) && self.spec.kernelSpec == self.status.kernelSpec`,fieldPath=".spec.kernelSpec",message="changes only together with spec.run: set that to status.run + 1 in the same change, and the kernel returns as another"
// +kubebuilder:validation:XValidation:rule=`(has(self.spec) && has(self.spec.gatewayNamespace) ? self.spec.gatewayNamespace : "") == (has(oldSelf.spec) && has(oldSelf.spec.gatewayNamespace) ? oldSelf.spec.gatewayNamespace : "")`,fieldPath=".spec.gatewayNamespace",message="cannot be changed: a kernel belongs to one gateway for its whole life"
type JupyterKernel struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec JupyterKernelCRDSpec `json:"spec,omitempty"`
	// Status is what the controllers have seen last; before that, it speaks of no generation.
	// +kubebuilder:default:={"observedGeneration":-1}
	Status JupyterKernelStatus `json:"status,omitempty"`

	malformed *malformed `json:"-"`
}

// JupyterKernelCRDSpec says whose kernel it is and what it runs. (The name
// JupyterKernelSpec belongs to the kind that describes a kind of kernel.)
type JupyterKernelCRDSpec struct {
	// Template is a complete Pod to run as it is, as elastic-jupyter-operator
	// had it; kernels started through a gateway name a kernelSpec instead.
	Template *PodTemplate `json:"template,omitempty"`

	// Gateway names the JupyterGateway that serves this kernel.
	Gateway string `json:"gateway,omitempty"`
	// GatewayNamespace is where that is; empty: in the kernel's own namespace. A gateway
	// elsewhere has to name the kernel's in its spec.allowedNamespaces.
	// +kubebuilder:validation:MaxLength=63
	GatewayNamespace string `json:"gatewayNamespace,omitempty"`
	// KernelSpec names the JupyterKernelSpec it is made from, looked up anew at every run. It
	// changes only together with run: a kernel that has no Pod returns as another then, with
	// the variables that are kept of it, if it is of the same language.
	KernelSpec string `json:"kernelSpec,omitempty"`
	// Notebook names the JupyterNotebook whose volumes it mounts; empty for
	// other clients of the gateway.
	Notebook string `json:"notebook,omitempty"`
	// User is who the kernel is accounted to. It comes from the token only.
	User string `json:"user,omitempty"`
	// Policies bound the kernel (see KernelOptions.Policies).
	Policies []string `json:"policies,omitempty"`
	// Env is what the client sent and was allowed.
	Env []corev1.EnvVar `json:"env,omitempty"`
	// WorkingDir is a directory below one of the notebook's mounts.
	WorkingDir string `json:"workingDir,omitempty"`
	// Environment is the directory of a Python environment of the user's own, absolute
	// and below where the notebook's home is mounted. The kernel is its Python, in the
	// image of kernelSpec. The policies have to allow it (kernels.ownEnvironments).
	// +kubebuilder:validation:MaxLength=4096
	Environment string `json:"environment,omitempty"`
	// Run counts how often the kernel was asked to have a Pod; 1 at creation.
	// To bring a parked or dead kernel back, set it to status.run + 1.
	// +kubebuilder:validation:Minimum=0
	Run int64 `json:"run,omitempty"`
	// IdleTimeoutSeconds after which the kernel is parked; nil means the
	// gateway's cullIdleTimeout; zero or less means never.
	IdleTimeoutSeconds *int64 `json:"idleTimeoutSeconds,omitempty"`

	// Session is the Jupyter session that has the kernel: what is open in it.
	Session *KernelSession `json:"session,omitempty"`
	// Park asks to park the kernel, or to let it give up its place in the queue. One that
	// is busy is parked when it is idle, unless park.force says otherwise.
	Park *KernelPark `json:"park,omitempty"`
	// Shutdown asks to end the kernel for good. From then on its gateway shows it to
	// nobody. The leader carries it out, or takes it back if a notebook server has
	// asked that is being replaced: those delete all their kernels when they end.
	Shutdown *KernelShutdown `json:"shutdown,omitempty"`
	// QueuePriority moves the kernel in the queue: who has a higher one is admitted earlier,
	// however long others have waited; quotas bind it all the same. Gateways may not set it.
	QueuePriority int32 `json:"queuePriority,omitempty"`
	// QueueMove says who has set queuePriority and why. Where it is set, queuePriority counts
	// for its run alone.
	QueueMove *KernelQueueMove `json:"queueMove,omitempty"`
}

// KernelSession is a Jupyter session: what a kernel was started for.
type KernelSession struct {
	// ID that Jupyter clients know the session by.
	// +kubebuilder:validation:MaxLength=253
	ID string `json:"id,omitempty"`
	// Path of the document.
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`
	// Name of the session.
	// +kubebuilder:validation:MaxLength=4096
	Name string `json:"name,omitempty"`
	// Type of the document: notebook, console, file.
	// +kubebuilder:validation:MaxLength=253
	Type string `json:"type,omitempty"`
}

// KernelPark asks to park one run of a kernel.
type KernelPark struct {
	// Run is the status.run that is to be parked; any other run is left alone.
	// +kubebuilder:validation:Minimum=0
	Run int64 `json:"run,omitempty"`
	// Force parks a kernel that is busy, too.
	Force bool `json:"force,omitempty"`
	// By is who asks.
	// +kubebuilder:validation:MaxLength=253
	By string `json:"by,omitempty"`
	// Reason is a sentence for the kernel's user.
	// +kubebuilder:validation:MaxLength=4096
	Reason string `json:"reason,omitempty"`
}

// KernelQueueMove tells of one run that was moved in the queue.
type KernelQueueMove struct {
	// Run is the one that queuePriority counts for.
	// +kubebuilder:validation:Minimum=0
	Run int64 `json:"run,omitempty"`
	// By is who asked.
	// +kubebuilder:validation:MaxLength=253
	By string `json:"by,omitempty"`
	// Reason is a sentence for the kernel's user.
	// +kubebuilder:validation:MaxLength=4096
	Reason string `json:"reason,omitempty"`
}

// KernelShutdown asks to end a kernel for good.
type KernelShutdown struct {
	// By is who asks; notebook for the kernel's notebook server.
	// +kubebuilder:validation:MaxLength=253
	By string `json:"by,omitempty"`
	// At is when.
	At *metav1.Time `json:"at,omitempty"`
}

// ShutdownByNotebook is who asks when the kernel's notebook server does.
const ShutdownByNotebook = "notebook"

// KernelPhase is where a kernel is in its life.
// +kubebuilder:validation:Enum=Queued;Starting;Ready;Parked;Dead
type KernelPhase string

// Phases of a kernel: Queued → Starting → Ready → Parked → Queued …, or Dead.
const (
	KernelQueued   KernelPhase = "Queued"   // waits for admission, has no Pod
	KernelStarting KernelPhase = "Starting" // admitted; a Pod exists or is being made
	KernelReady    KernelPhase = "Ready"    // its agent answers
	KernelParked   KernelPhase = "Parked"   // has no Pod, returns on the next run
	KernelDead     KernelPhase = "Dead"     // ended with a cause; a restart brings it back
)

// KernelCause says why a kernel is parked or dead.
type KernelCause string

// Causes of the end of a kernel's Pod.
const (
	CauseIdle         KernelCause = "Idle"         // idle time reached
	CauseShutdown     KernelCause = "Shutdown"     // asked to end
	CauseKernelExited KernelCause = "KernelExited" // the kernel process ended and would not come back
	CauseStartFailed  KernelCause = "StartFailed"  // the kernel process never answered
	CauseOutOfMemory  KernelCause = "OutOfMemory"  // the kernel's container exceeded its memory limit
	CauseEvicted      KernelCause = "Evicted"      // its Pod was taken away: preempted, drained, its node short of something
	CauseNodeLost     KernelCause = "NodeLost"     // the node is gone
	CauseImage        KernelCause = "Image"        // the image cannot be had
	CauseInvalid      KernelCause = "Invalid"      // the Pod cannot be built or is refused by the API server
	CauseRefused      KernelCause = "Refused"      // a policy does not allow it
	CauseOrphaned     KernelCause = "Orphaned"     // nobody spoke to the agent for too long
	CauseDeadline     KernelCause = "Deadline"     // the Pod's activeDeadlineSeconds are over
	CauseRejected     KernelCause = "Rejected"     // the node would not run the Pod
	CauseBudget       KernelCause = "Budget"       // a budget of its policy is spent
	CauseUnknown      KernelCause = "Unknown"
)

// KernelCauses are all of them.
var KernelCauses = []KernelCause{
	CauseIdle, CauseShutdown, CauseKernelExited, CauseStartFailed, CauseOutOfMemory, CauseEvicted, CauseNodeLost,
	CauseImage, CauseInvalid, CauseRefused, CauseOrphaned, CauseDeadline, CauseRejected, CauseBudget, CauseUnknown,
}

// JupyterKernelStatus is written by the leader only.
type JupyterKernelStatus struct {
	// ObservedGeneration is the generation of the object that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Phase is where the kernel is in its life.
	Phase KernelPhase `json:"phase,omitempty"`
	// Run is the spec.run that phase speaks of.
	Run int64 `json:"run,omitempty"`
	// KernelSpec is the kernelspec that the kernel ran as last. A kernel that was to return
	// as another, and cannot, is that again.
	KernelSpec string `json:"kernelSpec,omitempty"`
	// PodName is the name of the run's Pod.
	PodName string `json:"podName,omitempty"`
	// Template is a digest of the spec.template that the run was made from: with another
	// template there is another run.
	// +kubebuilder:validation:MaxLength=64
	Template string `json:"template,omitempty"`
	// Warm names the warm Pod that this run took over. The secret of its agent
	// is derived from that name, and not from the kernel's UID and run.
	Warm string `json:"warm,omitempty"`
	// PodIP is set once the Pod has an address: the agent may answer there on port 8443.
	PodIP string `json:"podIP,omitempty"`
	// Node the Pod runs on.
	Node string `json:"node,omitempty"`
	// Held is what admission counts for this kernel while it is Starting or
	// Ready: the extended resources of its Pod, e.g. nvidia.com/gpu: 1.
	Held corev1.ResourceList `json:"held,omitempty"`
	// Policies are the GroupPolicies that the run was admitted with: those of its
	// user at that moment.
	Policies []string `json:"policies,omitempty"`
	// Queue is set while Queued.
	Queue *QueueStatus `json:"queue,omitempty"`
	// Reason is a CamelCase word: the cause of a kernel that is over, or what one waits for
	// beside its place in the queue.
	Reason string `json:"reason,omitempty"`
	// Cause is set when Parked or Dead.
	Cause KernelCause `json:"cause,omitempty"`
	// Message is a sentence for people.
	Message string `json:"message,omitempty"`

	// Failures counts the runs in a row, up to the last one, that ended soon
	// after they began.
	Failures int32 `json:"failures,omitempty"`
	// NotBefore is when the next run may begin, after failures.
	NotBefore *metav1.Time `json:"notBefore,omitempty"`

	// QueuedSince is when this run was asked for.
	QueuedSince *metav1.MicroTime `json:"queuedSince,omitempty"`
	// StartTime is when its Pod was made.
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// ReadyTime is when its agent answered.
	ReadyTime *metav1.Time `json:"readyTime,omitempty"`
	// CompletionTime is when it ended.
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// LastReconcileTime is when the status was last written.
	LastReconcileTime *metav1.Time `json:"lastReconcileTime,omitempty"`
	// Conditions say where the kernel stands; Ready comes first.
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Kept is what was saved of the kernel when it was parked or told to end.
	Kept *KeptState `json:"kept,omitempty"`
	// KeptAs is the UID that the kept state goes by, if it is not the kernel's own: that of the
	// kernel of which this one was restored from a backup.
	// +kubebuilder:validation:MaxLength=63
	KeptAs string `json:"keptAs,omitempty"`
	// IdleSince is when the kernel became idle, absent while it is busy. Its agent is
	// asked every 30 s.
	IdleSince *metav1.Time `json:"idleSince,omitempty"`
	// ParkAt is when the kernel will be parked if it stays idle, absent if it will not.
	ParkAt *metav1.Time `json:"parkAt,omitempty"`
	// SnoozedUntil is until when the kernel is kept by hand although it is idle.
	SnoozedUntil *metav1.Time `json:"snoozedUntil,omitempty"`
	// SnoozedSeconds is how long in all this run was to be kept so.
	SnoozedSeconds int64 `json:"snoozedSeconds,omitempty"`
}

// KeptState is what was saved of a kernel.
type KeptState struct {
	// Run is the one whose variables they are.
	Run int64 `json:"run,omitempty"`
	// Outcome says whether all, some or none of the variables were saved: whole, part or none.
	// +kubebuilder:validation:MaxLength=63
	Outcome string `json:"outcome,omitempty"`
	// Variables is how many were saved.
	Variables int32 `json:"variables,omitempty"`
	// Bytes is how much space they take.
	Bytes int64 `json:"bytes,omitempty"`
	// Lost names some of those that could not be saved.
	// +kubebuilder:validation:MaxItems=20
	Lost []string `json:"lost,omitempty"`
	// SavedAt is when they were saved.
	SavedAt *metav1.Time `json:"savedAt,omitempty"`
}

// QueueStatus tells a waiting user where they stand.
type QueueStatus struct {
	// Position counts from 1.
	Position int32 `json:"position"`
	// Length of the queue this kernel waits in.
	Length int32 `json:"length"`
	// Reason is a sentence, e.g. "all 2 nvidia.com/gpu of the cluster are in use".
	Reason string `json:"reason,omitempty"`
}

// +kubebuilder:object:root=true

// JupyterKernelList is a list of JupyterKernel.
type JupyterKernelList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []JupyterKernel `json:"items"`
}
