package v1alpha1

import (
	"maps"
	"slices"
	"strings"

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
// +kubebuilder:printcolumn:name="Valid",type=string,JSONPath=`.status.conditions[?(@.type=="Valid")].status`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,priority=1
// +kubebuilder:printcolumn:name="CPU",type=string,JSONPath=`.spec.cpu.max`
// +kubebuilder:printcolumn:name="Memory",type=string,JSONPath=`.spec.memory.max`
// +kubebuilder:printcolumn:name="Servers",type=integer,JSONPath=`.status.servers`
// +kubebuilder:printcolumn:name="Kernels",type=integer,JSONPath=`.status.kernels`
// +kubebuilder:printcolumn:name="GPUs",type=integer,JSONPath=`.status.gpus`
// +kubebuilder:printcolumn:name="Pool",type=integer,JSONPath=`.spec.kernels.gpuPool`
// +kubebuilder:printcolumn:name="Queued",type=integer,JSONPath=`.status.queued`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type GroupPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec GroupPolicySpec `json:"spec"`
	// Status is what the controllers have seen last; before that, it speaks of no generation.
	// +kubebuilder:default:={"observedGeneration":-1}
	Status GroupPolicyStatus `json:"status,omitempty"`

	malformed *malformed `json:"-"`
}

// GroupPolicySpec is the allowance and who it is for. What the schema does not
// check, or an older schema let through, groups.ValidatePolicy finds.
//
// +kubebuilder:validation:XValidation:rule="(has(self.default) && self.default) || (has(self.groups) && size(self.groups) > 0)",message="groups must name at least one group unless default is true"
// +kubebuilder:validation:XValidation:rule="!has(self.serviceAccountTokens) || size(self.serviceAccountTokens) == 0 || (has(self.serviceAccountName) && size(self.serviceAccountName) > 0)",fieldPath=".serviceAccountName",message="must be set with serviceAccountTokens"
// +kubebuilder:validation:XValidation:rule="quantity(string(self.cpu.max)).compareTo(quantity('10k')) <= 0",fieldPath=".cpu.max",message="must be at most 10k"
// +kubebuilder:validation:XValidation:rule="quantity(string(self.memory.max)).compareTo(quantity('1Pi')) <= 0",fieldPath=".memory.max",message="must be at most 1Pi"
type GroupPolicySpec struct {
	// DisplayName is shown in the form.
	// +kubebuilder:validation:MaxLength=4096
	DisplayName string `json:"displayName,omitempty"`
	// Groups are names (the CN) or whole DNs.
	// +kubebuilder:default={}
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=4096
	Groups []string `json:"groups,omitempty"`
	// Default applies the policy to users whom no other policy matches.
	// +kubebuilder:default=false
	Default bool `json:"default,omitempty"`
	// Priority decides when several policies match: the highest wins, the
	// name in alphabetical order decides between equals.
	Priority int32 `json:"priority,omitempty"`

	// CPU is how many cores a server may have.
	CPU ResourceRange `json:"cpu"`
	// Memory is how much memory a server may have.
	Memory ResourceRange `json:"memory"`
	// Images are the notebook images on offer; the first visible one is the default.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.exists(c, !has(c.hidden) || !c.hidden)",message="at least one channel must not be hidden"
	// +kubebuilder:validation:XValidation:rule="self.all(c, !has(c.redirect) || self.exists(t, t.id == c.redirect.to && t.id != c.id && (!has(t.hidden) || !t.hidden)))",message="a redirect must lead to another channel that is not hidden"
	// +listType=map
	// +listMapKey=id
	Images []ImageChannel `json:"images"`
	// Presets set both sliders at once.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	Presets []Preset `json:"presets,omitempty"`
	// Help is shown at the fields of the form, in the user's language.
	Help *PolicyHelp `json:"help,omitempty"`

	// NodeSelector, tolerations, affinity, priorityClassName and schedulerName say where
	// servers and kernels run.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Tolerations of servers and kernels.
	// +kubebuilder:validation:MaxItems=64
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// Affinity of servers and kernels.
	Affinity *corev1.Affinity `json:"affinity,omitempty"`
	// PriorityClassName of servers and kernels.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$`
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// SchedulerName is the scheduler that places servers and kernels, such as the user
	// scheduler of zero-to-jupyterhub.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$`
	SchedulerName string `json:"schedulerName,omitempty"`
	// ImagePullSecrets are Secrets of the namespace, used for servers and kernels.
	// +kubebuilder:validation:MaxItems=16
	ImagePullSecrets []PullSecret `json:"imagePullSecrets,omitempty"`
	// Storage is mounted in servers and, at the same paths, in kernels.
	// +kubebuilder:validation:XValidation:rule="!has(self.home) || !has(self.home.claim) || self.home.claim.contains('{username}')",fieldPath=".home.claim",message="must contain {username}: a volume for all members is a shared one"
	// +kubebuilder:validation:XValidation:rule="!has(self.shared) || self.shared.all(v, self.shared.exists_one(w, w.mountPath == v.mountPath))",fieldPath=".shared",message="no two volumes may have one mountPath"
	Storage *NotebookStorage `json:"storage,omitempty"`
	// Env is plain values for the notebook and its kernels.
	// +kubebuilder:validation:MaxItems=256
	// +listType=map
	// +listMapKey=name
	Env []PolicyEnv `json:"env,omitempty"`

	// Kernels bounds what gateways give to the members.
	Kernels PolicyKernels `json:"kernels,omitempty"`
	// ServersPerUser is how many servers a user may have running; 0 means one.
	// +kubebuilder:validation:Minimum=0
	ServersPerUser int32 `json:"serversPerUser,omitempty"`
	// ServerIdleSeconds stops a notebook server after it was idle for this
	// long; 0 means never. A server that has a kernel with a Pod, or a busy
	// local one, is not idle.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	ServerIdleSeconds int64 `json:"serverIdleSeconds,omitempty"`
	// MaxRunSeconds is how long a server may run, busy or not; 0 means for ever.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	MaxRunSeconds int64 `json:"maxRunSeconds,omitempty"`
	// HelpText is shown above the form where help.server says nothing.
	// +kubebuilder:validation:MaxLength=4096
	HelpText string `json:"helpText,omitempty"`

	// SnoozeMaxSeconds is how long in all a member may put off an automatic stop
	// of one run by hand, of a server or of a kernel; absent: four hours.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	SnoozeMaxSeconds *int64 `json:"snoozeMaxSeconds,omitempty"`
	// Budget would bound servers and kernels together. Servers are in no ledger of hours:
	// kernels.budget is what can be set, and a policy that sets this one is not valid.
	// +kubebuilder:validation:MaxItems=16
	Budget []Budget `json:"budget,omitempty"`
	// ServiceAccountName is the account that servers and kernels run as. Its owner has
	// named the policy in its annotation elastichub.io/for-policies. No Pod gets a
	// token of it for the Kubernetes API.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$`
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// ServiceAccountTokens are tokens of that account for others than the Kubernetes API,
	// such as a cloud that opens a bucket to whoever shows one. Its owner has named each
	// audience in its annotation elastichub.io/token-audiences.
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=path
	ServiceAccountTokens []ServiceAccountToken `json:"serviceAccountTokens,omitempty"`
	// Pod is what the Pods of servers have besides, from their next start on. Those of
	// kernels have nothing of it.
	Pod *PolicyPod `json:"pod,omitempty"`
}

