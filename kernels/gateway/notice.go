package gateway

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// waiting says, for people, what a cell waits for. It is empty when the kernel
// runs. ks may be nil.
func waiting(k *v1alpha1.JupyterKernel, ks *v1alpha1.JupyterKernelSpec, ended bool) string {
	switch phaseOf(k) {
	case v1alpha1.KernelQueued:
		what := "for " + scarce(ks)
		if q := k.Status.Queue; q != nil && k.Status.Run == k.Spec.Run && q.Position > 0 {
			text := fmt.Sprintf("Waiting %s: position %d of %d", what, q.Position, max(q.Length, q.Position))
			if q.Reason != "" {
				text += ". " + strings.ToUpper(q.Reason[:1]) + strings.TrimSuffix(q.Reason[1:], ".")
			}
			return text + "."
		}
		if m := strings.TrimPrefix(strings.TrimSuffix(k.Status.Message, "."), "Waiting: "); m != "" && k.Status.Run == k.Spec.Run {
			return "Waiting " + what + ". " + m + "."
		}
		return "Waiting " + what + "."
	case v1alpha1.KernelStarting:
		text := "Starting the kernel's Pod"
		if k.Status.Node != "" {
			text += " on node " + k.Status.Node
		}
		if m := strings.TrimSuffix(k.Status.Message, "."); m != "" {
			text += ": " + m
		}
		return text + "…"
	case v1alpha1.KernelReady:
		if ended {
			return "The kernel has ended; waiting for its next Pod."
		}
		return "Connecting to the kernel…"
	case v1alpha1.KernelParked, v1alpha1.KernelDead:
		return "Asking for " + scarce(ks) + "…"
	default:
		return "Waiting for the kernel."
	}
}

// scarce names what the kernel needs that others may hold.
func scarce(ks *v1alpha1.JupyterKernelSpec) string {
	var names []string
	for name := range extendedResources(ks) {
		if strings.Contains(strings.ToLower(name), "gpu") || strings.HasPrefix(name, "nvidia.com/") {
			return "a GPU"
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		sort.Strings(names)
		return strings.Join(names, " and ")
	}
	return "a kernel"
}

// back says that a kernel has returned after waiting so long. An agent that keeps
// variables tells of them itself.
func back(waited time.Duration, keeps bool) string {
	text := fmt.Sprintf("Kernel back after %.1f s on a fresh Pod.", waited.Seconds())
	if !keeps {
		text += " Variables from before are gone; files are kept."
	}
	return text
}

// over says why a kernel ended: a name as of an exception, and a sentence.
func over(k *v1alpha1.JupyterKernel) (name, text string) {
	what := map[v1alpha1.KernelCause]string{
		v1alpha1.CauseIdle:         "The kernel was idle and has been parked.",
		v1alpha1.CauseShutdown:     "The kernel was shut down.",
		v1alpha1.CauseKernelExited: "The kernel process ended.",
		v1alpha1.CauseStartFailed:  "The kernel did not start.",
		v1alpha1.CauseOutOfMemory:  "The kernel used more memory than it may and was ended.",
		v1alpha1.CauseEvicted:      "The kernel was ended from outside.",
		v1alpha1.CauseNodeLost:     "The node the kernel ran on is gone.",
		v1alpha1.CauseImage:        "The kernel's image cannot be had.",
		v1alpha1.CauseInvalid:      "The kernel's Pod cannot be made.",
		v1alpha1.CauseOrphaned:     "The kernel lost contact with its gateway and ended.",
		v1alpha1.CauseRefused:      "The kernel was refused.",
		v1alpha1.CauseDeadline:     "The kernel was ended.",
		v1alpha1.CauseRejected:     "The kernel did not start.",
		v1alpha1.CauseBudget:       "The kernel is parked.",
		v1alpha1.CauseUnknown:      "The kernel ended.",
	}[k.Status.Cause]
	if what == "" {
		what = "The kernel ended."
	}
	name = "KernelDied"
	if k.Status.Cause != "" {
		name = "Kernel" + strings.TrimPrefix(string(k.Status.Cause), "Kernel")
	}
	if m := strings.TrimSpace(k.Status.Message); m != "" {
		what += " " + m
		if !strings.HasSuffix(what, ".") {
			what += "."
		}
	}
	if phaseOf(k) == v1alpha1.KernelDead || couldNotReturn(k) {
		what += keptOf(k) + " Run a cell to start it again."
	}
	return name, what
}

// gone says why a kernel is no more: a name as of an exception, and a sentence. k is the
// kernel as it was seen last, nil if it never was; farewell is the last word of its run's agent.
func gone(k *v1alpha1.JupyterKernel, farewell string) (name, text string) {
	switch {
	case k != nil && k.Spec.Shutdown != nil:
		name, text = "KernelShutdown", "The kernel was shut down"
	case k != nil && phaseOf(k).HasPod() && farewell == string(protocol.ReasonIdle): // it was not parked
		name, text = "KernelIdle", "The kernel was idle, and its gateway deletes idle kernels"
	default:
		name, text = "KernelDeleted", "The kernel was deleted"
	}
	return name, text + ". Its variables are gone; run this again in a new kernel."
}

// couldNotReturn reports whether a kernel was to return, as another kernelspec or although its
// budget is spent, could not, and is parked as it was.
func couldNotReturn(k *v1alpha1.JupyterKernel) bool {
	return phaseOf(k) == v1alpha1.KernelParked && k.Status.Cause != v1alpha1.CauseIdle && k.Status.Cause != ""
}

// keptOf says whether the next run has the variables of the one that ended.
func keptOf(k *v1alpha1.JupyterKernel) string {
	kept := k.Status.Kept
	switch {
	case kept == nil, kept.Run != k.Status.Run:
		return ""
	case kept.Outcome == string(protocol.KeptWhole):
		return " Its variables are kept."
	case kept.Outcome == string(protocol.KeptPart):
		return fmt.Sprintf(" %d of its variables are kept.", kept.Variables)
	}
	return ""
}
