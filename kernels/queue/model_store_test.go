package queue

import (
	"context"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// modelStore is the part of an API server that the admitter meets, without
// what makes controller-runtime's fake slow. Kernels have versions and
// conditional writes; everything else is fixed.
type modelStore struct {
	client.Client // for what is not met
	fixed         map[types.NamespacedName]client.Object
	kernels       map[types.NamespacedName]*v1alpha1.JupyterKernel
	pods          map[string]*corev1.Pod // by name
	podsLock      sync.Mutex
	version       int
}

func notFound(key client.ObjectKey) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: "objects"}, key.Name)
}

func (s *modelStore) put(k *v1alpha1.JupyterKernel) {
	s.version++
	k.ResourceVersion = strconv.Itoa(s.version)
	s.kernels[client.ObjectKeyFromObject(k)] = k.DeepCopy()
}

func (s *modelStore) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	switch o := into.(type) {
	case *v1alpha1.JupyterKernel:
		if k, ok := s.kernels[key]; ok {
			k.DeepCopyInto(o)
			return nil
		}
	case *corev1.Pod:
		if pod, ok := s.pods[key.Name]; ok {
			pod.DeepCopyInto(o)
			return nil
		}
	case *corev1.Secret:
		controller := true
		o.OwnerReferences = []metav1.OwnerReference{{Kind: "JupyterGateway", Name: "gw", Controller: &controller}}
		o.Data = map[string][]byte{podspec.KeyName: []byte(strings.Repeat("0f", 32))}
		return nil
	case *v1alpha1.JupyterGateway:
		if gw, ok := s.fixed[key].(*v1alpha1.JupyterGateway); ok {
			gw.DeepCopyInto(o)
			return nil
		}
	case *v1alpha1.JupyterKernelSpec:
		if ks, ok := s.fixed[key].(*v1alpha1.JupyterKernelSpec); ok {
			ks.DeepCopyInto(o)
			return nil
		}
	case *v1alpha1.GroupPolicy:
		if p, ok := s.fixed[key].(*v1alpha1.GroupPolicy); ok {
			p.DeepCopyInto(o)
			return nil
		}
	}
	return notFound(key)
}

func (s *modelStore) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	switch l := list.(type) {
	case *v1alpha1.JupyterKernelList:
		for _, k := range s.kernels {
			l.Items = append(l.Items, *k.DeepCopy())
		}
	case *v1alpha1.GroupPolicyList:
		for _, o := range s.fixed {
			if p, ok := o.(*v1alpha1.GroupPolicy); ok {
				l.Items = append(l.Items, *p.DeepCopy())
			}
		}
	case *v1alpha1.JupyterGatewayList:
		for _, o := range s.fixed {
			if gw, ok := o.(*v1alpha1.JupyterGateway); ok {
				l.Items = append(l.Items, *gw.DeepCopy())
			}
		}
	case *v1alpha1.JupyterNotebookList:
	case *corev1.PodList:
		for _, pod := range s.pods {
			l.Items = append(l.Items, *pod.DeepCopy())
		}
	default:
		panic(list)
	}
	return nil
}

func (s *modelStore) Delete(_ context.Context, o client.Object, _ ...client.DeleteOption) error {
	if pod, ok := o.(*corev1.Pod); ok {
		s.podsLock.Lock()
		defer s.podsLock.Unlock()
		delete(s.pods, pod.Name)
		return nil
	}
	delete(s.kernels, client.ObjectKeyFromObject(o))
	return nil
}

// Create makes warm Pods, which are ready at once; Secrets are not kept.
func (s *modelStore) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return nil
	}
	s.podsLock.Lock()
	defer s.podsLock.Unlock()
	s.version++
	pod.UID, pod.ResourceVersion = types.UID(pod.Name), strconv.Itoa(s.version)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	s.pods[pod.Name] = pod.DeepCopy()
	return nil
}

func (s *modelStore) Status() client.SubResourceWriter { return modelStatus{s: s} }

type modelStatus struct {
	client.SubResourceWriter
	s *modelStore
}

func (w modelStatus) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	k := o.(*v1alpha1.JupyterKernel)
	current, ok := w.s.kernels[client.ObjectKeyFromObject(k)]
	if !ok || current.UID != k.UID {
		return notFound(client.ObjectKeyFromObject(k))
	}
	if current.ResourceVersion != k.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{Resource: "jupyterkernels"}, k.Name, nil)
	}
	w.s.put(k)
	return nil
}

// Patch knows patches of kernels over the version that was read.
func (w modelStatus) Patch(ctx context.Context, o client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	if _, ok := o.(*v1alpha1.JupyterKernel); !ok {
		return nil // the use of policies
	}
	return w.Update(ctx, o)
}