// PolicyPod is what the Pods of a policy's servers have besides. In its texts {username} and
// {servername} stand for the user and the server: as they are in the values of annotations
// and variables; elsewhere as slugs, of which no two users have one.
// podrules.PolicyPodFaults says what is refused of it.
type PolicyPod struct {
	// Labels of the Pod. Those of elastichub.io, hub.jupyter.org and app.kubernetes.io, and
	// component, are elastichub's.
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the Pod, with the same exceptions.
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
	// InitContainers run before the server starts, one after the other, each to its end. One with
	// restartPolicy: Always goes on beside it. Without limits of their own they
	// have 500m of cpu and 512Mi of memory; none may have more than a server by cpu.max
	// and memory.max.
	// +kubebuilder:validation:MaxItems=16
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
	// Containers run beside the server, with the same limits; together they may not have
	// more than a server by cpu.max and memory.max.
	// +kubebuilder:validation:MaxItems=16
	Containers []corev1.Container `json:"containers,omitempty"`
	// Volumes of the Pod, beside those of storage, which are called home and
	// shared-NAME. An emptyDir without sizeLimit has 1Gi.
	// +kubebuilder:validation:MaxItems=64
	Volumes []corev1.Volume `json:"volumes,omitempty"`
	// VolumeMounts of the server's container.
	// +kubebuilder:validation:MaxItems=64
	VolumeMounts []corev1.VolumeMount `json:"volumeMounts,omitempty"`
	// SecurityContext of the server's container, within Pod Security "restricted".
	SecurityContext *corev1.SecurityContext `json:"securityContext,omitempty"`
	// PodSecurityContext of the Pod, within Pod Security "restricted".
	PodSecurityContext *corev1.PodSecurityContext `json:"podSecurityContext,omitempty"`
	// Lifecycle hooks of the server's container. Of a stop, preStop may take 10 seconds.
	Lifecycle *corev1.Lifecycle `json:"lifecycle,omitempty"`
	// ExtraResources of the server's container, beside CPU and memory: request and limit.
	// GPUs are none of them: kernels borrow those.
	// +kubebuilder:validation:MaxProperties=16
	ExtraResources corev1.ResourceList `json:"extraResources,omitempty"`
}

