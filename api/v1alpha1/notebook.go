package v1alpha1

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// JupyterNotebook is one notebook server: a Deployment of zero or one Pod, a
// Service, a Secret and, with storage, a PersistentVolumeClaim. Stopping it
// keeps the object and the claim.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=jn,categories=jupyter
// +kubebuilder:printcolumn:name="User",type=string,JSONPath=`.spec.user`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.reason`
// +kubebuilder:printcolumn:name="Idle",type=date,JSONPath=`.status.lastActivity`
// +kubebuilder:printcolumn:name="Stop At",type=string,JSONPath=`.status.stopEligibleAt`
// +kubebuilder:printcolumn:name="Cause",type=string,JSONPath=`.status.stopCause`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="CPU",type=string,JSONPath=`.spec.template.spec.containers[?(@.name=="notebook")].resources.limits.cpu`,priority=1
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=`.spec.template.spec.containers[?(@.name=="notebook")].resources.limits.memory`,priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.url`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`,priority=1
// +kubebuilder:validation:XValidation:rule=`(has(self.spec) && has(self.spec.user) ? self.spec.user : "") == (has(oldSelf.spec) && has(oldSelf.spec.user) ? oldSelf.spec.user : "") || (has(oldSelf.spec) && has(oldSelf.spec.stopped) && oldSelf.spec.stopped) || (has(self.spec) && has(self.spec.start) ? self.spec.start : "") != (has(oldSelf.spec) && has(oldSelf.spec.start) ? oldSelf.spec.start : "") || (has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == "Failed")`,fieldPath=".spec.user",message="can be changed only while the server is stopped, or with a new start"
// +kubebuilder:validation:XValidation:rule=`(has(self.spec) && has(self.spec.server) ? self.spec.server : "") == (has(oldSelf.spec) && has(oldSelf.spec.server) ? oldSelf.spec.server : "") || (has(oldSelf.spec) && has(oldSelf.spec.stopped) && oldSelf.spec.stopped) || (has(self.spec) && has(self.spec.start) ? self.spec.start : "") != (has(oldSelf.spec) && has(oldSelf.spec.start) ? oldSelf.spec.start : "") || (has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == "Failed")`,fieldPath=".spec.server",message="can be changed only while the server is stopped, or with a new start"
type JupyterNotebook struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec JupyterNotebookSpec `json:"spec,omitempty"`
	// Status is what the controllers have seen last; before that, it speaks of no generation.
	// +kubebuilder:default:={"observedGeneration":-1}
	Status JupyterNotebookStatus `json:"status,omitempty"`

	malformed *malformed `json:"-"`
}

// JupyterNotebookSpec says what should run. At least one of gateway and
// template is given.
//
// +kubebuilder:validation:XValidation:rule="has(self.gateway) || has(self.template)",message="at least one of gateway and template is required"
type JupyterNotebookSpec struct {
	// Gateway is the JupyterGateway that runs this notebook's kernels; an
	// empty namespace means the notebook's own.
	Gateway *corev1.ObjectReference `json:"gateway,omitempty"`
	// Auth is how the notebook server itself authenticates. Servers of a Hub
	// leave it out: the Hub's OAuth applies.
	Auth *JupyterAuth `json:"auth,omitempty"`
	// Template is the Pod to run; nil means the default notebook image.
	Template *PodTemplate `json:"template,omitempty"`

	// Stopped asks for no Pod. Storage and object stay.
	Stopped bool `json:"stopped,omitempty"`
	// User is the JupyterHub user name, unescaped. It is the identity that
	// kernels, quotas and tokens are accounted to.
	User string `json:"user,omitempty"`
	// Server is the JupyterHub server name; empty for the default server.
	Server string `json:"server,omitempty"`
	// Start identifies one start of the server. A new value makes a new Pod
	// and a new gateway token, and revokes the former one.
	Start string `json:"start,omitempty"`
	// EnvSecret names a Secret of the same namespace whose keys become the
	// notebook container's environment.
	EnvSecret string `json:"envSecret,omitempty"`
	// SSLSecret names a Secret of the same namespace with tls.key, tls.crt and ca.crt, for a
	// server of a JupyterHub with internal_ssl: the notebook container has them as files, which
	// JUPYTERHUB_SSL_KEYFILE, JUPYTERHUB_SSL_CERTFILE and JUPYTERHUB_SSL_CLIENT_CA name, and the
	// server is asked over TLS, with client.key and client.crt of the Secret.
	SSLSecret string `json:"sslSecret,omitempty"`
	// Storage is the home volume and the shared ones.
	Storage *NotebookStorage `json:"storage,omitempty"`
	// IdleStop stops the server after it was idle for this long; absent: never.
	IdleStop *IdleStop `json:"idleStop,omitempty"`
	// MaxRunSeconds stops the server when it has run for this long, busy or
	// not; zero means never.
	// +kubebuilder:validation:Minimum=0
	MaxRunSeconds int64 `json:"maxRunSeconds,omitempty"`
	// ServersPerUser, when above zero, lets the server have a Pod only while the
	// user runs fewer others.
	// +kubebuilder:validation:Minimum=0
	ServersPerUser int32 `json:"serversPerUser,omitempty"`
	// ImageChannel is the id of the policy's channel that the image came from.
	ImageChannel string `json:"imageChannel,omitempty"`
	// ServiceAccountTokens are tokens of the account that the Pod runs as, which its
	// policy asks for.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=path
	ServiceAccountTokens []ServiceAccountToken `json:"serviceAccountTokens,omitempty"`
	// KernelOptions is what this notebook may ask of its gateway.
	KernelOptions *KernelOptions `json:"kernelOptions,omitempty"`
}

