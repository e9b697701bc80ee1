package protocol

import "time"

// Reason is why an agent ended. It is also the text of CloseEnded.
type Reason string

// The reasons.
const (
	ReasonIdle         Reason = "idle"          // parked: nothing ran for the idle time-out
	ReasonShutdown     Reason = "shutdown"      // asked to
	ReasonKernelExited Reason = "kernel-exited" // it crashed more often in a row than it is restarted
	ReasonStartFailed  Reason = "start-failed"  // the kernel never answered
	ReasonTerminated   Reason = "terminated"    // the agent got SIGTERM
	ReasonOrphaned     Reason = "orphaned"      // idle, and nobody has asked after it for a day
)

// Result is how a run ended; it is what the termination log holds.
type Result struct {
	Reason   Reason `json:"reason"`
	Message  string `json:"message"`
	ExitCode int    `json:"exitCode"` // of the kernel's process; 128+n for signal n
	// Kept is what is kept of the kernel's state; absent where nothing was to be.
	Kept *Kept `json:"kept,omitempty"`
	// Meter is absent where the agent counted nothing.
	Meter *Meter `json:"meter,omitempty"`
}

// Kept is what is kept of a kernel's state.
type Kept struct {
	Outcome   KeptOutcome `json:"outcome"`
	Run       int64       `json:"run,omitempty"` // whose state it is
	Variables int         `json:"variables,omitempty"`
	Bytes     int64       `json:"bytes,omitempty"`
	SavedAt   time.Time   `json:"savedAt,omitzero"`
	Lost      []string    `json:"lost,omitempty"` // in words; not all of it, if it is much
}

// KeptOutcome is how much is kept.
type KeptOutcome string

// The outcomes.
const (
	KeptWhole KeptOutcome = "whole"
	KeptPart  KeptOutcome = "part"
	KeptNone  KeptOutcome = "none"
)

// MostLost is how many lost things a Kept names.
const MostLost = 20

// Code is the agent's own exit code.
func (r Result) Code() int {
	switch r.Reason {
	case ReasonIdle, ReasonShutdown:
		return 0
	case ReasonKernelExited, ReasonStartFailed, ReasonTerminated, ReasonOrphaned:
		return 1
	}
	return 1
}
