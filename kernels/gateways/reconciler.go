package gateways

import (
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
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// Conditions of a JupyterGateway, beside those of its Deployment.
const (
	ConditionReady              = "Ready"
	ConditionImageReplaced      = "EnterpriseGatewayImageReplaced"
	ConditionKernelSpecMissing  = "KernelSpecMissing"
	ConditionClusterRoleBound   = "ClusterRoleBound"
	ConditionClientTokenMissing = "ClientTokenMissing"
	ConditionNameTaken          = "NameTaken"
	clientTokenRecheck          = 30 * time.Second
	clusterRoleRecheck          = time.Minute
)

// errNameTaken means that an object of the wanted name belongs to somebody else.
var errNameTaken = errors.New("kernels: the name is taken by an object that is not the gateway's")

// gatewayReconciler makes a JupyterGateway's objects and reverts what others
// change in them.
type gatewayReconciler struct {
	cfg    Config
	client client.Client
	live   client.Reader
	now    func() time.Time
}

// Reconcile implements reconcile.Reconciler; requests name gateways.
func (r *gatewayReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	gw := &v1alpha1.JupyterGateway{}
	if err := r.client.Get(ctx, req.NamespacedName, gw); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if gw.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	status := *gw.Status.DeepCopy()
	again, err := r.apply(ctx, gw, &status)
	if errors.Is(err, errNameTaken) {
		r.condition(&status, gw, ConditionNameTaken, true, "NameTaken", err.Error())
		r.condition(&status, gw, ConditionReady, false, "NameTaken", err.Error())
		err = nil
	} else if err == nil {
		meta.RemoveStatusCondition(&status.GatewayConditions, ConditionNameTaken)
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if !equality.Semantic.DeepEqual(gw.Status, status) {
		gw.Status = status
		if err := r.client.Status().Update(ctx, gw); err != nil {
			if apierrors.IsConflict(err) {
				return reconcile.Result{RequeueAfter: soon}, nil
			}
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

func (r *gatewayReconciler) apply(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) (again time.Duration, err error) {
	if err := ensureKey(ctx, r.client, r.live, gw); err != nil {
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
		&corev1.ConfigMap{ObjectMeta: gatewayMeta(gw, account), Data: map[string]string{publicKeyName: r.cfg.TokenPublicKey}},
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
	deployment := gatewayDeployment(r.cfg, gw, selector)
	if err := r.put(ctx, gw, deployment); err != nil {
		return 0, err
	}
	status.DeploymentStatus = *deployment.Status.DeepCopy()
	status.URL = URL(gw.Namespace, gw.Name)
	_, replaced := gatewayImage(r.cfg, gw)
	if replaced {
		r.condition(status, gw, ConditionImageReplaced, true, "NotOurs", fmt.Sprintf("The image %s is replaced by %s.", gw.Spec.Image, r.cfg.Pods.Image))
	} else {
		meta.RemoveStatusCondition(&status.GatewayConditions, ConditionImageReplaced)
	}
	if err := r.checkKernelSpecs(ctx, gw, status); err != nil {
		return 0, err
	}
	missing, err := r.checkClients(ctx, gw, status)
	if err != nil {
		return 0, err
	}
	if missing && (again == 0 || again > clientTokenRecheck) {
		again = clientTokenRecheck // Secrets are not watched
	}
	r.checkReady(gw, status)
	return again, nil
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

// put makes an object what it should be. What the API server filled in stays;
// what others changed does not. The object is left as the server has it. An
// update that changes nothing is none.
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
	if overlayObject(existing, desired) {
		if err := r.client.Update(ctx, existing); err != nil {
			return wrap(err, "update", desired)
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
	if at, restarted := from.Spec.Template.Annotations[restartedAt]; restarted {
		to.Spec.Template.Annotations[restartedAt] = at
	}
}

func wrap(err error, verb string, o client.Object) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("kernels: %s %T %s: %w", verb, o, o.GetName(), err)
}

// overlayObject puts what is desired over what exists, and tells whether an
// update is called for. Of Deployments that cannot be told from here, since
// the API server fills in defaults: it is asked each time.
func overlayObject(existing, desired client.Object) bool {
	before := existing.DeepCopyObject()
	labels := existing.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, desired.GetLabels())
	existing.SetLabels(labels)
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
		d := desired.(*corev1.Service)
		e.Spec.Type, e.Spec.Selector, e.Spec.ExternalIPs = d.Spec.Type, d.Spec.Selector, nil
		ports := slices.Clone(d.Spec.Ports)
		for i := range ports {
			if i < len(e.Spec.Ports) {
				ports[i].NodePort = 0
			}
		}
		e.Spec.Ports = ports
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
		meta.RemoveStatusCondition(&status.GatewayConditions, ConditionClusterRoleBound)
		return 0, nil
	}
	err = r.put(ctx, gw, gatewayBinding(gw, name, roleRef("ClusterRole", *wanted)))
	switch {
	case apierrors.IsForbidden(err):
		r.condition(status, gw, ConditionClusterRoleBound, false, "Forbidden", fmt.Sprintf("The ClusterRole %s may not be bound by elastichub.", *wanted))
		return clusterRoleRecheck, nil
	case apierrors.IsAlreadyExists(err), apierrors.IsInvalid(err):
		return time.Second, nil // the former binding is not gone yet
	case err != nil:
		return 0, err
	}
	r.condition(status, gw, ConditionClusterRoleBound, true, "Bound", "")
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
		meta.RemoveStatusCondition(&status.GatewayConditions, ConditionKernelSpecMissing)
		return nil
	}
	r.condition(status, gw, ConditionKernelSpecMissing, true, "NotFound", "JupyterKernelSpec: "+strings.Join(missing, ", "))
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
		meta.RemoveStatusCondition(&status.GatewayConditions, ConditionClientTokenMissing)
		return false, nil
	}
	r.condition(status, gw, ConditionClientTokenMissing, true, "NotFound", "No token for client "+strings.Join(missing, ", "))
	return true, nil
}

func (r *gatewayReconciler) checkReady(gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) {
	if status.ReadyReplicas > 0 {
		r.condition(status, gw, ConditionReady, true, "Serving", "")
		return
	}
	r.condition(status, gw, ConditionReady, false, "NoReplicaReady", "No replica of the gateway is ready.")
}

func (r *gatewayReconciler) condition(status *v1alpha1.JupyterGatewayStatus, gw *v1alpha1.JupyterGateway, kind string, is bool, reason, message string) {
	podrules.SetCondition(&status.GatewayConditions, gw.Generation, r.now(), kind, is, reason, message)
}