// JupyterAuth is the notebook server's own authentication. Without a token and a
// password, Jupyter makes up a token and writes it into the server's log.
//
// +kubebuilder:validation:XValidation:rule="!has(self.token) || !has(self.tokenSecretRef)",message="at most one of token and tokenSecretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.password) || !has(self.passwordSecretRef)",message="at most one of password and passwordSecretRef"
type JupyterAuth struct {
	// Mode disable lets everybody in who reaches the server, whatever else is given
	// here.
	// +kubebuilder:validation:Enum=enable;disable
	Mode string `json:"mode,omitempty"`
	// Token that users sign in with. It is moved into the Secret NAME-credentials, NAME
	// being the notebook's, and taken out of this object; it holds until another is
	// written here, a Secret is named, or auth is removed. An empty one switches tokens off.
	// Prefer tokenSecretRef.
	Token *string `json:"token,omitempty"`
	// Password that users sign in with: as it is, or what Jupyter's passwd() gives. It is
	// moved like token. Prefer passwordSecretRef.
	Password *string `json:"password,omitempty"`
	// TokenSecretRef is where the token is, instead of token: a key of a Secret in the
	// notebook's namespace. The server waits for it. Once the Secret changes, a running
	// server gets a new Pod within a minute. Example: {name: my-token, key: token}.
	TokenSecretRef *corev1.SecretKeySelector `json:"tokenSecretRef,omitempty"`
	// PasswordSecretRef is where the password is, instead of password; as tokenSecretRef.
	// Example: {name: my-password, key: password}.
	PasswordSecretRef *corev1.SecretKeySelector `json:"passwordSecretRef,omitempty"`
}

// Values of JupyterAuth.Mode.
const (
	AuthEnable  = "enable"
	AuthDisable = "disable"
)

// NotebookStorage is mounted in the notebook Pod and, at the same paths, in
// the Pods of its kernels.
type NotebookStorage struct {
	Home *HomeVolume `json:"home,omitempty"`
	// Shared are claims that are there already.
	// +kubebuilder:validation:MaxItems=32
	// +listType=map
	// +listMapKey=name
	Shared []SharedVolume `json:"shared,omitempty"`
}

