package agent

import (
	"errors"
	"net/http"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// postPark parks the kernel before its time, if it has been idle for so long: for
// somebody who waits for what it holds, or since somebody gives that back. Whatever begins before that happens
// keeps it.
func (a *agent) postPark(w http.ResponseWriter, r *http.Request) {
	var body protocol.ParkRequest
	if !understand(w, r, &body, func() error {
		if body.IfIdleSeconds == nil || *body.IfIdleSeconds <= 0 || *body.IfIdleSeconds > float64(mostSeconds) {
			return errors.New("ifIdleSeconds must be more than 0 and at most ten years")
		}
		return nil
	}) {
		return
	}
	a.mu.RLock()
	running := a.kernel != nil && !a.ending
	a.mu.RUnlock()
	wish := parkWish{idle: time.Duration(*body.IfIdleSeconds * float64(time.Second)), byHand: body.ByHand, budget: body.Budget, whole: body.Whole}
	if body.Whole && a.keep.Load() == nil {
		running = false // nothing is kept
	}
	if !running || !a.activity.yieldIf(time.Now(), wish, a.connections()) {
		problem(w, http.StatusConflict, "NotIdle", "the kernel is busy, has not been idle for so long, or is held by a client")
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// yieldIf notes the wish that the kernel be parked at the supervisor's next
// look, and reports whether it would be by now.
func (a *activity) yieldIf(now time.Time, wish parkWish, connections int) bool {
	a.mu.Lock()
	a.wish = wish
	a.mu.Unlock()
	return a.idleness(now, connections).park
}
