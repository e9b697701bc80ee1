package gateway

import (
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

// kernelModel is a kernel as clients read it. jupyter_server parses
// last_activity strictly with six fraction digits and Z.
type kernelModel struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	LastActivity   string `json:"last_activity"`
	ExecutionState string `json:"execution_state"`
	Connections    int    `json:"connections"`
	Reason         string `json:"reason,omitempty"`
	// Environment is the directory of the user's own environment that the kernel runs in.
	Environment string `json:"environment,omitempty"`
	// Own is told in lists: a caller's own kernel, and not one of another server of
	// the same user.
	Own bool `json:"own,omitempty"`
}

const jupyterTime = "2006-01-02T15:04:05.000000Z"

// phaseOf is the phase of what was last asked for: a kernel whose new run the
// controllers have not taken up yet is queued.
func phaseOf(k *v1alpha1.JupyterKernel) v1alpha1.KernelPhase {
	if k.Status.Phase == "" || k.Status.Run < k.Spec.Run {
		return v1alpha1.KernelQueued
	}
	return k.Status.Phase
}

// seen is what was last heard of a kernel.
type seen struct {
	state       wire.State // empty if unknown
	activity    time.Time  // zero if unknown
	connections int
}

// model renders a kernel. A parked kernel is idle: the client's next request
// brings it back.
func model(k *v1alpha1.JupyterKernel, s seen) kernelModel {
	m := kernelModel{ID: k.Name, Name: k.Spec.KernelSpec, Connections: s.connections, Environment: k.Spec.Environment}
	switch phaseOf(k) {
	case v1alpha1.KernelQueued, v1alpha1.KernelStarting:
		m.ExecutionState = string(wire.StateStarting)
	case v1alpha1.KernelReady:
		m.ExecutionState = string(s.state)
		if s.state == "" {
			m.ExecutionState = string(wire.StateIdle)
		}
	case v1alpha1.KernelParked:
		m.ExecutionState = string(wire.StateIdle)
	case v1alpha1.KernelDead:
		m.ExecutionState = string(wire.StateDead)
		m.Reason = k.Status.Message
	default:
		m.ExecutionState = "unknown"
	}
	activity := k.CreationTimestamp.Time
	for _, t := range []time.Time{s.activity, timeOf(k.Status.ReadyTime), timeOf(k.Status.StartTime)} {
		if t.After(activity) {
			activity = t
		}
	}
	m.LastActivity = activity.UTC().Format(jupyterTime)
	return m
}

func timeOf[T interface{ UnixMicro() int64 }](t *T) time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.UnixMicro((*t).UnixMicro())
}
