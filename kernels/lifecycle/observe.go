package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
)

// observe reads everything that next looks at but the Pods, which are given.
func (r *kernelReconciler) observe(ctx context.Context, k *v1alpha1.JupyterKernel, pods []*corev1.Pod) (observed, error) {
	gateway, err := r.gatewayOf(ctx, k)
	if err != nil {
		return observed{}, err
	}
	bound, err := r.snoozeBound(ctx, k)
	if err != nil {
		return observed{}, err
	}
	budget, err := r.budgetOf(ctx, k)
	if err != nil {
		return observed{}, err
	}
	copied, err := r.restoredOf(ctx, k)
	if err != nil {
		return observed{}, err
	}
	pod, others := splitByName(pods, podspec.CurrentPodName(k.Name, k.Status))
	key, err := r.rekey(ctx, k, pod, &gateway)
	if err != nil {
		return observed{}, err
	}
	return observed{
		kernel: k, pods: pods, pod: pod, others: others, vanished: r.lastOf(k), hint: r.hintOf(ctx, k, pod), growth: r.growthOf(ctx, k, pod), now: r.now(),
		onIdle: gateway.Spec.OnIdle, gatewayMade: gateway.CreationTimestamp.Time, keyMade: keyMade(&gateway), key: key,
		snoozeBound: bound, agent: r.backstop.of(k), nodes: r.nodesOf(ctx, pods), park: r.askToPark(ctx, k, pod, budget), budget: budget,
		restored: copied,
	}, nil
}

// snoozeBound is how long in all a run may be kept by hand, if anybody asks for it.
func (r *kernelReconciler) snoozeBound(ctx context.Context, k *v1alpha1.JupyterKernel) (time.Duration, error) {
	if k.Annotations[v1alpha1.AnnotationSnoozeUntil] == "" {
		return 0, nil
	}
	policies, err := podspec.PoliciesNamed(ctx, r.client, r.pods.Config().PoliciesOf(k), k.Status.Policies)
	if err != nil {
		return 0, err
	}
	return v1alpha1.SnoozeBoundOf(policies), nil
}

// podsOf returns a kernel's own Pods, and those of former kernels of its name.
func (r *kernelReconciler) podsOf(ctx context.Context, name types.NamespacedName, uid types.UID) (own, strangers []*corev1.Pod, err error) {
	var list corev1.PodList
	if err := r.client.List(ctx, &list, client.InNamespace(name.Namespace), podspec.SelectorOf(name.Name)); err != nil {
		return nil, nil, fmt.Errorf("kernels: list Pods: %w", err)
	}
	for i := range list.Items {
		pod := &list.Items[i]
		owner := metav1.GetControllerOf(pod)
		switch {
		case owner == nil || owner.Kind != "JupyterKernel" || owner.Name != name.Name:
			// not made for this kernel: the sweep sees to it
		case uid != "" && owner.UID == uid:
			own = append(own, pod)
		default:
			strangers = append(strangers, pod)
		}
	}
	return own, strangers, nil
}

// lastOf returns how the Pod of the current run looked before it vanished. Those of the
// kernel's former runs are forgotten.
func (r *kernelReconciler) lastOf(k *v1alpha1.JupyterKernel) (found *corev1.Pod) {
	current := podspec.CurrentPodName(k.Name, k.Status)
	r.vanishedOf(client.ObjectKeyFromObject(k), func(pod *corev1.Pod) (forget bool) {
		if pod.Name != current {
			run, err := strconv.ParseInt(pod.Labels[v1alpha1.LabelRun], 10, 64)
			return err == nil && run < k.Status.Run
		}
		if podspec.BelongsTo(pod, k.UID) {
			found = pod
		}
		return true
	})
	return found
}

// forgetKernel drops what is remembered of a kernel that is gone, and of its Pods.
func (r *kernelReconciler) forgetKernel(name types.NamespacedName) {
	r.clocks.Delete(name)
	r.vanishedOf(name, func(*corev1.Pod) bool { return true })
}

// vanishedOf shows the Pods of a kernel that have vanished, and forgets those of which it is told to.
func (r *kernelReconciler) vanishedOf(kernel types.NamespacedName, forget func(*corev1.Pod) bool) {
	r.last.Range(func(key, value any) bool {
		pod := value.(*corev1.Pod)
		owner := metav1.GetControllerOf(pod)
		if pod.Namespace == kernel.Namespace && owner != nil && owner.Name == kernel.Name && forget(pod) {
			r.last.CompareAndDelete(key, value)
		}
		return true
	})
}

// isCurrent reports whether the kernel of that name has that UID; the empty UID
// stands for there being none.
func (r *kernelReconciler) isCurrent(ctx context.Context, name types.NamespacedName, uid types.UID) (bool, error) {
	var k v1alpha1.JupyterKernel
	if err := r.live.Get(ctx, name, &k); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("kernels: read kernel: %w", err)
	}
	return k.UID == uid, nil
}

// hintOf is the last warning about the Pod of a kernel that does not start, for
// people; empty if there is none, or if it cannot be read.
func (r *kernelReconciler) hintOf(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod) string {
	if pod == nil || !r.hangs(k, pod) {
		return ""
	}
	last := r.lastEvent(ctx, pod, client.MatchingFields{"type": corev1.EventTypeWarning}, nil)
	if last == nil {
		return ""
	}
	if last.Reason == "FailedAttachVolume" && strings.HasPrefix(last.Message, "Multi-Attach error") {
		return "a volume of it can be in use on one node at a time (ReadWriteOnce), and is in use on another: " + podstate.Clip(last.Message)
	}
	return podstate.Clip(last.Reason + ": " + last.Message)
}