// Budget bounds resource-hours in a window of time.
type Budget struct {
	// Resource that is counted: cpu, memory (GiB-hours) or an extended one.
	// +kubebuilder:validation:MaxLength=317
	Resource string `json:"resource"`
	// Hours of one unit of the resource, e.g. 40 or 0.5.
	Hours resource.Quantity `json:"hours"`
	// Per is whose use is added up: a user's or that of the whole group.
	// +kubebuilder:validation:Enum=user;group
	Per BudgetScope `json:"per"`
	// Window is the time over which it is added up.
	Window BudgetWindow `json:"window"`
}

// BudgetScope is whose use is added up.
type BudgetScope string

// Whose use is added up.
const (
	BudgetPerUser  BudgetScope = "user"
	BudgetPerGroup BudgetScope = "group"
)

// BudgetWindow is either rolling or of the calendar.
//
// +kubebuilder:validation:XValidation:rule="has(self.rolling) != has(self.calendar)",message="exactly one of rolling and calendar must be set"
type BudgetWindow struct {
	// Rolling is a length of time that ends now, e.g. 168h: 1m at least, 840h (35 days) at most.
	Rolling *metav1.Duration `json:"rolling,omitempty"`
	// Calendar is a day, a week, which begins on Monday, or a month, in timeZone.
	// +kubebuilder:validation:Enum=day;week;month
	Calendar BudgetCalendar `json:"calendar,omitempty"`
	// TimeZone is an IANA name, e.g. Europe/Berlin; default UTC. People are told in it
	// when a spent budget allows something again.
	// +kubebuilder:validation:MaxLength=253
	TimeZone string `json:"timeZone,omitempty"`
}

// BudgetCalendar is a window of the calendar.
type BudgetCalendar string

// Windows of the calendar.
const (
	BudgetDay   BudgetCalendar = "day"
	BudgetWeek  BudgetCalendar = "week"
	BudgetMonth BudgetCalendar = "month"
)

