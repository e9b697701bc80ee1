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

func of(group, version, name string) kind {
	return kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: version, Kind: name}}
}

func wide(group, version, name string) kind {
	k := of(group, version, name)
	k.wide = true
	return k
}

func ours(name string) kind { return kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind(name)} }

// configMaps are last among those of the chart: the release's configuration says which namespaces it looks after.
var configMaps = of("", "v1", "ConfigMap")

// chartKinds are those of the chart's objects, in the order in which they are removed.
// TestEveryKindOfTheChartIsKnown compares them with the chart.
var chartKinds = []kind{
	of("apps", "v1", "Deployment"),
	of("batch", "v1", "Job"),
	of("policy", "v1", "PodDisruptionBudget"),
	of("", "v1", "Service"),
	of("networking.k8s.io", "v1", "NetworkPolicy"),
	of("monitoring.coreos.com", "v1", "ServiceMonitor"),
	of("monitoring.coreos.com", "v1", "PodMonitor"),
	of("monitoring.coreos.com", "v1", "PrometheusRule"),
	wide("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding"),
	wide("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy"),
	wide("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema"),
	of("rbac.authorization.k8s.io", "v1", "RoleBinding"),
	of("rbac.authorization.k8s.io", "v1", "Role"),
	wide("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
	wide("rbac.authorization.k8s.io", "v1", "ClusterRole"),
	of("", "v1", "ServiceAccount"),
	configMaps,
}

// objectKinds are those of ours, what refers to others first.
var objectKinds = []kind{
	ours("JupyterKernel"), ours("JupyterNotebook"), ours("JupyterGateway"),
	ours("JupyterKernelSpec"), ours("JupyterKernelTemplate"), ours("GroupPolicy"),
}

var (
	deployments = of("apps", "v1", "Deployment")
	daemonSets  = of("apps", "v1", "DaemonSet")
	secrets     = of("", "v1", "Secret")
	claims      = of("", "v1", "PersistentVolumeClaim")
	leases      = of("coordination.k8s.io", "v1", "Lease")
)
