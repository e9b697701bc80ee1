package gateways

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
	"github.com/elastichub/elastichub/recheck"
	"github.com/elastichub/elastichub/setaside"
)

// Conditions of a JupyterGateway, beside those of its Deployment.
const (
	ConditionReady               = v1alpha1.ConditionReady
	ConditionImageReplaced       = "EnterpriseGatewayImageReplaced"
	ConditionKernelSpecMissing   = "KernelSpecMissing"
	ConditionClusterRoleBound    = "ClusterRoleBound"
	ConditionClientTokenMissing  = "ClientTokenMissing"
	ConditionClientPolicyMissing = "ClientPolicyMissing"
	ConditionNameTaken           = "NameTaken"
	ConditionNamespacesServed    = "NamespacesServed"
	clientTokenRecheck           = 30 * time.Second
	clusterRoleRecheck           = time.Minute
	refusedRecheck               = time.Minute
	waitingRecheck               = 15 * time.Second
	keyRecheck                   = time.Minute
)

// Reasons of a gateway's conditions, beside those of its Deployment.
const (
	ReasonServing        v1alpha1.Reason = "Serving"
	ReasonNoReplicaReady v1alpha1.Reason = "NoReplicaReady"
	ReasonNameTaken      v1alpha1.Reason = "NameTaken"
	ReasonScaledToZero   v1alpha1.Reason = "ScaledToZero"
	ReasonRefused        v1alpha1.Reason = "Refused"
	ReasonNotOurs        v1alpha1.Reason = "NotOurs"
	ReasonNotFound       v1alpha1.Reason = "NotFound"
	ReasonForbidden      v1alpha1.Reason = "Forbidden"
	ReasonBound          v1alpha1.Reason = "Bound"
	ReasonNotServed      v1alpha1.Reason = "NotServed"
)

// deploymentConditions are carried along as the Deployment has them.
var deploymentConditions = []appsv1.DeploymentConditionType{appsv1.DeploymentAvailable, appsv1.DeploymentProgressing, appsv1.DeploymentReplicaFailure}

// warned are the conditions that an Event warns of, as they stand then.
var warned = map[string]metav1.ConditionStatus{
	ConditionImageReplaced: metav1.ConditionTrue, ConditionKernelSpecMissing: metav1.ConditionTrue, ConditionClusterRoleBound: metav1.ConditionFalse,
	ConditionClientTokenMissing: metav1.ConditionTrue, ConditionClientPolicyMissing: metav1.ConditionTrue,
}

// errNameTaken means that an object of the wanted name belongs to somebody else.
var errNameTaken = errors.New("kernels: the name is taken by an object that is not the gateway's")

// gatewayReconciler makes a JupyterGateway's objects and reverts what others
// change in them.
type gatewayReconciler struct {
	cfg    Config
	client client.Client
	live   client.Reader
	events health.Recorder
	now    func() time.Time
	// settled are the Deployments that are as they should be.
	settled settled
	// written are all other objects as they came of it.
	written versions
}

// Reconcile implements reconcile.Reconciler; requests name gateways.
func (r *gatewayReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	gw := &v1alpha1.JupyterGateway{}
	err := r.client.Get(ctx, req.NamespacedName, gw)
	if apierrors.IsNotFound(err) || err == nil && gw.DeletionTimestamp != nil {
		r.settled.forget(req.NamespacedName)
		r.written.forget(req.NamespacedName)
		return reconcile.Result{}, r.revoke(ctx, req.NamespacedName, func(string) bool { return false })
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	status := *gw.Status.DeepCopy()
	if err := gw.Malformed(); err != nil { // what it has stays as it is
		r.standing(&status, gw, health.Stalled, v1alpha1.ReasonMalformed, err.Error())
		return r.writeStatus(ctx, gw, status, 0)
	}
	again, err := r.apply(ctx, gw, &status)
	switch {
	case err == nil:
		meta.RemoveStatusCondition(&status.Conditions, ConditionNameTaken)
	case errors.Is(err, errNameTaken):
		r.condition(&status, gw, ConditionNameTaken, true, ReasonNameTaken, err.Error())
		r.standing(&status, gw, health.Stalled, ReasonNameTaken, err.Error())
	case podtrouble.Passing(said(err)) != "":
		r.standing(&status, gw, health.Coming, v1alpha1.Reason(podtrouble.Passing(said(err))), refusal(r.formerReplicas(ctx, gw, &status), err))
		again = waitingRecheck
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), podtrouble.Denied(said(err)):
		r.standing(&status, gw, health.Stalled, ReasonRefused, refusal(r.formerReplicas(ctx, gw, &status), err))
		again = refusedRecheck
	default:
		return reconcile.Result{}, err
	}
	return r.writeStatus(ctx, gw, status, again)
}

