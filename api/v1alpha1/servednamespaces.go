package v1alpha1

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Serves reports whether a gateway serves notebooks of a namespace.
func (g *JupyterGateway) Serves(namespace string) bool {
	return namespace == g.Namespace || slices.Contains(g.Spec.AllowedNamespaces, namespace)
}

// GatewayKey is where a kernel's gateway is.
func (k *JupyterKernel) GatewayKey() types.NamespacedName {
	return types.NamespacedName{Namespace: cmp.Or(k.Spec.GatewayNamespace, k.Namespace), Name: k.Spec.Gateway}
}

// GatewayKey is where a notebook's gateway is; the zero value if it names none.
func (n *JupyterNotebook) GatewayKey() types.NamespacedName {
	if n.Spec.Gateway == nil {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: cmp.Or(n.Spec.Gateway.Namespace, n.Namespace), Name: n.Spec.Gateway.Name}
}
