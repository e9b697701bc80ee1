package agent

import (
	"fmt"
	"time"
)

// notice is what a user reads in the last cell when the kernel was parked.
func (a *agent) notice(timeout time.Duration) string {
	held := ""
	switch {
	case a.cfg.GPUs == 1:
		held = ": its GPU is free again"
	case a.cfg.GPUs > 1:
		held = fmt.Sprintf(": its %d GPUs are free again", a.cfg.GPUs)
	}
	return fmt.Sprintf("Kernel parked after %s without work%s. Run a cell to bring it back; variables are gone, files are kept.",
		span(timeout), held)
}

// span is a duration as people say it: seconds below two minutes, then minutes.
func span(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}
