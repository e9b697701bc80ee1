package spawner

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// remote is what there is of a notebook's remote kernels, from the caches.
type remote struct {
	// gateway is the JupyterGateway that spec names, nil if there is none.
	gateway *v1alpha1.JupyterGateway
	// others are the names of the namespace's gateways if gateway is nil.
	others []string
	// allowed are the kernelspecs that the notebook's policies allow.
	allowed []string
	// specs are those of the gateway's kernelspecs that exist.
	specs []string
}

// shortage is why a server has no remote kernels, or not all of them. It keeps
// no server from starting: jupyter_server asks its gateway anew whenever a list
// is wanted, so that what is repaired later needs no restart.
type shortage struct {
	reason  Reason
	message string
}

// observeRemote reads from the caches.
func (c *controller) observeRemote(ctx context.Context, nb *v1alpha1.JupyterNotebook) (remote, error) {
	if nb.Spec.Gateway == nil || nb.Spec.Stopped {
		return remote{}, nil
	}
	at := nb.GatewayKey().Namespace
	if !c.cfg.scope().Has(at) {
		return remote{}, nil // refused
	}
	gateway := &v1alpha1.JupyterGateway{}
	err := c.client.Get(ctx, nb.GatewayKey(), gateway)
	if apierrors.IsNotFound(err) {
		return c.otherGateways(ctx, at)
	}
	if err != nil {
		return remote{}, fmt.Errorf("read gateway: %w", err)
	}
	r := remote{gateway: gateway}
	if r.allowed, err = c.allowedKernels(ctx, nb); err != nil {
		return remote{}, err
	}
	r.specs, err = c.existingKernels(ctx, gateway)
	return r, err
}

func (c *controller) otherGateways(ctx context.Context, namespace string) (remote, error) {
	var all v1alpha1.JupyterGatewayList
	if err := c.client.List(ctx, &all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return remote{}, fmt.Errorf("list gateways: %w", err)
	}
	var r remote
	for i := range all.Items {
		r.others = append(r.others, all.Items[i].Name)
	}
	slices.Sort(r.others)
	return r, nil
}

func (c *controller) allowedKernels(ctx context.Context, nb *v1alpha1.JupyterNotebook) ([]string, error) {
	var allowed []string
	for _, name := range policiesOf(nb) {
		var policy v1alpha1.GroupPolicy
		err := c.client.Get(ctx, client.ObjectKey{Namespace: c.cfg.Namespace, Name: name}, &policy)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		allowed = append(allowed, policy.Spec.Kernels.Allowed...)
	}
	return allowed, nil
}

func (c *controller) existingKernels(ctx context.Context, gateway *v1alpha1.JupyterGateway) ([]string, error) {
	var found []string
	for _, name := range kernelsOf(gateway) {
		err := c.client.Get(ctx, client.ObjectKey{Namespace: gateway.Namespace, Name: name}, &v1alpha1.JupyterKernelSpec{})
		switch {
		case err == nil || apierrors.IsNotFound(err) && name == v1alpha1.DefaultKernelName: // built in
			found = append(found, name)
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("read kernelspec: %w", err)
		}
	}
	return found, nil
}

func kernelsOf(gateway *v1alpha1.JupyterGateway) []string {
	if len(gateway.Spec.Kernels) == 0 {
		return []string{v1alpha1.DefaultKernelName}
	}
	return gateway.Spec.Kernels
}

func policiesOf(nb *v1alpha1.JupyterNotebook) []string {
	if nb.Spec.KernelOptions == nil {
		return nil
	}
	return nb.Spec.KernelOptions.Policies
}