// HomeVolume is a claim that is created for the notebook and outlives its Pods, or a directory of
// one that is there.
//
// +kubebuilder:validation:XValidation:rule="has(self.static) || has(self.size)",fieldPath=".size",message="must be set without static"
type HomeVolume struct {
	// Claim is the name of the PersistentVolumeClaim; empty means the
	// notebook's name with the prefix "home-".
	Claim string `json:"claim,omitempty"`
	// Static makes the home a directory of a claim that is there, which many homes share.
	// Beside it mountPath alone may be set: nothing is made.
	Static *StaticHome `json:"static,omitempty"`
	// Size that the volume is asked to have; required without static.
	// +optional
	Size resource.Quantity `json:"size,omitempty,omitzero"`
	// StorageClassName is the class that makes the volume.
	StorageClassName *string `json:"storageClassName,omitempty"`
	// AccessModes of the claim.
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	// MountPath defaults to /home/jovyan.
	MountPath string `json:"mountPath,omitempty"`
	// OnRemoval is what becomes of the volume once the Hub removes its server or deletes
	// its user: keep, or delete if elastichub has made it. Absent: one that is one server's
	// is deleted, one that claim names for all of a user's is kept.
	// +kubebuilder:validation:Enum=keep;delete
	OnRemoval string `json:"onRemoval,omitempty"`
	// Labels that a claim which is made has besides. Those of elastichub.io,
	// hub.jupyter.org and app.kubernetes.io, and component, are elastichub's. In a policy,
	// {username} and {servername} in their values stand for slugs of the names.
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations that it has besides, with the same exceptions. In a policy, {username}
	// and {servername} in their values stand for the names as they are.
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
	// Selector of the volumes that a claim which is made may be bound to.
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// StaticHome is a home that is a directory of a claim.
type StaticHome struct {
	// Claim is the name of the PersistentVolumeClaim, which an administrator makes.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Claim string `json:"claim"`
	// SubPath is the directory, from the volume's root. In a policy one part of it has
	// {username}, or {safe_username} or {escaped_username} as KubeSpawner writes them, and a
	// later one may be {servername}.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	SubPath string `json:"subPath"`
}

// Values of HomeVolume.OnRemoval.
const (
	HomeKeep   = "keep"
	HomeDelete = "delete"
)

// SharedVolume is an existing claim.
type SharedVolume struct {
	// Name of the volume, by which it is told apart.
	// +kubebuilder:validation:MaxLength=56
	Name string `json:"name"`
	// Claim is the name of the PersistentVolumeClaim.
	// +kubebuilder:validation:MaxLength=253
	Claim string `json:"claim"`
	// MountPath is where it is mounted, in servers and in kernels.
	// +kubebuilder:validation:MaxLength=4096
	MountPath string `json:"mountPath"`
	// ReadOnly has nobody write to it.
	ReadOnly bool `json:"readOnly,omitempty"`
}

// IdleStop is the automatic stop of a notebook server that nobody uses and that is at nothing.
type IdleStop struct {
	// Seconds of idleness; absent: 1800, which is half an hour; zero or less disables.
	// +optional
	Seconds *int64 `json:"seconds,omitempty"`
	// SnoozeMaxSeconds is how long in all a stop may be put off by hand in one run;
	// absent: four hours.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	SnoozeMaxSeconds *int64 `json:"snoozeMaxSeconds,omitempty"`
}

// DefaultIdleStopSeconds is after how long an idle server is stopped where idleStop does not say it.
const DefaultIdleStopSeconds = 30 * 60

// Limit is after how long an idle server is stopped; zero: never.
func (s *IdleStop) Limit() time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(max(ptr.Deref(s.Seconds, DefaultIdleStopSeconds), 0)) * time.Second
}

// KernelOptions bounds the kernels of one notebook. It names the policies
// rather than copying their numbers, so that a changed policy applies to the
// next kernel at once.
type KernelOptions struct {
	// Policies are the GroupPolicies the user had when the server started, in
	// the order in which they were matched.
	Policies []string `json:"policies,omitempty"`
	// Groups are the user's groups when the server started.
	Groups []string `json:"groups,omitempty"`
	// IdleTimeoutSeconds overrides the gateway's cullIdleTimeout.
	IdleTimeoutSeconds *int64 `json:"idleTimeoutSeconds,omitempty"`
}

// NotebookPhase is where a notebook server is in its life.
// +kubebuilder:validation:Enum=Pending;Starting;Ready;Stopping;Stopped;Failed
type NotebookPhase string

// Phases of a notebook server.
const (
	NotebookPending  NotebookPhase = "Pending"  // accepted, something it needs is missing
	NotebookStarting NotebookPhase = "Starting" // a Pod exists or is being made
	NotebookReady    NotebookPhase = "Ready"    // answers on its URL
	NotebookStopping NotebookPhase = "Stopping" // its Pod is going away
	NotebookStopped  NotebookPhase = "Stopped"  // no Pod; storage kept
	NotebookFailed   NotebookPhase = "Failed"   // will not come up by itself
)

