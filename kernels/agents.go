package kernels

import (
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/queue"
)

// Agents is how the controllers reach the agents of running kernels, by address
// and secret. Errors mean that a call may or may not have been obeyed; all of
// them can be repeated.
type Agents interface {
	lifecycle.Agents
	queue.Agents
}