// kernelShortage returns the first thing that is short of what a notebook asks
// for, nil if nothing is. As the gateway does, it takes a notebook without
// policies for one that may have everything.
func kernelShortage(nb *v1alpha1.JupyterNotebook, r remote) *shortage {
	const none = "This server has no remote kernels"
	if nb.Spec.Gateway == nil {
		return nil
	}
	if r.gateway == nil {
		return &shortage{ReasonGatewayMissing, fmt.Sprintf("%s until an administrator creates the JupyterGateway %s in the namespace %s%s.",
			none, nb.Spec.Gateway.Name, nb.GatewayKey().Namespace, orAnother(nb, r.others))}
	}
	name := r.gateway.Name
	if !r.gateway.Serves(nb.Namespace) {
		return &shortage{ReasonGatewayRefused, none + ": " + notServed(nb)}
	}
	if r.gateway.Status.ReadyReplicas == 0 {
		return &shortage{ReasonGatewayNotReady, fmt.Sprintf("%s until the JupyterGateway %s is ready: %s.", none, name, whyNotReady(r.gateway))}
	}
	offered := kernelsOf(r.gateway)
	if policies := policiesOf(nb); len(policies) > 0 {
		offered = slices.DeleteFunc(slices.Clone(offered), func(kernel string) bool { return !slices.Contains(r.allowed, kernel) })
		switch {
		case len(r.allowed) == 0:
			return &shortage{ReasonNoKernelAllowed, fmt.Sprintf("%s: spec.kernels.allowed of the policy %s names none.", none, enumerate(policies))}
		case len(offered) == 0:
			return &shortage{ReasonNoKernelOffered, fmt.Sprintf("%s: the policy %s allows %s, and spec.kernels of the JupyterGateway %s offers %s.",
				none, enumerate(policies), enumerate(r.allowed), name, enumerate(kernelsOf(r.gateway)))}
		}
	}
	missing := slices.DeleteFunc(slices.Clone(offered), func(kernel string) bool { return slices.Contains(r.specs, kernel) })
	switch {
	case len(missing) == 0:
		return nil
	case len(missing) == len(offered):
		return &shortage{ReasonKernelSpecMissing, fmt.Sprintf("%s until an administrator creates the JupyterKernelSpec %s in the namespace %s.", none, enumerate(missing), r.gateway.Namespace)}
	default:
		return &shortage{ReasonKernelSpecMissing, fmt.Sprintf("This server lacks the remote kernel %s until an administrator creates the JupyterKernelSpec of that name in the namespace %s.", enumerate(missing), r.gateway.Namespace)}
	}
}

// notServed says that a gateway of another namespace does not serve the notebook's.
func notServed(nb *v1alpha1.JupyterNotebook) string {
	return fmt.Sprintf("the JupyterGateway %s does not serve the namespace %s until its spec.allowedNamespaces names that.", nb.GatewayKey(), nb.Namespace)
}

// gatewayRefusal is why a notebook may not have a gateway of another namespace, nil if
// there is no reason.
func (c *controller) gatewayRefusal(ctx context.Context, nb *v1alpha1.JupyterNotebook) (*refusal, error) {
	at := nb.GatewayKey()
	if nb.Spec.Gateway == nil || at.Namespace == nb.Namespace {
		return nil, nil
	}
	if !c.cfg.scope().Has(at.Namespace) {
		return &refusal{ReasonGatewayRefused, fmt.Sprintf(
			"spec.gateway.namespace is %s, and the release of the namespace %s does not look after that one: its watchNamespaces does not name it, or another release does.",
			at.Namespace, c.cfg.Namespace)}, nil
	}
	var gateway v1alpha1.JupyterGateway
	err := c.client.Get(ctx, at, &gateway)
	switch {
	case apierrors.IsNotFound(err): // its namespace says whether it is served once it is there
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read gateway: %w", err)
	case !gateway.Serves(nb.Namespace):
		return &refusal{ReasonGatewayRefused, "spec.gateway: " + notServed(nb)}, nil
	}
	return nil, nil
}

// orAnother says where a server's gateway is named, if there is another to name.
func orAnother(nb *v1alpha1.JupyterNotebook, others []string) string {
	if len(others) == 0 {
		return ""
	}
	field := "spec.gateway.name of the JupyterNotebook"
	if nb.Spec.Start != "" {
		field = "notebooks.gateway in the chart's values"
	}
	return fmt.Sprintf(", or sets %s to one that exists: %s", field, enumerate(others))
}

// whyNotReady says what keeps a gateway's Pods away, as far as its Deployment knows.
func whyNotReady(gateway *v1alpha1.JupyterGateway) string {
	if replicas := gateway.Spec.Replicas; replicas != nil && *replicas == 0 {
		return "its spec.replicas is 0"
	}
	if refused := apimeta.FindStatusCondition(gateway.Status.Conditions, string(appsv1.DeploymentReplicaFailure)); refused != nil && refused.Status == metav1.ConditionTrue {
		return "the cluster refuses its Pods: " + strings.TrimRight(shorten(refused.Message), ".")
	}
	if ready := apimeta.FindStatusCondition(gateway.Status.Conditions, ConditionReady); ready != nil && ready.Message != "" {
		return strings.TrimRight(shorten(ready.Message), ".")
	}
	return "it was made a moment ago"
}

func enumerate(names []string) string {
	all := slices.Clone(names)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}
