package soak

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// kinds are those of whatever a release makes, and of what owns it.
var kinds = []schema.GroupVersionKind{
	{Version: "v1", Kind: "Pod"}, {Version: "v1", Kind: "Secret"}, {Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "Service"},
	{Version: "v1", Kind: "ServiceAccount"}, {Version: "v1", Kind: "PersistentVolumeClaim"},
	{Group: "apps", Version: "v1", Kind: "Deployment"}, {Group: "apps", Version: "v1", Kind: "DaemonSet"}, {Group: "apps", Version: "v1", Kind: "ControllerRevision"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
	{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}, {Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"},
	v1alpha1.GroupVersion.WithKind("JupyterNotebook"), v1alpha1.GroupVersion.WithKind("JupyterKernel"), v1alpha1.GroupVersion.WithKind("JupyterGateway"),
	v1alpha1.GroupVersion.WithKind("JupyterKernelSpec"), v1alpha1.GroupVersion.WithKind("JupyterKernelTemplate"), v1alpha1.GroupVersion.WithKind("GroupPolicy"),
}

// objects are all of a kind.
func (w *world) objects(ctx context.Context, kind schema.GroupVersionKind) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	err := w.api.List(ctx, list, client.InNamespace(namespace))
	return list.Items, err
}

// runCollector plays the controller manager's garbage collector: what is owned by nobody who is there goes.
func (w *world) runCollector() {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		missed := map[types.UID]bool{} // by the pass before, whose lists were not of one moment
		for ; ctx.Err() == nil; time.Sleep(time.Second) {
			there, owned, whole := map[types.UID]bool{}, []metav1.PartialObjectMetadata{}, true
			for _, kind := range kinds {
				list, err := w.objects(ctx, kind)
				whole = whole && err == nil
				for i := range list {
					there[list[i].UID] = true
					if len(list[i].OwnerReferences) > 0 {
						list[i].SetGroupVersionKind(kind)
						owned = append(owned, list[i])
					}
				}
			}
			if !whole {
				continue
			}
			now := map[types.UID]bool{}
			for i := range owned {
				o := &owned[i]
				orphan := true
				for _, owner := range o.OwnerReferences {
					orphan = orphan && !there[owner.UID]
				}
				if orphan && missed[o.UID] {
					_ = w.api.Delete(ctx, o, client.Preconditions{UID: &o.UID})
				}
				now[o.UID] = orphan
			}
			missed = now
		}
	})
	w.t.Cleanup(func() { cancel(); work.Wait() })
}
