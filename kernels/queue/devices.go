package queue

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/kernels/devices"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/namespaces"
)

// deviceKinds are those of dynamic resource allocation that are read.
func deviceKinds() []client.ObjectList {
	return []client.ObjectList{&resourcev1.DeviceClassList{}, &resourcev1.ResourceSliceList{}, &resourcev1.ResourceClaimList{}}
}

// askTimeout bounds the question whether a cluster has these kinds.
const askTimeout = 10 * time.Second

// deviceReader reads what the scheduler allocates by claims.
type deviceReader struct {
	cache cache.Cache

	mu sync.Mutex
	// said are those of which the log tells already.
	said map[devices.Uncounted]bool
}

// newDeviceReader asks the cluster whether it has claims, and may be asked for them; nil
// and a line in the log where not.
func newDeviceReader(live client.Reader, informers cache.Cache) (*deviceReader, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	for _, list := range deviceKinds() {
		err := live.List(ctx, list, client.Limit(1))
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			log.Log.Info("devices that are allocated by claims are not counted: resource.k8s.io/v1 cannot be read", "reason", err.Error())
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("kernels: look for resource.k8s.io/v1: %w", err)
		}
	}
	return &deviceReader{cache: informers, said: map[devices.Uncounted]bool{}}, nil
}

// counts counts devices, but for what the kernels among the Pods were given, which
// admission counts as it counts everything that they ask for.
func (r *deviceReader) counts(ctx context.Context, pods []corev1.Pod, scope *namespaces.Scope) (devices.Counts, error) {
	var classes resourcev1.DeviceClassList
	var slices resourcev1.ResourceSliceList
	var claims resourcev1.ResourceClaimList
	for _, list := range []client.ObjectList{&classes, &slices, &claims} {
		if err := r.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return devices.Counts{}, fmt.Errorf("kernels: list devices: %w", err)
		}
	}
	kernels := map[types.UID]bool{}
	for i := range pods {
		if pod := &pods[i]; podspec.IsKernelPod(pod) && scope.Has(pod.Namespace) && podstate.Alive(pod) {
			kernels[pod.UID] = true
		}
	}
	counts := devices.Count(devices.State{Classes: classes.Items, Slices: slices.Items, Claims: claims.Items},
		func(pod types.UID) bool { return kernels[pod] })
	r.tell(ctx, counts.Uncounted)
	return counts, nil
}

// tell writes to the log what is not counted, once.
func (r *deviceReader) tell(ctx context.Context, uncounted []devices.Uncounted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range uncounted {
		if !r.said[u] {
			r.said[u] = true
			log.FromContext(ctx).Info("devices are not counted", "deviceClass", u.Class, "resource", u.Resource, "reason", u.Why)
		}
	}
}

// allocatedByClaims are the devices of a node but for those that it names itself: what
// it names, be it none of it, the scheduler does not allocate by claims.
func allocatedByClaims(node *corev1.Node, of map[string]devices.Amount) map[string]devices.Amount {
	byClaims := maps.Clone(of)
	maps.DeleteFunc(byClaims, func(resource string, _ devices.Amount) bool {
		_, named := node.Status.Allocatable[corev1.ResourceName(resource)]
		return named
	})
	return byClaims
}

// claimMatters reports whether a change of a claim can change what is taken.
func claimMatters(old, current *resourcev1.ResourceClaim) bool {
	return !equality.Semantic.DeepEqual(old.Status.Allocation, current.Status.Allocation)
}

func slimClass(object any) (any, error) {
	class, ok := object.(*resourcev1.DeviceClass)
	if ok {
		class.ManagedFields, class.Annotations, class.Spec.Config = nil, nil, nil
	}
	return object, nil
}

func slimSlice(object any) (any, error) {
	slice, ok := object.(*resourcev1.ResourceSlice)
	if ok {
		slice.ManagedFields, slice.Annotations = nil, nil
	}
	return object, nil
}

// slimClaim keeps what is held, for whom, and by which class.
func slimClaim(object any) (any, error) {
	claim, ok := object.(*resourcev1.ResourceClaim)
	if !ok {
		return object, nil
	}
	slim := &resourcev1.ResourceClaim{}
	slim.Name, slim.Namespace, slim.UID, slim.ResourceVersion = claim.Name, claim.Namespace, claim.UID, claim.ResourceVersion
	slim.OwnerReferences = claim.OwnerReferences
	if made, ok := claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation]; ok {
		slim.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: made}
	}
	slim.Spec.Devices.Requests = claim.Spec.Devices.Requests
	if claim.Status.Allocation != nil {
		slim.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: claim.Status.Allocation.Devices.Results}}
	}
	return slim, nil
}
