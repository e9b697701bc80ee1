package kernels

import (
	"context"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// agentTimeout bounds one call to an agent.
const agentTimeout = 2 * time.Second

// Agents is how the controllers reach the agents of running kernels, by address
// and secret. Errors mean that a call may or may not have been obeyed; all of
// them can be repeated.
type Agents interface {
	// SetIdle sets when the kernel is parked: after timeout without work, zero
	// meaning never, and whether also while a client is connected.
	SetIdle(ctx context.Context, ip string, secret keys.Secret, timeout time.Duration, cullConnected bool) error
	// Idle tells for how long the kernel has been idle; a busy one: not at all.
	Idle(ctx context.Context, ip string, secret keys.Secret) (time.Duration, error)
	// Park ends the kernel as its idle time would, if it still has been idle for
	// so long, and reports whether it will. The agent alone decides.
	Park(ctx context.Context, ip string, secret keys.Secret, idle time.Duration) (bool, error)
}