// ResourceRange bounds one slider: cpu in cores, memory in bytes.
//
// +kubebuilder:validation:XValidation:rule="quantity(string(self.min)).isGreaterThan(quantity('0'))",fieldPath=".min",message="must be more than 0"
// +kubebuilder:validation:XValidation:rule="quantity(string(self.max)).isGreaterThan(quantity('0'))",fieldPath=".max",message="must be more than 0"
// +kubebuilder:validation:XValidation:rule="quantity(string(self.min)).compareTo(quantity(string(self.max))) <= 0",fieldPath=".max",message="must not be less than min"
// +kubebuilder:validation:XValidation:rule="!has(self.step) || quantity(string(self.step)).isGreaterThan(quantity('0'))",fieldPath=".step",message="must be more than 0"
// +kubebuilder:validation:XValidation:rule="!has(self.default) || (quantity(string(self.default)).compareTo(quantity(string(self.min))) >= 0 && quantity(string(self.default)).compareTo(quantity(string(self.max))) <= 0)",fieldPath=".default",message="must lie between min and max"
type ResourceRange struct {
	// Min is the least that can be chosen.
	Min resource.Quantity `json:"min"`
	// Max is the most that can be chosen.
	Max resource.Quantity `json:"max"`
	// Step defaults to 1 core or 1Gi.
	Step *resource.Quantity `json:"step,omitempty"`
	// Default defaults to min.
	Default *resource.Quantity `json:"default,omitempty"`
	// RequestRatio is the request over the limit, e.g. "0.33". The default is
	// a third for cpu and 1 for memory.
	// +kubebuilder:validation:Pattern=`^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)?$`
	RequestRatio string `json:"requestRatio,omitempty"`
}

// ImageChannel is a name for an image, such as "stable", whose image can
// change without anyone's choice becoming invalid. A server keeps the image it
// was started with; a channel's new image counts at the next start.
type ImageChannel struct {
	// ID of the channel, which is what a choice of it keeps.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`
	ID string `json:"id"`
	// DisplayName is shown in the form.
	// +kubebuilder:validation:MaxLength=4096
	DisplayName string `json:"displayName,omitempty"`
	// Description is shown below it.
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description,omitempty"`
	// Image that the channel has at present.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[!-~]+$`
	Image string `json:"image"`
	// Hidden channels are not offered, yet still valid for who has chosen them.
	Hidden bool `json:"hidden,omitempty"`
	// Redirect proposes another channel to whoever has chosen this one.
	Redirect *ChannelRedirect `json:"redirect,omitempty"`
}

// ChannelRedirect proposes another channel; it is never applied by itself,
// neither to a running server nor at a start.
type ChannelRedirect struct {
	// To is the id of the other channel.
	// +kubebuilder:validation:MaxLength=63
	To string `json:"to"`
	// Message says why.
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message,omitempty"`
}

// Preset is a named pair of values.
type Preset struct {
	// Name is what the form posts and identifies the preset.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Title is shown; the name if empty.
	// +kubebuilder:validation:MaxLength=4096
	Title string `json:"title,omitempty"`
	// CPU that it sets.
	CPU resource.Quantity `json:"cpu"`
	// Memory that it sets.
	Memory resource.Quantity `json:"memory"`
	// Description is shown below its title.
	// +kubebuilder:validation:MaxLength=4096
	Description string `json:"description,omitempty"`
}

// PolicyHelp are texts for the fields of the form.
type PolicyHelp struct {
	// Server is shown above the form.
	Server LocalizedText `json:"server,omitempty"`
	// CPU is shown at the choice of cores.
	CPU LocalizedText `json:"cpu,omitempty"`
	// Memory is shown at the choice of memory.
	Memory LocalizedText `json:"memory,omitempty"`
	// Image is shown at the choice of images.
	Image LocalizedText `json:"image,omitempty"`
	// Kernels is shown at the kernels on offer.
	Kernels LocalizedText `json:"kernels,omitempty"`
}

