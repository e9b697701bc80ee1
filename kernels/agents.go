package kernels

import (
	"context"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/lifecycle"
)

// Agents is how the controllers reach the agents of running kernels, by address
// and secret. Errors mean that a call may or may not have been obeyed; all of
// them can be repeated.
type Agents interface {
	lifecycle.Agents
	parkingAgents
}

// parkingAgents reaches the agents of running kernels, by address and secret.
// Errors mean that a call may or may not have been obeyed; both can be repeated.
type parkingAgents interface {
	// Idle tells for how long the kernel has been idle; a busy one: not at all.
	Idle(ctx context.Context, ip string, secret keys.Secret) (time.Duration, error)
	// Park ends the kernel as its idle time would, if it still has been idle for
	// so long, and reports whether it will. The agent alone decides.
	Park(ctx context.Context, ip string, secret keys.Secret, idle time.Duration) (bool, error)
}
