package gather

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/namespaces"
)

// reviews is how many questions are asked of the API server at a time.
const reviews = 16

// needed are the rights of the chart's Role.
var needed = []struct {
	group     string
	resources []string
	verbs     []string
}{
	{"kubeflow.tkestack.io", []string{"jupyternotebooks", "jupyterkernels"}, all},
	{"kubeflow.tkestack.io", []string{"jupytergateways", "jupyterkernelspecs", "jupyterkerneltemplates", "grouppolicies"}, reads},
	{"kubeflow.tkestack.io", []string{
		"jupyternotebooks/status", "jupyterkernels/status", "jupytergateways/status", "jupyterkernelspecs/status",
		"jupyterkerneltemplates/status", "grouppolicies/status",
	}, []string{"get", "update", "patch"}},
	{"kubeflow.tkestack.io", []string{"jupyternotebooks/finalizers", "jupyterkernels/finalizers", "jupytergateways/finalizers"}, []string{"update"}},
	{"", []string{"pods", "services", "persistentvolumeclaims", "configmaps", "serviceaccounts"}, all},
	{"", []string{"secrets"}, all},
	{"", []string{"events"}, append(slices.Clone(reads), "create", "patch")},
	{"events.k8s.io", []string{"events"}, append(slices.Clone(reads), "create", "patch")},
	{"apps", []string{"deployments"}, all},
	{"rbac.authorization.k8s.io", []string{"roles", "rolebindings"}, all},
	{"coordination.k8s.io", []string{"leases"}, []string{"get", "create", "update", "patch"}},
}

// neededHere are rights in the release's own namespace alone.
var neededHere = []doctor.Right{
	{Verb: "get", Group: "apps", Resource: "daemonsets"},
	{Verb: "list", Group: "apps", Resource: "daemonsets"},
	{Verb: "create", Group: "apps", Resource: "daemonsets"},
	{Verb: "patch", Group: "apps", Resource: "daemonsets"},
	{Verb: "delete", Group: "apps", Resource: "daemonsets"},
}

var (
	reads = []string{"get", "list", "watch"}
	all   = append(slices.Clone(reads), "create", "update", "patch", "delete")
)

// wantedRights are those of the chart's Roles, of those in other namespaces, too, and of its
// ClusterRoles if it has any, for an installation with these values.
func wantedRights(values map[string]any, own string) (wanted []doctor.Right) {
	add := func(in doctor.Right) {
		for _, n := range needed {
			for _, resource := range n.resources {
				for _, verb := range n.verbs {
					if in.Everywhere && resource == "secrets" && (verb == "list" || verb == "watch") {
						continue // of a whole cluster they are read by name
					}
					right := in
					right.Verb, right.Group, right.Resource = verb, n.group, resource
					wanted = append(wanted, right)
				}
			}
		}
	}
	add(doctor.Right{})
	wanted = append(wanted, neededHere...)
	for _, namespace := range watched(values, own) {
		add(doctor.Right{Namespace: strings.TrimPrefix(namespace, namespaces.Everywhere), Everywhere: namespace == namespaces.Everywhere})
	}
	wanted = append(wanted, consoleRights(values)...)
	if textAt(values, "homes", "left", "mode") == "archive" {
		for _, verb := range []string{"get", "list", "create", "patch", "delete"} {
			wanted = append(wanted, doctor.Right{Verb: verb, Group: "batch", Resource: "jobs"})
		}
	}
	if isSet(values, "kernels", "clusterCapacity") {
		for group, resources := range map[string][]string{"": {"nodes", "pods"}, "resource.k8s.io": {"deviceclasses", "resourceslices", "resourceclaims"}} {
			for _, resource := range resources {
				for _, verb := range reads {
					wanted = append(wanted, doctor.Right{Verb: verb, Group: group, Resource: resource, Everywhere: true})
				}
			}
		}
	}
	return wanted
}

// consoleRights are those that the console needs beside.
func consoleRights(values map[string]any) (wanted []doctor.Right) {
	if !isSet(values, "portal", "enabled") {
		return nil
	}
	wanted = append(wanted, doctor.Right{Verb: "get", Resource: "pods/log"})
	if isSet(values, "portal", "policies", "edit") {
		for _, verb := range []string{"create", "patch", "delete"} {
			wanted = append(wanted, doctor.Right{Verb: verb, Group: "kubeflow.tkestack.io", Resource: "grouppolicies"})
		}
	}
	if isSet(values, "portal", "kubernetesTokens") {
		wanted = append(wanted, doctor.Right{Verb: "create", Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"},
			doctor.Right{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews", Everywhere: true})
	}
	return wanted
}

// rights asks the API server what the service's account may do.
func (g *gatherer) rights(ctx context.Context) {
	wanted := wantedRights(g.values, g.picture.Namespace)
	free := make(chan struct{}, reviews)
	var wg sync.WaitGroup
	for i := range wanted {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			allowed, err := g.allowed(ctx, wanted[i])
			if err != nil {
				g.unread("the rights of the service's account", err)
			}
			wanted[i].Allowed = allowed || err != nil
		})
	}
	wg.Wait()
	g.set(func(p *doctor.Picture) { p.Rights = wanted })
}

func (g *gatherer) allowed(ctx context.Context, right doctor.Right) (bool, error) {
	resource, sub := right.Resource, ""
	for i := range resource {
		if resource[i] == '/' {
			resource, sub = resource[:i], resource[i+1:]
			break
		}
	}
	attributes := &authorizationv1.ResourceAttributes{Verb: right.Verb, Group: right.Group, Resource: resource, Subresource: sub}
	if !right.Everywhere {
		attributes.Namespace = cmp.Or(right.Namespace, g.picture.Namespace)
	}
	review := &authorizationv1.SubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               fmt.Sprintf("system:serviceaccount:%s:%s", g.picture.Namespace, g.picture.Release),
			Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + g.picture.Namespace, "system:authenticated"},
			ResourceAttributes: attributes,
		},
	}
	if err := g.api.Create(ctx, review); err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}
