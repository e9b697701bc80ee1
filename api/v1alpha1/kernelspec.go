package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// JupyterKernelSpec describes a kind of kernel, as a kernelspec does. Changes
// reach running gateways at once and running kernels at their next run.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=jks,categories=jupyter
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="Language",type=string,JSONPath=`.spec.language`
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.spec.image`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type JupyterKernelSpec struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec JupyterKernelSpecSpec `json:"spec,omitempty"`
	// Status is what the controllers have seen last; before that, it speaks of no generation.
	// +kubebuilder:default:={"observedGeneration":-1}
	Status JupyterKernelSpecStatus `json:"status,omitempty"`

	malformed *malformed `json:"-"`
}

// JupyterKernelSpecSpec is the kernelspec and how to make its Pod.
type JupyterKernelSpecSpec struct {
	// Language of the kernel, which decides its standard command and its logo.
	Language string `json:"language,omitempty"`
	// DisplayName is what people choose it by.
	DisplayName string `json:"displayName,omitempty"`
	// Image of the kernel's container.
	Image string `json:"image,omitempty"`
	// Env of the kernel's container, over that of the template.
	Env []corev1.EnvVar `json:"env,omitempty"`
	// Command starts the kernel; {connection_file} is filled in. None, or one
	// that names a launcher of Enterprise Gateway, means the standard command
	// of the language.
	Command []string `json:"command,omitempty"`
	// ClassName is accepted for compatibility and has no effect.
	ClassName string `json:"className,omitempty"`
	// Template names the JupyterKernelTemplate to start from; an empty
	// namespace means the kernelspec's own.
	Template *corev1.ObjectReference `json:"template,omitempty"`

	// Resources of the kernel container, over those of the template. The
	// extended resources among them are what quotas count.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// IdleTimeoutSeconds overrides the gateway's cullIdleTimeout.
	IdleTimeoutSeconds *int64 `json:"idleTimeoutSeconds,omitempty"`

	// Logo is shown in the launcher: a picture of at most 64 KiB as a data: URI
	// in base64. None means the gateway's own for the language.
	// +kubebuilder:validation:MaxLength=87412
	// +kubebuilder:validation:Pattern=`^data:image/(svg\+xml|png);base64,[A-Za-z0-9+/]+={0,2}$`
	Logo string `json:"logo,omitempty"`

	// Keep: false has the variables of these kernels never kept.
	Keep *bool `json:"keep,omitempty"`
	// InterruptMode is how a kernel is interrupted: by a message, by a signal, or
	// auto, which sends the message and then the signal if the kernel does not answer.
	// +kubebuilder:validation:Enum=auto;message;signal
	InterruptMode InterruptMode `json:"interruptMode,omitempty"`
	// ShmSize is the size of /dev/shm in the kernel container, at most its limit
	// of memory, which is the default.
	ShmSize *resource.Quantity `json:"shmSize,omitempty"`
}

// InterruptMode is how a kernel is interrupted.
type InterruptMode string

// How a kernel is interrupted.
const (
	InterruptAuto    InterruptMode = "auto"
	InterruptMessage InterruptMode = "message"
	InterruptSignal  InterruptMode = "signal"
)

// JupyterKernelSpecStatus reports whether the kernelspec can be used.
type JupyterKernelSpecStatus struct {
	// ObservedGeneration is the generation of the object that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions say whether the kernelspec can be used; Ready comes first.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// LanguageInfo is what kernels of this kernelspec say of their language.
	// This field is not filled in yet.
	LanguageInfo *LanguageInfo `json:"languageInfo,omitempty"`
}

// LanguageInfo is what a kernel says of its language in kernel_info_reply.
type LanguageInfo struct {
	// Name of the language.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Version of the language.
	// +kubebuilder:validation:MaxLength=253
	Version string `json:"version,omitempty"`
	// MIMEType of scripts of the language.
	// +kubebuilder:validation:MaxLength=253
	MIMEType string `json:"mimetype,omitempty"`
	// FileExtension of such scripts.
	// +kubebuilder:validation:MaxLength=253
	FileExtension string `json:"fileExtension,omitempty"`
	// PygmentsLexer colours it in documents.
	// +kubebuilder:validation:MaxLength=253
	PygmentsLexer string `json:"pygmentsLexer,omitempty"`
	// CodeMirrorMode colours it in editors.
	// +kubebuilder:validation:MaxLength=253
	CodeMirrorMode string `json:"codemirrorMode,omitempty"`
	// NBConvertExporter writes notebooks as scripts.
	// +kubebuilder:validation:MaxLength=253
	NBConvertExporter string `json:"nbconvertExporter,omitempty"`
}

// +kubebuilder:object:root=true

// JupyterKernelSpecList is a list of JupyterKernelSpec.
type JupyterKernelSpecList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []JupyterKernelSpec `json:"items"`
}

// JupyterKernelTemplate is the Pod that kernelspecs start from. A container
// without image takes the kernelspec's.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=jkt,categories=jupyter
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type JupyterKernelTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec JupyterKernelTemplateSpec `json:"spec,omitempty"`
	// Status is what the controllers have seen last; before that, it speaks of no generation.
	// +kubebuilder:default:={"observedGeneration":-1}
	Status JupyterKernelTemplateStatus `json:"status,omitempty"`

	malformed *malformed `json:"-"`
}

// JupyterKernelTemplateSpec holds the Pod template.
type JupyterKernelTemplateSpec struct {
	Template *PodTemplate `json:"template,omitempty"`
}

// JupyterKernelTemplateStatus reports whether the template can be read.
type JupyterKernelTemplateStatus struct {
	// ObservedGeneration is the generation of the object that the status speaks of.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions say whether the template can be used; Ready comes first.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// +kubebuilder:object:root=true

// JupyterKernelTemplateList is a list of JupyterKernelTemplate.
type JupyterKernelTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []JupyterKernelTemplate `json:"items"`
}
