package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

// Phase is where in its life a supervisor is.
type Phase string

const (
	Starting Phase = "starting"
	Running  Phase = "running"
	Failed   Phase = "failed"
	Stopping Phase = "stopping"
)

// Report is what the supervisor tells the other commands, in a file.
type Report struct {
	Supervisor host.Process `json:"supervisor"`
	Since      time.Time    `json:"since"`
	Phase      Phase        `json:"phase"`
	Error      string       `json:"error,omitempty"`
	Culprit    string       `json:"culprit,omitempty"` // the component whose failure Error is
	Steps      []Step       `json:"steps,omitempty"`
	// Nodes is how many there are; none of a supervisor of a former release. NodesError
	// says why there are not as many as were asked for.
	Nodes      int                         `json:"nodes,omitempty"`
	NodesError string                      `json:"nodesError,omitempty"`
	Components map[string]ComponentProcess `json:"components"`
}

// Step is one thing done during the start, with the time it took.
type Step struct {
	What string        `json:"what"`
	Took time.Duration `json:"took"`
}

// ComponentProcess is the process of one component.
type ComponentProcess struct {
	Process  host.Process `json:"process"`
	Since    time.Time    `json:"since"`
	Restarts int          `json:"restarts"`
}

// ReadReport returns the last report; a zero one if there is none.
func (l Layout) ReadReport() (Report, error) {
	var report Report
	data, err := os.ReadFile(l.report())
	if errors.Is(err, fs.ErrNotExist) {
		return report, nil
	}
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return report, fmt.Errorf("%s: %w", l.report(), err)
	}
	return report, nil
}

// reporter keeps the report's file up to date. It is safe for concurrent use.
type reporter struct {
	file string

	mu     sync.Mutex
	report Report
}

func (r *reporter) update(change func(*Report)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.report)
	data, err := json.MarshalIndent(r.report, "", "  ")
	if err != nil {
		return err
	}
	return host.WriteFile(r.file, data, 0o644)
}
