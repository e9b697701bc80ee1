package spawner

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podtrouble"
	"github.com/elastichub/elastichub/tracing"
)

// Config is what an installation decides about notebook servers.
type Config struct {
	// Namespace is the release's: it holds the Hub's servers, their Pods and volumes, and the
	// policies.
	Namespace string
	// Scope is the namespaces whose notebooks are looked after; nil: the release's alone.
	Scope *namespaces.Scope
	// Owner keeps other releases away from them; nil: there are none.
	Owner *namespaces.Owner
	// DefaultImage is run where neither a request nor a template names one.
	DefaultImage string
	// Images says which images of notebooks are replaced.
	Images podrules.ImageMap
	// ImagePullPolicy of notebook containers whose template sets none; empty:
	// Kubernetes' own rule.
	ImagePullPolicy corev1.PullPolicy
	// GatewayName is the JupyterGateway, in Namespace, of the Hub's servers;
	// empty means that they have no remote kernels.
	GatewayName string
	// AdoptHomesBefore lets a user have a home that bears their name and was made
	// before this time, whoever it was noted for; the zero time lets nobody.
	AdoptHomesBefore time.Time
	// APIAudiences are those of the cluster's API server, as far as they are known: no
	// Pod gets a token for them.
	APIAudiences []string
	// Signals are asked before a server is stopped for idleness; nil: none are.
	Signals Signals
	// Nodes tells what room a Pod could have; nil: nodes may not be read.
	Nodes Nodes
	// SignalsRequired: a server of which they know nothing is not stopped for idleness.
	SignalsRequired bool
	// MetricsSecret names the Secret whose key sha256 is the hash of the token by which
	// servers show their metrics; empty: no token opens them.
	MetricsSecret string
	// Tracer is told how starts went; nil: nothing is recorded.
	Tracer *tracing.Tracer
	// Proxy is by which servers reach what is outside of the cluster.
	Proxy podrules.Proxy
	// IPv6: Services, and Pods with them, are reached by addresses of that family.
	IPv6 bool
}

// Nodes are those of the cluster.
type Nodes interface {
	// RoomFor counts what is free on those that a Pod may be on.
	RoomFor(ctx context.Context, pod *corev1.PodSpec) (podtrouble.Room, error)
}

// scope is that of the configuration.
func (c Config) scope() *namespaces.Scope {
	if c.Scope == nil {
		return namespaces.Only(c.Namespace)
	}
	return c.Scope
}

// Validate returns every fault, joined.
func (c Config) Validate() error {
	var faults []error
	for _, reason := range validation.IsDNS1123Label(c.Namespace) {
		faults = append(faults, fmt.Errorf("namespace: %s", reason))
	}
	if c.DefaultImage == "" {
		faults = append(faults, errors.New("defaultImage: must not be empty"))
	}
	if !podrules.IsPullPolicy(c.ImagePullPolicy) {
		faults = append(faults, fmt.Errorf("imagePullPolicy: %q is none of Always, IfNotPresent, Never, and not empty", c.ImagePullPolicy))
	}
	if c.GatewayName != "" {
		for _, reason := range validation.IsDNS1035Label(c.GatewayName) {
			faults = append(faults, fmt.Errorf("gatewayName: %s", reason))
		}
	}
	return errors.Join(faults...)
}
