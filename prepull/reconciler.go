package prepull

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/prepull/imagestate"
)

const (
	// fieldOwner is whose fields the DaemonSets' are.
	fieldOwner client.FieldOwner = "elastichub-prepull"
	// lookAgain is how often everything is looked at of which nobody tells: nodes that come
	// and go, servers that chose a hidden channel, a node that answers no more.
	lookAgain = 30 * time.Second
)

// errNameTaken means that a DaemonSet of the wanted name is somebody else's.
var errNameTaken = errors.New("prepull: the name is taken by a DaemonSet that is not of elastichub")

// reconciler makes the DaemonSets what the plan says, and gives Pods their turns. There is
// one request, for everything.
type reconciler struct {
	cfg     Config
	client  client.Client
	live    client.Reader
	devices Devices
	metrics *metrics
	now     func() time.Time
	// opened and deleted are Pods of which the cache does not show that yet.
	opened, deleted map[types.UID]bool
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var existing appsv1.DaemonSetList
	err := r.live.List(ctx, &existing, client.InNamespace(r.cfg.Namespace), client.MatchingLabels(selector()))
	switch {
	case apierrors.IsForbidden(err) && !r.cfg.Enabled: // the Role is a former release's, and nothing was made
		log.FromContext(ctx).Info("what was made to pull images is not looked for: DaemonSets may not be listed")
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("prepull: list DaemonSets: %w", err)
	case !r.cfg.Enabled:
		return reconcile.Result{}, r.remove(ctx, existing.Items, nil)
	}
	from, pods, err := gather(ctx, r.cfg, r.client, r.devices)
	if err != nil {
		return reconcile.Result{}, err
	}
	plan := PlanOf(r.cfg, from)
	revisions, err := r.apply(ctx, plan, existing.Items)
	faults := []error{err, r.remove(ctx, existing.Items, plan.Placements)}
	r.metrics.show(imagestate.Of(plan.Wanted, plan.Images(), pods))
	faults = append(faults, r.turn(ctx, pods, revisions))
	return reconcile.Result{RequeueAfter: lookAgain}, errors.Join(faults...)
}

// apply writes the DaemonSet of each placement, and returns what its Pods are to be made
// for. One that cannot be written leaves the others alone.
func (r *reconciler) apply(ctx context.Context, plan Plan, existing []appsv1.DaemonSet) (revisions map[string]string, err error) {
	owner, err := r.owner(ctx)
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for i := range existing {
		ours[existing[i].Name] = true
	}
	revisions = map[string]string{}
	var faults []error
	for _, p := range plan.Placements {
		d := daemonSet(r.cfg, p, owner)
		if err := r.applyOne(ctx, d, ours[d.Name]); err != nil {
			faults = append(faults, err)
			continue
		}
		revisions[p.Key] = d.Spec.Template.Labels[labelImages]
	}
	return revisions, errors.Join(faults...)
}

func (r *reconciler) applyOne(ctx context.Context, d *appsv1.DaemonSet, ours bool) error {
	if !ours {
		err := r.live.Get(ctx, client.ObjectKeyFromObject(d), &appsv1.DaemonSet{})
		if err == nil {
			return fmt.Errorf("%w: %s", errNameTaken, d.Name)
		}
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("prepull: read DaemonSet %s: %w", d.Name, err)
		}
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d)
	if err != nil {
		return fmt.Errorf("prepull: DaemonSet %s: %w", d.Name, err)
	}
	delete(fields, "status")
	applied := client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: fields})
	if err := r.client.Apply(ctx, applied, fieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("prepull: apply DaemonSet %s: %w", d.Name, err)
	}
	return nil
}

// owner is the release's Deployment, with which the DaemonSets go; nil where the service
// runs otherwise.
func (r *reconciler) owner(ctx context.Context) (*metav1.OwnerReference, error) {
	d := &appsv1.Deployment{}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: r.cfg.Namespace, Name: r.cfg.Name}, d)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("prepull: read Deployment %s: %w", r.cfg.Name, err)
	}
	return &metav1.OwnerReference{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment", Name: d.Name, UID: d.UID}, nil
}

// remove deletes DaemonSets that no placement wants, and their Pods by that.
func (r *reconciler) remove(ctx context.Context, existing []appsv1.DaemonSet, wanted []Placement) error {
	names := map[string]bool{}
	for _, p := range wanted {
		names[daemonSetName(r.cfg, p)] = true
	}
	var faults []error
	for i := range existing {
		d := &existing[i]
		if names[d.Name] || d.DeletionTimestamp != nil {
			continue
		}
		err := r.client.Delete(ctx, d, client.Preconditions{UID: &d.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if client.IgnoreNotFound(err) != nil {
			faults = append(faults, fmt.Errorf("prepull: delete DaemonSet %s: %w", d.Name, err))
		}
	}
	return errors.Join(faults...)
}

// turn lets those Pods go whose turn it is.
func (r *reconciler) turn(ctx context.Context, pods []corev1.Pod, revisions map[string]string) error {
	r.forget(pods)
	done := map[types.UID]bool{}
	for _, of := range []map[types.UID]bool{r.opened, r.deleted} {
		for uid := range of {
			done[uid] = true
		}
	}
	next := NextTurn(pods, revisions, done, r.cfg.NodesAtOnce, r.now())
	var faults []error
	for _, pod := range next.Open {
		opened := pod.DeepCopy()
		opened.Spec.SchedulingGates = nil
		if err := r.client.Patch(ctx, opened, client.MergeFrom(pod), fieldOwner); client.IgnoreNotFound(err) != nil {
			faults = append(faults, fmt.Errorf("prepull: let Pod %s go: %w", pod.Name, err))
			continue
		}
		r.opened[pod.UID] = true
	}
	for _, pod := range next.Replace {
		err := r.client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
		if client.IgnoreNotFound(err) != nil {
			faults = append(faults, fmt.Errorf("prepull: replace Pod %s: %w", pod.Name, err))
			continue
		}
		r.deleted[pod.UID] = true
	}
	return errors.Join(faults...)
}

// forget what the cache shows by now.
func (r *reconciler) forget(pods []corev1.Pod) {
	opened, deleted := map[types.UID]bool{}, map[types.UID]bool{}
	for i := range pods {
		pod := &pods[i]
		if r.opened[pod.UID] && imagestate.IsGated(pod) {
			opened[pod.UID] = true
		}
		if r.deleted[pod.UID] && pod.DeletionTimestamp == nil {
			deleted[pod.UID] = true
		}
	}
	r.opened, r.deleted = opened, deleted
}