// writeStatus writes a status if it has changed, over the version that was read.
func (r *gatewayReconciler) writeStatus(ctx context.Context, gw *v1alpha1.JupyterGateway, status v1alpha1.JupyterGatewayStatus, again time.Duration) (reconcile.Result, error) {
	status.ObservedGeneration = gw.Generation
	status.GatewayConditions = status.Conditions
	if equality.Semantic.DeepEqual(gw.Status, status) {
		return reconcile.Result{RequeueAfter: again}, nil
	}
	updated := gw.DeepCopy()
	updated.Status = status
	err := r.client.Status().Patch(ctx, updated, podrules.PatchOver(gw))
	if err == nil {
		r.events.Tell(gw, health.Changes(gw.Status.Conditions, status.Conditions, warned)...)
	}
	result, err := written(setaside.Tell(ctx, r.client, gw, err))
	if result.IsZero() {
		result.RequeueAfter = again
	}
	return result, err
}

func (r *gatewayReconciler) apply(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) (again time.Duration, err error) {
	key, err := r.ensureKey(ctx, gw, status)
	if err != nil {
		return 0, err
	}
	selector, err := r.selector(ctx, gw)
	if err != nil {
		return 0, err
	}
	account := gatewayAccount(gw)
	for _, desired := range []client.Object{
		&corev1.ServiceAccount{ObjectMeta: gatewayMeta(gw, account)},
		&rbacv1.Role{ObjectMeta: gatewayMeta(gw, account), Rules: gatewayRules()},
		gatewayBinding(gw, account, roleRef("Role", account)),
		tokenKeys(r.cfg, gw),
		gatewayService(gw, selector),
	} {
		if err := r.put(ctx, gw, desired); err != nil {
			return 0, err
		}
	}
	again, err = r.bindClusterRole(ctx, gw, status)
	if err != nil {
		return 0, err
	}
	served, err := r.elsewhere(ctx, gw, status)
	if err != nil {
		return 0, err
	}
	if len(gw.Spec.AllowedNamespaces) > 0 {
		again = recheck.Sooner(again, elsewhereRecheck) // namespaces are not watched
	}
	deployment := gatewayDeployment(r.cfg, gw, selector, key, served)
	if err := r.put(ctx, gw, deployment); err != nil {
		return 0, err
	}
	carryOver(status, deployment, selector)
	status.URL = URL(gw.Namespace, gw.Name)
	_, replaced := gatewayImage(r.cfg, gw)
	if replaced {
		r.condition(status, gw, ConditionImageReplaced, true, ReasonNotOurs, fmt.Sprintf("The image %s is replaced by %s.", gw.Spec.Image, r.cfg.Pods.Image))
	} else {
		meta.RemoveStatusCondition(&status.Conditions, ConditionImageReplaced)
	}
	if err := r.checkKernelSpecs(ctx, gw, status); err != nil {
		return 0, err
	}
	if err := r.checkClientPolicies(ctx, gw, status); err != nil {
		return 0, err
	}
	missing, err := r.checkClients(ctx, gw, status)
	if err != nil {
		return 0, err
	}
	if missing {
		again = recheck.Sooner(again, clientTokenRecheck) // Secrets are not watched
	}
	r.checkReady(gw, status)
	if again == 0 {
		again = keyRecheck
	}
	return again, nil
}