// JupyterNotebookStatus is what the controller last saw.
type JupyterNotebookStatus struct {
	Phase NotebookPhase `json:"phase,omitempty"`
	// Start is the spec.start that phase and url speak of.
	Start string `json:"start,omitempty"`
	// URL is scheme, host and port inside the cluster.
	URL string `json:"url,omitempty"`
	// PodName is the name of the Pod that runs or starts.
	PodName string `json:"podName,omitempty"`
	// Reason is a CamelCase word from a closed set.
	Reason string `json:"reason,omitempty"`
	// Message is a sentence for people.
	Message string `json:"message,omitempty"`
	// StartTime is when the start that status.start names was first seen.
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// LastActivity is when it was last used or at work, as the server said. It is brought up to date
	// when that decides something: while the server is used, it may be of some time ago.
	LastActivity *metav1.MicroTime `json:"lastActivity,omitempty"`
	// StopEligibleAt is when the server will be stopped for StopCause if nothing changes; for
	// idleness only after it has said once more that it is idle. Absent: never, or not as long as it is
	// busy or does not answer.
	StopEligibleAt *metav1.Time `json:"stopEligibleAt,omitempty"`
	StopCause      StopCause    `json:"stopCause,omitempty"`
	// SnoozedUntil is until when an automatic stop was put off by hand.
	SnoozedUntil *metav1.Time `json:"snoozedUntil,omitempty"`
	// SnoozedSeconds is how long in all it was put off in this start.
	SnoozedSeconds int64 `json:"snoozedSeconds,omitempty"`
	// Busy is what keeps a server that has an idle time from being idle: kernels that have a Pod or
	// wait for one, or what the server said it was at when it was last asked.
	// +kubebuilder:validation:MaxItems=64
	Busy []NotebookBusy `json:"busy,omitempty"`
	// ObservedGeneration is the generation of the object that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions say where the server stands; Ready comes first.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Progress is the log of the start that status.start names, oldest first.
	// The controller alone writes it, so that every replica of the service
	// reads the same entries with the same ids.
	// +kubebuilder:validation:MaxItems=64
	Progress []NotebookProgress `json:"progress,omitempty"`
}

// NotebookBusy is something in a notebook server that is at work.
type NotebookBusy struct {
	// Kind of it: kernel, terminal, process.
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// Name of it: a kernel's id, a terminal's name with the command in it, a command.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Since is when it began, as far as is known.
	Since *metav1.Time `json:"since,omitempty"`
}

// Kinds of NotebookBusy; a server may say others.
const (
	BusyKernel   = "kernel"
	BusyTerminal = "terminal"
	BusyProcess  = "process"
)

// MaxBusy is how much of a server's NotebookBusy its status has.
const MaxBusy = 64

// StopCause is why elastichub stops a server, or is going to.
// +kubebuilder:validation:Enum=Idle;MaxRun;Budget;Admin;Orphan
type StopCause string

// Why a server is stopped without its owner's asking.
const (
	StopIdle   StopCause = "Idle"   // spec.idleStop
	StopMaxRun StopCause = "MaxRun" // spec.maxRunSeconds
	StopBudget StopCause = "Budget" // what may be used is used up
	StopAdmin  StopCause = "Admin"  // an administrator asked
	StopOrphan StopCause = "Orphan" // the Hub does not know it, or not that it runs
	// StopEnvironment: what the Hub had given it is gone, as after a restore without Secrets.
	StopEnvironment StopCause = "Environment"
)

// NotebookProgress is one step of a start.
type NotebookProgress struct {
	// ID counts from 1 within a start.
	ID int64 `json:"id"`
	// Percent is 0 to 100 and never falls within a start.
	Percent int32 `json:"percent"`
	// Message is a sentence for the person who waits.
	Message string `json:"message"`
	// Time is when it was reached.
	Time metav1.MicroTime `json:"time"`
	// ExpectedSeconds is how long it took elsewhere, such as an image on another node;
	// where it is served, the percentage moves on meanwhile.
	ExpectedSeconds int32 `json:"expectedSeconds,omitempty"`
	// Outcome is set on the last entry.
	// +kubebuilder:validation:Enum=ready;failed;stopped
	Outcome StartOutcome `json:"outcome,omitempty"`
}

// StartOutcome is how a start ended.
type StartOutcome string

// How a start can end.
const (
	OutcomeReady   StartOutcome = "ready"
	OutcomeFailed  StartOutcome = "failed"
	OutcomeStopped StartOutcome = "stopped"
)

// +kubebuilder:object:root=true

// JupyterNotebookList is a list of JupyterNotebook.
type JupyterNotebookList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []JupyterNotebook `json:"items"`
}