// LocalizedText is plain text by language tag, e.g. en, ru, zh or pt-BR.
//
// +kubebuilder:validation:MaxProperties=32
// +kubebuilder:validation:XValidation:rule="self.all(tag, tag.matches('^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$'))",message="the keys must be language tags such as en or pt-BR"
// +kubebuilder:validation:XValidation:rule="self.all(tag, size(self[tag]) <= 4096)",message="a text may have at most 4096 characters"
type LocalizedText map[string]string

// In is the text for a language: of the very tag, of its language (pt for
// pt-BR), English, or the first by tag; empty only if there is no text at all.
func (t LocalizedText) In(tag string) string {
	folded := make(map[string]string, len(t))
	for _, key := range slices.Sorted(maps.Keys(t)) {
		folded[strings.ToLower(key)] = t[key]
	}
	wanted := strings.ToLower(strings.ReplaceAll(tag, "_", "-"))
	language, _, _ := strings.Cut(wanted, "-")
	for _, key := range []string{wanted, language, "en"} {
		if text := folded[key]; text != "" {
			return text
		}
	}
	for _, key := range slices.Sorted(maps.Keys(folded)) {
		if folded[key] != "" {
			return folded[key]
		}
	}
	return ""
}

// PullSecret names a Secret of the namespace that holds registry credentials.
type PullSecret struct {
	// Name of the Secret.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	Name string `json:"name"`
}

// PolicyEnv is one environment variable.
//
// +kubebuilder:validation:XValidation:rule="!has(self.valueFrom) || !has(self.value) || size(self.value) == 0",fieldPath=".valueFrom",message="must not be set beside value"
type PolicyEnv struct {
	// Name of the variable.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z0-9_]*$`
	Name string `json:"name"`
	// Value of the variable, in which {username} stands for the user's name.
	// +kubebuilder:validation:MaxLength=32768
	Value string `json:"value,omitempty"`
	// ValueFrom is where the value comes from, instead of value. Whoever has a
	// server or kernel by the policy can read it there.
	ValueFrom *PolicyEnvSource `json:"valueFrom,omitempty"`
}

// PolicyEnvSource is where the value of a variable comes from.
type PolicyEnvSource struct {
	// SecretKeyRef names a key of a Secret of the namespace.
	SecretKeyRef *corev1.SecretKeySelector `json:"secretKeyRef,omitempty"`
}

