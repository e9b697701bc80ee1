package lifecycle

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// server is what has become of the notebook server that a kernel belongs to.
type server string

const (
	// serverWanted runs or is to run, also while its Pod is replaced: it was
	// drained, evicted, killed for memory, deleted, or has a new image.
	serverWanted server = "wanted"
	// serverPaused was stopped by elastichub or by an administrator.
	serverPaused server = "paused"
	// serverStopped was stopped by its owner.
	serverStopped server = "stopped"
	// serverGone: the notebook is deleted.
	serverGone server = "gone"
)

// serverOf reads a notebook that is there.
func serverOf(nb *v1alpha1.JupyterNotebook) server {
	switch {
	case !nb.Spec.Stopped:
		return serverWanted
	case nb.Annotations[v1alpha1.AnnotationStopCause] != "": // also one of a newer release
		return serverPaused
	default:
		return serverStopped
	}
}

// request is what spec.shutdown of a kernel asks for.
type request string

const (
	requestNone request = ""
	// requestEnd asks to end it: the user, in a server that runs on, or whoever may
	// write the object.
	requestEnd request = "end"
	// requestFarewell came from a server that is on its way out, or has been replaced
	// since: jupyter_server asks for that when it ends, whatever it ends for.
	requestFarewell request = "farewell"
)

// requestOf tells apart who asks; servers are the Pods of the kernel's notebook. While
// one is on its way out it is that one: the next Pod is there already by then, as a
// Deployment makes it. Of another it is only if that served at the time.
func requestOf(k *v1alpha1.JupyterKernel, servers []corev1.Pod) request {
	asked := k.Spec.Shutdown
	switch {
	case asked == nil:
		return requestNone
	case asked.By != v1alpha1.ShutdownByNotebook, k.Spec.Notebook == "":
		return requestEnd
	case slices.ContainsFunc(servers, func(pod corev1.Pod) bool { return leaves(&pod, asked.At) }):
		return requestFarewell
	case slices.ContainsFunc(servers, func(pod corev1.Pod) bool { return served(&pod, asked.At) }):
		return requestEnd
	}
	return requestFarewell
}

// leaves reports whether a Pod ran at the time, and somebody has begun to take it away.
// Its deletion timestamp is when it is killed.
func leaves(pod *corev1.Pod, at *metav1.Time) bool {
	if hasEnded(pod) {
		return false
	}
	if gone := pod.DeletionTimestamp; gone != nil {
		return at == nil || !at.After(gone.Time)
	}
	condition := conditionOf(pod, corev1.DisruptionTarget)
	return condition != nil && condition.Status == corev1.ConditionTrue
}

// served reports whether a Pod that stays was ready at the time.
func served(pod *corev1.Pod, at *metav1.Time) bool {
	if hasEnded(pod) || pod.DeletionTimestamp != nil {
		return false
	}
	condition := conditionOf(pod, corev1.PodReady)
	return condition != nil && condition.Status == corev1.ConditionTrue && (at == nil || !condition.LastTransitionTime.After(at.Time))
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

func conditionOf(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// outcome is what becomes of a kernel that has not ended by itself.
type outcome string

const (
	goesOn   outcome = "goes on"   // with its Pod to its own idle limit, parked as it is
	ends     outcome = "ends"      // the kernel is deleted
	asBefore outcome = "as before" // it goes on, and the request is taken back
)

// outcomeOf is the table of what ends a kernel: its owner, and nobody else.
//
//	                                           no request   end    farewell
//	the server runs, or its Pod is replaced    goes on      ends   as before
//	automatic stop, stop by an administrator   goes on      ends   as before
//	stop by its owner, notebook deleted        ends         ends   ends
func outcomeOf(s server, r request) outcome {
	switch s {
	case serverStopped, serverGone:
		return ends
	case serverWanted, serverPaused:
	}
	switch r {
	case requestEnd:
		return ends
	case requestFarewell:
		return asBefore
	case requestNone:
	}
	return goesOn
}

// answer carries out what spec.shutdown asks for, or takes it back. gone means that
// the kernel is deleted.
func (r *kernelReconciler) answer(ctx context.Context, k *v1alpha1.JupyterKernel) (gone bool, err error) {
	if k.Spec.Shutdown == nil {
		return false, nil
	}
	var servers corev1.PodList
	if k.Spec.Notebook != "" {
		// From the API server: what the Pod is told comes first, and what it asks for then.
		labels := client.MatchingLabels{v1alpha1.LabelNotebook: k.Spec.Notebook, v1alpha1.LabelComponent: v1alpha1.ComponentNotebook}
		if err := r.live.List(ctx, &servers, client.InNamespace(k.Namespace), labels); err != nil {
			return false, fmt.Errorf("kernels: list the Pods of a notebook: %w", err)
		}
		// A node that shuts down says so itself, and nothing of its Pods until they have ended.
		servers.Items = slices.DeleteFunc(servers.Items, func(pod corev1.Pod) bool { return r.nodeState(ctx, pod.Spec.NodeName) == nodeLost })
	}
	// That the notebook neither is gone nor was stopped by its owner is known here.
	if outcomeOf(serverWanted, requestOf(k, servers.Items)) == ends {
		return true, r.deleteKernel(ctx, k, "shut down")
	}
	before := k.DeepCopy()
	k.Spec.Shutdown = nil
	if err := r.client.Patch(ctx, k, podrules.PatchOver(before)); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return true, nil // the next event brings us back
		}
		return false, fmt.Errorf("kernels: take a shutdown back: %w", err)
	}
	log.FromContext(ctx).Info("the kernel goes on: the server that asked for its end is being replaced", "notebook", k.Spec.Notebook)
	return false, nil
}
