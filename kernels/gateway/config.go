package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/skew"
)

// Config is what a gateway process is told. What concerns its kernels is in
// the JupyterGateway.
type Config struct {
	// Namespace and Name of the JupyterGateway.
	Namespace string
	// AlsoServes are other namespaces whose notebooks it serves.
	AlsoServes []string
	// PolicyNamespace is where GroupPolicies are; empty: in Namespace.
	PolicyNamespace string
	Name            string
	// Listen is where notebook servers come; Health is where /healthz, /readyz
	// and /metrics are. Both are host:port, the host may be empty.
	Listen string
	Health string
	// KeyFile holds the gateway's key for its agents: 32 raw bytes, or 64
	// hexadecimal digits with white space around them.
	KeyFile string
	// TokenKeyFile holds the public key of notebook tokens, in base64.
	TokenKeyFile string
	// ClientsDir has one file per client of spec.auth.clients: named as the
	// client, holding its token. Empty if there are none.
	ClientsDir string
	// MetricsTokenFile holds what whoever reads /metrics has to show. Empty: nothing.
	MetricsTokenFile string
	// ServiceVersion is what the service that has made the gateway tells of itself; empty: nothing.
	ServiceVersion string
	// MessageBytes bounds the memory that the messages of all sockets take
	// together, those on their way and those held. One owner may have half of
	// it, an eighth for what is held; one message an eighth.
	MessageBytes int64
	// bounds are those of Default.
	bounds bounds
}

// bounds keep one user from harming others. Nobody needs them otherwise, so
// nobody sets them.
type bounds struct {
	// frameBytes bounds one WebSocket message in either direction, as does an
	// eighth of MessageBytes.
	frameBytes int64
	// heldBytes bounds what one socket may have waiting for its kernel. One
	// frame may exceed it.
	heldBytes int64
	// kernelsPerUser bounds the JupyterKernel objects of one user, parked ones
	// included.
	kernelsPerUser int
	// socketsPerUser bounds the WebSockets of one user at this replica.
	socketsPerUser int
}

// policies is where GroupPolicies are.
func (c Config) policies() string { return cmp.Or(c.PolicyNamespace, c.Namespace) }

// namespaces are those whose notebooks and kernels the gateway reads, its own first.
func (c Config) namespaces() []string { return append([]string{c.Namespace}, c.AlsoServes...) }

// maxFrame is the largest message, in bytes.
func (c Config) maxFrame() int64 { return min(c.bounds.frameBytes, c.MessageBytes/perFrame) }

// Default is a configuration that lacks only names and files.
func Default() Config {
	return Config{
		Listen:       ":8888",
		Health:       ":8081",
		MessageBytes: 1 << 30,
		bounds:       bounds{frameBytes: 256 << 20, heldBytes: 32 << 20, kernelsPerUser: 100, socketsPerUser: 200},
	}
}

// Validate reports every fault at once, each with the field's name.
func (c Config) Validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if msgs := validation.IsDNS1123Label(c.Namespace); len(msgs) > 0 {
		fault("namespace", "%s", strings.Join(msgs, ", "))
	}
	if msgs := validation.IsDNS1123Subdomain(c.Name); len(msgs) > 0 {
		fault("name", "%s", strings.Join(msgs, ", "))
	}
	for _, namespace := range c.AlsoServes {
		if msgs := validation.IsDNS1123Label(namespace); len(msgs) > 0 || namespace == c.Namespace {
			fault("alsoServes", "%q is no other namespace", namespace)
		}
	}
	for field, address := range map[string]string{"listen": c.Listen, "health": c.Health} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			fault(field, "must be host:port")
		}
	}
	for field, file := range map[string]string{"keyFile": c.KeyFile, "tokenKeyFile": c.TokenKeyFile} {
		if file == "" {
			fault(field, "is required")
		}
	}
	if err := skew.Check(skew.Gateway, skew.Service, skew.Parse(c.ServiceVersion)); err != nil {
		faults = append(faults, fmt.Errorf("serviceVersion: %w", err))
	}
	if c.MessageBytes < 1<<20 {
		fault("messageBytes", "must be at least 1 MiB")
	}
	return errors.Join(faults...)
}
