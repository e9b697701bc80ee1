package lifecycle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
)

// Reasons of the Events about kernels, beside causes of their ends and what
// status.reason says. docs/health.md has the table.
const (
	reasonWaiting  = "Waiting"
	reasonAdmitted = "Admitted"
	reasonAnew     = "StartedAnew"
	reasonReady    = "Ready"
	reasonParked   = "Parked"
	reasonEnded    = "Ended"
	reasonDeleted  = "Deleted"
)

// EventsOf are the Events about a kernel whose status has changed. Each status that is
// written makes one at most of its phase, and one of what it waits for.
func EventsOf(former, now v1alpha1.JupyterKernelStatus) []health.Event {
	var told []health.Event
	switch {
	case now.Phase == former.Phase && now.Run == former.Run:
	case now.Phase == v1alpha1.KernelStarting:
		told = append(told, health.Normal(reasonAdmitted, heldWords(now)))
	case now.Phase == v1alpha1.KernelQueued && former.Phase == v1alpha1.KernelStarting && now.Run == former.Run:
		told = append(told, health.Warning(reasonAnew, now.Message))
	case now.Phase == v1alpha1.KernelReady:
		told = append(told, health.Normal(reasonReady, "The kernel's agent answers."))
	case now.Phase == v1alpha1.KernelParked:
		told = append(told, health.Normal(reasonParked, now.Message))
	case now.Phase == v1alpha1.KernelDead && meta.IsStatusConditionTrue(now.Conditions, ConditionSucceeded):
		told = append(told, health.Normal(reasonEnded, now.Message))
	case now.Phase == v1alpha1.KernelDead:
		told = append(told, health.Warning(string(cmp.Or(now.Cause, v1alpha1.CauseUnknown)), now.Message))
	}
	if former.Queue == nil && now.Queue != nil {
		told = append(told, health.Normal(reasonWaiting, fmt.Sprintf("Position %d of %d: %s.", now.Queue.Position, now.Queue.Length, strings.TrimSuffix(now.Queue.Reason, "."))))
	}
	if now.Reason != "" && !now.Phase.IsOver() && now.Reason != former.Reason {
		for _, c := range now.Conditions { // the one that the reason is of
			if c.Reason == now.Reason {
				told = append(told, health.Warning(now.Reason, c.Message))
				break
			}
		}
	}
	return told
}

// heldWords says what an admitted run holds.
func heldWords(s v1alpha1.JupyterKernelStatus) string {
	var held []string
	for _, name := range slices.Sorted(maps.Keys(s.Held)) {
		quantity := s.Held[name]
		held = append(held, quantity.String()+" "+string(name))
	}
	if len(held) == 0 {
		return fmt.Sprintf("Run %d may start.", s.Run)
	}
	return fmt.Sprintf("Run %d may start, and holds %s.", s.Run, strings.Join(held, ", "))
}
