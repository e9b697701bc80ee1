package agent

import (
	"encoding/json"
	"time"

	"github.com/elastichub/elastichub/kernels/wire"
)

// farewellTime is how long after a client's shutdown_request the kernel may
// end because of it.
const farewellTime = time.Minute

// farewell is a client's shutdown_request, which the kernel itself carries out.
type farewell struct {
	at      time.Time
	restart bool
}

// takesLeave notes a client's shutdown_request.
func (a *agent) takesLeave(m *wire.Message, now time.Time) {
	var content struct{ Restart bool }
	_ = json.Unmarshal(m.Content, &content) // malformed means false to kernels, too
	a.farewell.Store(&farewell{at: now, restart: content.Restart})
}

// howItLeft tells why a process that is done has ended: because a client asked
// it to, or by itself.
func (a *agent) howItLeft(k *kernel, now time.Time) endReason {
	asked := a.farewell.Swap(nil)
	switch {
	case asked == nil || now.Sub(asked.at) > farewellTime || k.exitCode() != 0:
		return endCrashed
	case asked.restart:
		return endRestart
	default:
		return endShutdown
	}
}