// hangs reports whether a Pod has a node, and has not started for a while.
func (r *kernelReconciler) hangs(k *v1alpha1.JupyterKernel, pod *corev1.Pod) bool {
	return k.Status.Phase == v1alpha1.KernelStarting && pod.Spec.NodeName != "" && pod.DeletionTimestamp == nil &&
		k.Status.StartTime != nil && r.now().Sub(k.Status.StartTime.Time) >= hintAfter && !podstate.Ready(pod) && podstate.Alive(pod)
}

// growthOf is what an autoscaler has said last of a Pod that no node can take, or nothing.
func (r *kernelReconciler) growthOf(ctx context.Context, k *v1alpha1.JupyterKernel, pod *corev1.Pod) growth {
	if pod == nil || k.Status.Phase != v1alpha1.KernelStarting || pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil || !podstate.Unschedulable(pod) {
		return growth{}
	}
	last := r.lastEvent(ctx, pod, nil, saysGrowth)
	if last == nil {
		return growth{}
	}
	return growth{known: true, coming: addsNode(last.Reason), why: podstate.Clip(last.Message)}
}

// growth is whether an autoscaler adds a node for a Pod.
type growth struct {
	known, coming bool
	why           string // in the autoscaler's words
}

// addsNode reports whether an event's reason says that a node is being added: the
// cluster autoscaler's and Karpenter's words for it.
func addsNode(reason string) bool { return reason == "TriggeredScaleUp" || reason == "Nominated" }

// saysGrowth reports whether an event is an autoscaler's word on a Pod. Karpenter
// says why it adds no node by the scheduler's reason.
func saysGrowth(e *corev1.Event) bool {
	return addsNode(e.Reason) || e.Reason == "NotTriggerScaleUp" ||
		e.Reason == "FailedScheduling" && (e.Source.Component == "karpenter" || e.ReportingController == "karpenter")
}

// lastEvent is the newest event about a Pod that has these fields and counts, if they
// are given; nil if there is none, or if they cannot be read.
func (r *kernelReconciler) lastEvent(ctx context.Context, pod *corev1.Pod, having client.MatchingFields, counts func(*corev1.Event) bool) *corev1.Event {
	fields := client.MatchingFields{"involvedObject.uid": string(pod.UID)}
	maps.Copy(fields, having)
	var events corev1.EventList
	err := r.live.List(ctx, &events, client.InNamespace(pod.Namespace), client.Limit(mostEvents), fields)
	if err != nil {
		log.FromContext(ctx).Error(err, "cannot read the events of a Pod", "pod", pod.Name)
		return nil
	}
	var last *corev1.Event
	for i := range events.Items {
		if e := &events.Items[i]; (counts == nil || counts(e)) && (last == nil || happened(e).After(happened(last))) {
			last = e
		}
	}
	return last
}

// mostEvents bounds what is read of one Pod's events.
const mostEvents = 64

func happened(e *corev1.Event) time.Time {
	switch {
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

// cacheIsBehind reports whether the API server has a living Pod of the kernel that the
// cache does not show as alive.
func (r *kernelReconciler) cacheIsBehind(ctx context.Context, k *v1alpha1.JupyterKernel, cached []*corev1.Pod) (bool, error) {
	var list corev1.PodList
	if err := r.live.List(ctx, &list, client.InNamespace(k.Namespace), podspec.SelectorOf(k.Name)); err != nil {
		return false, fmt.Errorf("kernels: list Pods: %w", err)
	}
	seen := map[types.UID]bool{}
	for _, pod := range cached {
		seen[pod.UID] = true // as it is; a newer state of it will be an event of its own
	}
	for i := range list.Items {
		if pod := &list.Items[i]; podspec.BelongsTo(pod, k.UID) && podstate.Alive(pod) && !seen[pod.UID] {
			return true, nil
		}
	}
	return false, nil
}

// gatewayOf is a kernel's gateway, or one without anything if there is none.
func (r *kernelReconciler) gatewayOf(ctx context.Context, k *v1alpha1.JupyterKernel) (gw v1alpha1.JupyterGateway, err error) {
	if k.Spec.Gateway == "" {
		return gw, nil
	}
	err = r.client.Get(ctx, k.GatewayKey(), &gw)
	if client.IgnoreNotFound(err) != nil {
		return gw, fmt.Errorf("kernels: read gateway: %w", err)
	}
	return gw, nil
}

// keyMade is when a gateway's key was made anew, zero if it was not.
func keyMade(gw *v1alpha1.JupyterGateway) time.Time {
	if gw.Status.KeySince == nil {
		return time.Time{}
	}
	return gw.Status.KeySince.Time
}

// splitByName picks the Pod of that name.
func splitByName(pods []*corev1.Pod, name string) (own *corev1.Pod, others []*corev1.Pod) {
	for _, pod := range pods {
		if pod.Name == name {
			own = pod
		} else {
			others = append(others, pod)
		}
	}
	return own, others
}