// PolicyKernels bounds what a gateway gives to the members.
//
// +kubebuilder:validation:XValidation:rule="(has(self.gpusPerKernel) ? self.gpusPerKernel : 0) <= (has(self.gpusPerUser) ? self.gpusPerUser : 0)",fieldPath=".gpusPerKernel",message="must not be more than gpusPerUser"
// +kubebuilder:validation:XValidation:rule="!has(self.gpuPool) || (has(self.gpusPerUser) ? self.gpusPerUser : 0) <= self.gpuPool",fieldPath=".gpusPerUser",message="must not be more than gpuPool"
type PolicyKernels struct {
	// Allowed are names of JupyterKernelSpecs.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self.all(k, self.exists_one(l, l == k))",message="a kernel must not be named twice"
	Allowed []string `json:"allowed,omitempty"`
	// GPUResource is the extended resource that the limits below count, e.g.
	// nvidia.com/gpu, nvidia.com/mig-1g.5gb, nvidia.com/gpu.shared, amd.com/gpu.
	// +kubebuilder:default="nvidia.com/gpu"
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?$`
	GPUResource string `json:"gpuResource,omitempty"`
	// GPUsPerKernel is how many GPUs one kernel may have.
	// +kubebuilder:validation:Minimum=0
	GPUsPerKernel int32 `json:"gpusPerKernel,omitempty"`
	// GPUsPerUser is how many GPUs the kernels of one user may have together.
	// +kubebuilder:validation:Minimum=0
	GPUsPerUser int32 `json:"gpusPerUser,omitempty"`
	// GPUPool is how many GPUs the kernels of all members may have together.
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
	// +kubebuilder:validation:Maximum=315360000
	IdleSeconds int64 `json:"idleSeconds,omitempty"`
	// MaxRunSeconds is how long one Pod of a kernel may run, busy or not; 0
	// means for ever. Where it is absent kernels.maxRunSeconds of the chart holds.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	MaxRunSeconds *int64 `json:"maxRunSeconds,omitempty"`
	// Weight of the group when capacity is shared out; 0 means 1.
	// +kubebuilder:validation:Minimum=0
	Weight int32 `json:"weight,omitempty"`

	// Keep says whether the variables of parked kernels are kept.
	Keep *PolicyKeep `json:"keep,omitempty"`
	// Budget bounds the resource-hours of the kernels that are accounted to the policy: it
	// is the first of their users'. Nobody whose budget is spent gets a kernel that it bounds.
	// +kubebuilder:validation:MaxItems=16
	Budget []Budget `json:"budget,omitempty"`
	// OnBudget is what happens to kernels that run when a budget is spent, a minute after
	// a notice in their cells. whole, which is the default, parks those that are idle and all
	// of whose variables can be kept; any parks all that are idle; force interrupts those that
	// are busy, too; none lets them run.
	// +kubebuilder:validation:Enum=whole;any;force;none
	OnBudget OnBudget `json:"onBudget,omitempty"`
	// OwnEnvironments lets members run the Python environments of their homes (venv, uv,
	// conda) as kernels: each of the kernels that this policy allows, with the
	// environment's Python in the place of its image's. Nothing is allowed where it is absent.
	OwnEnvironments *bool `json:"ownEnvironments,omitempty"`
}

// PolicyKeep says whether the variables of parked kernels are kept, over what
// the gateway says.
type PolicyKeep struct {
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
	// OnYield says which kernels yield what they hold to somebody who waits for it, where the
	// gateway has kernels yield. All of them are saved first: whole lets only those yield all
	// of whose variables are kept, any, which is the default, all.
	OnYield OnYield `json:"onYield,omitempty"`
}

// OnYield says which of the kernels that are kept yield to others.
// +kubebuilder:validation:Enum=whole;any
type OnYield string

// Which kernels yield.
const (
	OnYieldWhole OnYield = "whole"
	OnYieldAny   OnYield = "any"
)

// OnBudget is what happens to kernels that run when a budget is spent.
type OnBudget string

// What happens to kernels that run when a budget is spent.
const (
	OnBudgetWhole OnBudget = "whole"
	OnBudgetAny   OnBudget = "any"
	OnBudgetForce OnBudget = "force"
	OnBudgetNone  OnBudget = "none"
)

// AtLimit is what happens to a request beyond a limit.
type AtLimit string

// What happens to a request beyond a limit.
const (
	AtLimitQueue  AtLimit = "queue"
	AtLimitRefuse AtLimit = "refuse"
)

// ConditionPolicyValid is false while a policy has faults; it then gives
// nothing to anyone. Its message lists all of them.
const ConditionPolicyValid = "Valid"

// Reasons of ConditionPolicyValid.
const (
	ReasonPolicyValid   = "Valid"
	ReasonPolicyInvalid = "Invalid"
)

// GroupPolicyStatus is current use.
type GroupPolicyStatus struct {
	// Servers that run under this policy.
	Servers int32 `json:"servers,omitempty"`
	// Kernels that have a Pod under this policy.
	Kernels int32 `json:"kernels,omitempty"`
	// GPUs that those hold.
	GPUs int32 `json:"gpus,omitempty"`
	// Queued are kernels that wait for a Pod.
	Queued int32 `json:"queued,omitempty"`
	// Users is how many users have servers that run under this policy.
	Users int32 `json:"users,omitempty"`
	// UsersAtLimit is how many of them run as many as serversPerUser allows.
	UsersAtLimit int32 `json:"usersAtLimit,omitempty"`
	// ObservedGeneration is the generation of the object that the conditions speak of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Ready and Valid, which say the same of a policy.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true

// GroupPolicyList is a list of GroupPolicy.
type GroupPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GroupPolicy `json:"items"`
}
