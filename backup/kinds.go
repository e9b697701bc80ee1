package backup

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/usage"
)

// kind is one that an archive may have. Restore brings kinds in the order of kinds: what others
// refer to comes first.
type kind struct {
	schema.GroupVersionKind
	plural string
	// labels: objects that are ours bear one of them; none: all are ours.
	labels []string
	// sealed: it is in secrets.age alone.
	sealed bool
}

func ours(name, plural string) kind {
	return kind{GroupVersionKind: v1alpha1.GroupVersion.WithKind(name), plural: plural}
}

var kinds = []kind{
	{GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, plural: "secrets", sealed: true},
	{GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, plural: "configmaps", labels: []string{usage.Label, v1alpha1.LabelStaticHome}},
	ours("GroupPolicy", "grouppolicies"),
	ours("JupyterKernelTemplate", "jupyterkerneltemplates"),
	ours("JupyterKernelSpec", "jupyterkernelspecs"),
	ours("JupyterGateway", "jupytergateways"),
	ours("JupyterNotebook", "jupyternotebooks"),
	ours("JupyterKernel", kernels),
}

const kernels = "jupyterkernels"

// place is where in kinds a kind is, -1 if it is none of them.
func place(of schema.GroupVersionKind) int {
	return slices.IndexFunc(kinds, func(k kind) bool { return k.GroupVersionKind == of })
}
