package removal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/namespaces"
)

// The chart's labels.
const (
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelComponent = "app.kubernetes.io/component"
	chartName      = "elastichub"
	service        = "service"
	// mostName is how much of a release's name the names of the chart's objects have.
	mostName = 40
)

// Site is a release in a cluster.
type Site struct {
	API       client.Client
	Namespace string
	Release   string
	// By is who removes it, for people whose kernels are parked.
	By string
	// Now tells the time.
	Now func() time.Time
	// Tell is told of each step, a line without its end.
	Tell func(line string)
}

// OtherReleaseError: another release of elastichub is in the namespace, and none of the name.
type OtherReleaseError struct {
	Namespace, Release string
	There              []string
}

func (e *OtherReleaseError) Error() string {
	return fmt.Sprintf("there is no release %s of elastichub in the namespace %s, but %s: name it with --release", e.Release, e.Namespace, strings.Join(e.There, ", "))
}

// ErrOthers: another release looks after the namespace.
var ErrOthers = errors.New("removal: another release looks after the namespace")

// name is what the names of the chart's objects begin with.
func (s Site) name() string {
	name := s.Release
	if len(name) > mostName {
		name = name[:mostName]
	}
	return strings.TrimSuffix(name, "-")
}

// labels are those of all objects of the chart; the chart's own Secrets have them, too.
func (s Site) labels() client.MatchingLabels {
	return client.MatchingLabels{labelName: chartName, labelInstance: s.Release}
}

// deployment is that of the service, nil if there is none. Error: OtherReleaseError.
func (s Site) deployment(ctx context.Context) (*appsv1.Deployment, error) {
	var all appsv1.DeploymentList
	if err := s.API.List(ctx, &all, client.InNamespace(s.Namespace), client.MatchingLabels{labelName: chartName, labelComponent: service}); err != nil {
		return nil, fmt.Errorf("look for the release: %w", err)
	}
	var others []string
	for i := range all.Items {
		if all.Items[i].Labels[labelInstance] == s.Release {
			return &all.Items[i], nil
		}
		others = append(others, all.Items[i].Labels[labelInstance])
	}
	if len(others) > 0 {
		return nil, &OtherReleaseError{Namespace: s.Namespace, Release: s.Release, There: others}
	}
	return nil, nil
}

// namespaces are those that the release looks after, its own first: those that its
// configuration names, or, once that is removed, those whose Lease it holds. Of either, those that another release
// holds are not among them. Error: ErrOthers for its own.
func (s Site) namespaces(ctx context.Context) ([]string, error) {
	var config corev1.ConfigMap
	err := s.API.Get(ctx, client.ObjectKey{Namespace: s.Namespace, Name: s.name()}, &config)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read the release's configuration: %w", err)
	}
	var said struct {
		WatchNamespaces []string `json:"watchNamespaces"`
	}
	if err := yaml.Unmarshal([]byte(config.Data["config.yaml"]), &said); err != nil {
		return nil, fmt.Errorf("read the release's configuration: %w", err)
	}
	holders := map[string]string{}
	if err != nil || slices.Contains(said.WatchNamespaces, namespaces.Everywhere) {
		if said.WatchNamespaces, err = s.held(ctx); err != nil {
			return nil, err
		}
	}
	all := append([]string{s.Namespace}, said.WatchNamespaces...)
	var ours []string
	for _, namespace := range all {
		if _, seen := holders[namespace]; seen {
			continue
		}
		var lease coordinationv1.Lease
		if err := s.API.Get(ctx, client.ObjectKey{Namespace: namespace, Name: namespaces.LeaseName}, &lease); client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("tell whose the namespace %s is: %w", namespace, err)
		}
		holders[namespace] = namespaces.HolderOf(&lease, s.Now())
		switch holder := holders[namespace]; {
		case holder == "", holder == s.Namespace:
			ours = append(ours, namespace)
		case namespace == s.Namespace:
			return nil, fmt.Errorf("%w: that of %s, not %s", ErrOthers, holder, s.Namespace)
		}
	}
	return ours, nil
}

// held are the namespaces whose Lease says that the release looks after them, whether or not that
// has run out. Where nobody may ask for those of all namespaces, there are no others.
func (s Site) held(ctx context.Context) ([]string, error) {
	var leases coordinationv1.LeaseList
	err := s.API.List(ctx, &leases, client.MatchingFields{"metadata.name": namespaces.LeaseName})
	if apierrors.IsForbidden(err) {
		s.Tell("Namespaces beside " + s.Namespace + " are not looked at: their Leases cannot be listed.")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for namespaces of the release: %w", err)
	}
	var all []string
	for i := range leases.Items {
		if holder := leases.Items[i].Spec.HolderIdentity; holder != nil && *holder == s.Namespace {
			all = append(all, leases.Items[i].Namespace)
		}
	}
	return all, nil
}
