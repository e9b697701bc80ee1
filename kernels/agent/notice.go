package agent

import (
	"fmt"
	"time"
)

// parkedNotice is what a user reads in the last cell when the kernel was parked.
func (a *agent) parkedNotice(i idleness, state words) string {
	after, limit := "Run a cell to bring it back; variables are gone, files are kept.", i.timeout
	if state.text != "" {
		after = state.text + " Run a cell to go on."
	}
	if state.after > 0 {
		limit = state.after
	}
	without := "without work"
	switch i.still {
	case standstillInput:
		without = "of waiting for input"
	case standstillDebug:
		without = "at a breakpoint"
	case standstillHung:
		without = "without an answer"
	case standstillNone:
	}
	if i.byHand {
		return fmt.Sprintf("Kernel parked by hand%s. %s", a.held("", ": its GPU is free again", ": its %d GPUs are free again"), after)
	}
	if i.budget {
		return fmt.Sprintf("Kernel parked, since a budget of its policy is spent%s. %s", a.held("", ": its GPU is free again", ": its %d GPUs are free again"), after)
	}
	if !i.yields {
		return fmt.Sprintf("Kernel parked after %s %s%s. %s", span(limit), without, a.held("", ": its GPU is free again", ": its %d GPUs are free again"), after)
	}
	return fmt.Sprintf("Kernel parked after %s %s, since somebody was waiting for %s. %s", span(i.idle), without, a.held("what it held", "its GPU", "its %d GPUs"), after)
}

// held chooses the words for the kernel's GPUs.
func (a *agent) held(none, one, several string) string {
	switch a.cfg.GPUs {
	case 0:
		return none
	case 1:
		return one
	}
	return fmt.Sprintf(several, a.cfg.GPUs)
}

// span is a duration as people say it: seconds below two minutes, then minutes.
func span(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}