// carryOver writes the status of a gateway's Deployment into its own.
func carryOver(status *v1alpha1.JupyterGatewayStatus, d *appsv1.Deployment, selector map[string]string) {
	from := d.Status.DeepCopy()
	status.Replicas, status.UpdatedReplicas, status.ReadyReplicas = from.Replicas, from.UpdatedReplicas, from.ReadyReplicas
	status.AvailableReplicas, status.UnavailableReplicas = from.AvailableReplicas, from.UnavailableReplicas
	status.TerminatingReplicas, status.CollisionCount = from.TerminatingReplicas, from.CollisionCount
	status.Selector = labels.SelectorFromSet(selector).String()
	for _, kind := range deploymentConditions {
		i := slices.IndexFunc(from.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
		if i < 0 {
			meta.RemoveStatusCondition(&status.Conditions, string(kind))
			continue
		}
		c := from.Conditions[i]
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: string(kind), Status: metav1.ConditionStatus(c.Status), LastTransitionTime: c.LastTransitionTime,
			Reason: cmp.Or(c.Reason, "Unknown"), Message: c.Message,
		})
	}
}

// selector is that of the gateway's Deployment, which cannot be changed: a
// former release may have made one with another label value for the same name.
func (r *gatewayReconciler) selector(ctx context.Context, gw *v1alpha1.JupyterGateway) (map[string]string, error) {
	var existing appsv1.Deployment
	err := r.client.Get(ctx, client.ObjectKeyFromObject(gw), &existing)
	if client.IgnoreNotFound(err) != nil {
		return nil, wrap(err, "read", &existing)
	}
	if err == nil && metav1.IsControlledBy(&existing, gw) && existing.Spec.Selector != nil {
		return existing.Spec.Selector.MatchLabels, nil
	}
	return gatewayLabels(gw), nil
}

// put makes an object what it should be. What the API server filled in stays, and
// so does what this version of elastichub does not know; what others changed
// does not. The object is left as the server has it. A patch that changes
// nothing is no write.
func (r *gatewayReconciler) put(ctx context.Context, gw *v1alpha1.JupyterGateway, desired client.Object) error {
	existing := desired.DeepCopyObject().(client.Object)
	err := r.client.Get(ctx, client.ObjectKeyFromObject(desired), existing)
	if apierrors.IsNotFound(err) {
		err = r.client.Create(ctx, desired)
		if !apierrors.IsAlreadyExists(err) {
			return wrap(err, "create", desired)
		}
		err = r.live.Get(ctx, client.ObjectKeyFromObject(desired), existing)
	}
	if err != nil {
		return wrap(err, "read", desired)
	}
	if !metav1.IsControlledBy(existing, gw) {
		return fmt.Errorf("%w: %T %s", errNameTaken, desired, desired.GetName())
	}
	keepRestart(existing, desired)
	before := existing.DeepCopyObject().(client.Object)
	if !r.written.is(before, desired) && overlayObject(existing, desired) && !r.settled.is(before, existing) {
		wanted := existing.DeepCopyObject().(client.Object)
		if err := r.client.Patch(ctx, existing, podrules.PatchOver(before)); err != nil {
			return wrap(err, "write", desired)
		}
		r.settled.note(existing, wanted)
		if _, is := existing.(*appsv1.Deployment); !is { // its status changes its version
			r.written.note(existing, desired)
		}
	}
	if d, ok := desired.(*appsv1.Deployment); ok {
		*d = *existing.(*appsv1.Deployment)
	}
	return nil
}

// restartedAt is what `kubectl rollout restart` writes to have Pods replaced.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// keepRestart keeps it in a Deployment: to take it away would undo the restart.
func keepRestart(existing, desired client.Object) {
	from, ok := existing.(*appsv1.Deployment)
	to, same := desired.(*appsv1.Deployment)
	if !ok || !same {
		return
	}
	for _, kept := range []string{restartedAt, v1alpha1.AnnotationTokenPublicKey} {
		if value, is := from.Spec.Template.Annotations[kept]; is {
			to.Spec.Template.Annotations[kept] = value
		}
	}
}

func wrap(err error, verb string, o client.Object) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("kernels: %s %T %s: %w", verb, o, o.GetName(), err)
}

