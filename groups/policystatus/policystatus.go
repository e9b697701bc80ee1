// Package policystatus writes into the status of each GroupPolicy whether it
// is valid, and how many servers run under it. What kernels use under it is
// written by the package kernels.
package policystatus

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/setaside"
)

// maxMessage is what a condition's message may have.
const maxMessage = 32 << 10

type reconciler struct {
	scope  *namespaces.Scope
	client client.Client
	events health.Recorder
	now    func() time.Time
}

// SetupWithManager adds the controller, which runs on the leader. Policies are in the scope's
// own namespace, and count for the notebooks of all.
func SetupWithManager(mgr manager.Manager, scope *namespaces.Scope) error {
	r := &reconciler{scope: scope, client: mgr.GetClient(), events: health.NewRecorder(mgr), now: time.Now}
	err := ctrl.NewControllerManagedBy(mgr).Named("grouppolicy").
		For(&v1alpha1.GroupPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.JupyterNotebook{}, handler.EnqueueRequestsFromMapFunc(r.byPolicy), builder.WithPredicates(predicate.Funcs{UpdateFunc: countChanged})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("policystatus: %w", err)
	}
	return nil
}

// account is the policy that a server counts under: the first it was started
// with, as for kernels.
func account(nb *v1alpha1.JupyterNotebook) string {
	if nb.Spec.KernelOptions == nil || len(nb.Spec.KernelOptions.Policies) == 0 {
		return ""
	}
	return nb.Spec.KernelOptions.Policies[0]
}

func (r *reconciler) byPolicy(_ context.Context, object client.Object) []reconcile.Request {
	nb, ok := object.(*v1alpha1.JupyterNotebook)
	if !ok || account(nb) == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: r.scope.Own(), Name: account(nb)}}}
}

func countChanged(e event.UpdateEvent) bool {
	old, ok1 := e.ObjectOld.(*v1alpha1.JupyterNotebook)
	current, ok2 := e.ObjectNew.(*v1alpha1.JupyterNotebook)
	return ok1 && ok2 && (old.CountsAsRunning() != current.CountsAsRunning() || account(old) != account(current))
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if req.Namespace != r.scope.Own() {
		return ctrl.Result{}, nil // it counts for nobody
	}
	var p v1alpha1.GroupPolicy
	if err := r.client.Get(ctx, req.NamespacedName, &p); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	var notebooks v1alpha1.JupyterNotebookList
	if err := r.scope.List(ctx, r.client, &notebooks, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list notebooks: %w", err)
	}
	next := status(&p, notebooks.Items, groups.ValidatePolicy(p), r.now())
	if equality.Semantic.DeepEqual(p.Status, next) {
		return ctrl.Result{}, nil
	}
	// Nothing but our own fields, and those even where they are zero.
	body, err := json.Marshal(map[string]any{"status": map[string]any{
		"servers": next.Servers, "users": next.Users, "usersAtLimit": next.UsersAtLimit,
		"observedGeneration": next.ObservedGeneration, "conditions": next.Conditions,
	}})
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("encode status: %w", err)
	}
	before := p.Status.Conditions
	err = r.client.Status().Patch(ctx, &p, client.RawPatch(types.MergePatchType, body))
	if err == nil {
		r.events.Tell(&p, health.Changes(before, next.Conditions, nil)...)
	}
	return ctrl.Result{}, client.IgnoreNotFound(setaside.Tell(ctx, r.client, &p, err))
}

// status is the next one of a policy; the fields of others stay as they are.
func status(p *v1alpha1.GroupPolicy, notebooks []v1alpha1.JupyterNotebook, faults field.ErrorList, now time.Time) v1alpha1.GroupPolicyStatus {
	next := *p.Status.DeepCopy()
	next.Servers, next.Users, next.UsersAtLimit = 0, 0, 0
	members, all := map[string]bool{}, map[string]int32{}
	for i := range notebooks {
		nb := &notebooks[i]
		if nb.Spec.User == "" || !nb.CountsAsRunning() {
			continue
		}
		all[nb.Spec.User]++
		if account(nb) == p.Name {
			next.Servers++
			members[nb.Spec.User] = true
		}
	}
	next.Users = int32(len(members))
	for user := range members {
		if all[user] >= max(p.Spec.ServersPerUser, 1) {
			next.UsersAtLimit++
		}
	}
	next.ObservedGeneration = p.Generation
	valid := metav1.Condition{
		Type: v1alpha1.ConditionPolicyValid, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPolicyValid,
		ObservedGeneration: p.Generation, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	}
	if len(faults) > 0 {
		valid.Status, valid.Reason, valid.Message = metav1.ConditionFalse, v1alpha1.ReasonPolicyInvalid, message(faults)
	}
	standing, reason := health.Ready, valid.Reason
	if len(faults) > 0 {
		standing = health.Stalled
	}
	if p.Malformed() != nil {
		reason = string(v1alpha1.ReasonMalformed)
	}
	health.Set(&next.Conditions, p.Generation, valid.LastTransitionTime.Time, standing, reason, valid.Message)
	meta.SetStatusCondition(&next.Conditions, valid)
	slices.SortStableFunc(next.Conditions, func(a, b metav1.Condition) int { return cmp.Compare(position(a), position(b)) })
	return next
}

// position puts Ready before all others.
func position(c metav1.Condition) int {
	if c.Type == v1alpha1.ConditionReady {
		return 0
	}
	return 1
}

func message(faults field.ErrorList) string {
	lines := []string{"Members get nothing until these faults are fixed:"}
	for _, f := range faults {
		lines = append(lines, f.Error())
	}
	text := strings.ToValidUTF8(strings.Join(lines, "\n"), "?")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage-4], "") + " …"
	}
	return text
}
