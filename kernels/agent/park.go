package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ParkRequest is the body of POST /v1/park.
type ParkRequest struct {
	// IfIdleSeconds is how long the kernel has to have been idle.
	IfIdleSeconds *float64 `json:"ifIdleSeconds"`
}

// postPark parks the kernel before its time, for somebody who waits for what it
// holds, if it has been idle for so long. Whatever begins before that happens
// keeps it.
func (a *agent) postPark(w http.ResponseWriter, r *http.Request) {
	var body ParkRequest
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&body)
	if err == nil && (body.IfIdleSeconds == nil || *body.IfIdleSeconds <= 0 || *body.IfIdleSeconds > float64(mostSeconds)) {
		err = errors.New("ifIdleSeconds must be more than 0 and at most ten years")
	}
	if _, rest := decoder.Token(); err == nil && rest != io.EOF {
		err = errors.New("more than one JSON value")
	}
	if err != nil {
		problem(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	a.mu.RLock()
	running := a.kernel != nil && !a.ending
	a.mu.RUnlock()
	if !running || !a.activity.yieldIf(time.Now(), time.Duration(*body.IfIdleSeconds*float64(time.Second)), a.connections()) {
		problem(w, http.StatusConflict, "NotIdle", "the kernel is busy, has not been idle for so long, or is held by a client")
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// yieldIf notes the wish that the kernel be parked at the supervisor's next
// look, and reports whether it would be by now.
func (a *activity) yieldIf(now time.Time, idle time.Duration, connections int) bool {
	a.mu.Lock()
	a.yield = idle
	a.mu.Unlock()
	return a.judge(now, connections).park
}

// farewell is what the user of a parked kernel reads.
func (a *agent) farewell(i idleness) string {
	if !i.yields {
		return a.notice(i.timeout)
	}
	held := "what it held"
	switch {
	case a.cfg.GPUs == 1:
		held = "its GPU"
	case a.cfg.GPUs > 1:
		held = fmt.Sprintf("its %d GPUs", a.cfg.GPUs)
	}
	return fmt.Sprintf("Kernel parked after %s without work, since somebody was waiting for %s. Run a cell to bring it back; variables are gone, files are kept.",
		span(i.idle), held)
}