// overlayObject puts what is desired over what exists, and reports whether an
// update is called for. Of Deployments that cannot be told from here, since
// the API server fills in defaults: it is asked unless that is settled.
func overlayObject(existing, desired client.Object) bool {
	before := existing.DeepCopyObject()
	all := existing.GetLabels()
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, desired.GetLabels())
	existing.SetLabels(all)
	existing.SetOwnerReferences(desired.GetOwnerReferences())
	switch e := existing.(type) {
	case *corev1.ServiceAccount:
	case *rbacv1.Role:
		e.Rules = desired.(*rbacv1.Role).Rules
	case *rbacv1.RoleBinding:
		e.Subjects = desired.(*rbacv1.RoleBinding).Subjects
	case *corev1.ConfigMap:
		e.Data, e.BinaryData = desired.(*corev1.ConfigMap).Data, nil
	case *corev1.Service:
		podrules.RestoreService(&e.Spec, &desired.(*corev1.Service).Spec)
	case *appsv1.Deployment:
		e.Spec = desired.(*appsv1.Deployment).Spec
		return true
	}
	return !equality.Semantic.DeepEqual(before, existing)
}

// bindClusterRole binds what spec.clusterRole names, in the namespace only.
func (r *gatewayReconciler) bindClusterRole(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) (time.Duration, error) {
	name := gatewayAccount(gw) + "-extra"
	existing := &rbacv1.RoleBinding{}
	err := r.client.Get(ctx, types.NamespacedName{Namespace: gw.Namespace, Name: name}, existing)
	if client.IgnoreNotFound(err) != nil {
		return 0, wrap(err, "read", existing)
	}
	exists := err == nil && metav1.IsControlledBy(existing, gw)
	wanted := gw.Spec.ClusterRole
	if exists && (wanted == nil || existing.RoleRef.Name != *wanted) { // a roleRef cannot be changed
		if err := r.client.Delete(ctx, existing); client.IgnoreNotFound(err) != nil {
			return 0, wrap(err, "delete", existing)
		}
	}
	if wanted == nil || *wanted == "" {
		meta.RemoveStatusCondition(&status.Conditions, ConditionClusterRoleBound)
		return 0, nil
	}
	err = r.put(ctx, gw, gatewayBinding(gw, name, roleRef("ClusterRole", *wanted)))
	switch {
	case apierrors.IsForbidden(err):
		r.condition(status, gw, ConditionClusterRoleBound, false, ReasonForbidden, fmt.Sprintf("The ClusterRole %s may not be bound by elastichub.", *wanted))
		return clusterRoleRecheck, nil
	case apierrors.IsNotFound(err): // the API server looks at its rules
		r.condition(status, gw, ConditionClusterRoleBound, false, ReasonNotFound, fmt.Sprintf("There is no ClusterRole %s.", *wanted))
		return clusterRoleRecheck, nil
	case apierrors.IsAlreadyExists(err), apierrors.IsInvalid(err):
		return time.Second, nil // the former binding is not gone yet
	case err != nil:
		return 0, err
	}
	r.condition(status, gw, ConditionClusterRoleBound, true, ReasonBound, "")
	return 0, nil
}

