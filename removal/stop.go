package removal

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/acts"
)

// How long each step may take, after the time that busy kernels are given.
const (
	lookEvery = 300 * time.Millisecond
	// byForce is how long kernels have that are parked by force, stopping how long servers have.
	byForce  = 12 * time.Second
	stopping = 12 * time.Second
	// leaving is how long the service has to end: it drains requests for 10 s.
	leaving = 12 * time.Second
	// saving is how long an agent whose Pod is deleted has to save its kernel, and ending how long
	// the Pod has then.
	saving, ending = 8 * time.Second, 8 * time.Second
	// lastGrace is the grace of a Pod that has had its time.
	lastGrace = 2
)

// Longest is how long freeing GPUs takes at most beyond the time that busy kernels are given.
const Longest = byForce + leaving + saving + ending

// whyParked is what users of kernels read.
const whyParked = "elastichub is being removed."

// kernelPods are those of kernels, warm ones included.
var kernelPods = client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentKernel}

// Freed is what became of kernels.
type Freed struct {
	// Parked, of which Forced were busy, or did not answer.
	Parked, Forced int
	// Deleted are Pods that were taken without the service.
	Deleted int
	// Held are Pods that still hold what they have.
	Held []string
	Took time.Duration
}

// String is a sentence for people.
func (f Freed) String() string {
	text := fmt.Sprintf("%d kernels are parked", f.Parked)
	if f.Forced > 0 {
		text += fmt.Sprintf(", %d of them by force: what they had in memory is lost", f.Forced)
	}
	if f.Deleted > 0 {
		text += fmt.Sprintf("; %d Pods of kernels were deleted", f.Deleted)
	}
	if len(f.Held) > 0 {
		return fmt.Sprintf("%s. After %.0f s %d Pods still hold their GPUs: %s.", text, f.Took.Seconds(), len(f.Held), enumerate(f.Held))
	}
	return fmt.Sprintf("%s. No kernel holds a GPU after %.0f s.", text, f.Took.Seconds())
}

// FreeGPUs parks all kernels, keeping their variables, ends the service, and deletes what Pods of
// kernels are left. Kernels that are busy are given patience. With servers it has the service stop
// those as well, before it ends.
func (s Site) FreeGPUs(ctx context.Context, patience time.Duration, servers bool) (Freed, error) {
	began := s.Now()
	within, err := s.namespaces(ctx)
	if err != nil {
		return Freed{}, err
	}
	d, err := s.deployment(ctx)
	if err != nil {
		return Freed{}, err
	}
	var freed Freed
	if d != nil && d.Status.ReadyReplicas > 0 {
		if err := s.parkAll(ctx, within, patience, &freed); err != nil {
			return freed, err
		}
		if servers {
			if err := s.stopAll(ctx, within); err != nil {
				return freed, err
			}
		}
	}
	if d != nil {
		if err := s.endService(ctx, d); err != nil {
			return freed, err
		}
	}
	if err := s.deletePods(ctx, within, &freed); err != nil {
		return freed, err
	}
	freed.Took = s.Now().Sub(began)
	return freed, nil
}

