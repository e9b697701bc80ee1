package protocol

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
}

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