func (r *gatewayReconciler) checkKernelSpecs(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) error {
	var missing []string
	names := slices.Clone(gw.Spec.Kernels)
	if d := gw.Spec.DefaultKernel; d != nil && *d != "" && len(names) > 0 && !slices.Contains(names, *d) {
		missing = append(missing, *d+" (the default is not among kernels)")
	}
	for _, name := range names {
		err := r.client.Get(ctx, types.NamespacedName{Namespace: gw.Namespace, Name: name}, &v1alpha1.JupyterKernelSpec{})
		if apierrors.IsNotFound(err) {
			if name != v1alpha1.DefaultKernelName {
				missing = append(missing, name)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("kernels: JupyterKernelSpec %s: %w", name, err)
		}
	}
	if len(missing) == 0 {
		meta.RemoveStatusCondition(&status.Conditions, ConditionKernelSpecMissing)
		return nil
	}
	r.condition(status, gw, ConditionKernelSpecMissing, true, ReasonNotFound, "JupyterKernelSpec: "+strings.Join(missing, ", "))
	return nil
}

// checkClientPolicies tells of policies that clients name and that do not exist:
// such a client has fewer kernels than it should, or none.
func (r *gatewayReconciler) checkClientPolicies(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) error {
	var missing []string
	if gw.Spec.Auth != nil {
		for _, c := range gw.Spec.Auth.Clients {
			for _, name := range c.Policies {
				err := r.client.Get(ctx, types.NamespacedName{Namespace: r.cfg.Scope.Own(), Name: name}, &v1alpha1.GroupPolicy{})
				if apierrors.IsNotFound(err) {
					missing = append(missing, fmt.Sprintf("%s (client %s)", name, c.Name))
				} else if err != nil {
					return fmt.Errorf("kernels: GroupPolicy %s: %w", name, err)
				}
			}
		}
	}
	if len(missing) == 0 {
		meta.RemoveStatusCondition(&status.Conditions, ConditionClientPolicyMissing)
		return nil
	}
	r.condition(status, gw, ConditionClientPolicyMissing, true, ReasonNotFound, "GroupPolicy: "+strings.Join(missing, ", "))
	return nil
}

func (r *gatewayReconciler) checkClients(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) (bool, error) {
	var missing []string
	if gw.Spec.Auth != nil {
		for _, c := range gw.Spec.Auth.Clients {
			var secret corev1.Secret
			err := r.live.Get(ctx, types.NamespacedName{Namespace: gw.Namespace, Name: c.TokenSecretRef.Name}, &secret)
			if client.IgnoreNotFound(err) != nil {
				return false, fmt.Errorf("kernels: read token of client %s: %w", c.Name, err)
			}
			switch {
			case !clientName.MatchString(c.Name):
				missing = append(missing, fmt.Sprintf("%q (the name must match %s)", c.Name, clientName))
			case len(secret.Data[c.TokenSecretRef.Key]) == 0:
				missing = append(missing, c.Name)
			}
		}
	}
	if len(missing) == 0 {
		meta.RemoveStatusCondition(&status.Conditions, ConditionClientTokenMissing)
		return false, nil
	}
	r.condition(status, gw, ConditionClientTokenMissing, true, ReasonNotFound, "No token for client "+strings.Join(missing, ", "))
	return true, nil
}

func (r *gatewayReconciler) checkReady(gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) {
	switch {
	case status.ReadyReplicas > 0:
		r.standing(status, gw, health.Ready, ReasonServing, "")
	case gw.Spec.Replicas != nil && *gw.Spec.Replicas == 0:
		r.standing(status, gw, health.Resting, ReasonScaledToZero, "The gateway is to have no replicas: no kernel can be started or reached.")
	default:
		r.standing(status, gw, health.Coming, ReasonNoReplicaReady, notReady(status))
	}
}

// formerReplicas brings the replicas of a gateway whose change is refused up to date, and
// tells how many serve as they did before it.
func (r *gatewayReconciler) formerReplicas(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) int32 {
	var d appsv1.Deployment
	if r.client.Get(ctx, client.ObjectKeyFromObject(gw), &d) != nil || !metav1.IsControlledBy(&d, gw) {
		return 0
	}
	carryOver(status, &d, d.Spec.Selector.MatchLabels)
	return d.Status.ReadyReplicas
}

// refusal is the sentence about what the cluster does not take.
func refusal(serving int32, err error) string {
	clause, known := podtrouble.Unmade(said(err))
	if !known {
		clause = err.Error()
	}
	text := "The cluster refuses what the gateway needs: " + clause
	if serving > 0 {
		text = fmt.Sprintf("%s. It serves as before this change, with %d ready.", strings.TrimSuffix(text, "."), serving)
	}
	return text
}

// said is what the API server has answered, in its own words.
func said(err error) string {
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		return answer.Status().Message
	}
	return err.Error()
}

// notReady is the sentence about a gateway without a ready replica.
func notReady(status *v1alpha1.JupyterGatewayStatus) string {
	failed := meta.FindStatusCondition(status.Conditions, string(appsv1.DeploymentReplicaFailure))
	if failed == nil || failed.Status != metav1.ConditionTrue {
		return "No replica of the gateway is ready."
	}
	clause, _ := podtrouble.Unmade(failed.Message)
	return "No replica of the gateway is ready, since the cluster does not take its Pod: " + clause
}

func (r *gatewayReconciler) standing(status *v1alpha1.JupyterGatewayStatus, gw *v1alpha1.JupyterGateway, is health.Standing, reason v1alpha1.Reason, message string) {
	health.Set(&status.Conditions, gw.Generation, r.now(), is, string(reason), message)
}

func (r *gatewayReconciler) condition(status *v1alpha1.JupyterGatewayStatus, gw *v1alpha1.JupyterGateway, kind string, is bool, reason v1alpha1.Reason, message string) {
	podrules.SetCondition(&status.Conditions, gw.Generation, r.now(), kind, is, string(reason), message)
}
