package doctor

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Picture is what was gathered. What could not be read is empty, and in Unread.
type Picture struct {
	Release, Namespace string
	// Installed: the namespace has the release's Deployment.
	Installed bool

	Values Values
	// HasGroups: the values have a source of groups. Without one there is no Hub to serve.
	HasGroups bool
	// ValuesFaults are what the chart's schema says against the values.
	ValuesFaults []string

	// Kubernetes is the API server's version, such as v1.34.4, and Oldest the
	// constraint of the chart.
	Kubernetes, Oldest string
	Kinds              []Kind

	StorageClasses []storagev1.StorageClass
	// Attaches tells by the name of a CSI driver whether its volumes are attached to nodes.
	Attaches   map[string]bool
	Nodes      []corev1.Node
	DaemonSets []string
	// DeviceClasses and ResourceSlices are of devices that the scheduler allocates by claims.
	DeviceClasses  []resourcev1.DeviceClass
	ResourceSlices []resourcev1.ResourceSlice
	// Pods are those of the namespace.
	Pods []corev1.Pod
	// Speakers are the service's and the gateways' processes, as far as they can be asked.
	Speakers []Speaker

	Policies    []v1alpha1.GroupPolicy
	KernelSpecs []v1alpha1.JupyterKernelSpec
	Templates   []v1alpha1.JupyterKernelTemplate
	Gateways    []v1alpha1.JupyterGateway
	Notebooks   []v1alpha1.JupyterNotebook

	// Elsewhere are namespaces of watchNamespaces that another release looks after, and the
	// one that it is in. Absent are those that do not exist.
	Elsewhere map[string]string
	Absent    []string

	// Secrets are those that the values name.
	Secrets []Secret
	// Rights are what the service's account needs.
	Rights []Right
	// Hubs and Directories are who was asked, one for each address.
	Hubs        []Asked
	Directories []Asked

	Unread []Unread
}

// Values are the chart's, as far as checks look at them.
type Values struct {
	CRDs struct {
		Upgrade bool
	}
	Notebooks struct {
		Gateway string
	}
	Kernels struct {
		ClusterCapacity bool
		NodePools       []NodePool
	}
	NetworkPolicy struct {
		Enabled bool
	}
	Orphans struct {
		Mode string
	}
}

// NodePool is a set of equal nodes that an autoscaler adds.
type NodePool struct {
	Name      string
	Labels    map[string]string
	Taints    []corev1.Taint
	Resources map[string]int64
}

// Kind is a definition in the cluster, beside the one that the binary has.
type Kind struct {
	Name  string
	State KindState
}

// KindState is how a definition stands to the binary's.
type KindState string

// How a definition stands to the binary's.
const (
	KindSame      KindState = "same"
	KindMissing   KindState = "missing"
	KindDifferent KindState = "different"
)

// Secret is one that a value names, and what it lacks.
type Secret struct {
	// Value is the path of the value, such as hub.tokenSecret.
	Value, Name, Key string
	Missing          SecretFault
}

// SecretFault is what a Secret lacks.
type SecretFault string

// What a Secret lacks.
const (
	SecretWhole   SecretFault = ""
	SecretAbsent  SecretFault = "absent"
	SecretKeyless SecretFault = "keyless"
)

// Right is something that the service's account does.
type Right struct {
	Verb, Group, Resource string
	// Everywhere: in all namespaces, or of what has none.
	Everywhere bool
	// Namespace is another one than the release's; empty: that.
	Namespace string
	Allowed   bool
}

// Asked is somebody whom the service asks, and what came of it.
type Asked struct {
	// Value is the path of the value that names it.
	Value, URL string
	Answer     Answer
	Detail     string
	// Lacks are the Hub's scopes that the token should have and has not.
	Lacks []string
}

// Answer is what came of asking somebody.
type Answer string

// What came of asking somebody.
const (
	AnswerGood Answer = "good"
	// AnswerRefused: it answers, and does not accept what it is shown.
	AnswerRefused Answer = "refused"
	AnswerNone    Answer = "none"
	// AnswerNotAsked: it can be asked from within the cluster only.
	AnswerNotAsked Answer = "notAsked"
)

// Unread is something that could not be read.
type Unread struct{ What, Why string }