// parkAll asks until no kernel has a Pod or waits for one: who runs a cell meanwhile asks for another run.
func (s Site) parkAll(ctx context.Context, within []string, patience time.Duration, freed *Freed) error {
	began := s.Now()
	asked, forced, refused := map[types.UID]bool{}, map[types.UID]bool{}, map[types.UID]bool{}
	for {
		took := s.Now().Sub(began)
		left := 0
		freed.Parked, freed.Forced = 0, 0
		for _, namespace := range within {
			var all v1alpha1.JupyterKernelList
			if err := s.API.List(ctx, &all, client.InNamespace(namespace)); err != nil {
				return fmt.Errorf("list kernels of %s: %w", namespace, err)
			}
			for i := range all.Items {
				k := &all.Items[i]
				switch {
				case k.DeletionTimestamp != nil || refused[k.UID] || k.Malformed() != nil:
					continue // its Pod is deleted later
				case !k.HasPodOrWaits():
					if asked[k.UID] {
						freed.Parked++
					}
					if forced[k.UID] {
						freed.Forced++
					}
					continue
				}
				left++
				force := took >= patience
				if wish := k.Spec.Park; wish != nil && wish.Run == k.PresentRun() && (wish.Force || !force) {
					asked[k.UID] = true
					continue
				}
				changes, err := acts.ReleaseKernel(k, s.By, whyParked, force)
				if err == nil {
					err = s.patch(ctx, k, changes)
				}
				if err != nil {
					refused[k.UID] = true
					s.Tell(err.Error())
					continue
				}
				asked[k.UID], forced[k.UID] = true, force && k.Status.Phase == v1alpha1.KernelReady
			}
		}
		if left == 0 || took > patience+byForce {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// stopAll stops servers as an administrator does: their kernels stay parked.
func (s Site) stopAll(ctx context.Context, within []string) error {
	began, refused := s.Now(), map[types.UID]bool{}
	for {
		left := 0
		for _, namespace := range within {
			var all v1alpha1.JupyterNotebookList
			if err := s.API.List(ctx, &all, client.InNamespace(namespace)); err != nil {
				return fmt.Errorf("list notebooks of %s: %w", namespace, err)
			}
			for i := range all.Items {
				nb := &all.Items[i]
				if nb.DeletionTimestamp != nil || nb.Malformed() != nil {
					continue
				}
				if !nb.Spec.Stopped && !refused[nb.UID] {
					changes, err := acts.StopServer(nb, false, s.Now())
					if err == nil {
						err = s.patch(ctx, nb, changes)
					}
					if err != nil {
						refused[nb.UID] = true
						s.Tell(err.Error())
					}
				}
				if !refused[nb.UID] && nb.Status.Phase != v1alpha1.NotebookStopped && nb.Status.Phase != v1alpha1.NotebookFailed {
					left++
				}
			}
		}
		if left == 0 || s.Now().Sub(began) > stopping {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// patch leaves to the next pass what has changed or is gone.
func (s Site) patch(ctx context.Context, o client.Object, changes acts.Changes) error {
	patch, err := acts.PatchOf(o, changes)
	if err != nil {
		return err
	}
	err = s.API.Patch(ctx, o, patch, client.FieldOwner(manager))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write %s/%s: %w", o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

// manager is the field manager of what is written here.
const manager = "elastichub-uninstall"

// endService leaves no replica, and waits for its Pods: what a controller is just doing would come back.
func (s Site) endService(ctx context.Context, d *appsv1.Deployment) error {
	err := s.API.Patch(ctx, d, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`)), client.FieldOwner(manager))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("end the service: %w", err)
	}
	for began := s.Now(); ; {
		var pods corev1.PodList
		labels := client.MatchingLabels{labelName: chartName, labelInstance: s.Release, labelComponent: service}
		if err := s.API.List(ctx, &pods, client.InNamespace(s.Namespace), labels); err != nil {
			return fmt.Errorf("list the service's Pods: %w", err)
		}
		if len(pods.Items) == 0 || s.Now().Sub(began) > leaving {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// deletePods deletes the Pods of kernels that have not ended: warm ones, and what the service
// has not parked. Their agents save what is idle. Those that have ended hold nothing, and tell the next
// service how they ended.
func (s Site) deletePods(ctx context.Context, within []string, freed *Freed) error {
	began := s.Now()
	deleted, hurried := map[types.UID]bool{}, map[types.UID]bool{}
	for {
		took := s.Now().Sub(began)
		freed.Held = nil
		for _, namespace := range within {
			var pods corev1.PodList
			if err := s.API.List(ctx, &pods, client.InNamespace(namespace), kernelPods); err != nil {
				return fmt.Errorf("list Pods of kernels of %s: %w", namespace, err)
			}
			for i := range pods.Items {
				pod := &pods.Items[i]
				if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
					continue
				}
				freed.Held = append(freed.Held, namespace+"/"+pod.Name)
				options := []client.DeleteOption{client.Preconditions{UID: &pod.UID}}
				switch {
				case took > saving && !hurried[pod.UID]:
					options = append(options, client.GracePeriodSeconds(lastGrace))
					hurried[pod.UID] = true
				case took <= saving && !deleted[pod.UID] && pod.DeletionTimestamp == nil:
				default:
					continue
				}
				deleted[pod.UID] = true
				if err := s.API.Delete(ctx, pod, options...); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
					return fmt.Errorf("delete Pod %s/%s: %w", namespace, pod.Name, err)
				}
			}
		}
		freed.Deleted = len(deleted)
		if len(freed.Held) == 0 || took > saving+ending {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// pause waits before the next look.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(lookEvery):
		return nil
	}
}
