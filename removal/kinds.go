package removal

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// kind is one of which objects are looked for.
type kind struct {
	schema.GroupVersionKind
	// wide: its objects are in no namespace.
	wide bool
}

func of(group, name string) kind {
	return kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: "v1", Kind: name}}
}

func wide(group, name string) kind {
	k := of(group, name)
	k.wide = true
	return k
}

func ours(name string) kind { return kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind(name)} }

// configMaps are last among those of the chart: the release's configuration says which namespaces it looks after.
var configMaps = of("", "ConfigMap")

// chartKinds are those of the chart's objects, in the order in which they are removed.
// TestEveryKindOfTheChartIsKnown compares them with the chart.
var chartKinds = []kind{
	of("apps", "Deployment"),
	of("batch", "Job"),
	of("policy", "PodDisruptionBudget"),
	of("", "Service"),
	of("networking.k8s.io", "NetworkPolicy"),
	of("monitoring.coreos.com", "ServiceMonitor"),
	of("monitoring.coreos.com", "PodMonitor"),
	of("monitoring.coreos.com", "PrometheusRule"),
	wide("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
	wide("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
	wide("flowcontrol.apiserver.k8s.io", "FlowSchema"),
	of("rbac.authorization.k8s.io", "RoleBinding"),
	of("rbac.authorization.k8s.io", "Role"),
	wide("rbac.authorization.k8s.io", "ClusterRoleBinding"),
	wide("rbac.authorization.k8s.io", "ClusterRole"),
	of("", "ServiceAccount"),
	configMaps,
}

// objectKinds are those of ours, what refers to others first.
var objectKinds = []kind{
	ours("JupyterKernel"), ours("JupyterNotebook"), ours("JupyterGateway"),
	ours("JupyterKernelSpec"), ours("JupyterKernelTemplate"), ours("GroupPolicy"),
}

var (
	deployments = of("apps", "Deployment")
	daemonSets  = of("apps", "DaemonSet")
	secrets     = of("", "Secret")
	claims      = of("", "PersistentVolumeClaim")
	leases      = of("coordination.k8s.io", "Lease")
)
