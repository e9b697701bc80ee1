package gateway

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Config is what a gateway process is told. What concerns its kernels is in
// the JupyterGateway.
type Config struct {
	// Namespace and Name of the JupyterGateway.
	Namespace string
	Name      string
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
	// AllowedEnv are names that clients may set in a kernel's environment
	// beside KERNEL_*.
	AllowedEnv []string
	// MaxFrameBytes bounds one WebSocket message in either direction, as does
	// an eighth of MessageBytes.
	MaxFrameBytes int64
	// HeldBytes bounds what one socket may have waiting for its kernel. One
	// frame may exceed it.
	HeldBytes int64
	// MessageBytes bounds the memory that the messages of all sockets take
	// together, those on their way and those held. One owner may have half of
	// it, an eighth for what is held; one message an eighth.
	MessageBytes int64
	// KernelsPerUser bounds the JupyterKernel objects of one user, parked ones
	// included.
	KernelsPerUser int
	// SocketsPerUser bounds the WebSockets of one user at this replica.
	SocketsPerUser int
}

// maxFrame is the largest message, in bytes.
func (c Config) maxFrame() int64 { return min(c.MaxFrameBytes, c.MessageBytes/perFrame) }

// Default is a configuration that lacks only names and files.
func Default() Config {
	return Config{
		Listen:         ":8888",
		Health:         ":8081",
		MaxFrameBytes:  256 << 20,
		HeldBytes:      32 << 20,
		MessageBytes:   1 << 30,
		KernelsPerUser: 100,
		SocketsPerUser: 200,
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,255}$`)

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
	for i, name := range c.AllowedEnv {
		if !envName.MatchString(name) || reservedEnv(name) {
			fault(fmt.Sprintf("allowedEnv[%d]", i), "%q cannot be set by clients", name)
		}
	}
	if c.MaxFrameBytes < 1<<20 || c.MaxFrameBytes > 1<<30 {
		fault("maxFrameBytes", "must be between 1 MiB and 1 GiB")
	}
	if c.HeldBytes < 1<<20 {
		fault("heldBytes", "must be at least 1 MiB")
	}
	if c.MessageBytes < 1<<20 {
		fault("messageBytes", "must be at least 1 MiB")
	}
	if c.KernelsPerUser < 1 {
		fault("kernelsPerUser", "must be at least 1")
	}
	if c.SocketsPerUser < 1 {
		fault("socketsPerUser", "must be at least 1")
	}
	return errors.Join(faults...)
}
