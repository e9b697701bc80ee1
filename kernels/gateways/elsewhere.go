package gateways

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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

// elsewhereRecheck is when namespaces are looked at again that a gateway cannot serve now.
const elsewhereRecheck = time.Minute

// roleElsewhere names a gateway's Role and binding in another namespace. No namespace has
// a colon in its name, so that no two gateways have one.
func roleElsewhere(gateway types.NamespacedName) string {
	return "elastichub:" + gateway.Namespace + ":" + gateway.Name
}

// policyRules let a gateway read the policies of the release.
func policyRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{
		APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"grouppolicies"}, Verbs: []string{"get", "list", "watch"},
	}}
}

// elsewhere gives a gateway its rights in the namespaces that it serves beside its own,
// and takes away those that it needs no more. It returns the namespaces that it can serve.
func (r *gatewayReconciler) elsewhere(ctx context.Context, gw *v1alpha1.JupyterGateway, status *v1alpha1.JupyterGatewayStatus) (served []string, err error) {
	at := client.ObjectKeyFromObject(gw)
	wanted := map[string][]rbacv1.PolicyRule{}
	if own := r.cfg.Scope.Own(); own != gw.Namespace {
		wanted[own] = policyRules()
	}
	var lacking []string
	for _, namespace := range slices.Sorted(slices.Values(gw.Spec.AllowedNamespaces)) {
		if namespace == gw.Namespace {
			continue
		}
		why, err := r.serve(ctx, at, namespace)
		if err != nil {
			return nil, err
		}
		if why != "" {
			lacking = append(lacking, namespace+": "+why)
			continue
		}
		wanted[namespace] = gatewayRules()
		served = append(served, namespace)
	}
	for namespace, rules := range wanted {
		if err := r.grant(ctx, gw, namespace, rules); err != nil {
			return nil, err
		}
	}
	if err := r.revoke(ctx, at, func(namespace string) bool { return wanted[namespace] != nil }); err != nil {
		return nil, err
	}
	switch {
	case len(gw.Spec.AllowedNamespaces) == 0:
		meta.RemoveStatusCondition(&status.Conditions, ConditionNamespacesServed)
	case len(lacking) == 0:
		r.condition(status, gw, ConditionNamespacesServed, true, ReasonServing, "")
	default:
		r.condition(status, gw, ConditionNamespacesServed, false, ReasonNotServed, strings.Join(lacking, "; "))
	}
	return served, nil
}

// serve finds out why a gateway cannot serve a namespace; empty: it can.
func (r *gatewayReconciler) serve(ctx context.Context, at types.NamespacedName, namespace string) (why string, err error) {
	holds := r.cfg.Scope.Has(namespace)
	if r.cfg.Owner != nil {
		if holds, err = r.cfg.Owner.Holds(ctx, namespace); err != nil {
			return "", err
		}
	}
	if !holds {
		if other := r.cfg.Scope.Elsewhere(namespace); other != "" {
			return "the release of the namespace " + other + " looks after it", nil
		}
		return "watchNamespaces of the release in " + r.cfg.Scope.Own() + " does not name it", nil
	}
	// Whether there is such a namespace is known by whether a Role can be made there.
	role := &rbacv1.Role{ObjectMeta: metaElsewhere(at, namespace), Rules: gatewayRules()}
	err = r.client.Create(ctx, role)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return "", nil
	case apierrors.IsNotFound(err):
		return "there is no such namespace", nil
	case apierrors.IsForbidden(err): // it terminates, or the chart's Role is not there
		return err.Error(), nil
	}
	return "", wrap(err, "create", role)
}

func metaElsewhere(at types.NamespacedName, namespace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: roleElsewhere(at),
		Labels: map[string]string{
			v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelName: v1alpha1.ManagedBy,
			v1alpha1.LabelGateway: podrules.ObjectLabel(at.Name), v1alpha1.LabelGatewayNamespace: at.Namespace,
		},
		// No object has an owner in another namespace: this names it.
		Annotations: map[string]string{v1alpha1.AnnotationGateway: at.String()},
	}
}

// grant makes Role and binding what they should be.
func (r *gatewayReconciler) grant(ctx context.Context, gw *v1alpha1.JupyterGateway, namespace string, rules []rbacv1.PolicyRule) error {
	described := metaElsewhere(client.ObjectKeyFromObject(gw), namespace)
	role := &rbacv1.Role{ObjectMeta: described, Rules: rules}
	binding := &rbacv1.RoleBinding{ObjectMeta: described, RoleRef: roleRef("Role", described.Name), Subjects: gatewayBinding(gw, "", rbacv1.RoleRef{}).Subjects}
	for _, desired := range []client.Object{role, binding} {
		existing := desired.DeepCopyObject().(client.Object)
		err := r.client.Get(ctx, client.ObjectKeyFromObject(desired), existing)
		if apierrors.IsNotFound(err) {
			err = r.client.Create(ctx, desired)
			if !apierrors.IsAlreadyExists(err) {
				if err != nil {
					return wrap(err, "create", desired)
				}
				continue
			}
			err = r.live.Get(ctx, client.ObjectKeyFromObject(desired), existing)
		}
		if err != nil {
			return wrap(err, "read", desired)
		}
		before := existing.DeepCopyObject().(client.Object)
		owners := existing.GetOwnerReferences()
		overlayObject(existing, desired)
		existing.SetOwnerReferences(owners)
		annotations := existing.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[v1alpha1.AnnotationGateway] = described.Annotations[v1alpha1.AnnotationGateway]
		existing.SetAnnotations(annotations)
		if equality.Semantic.DeepEqual(before, existing) {
			continue
		}
		if err := r.client.Patch(ctx, existing, podrules.PatchOver(before)); err != nil {
			return wrap(err, "write", desired)
		}
	}
	return nil
}

// revoke deletes a gateway's Roles and bindings in other namespaces, but for those kept.
func (r *gatewayReconciler) revoke(ctx context.Context, at types.NamespacedName, kept func(namespace string) bool) error {
	labels := client.MatchingLabels{v1alpha1.LabelGateway: podrules.ObjectLabel(at.Name), v1alpha1.LabelGatewayNamespace: at.Namespace}
	var roles rbacv1.RoleList
	var bindings rbacv1.RoleBindingList
	var all []client.Object
	if err := r.cfg.Scope.List(ctx, r.client, &roles, labels); err != nil {
		return fmt.Errorf("kernels: list Roles: %w", err)
	}
	if err := r.cfg.Scope.List(ctx, r.client, &bindings, labels); err != nil {
		return fmt.Errorf("kernels: list RoleBindings: %w", err)
	}
	for i := range bindings.Items {
		all = append(all, &bindings.Items[i])
	}
	for i := range roles.Items {
		all = append(all, &roles.Items[i])
	}
	for _, o := range all {
		if kept(o.GetNamespace()) || o.GetName() != roleElsewhere(at) {
			continue
		}
		if err := r.client.Delete(ctx, o); client.IgnoreNotFound(err) != nil {
			return wrap(err, "delete", o)
		}
	}
	return nil
}

// byRoleElsewhere leads from a Role or a binding in another namespace to its gateway, also
// to one that is gone.
func byRoleElsewhere(_ context.Context, o client.Object) []reconcile.Request {
	namespace, name, is := strings.Cut(o.GetAnnotations()[v1alpha1.AnnotationGateway], "/")
	at := types.NamespacedName{Namespace: namespace, Name: name}
	if !is || o.GetName() != roleElsewhere(at) {
		return nil
	}
	return []reconcile.Request{{NamespacedName: at}}
}
