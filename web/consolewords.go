package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

// about is a time in its largest unit, rounded down.
func (m *Messages) about(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return m.count(m.Seconds, fmt.Sprint(int64(d/time.Second)))
	case d < 2*time.Hour:
		return m.count(m.Minutes, fmt.Sprint(int64(d/time.Minute)))
	case d < 48*time.Hour:
		return m.count(m.Hours, fmt.Sprint(int64(d/time.Hour)))
	}
	return m.count(m.Days, fmt.Sprint(int64(d/(24*time.Hour))))
}

// stateView is a state in a word, with a mark beside it.
type stateView struct{ text, mark string }

func (m *Messages) kernelState(k holdings.Kernel) stateView {
	switch k.Phase {
	case v1alpha1.KernelQueued:
		return stateView{m.PhaseQueued.plain(), "warn"}
	case v1alpha1.KernelStarting:
		return stateView{m.PhaseStarting.plain(), "warn"}
	case v1alpha1.KernelReady:
		if k.IdleSince != nil {
			return stateView{m.PhaseIdle.plain(), "idle"}
		}
		return stateView{m.PhaseBusy.plain(), "good"}
	case v1alpha1.KernelParked:
		return stateView{m.PhaseParked.plain(), ""}
	case v1alpha1.KernelDead:
		return stateView{m.PhaseDead.plain(), "bad"}
	}
	return stateView{string(k.Phase), ""} // of a newer controller
}

func (m *Messages) serverState(s holdings.Server) stateView {
	switch s.Phase {
	case v1alpha1.NotebookPending:
		return stateView{m.ServerPending.plain(), "warn"}
	case v1alpha1.NotebookStarting:
		return stateView{m.ServerStarting.plain(), "warn"}
	case v1alpha1.NotebookReady:
		return stateView{m.ServerReady.plain(), "good"}
	case v1alpha1.NotebookStopping:
		return stateView{m.ServerStopping.plain(), "warn"}
	case v1alpha1.NotebookStopped:
		return stateView{m.ServerStopped.plain(), ""}
	case v1alpha1.NotebookFailed:
		return stateView{m.ServerFailed.plain(), "bad"}
	}
	return stateView{string(s.Phase), ""}
}

// amounts of devices, as "2 GPUs"; those that are not called so bear their names.
func (m *Messages) amounts(devices map[string]int64) string {
	var parts []string
	for _, resource := range slices.Sorted(maps.Keys(devices)) {
		n := strconv.FormatInt(devices[resource], 10)
		if strings.HasSuffix(resource, "/gpu") && len(devices) == 1 {
			parts = append(parts, m.count(m.KernelGPUs, n))
		} else {
			parts = append(parts, n+nbsp+"×"+nbsp+resource)
		}
	}
	return m.list(parts)
}

func (m *Messages) cores(n float64) string {
	text := strconv.FormatFloat(n, 'f', 2, 64)
	return m.count(m.CPUAmount, strings.TrimSuffix(strings.TrimRight(text, "0"), "."))
}

func (m *Messages) gibibytes(n int64) string {
	text := strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64)
	return m.count(m.MemoryAmount, strings.TrimSuffix(text, ".0"))
}

// size is CPU and memory, empty where neither is known.
func (m *Messages) size(cpu float64, memory int64) string {
	var parts []string
	if cpu > 0 {
		parts = append(parts, m.cores(cpu))
	}
	if memory > 0 {
		parts = append(parts, m.gibibytes(memory))
	}
	return m.list(parts)
}

// kernelLines say in words where a kernel stands.
func (c Console) kernelLines(k holdings.Kernel) []string {
	var lines []string
	say := func(t message, pairs ...string) { lines = append(lines, c.Msg.say(t, pairs...)) }
	switch {
	case k.Queue != nil:
		say(c.Msg.PlaceInQueue, "place", strconv.Itoa(int(k.Queue.Position)), "length", strconv.Itoa(int(k.Queue.Length)))
		if k.Queue.Reason != "" {
			lines = append(lines, k.Queue.Reason)
		}
		if k.Since != nil {
			say(c.Msg.WaitsFor, "time", c.Msg.about(c.Now.Sub(*k.Since)))
		}
		lines = append(lines, c.movedLines(k)...)
	case k.Phase == v1alpha1.KernelReady && k.IdleSince != nil:
		say(c.Msg.IdleFor, "time", c.Msg.about(c.Now.Sub(*k.IdleSince)))
		switch {
		case k.ParkAt == nil:
		case k.ParkAt.After(c.Now):
			say(c.Msg.ParkIn, "time", c.Msg.about(k.ParkAt.Sub(c.Now)))
		default:
			say(c.Msg.ParkSoon)
		}
		if until := k.SnoozedUntil; until != nil && until.After(c.Now) {
			say(c.Msg.SnoozedFor, "time", c.Msg.about(until.Sub(c.Now)))
		}
	case k.Phase == v1alpha1.KernelParked && k.Since != nil:
		say(c.Msg.ParkedFor, "time", c.Msg.about(c.Now.Sub(*k.Since)))
	}
	if k.Kept != nil {
		text := c.Msg.KeptWhole
		if !k.Kept.Whole {
			text = c.Msg.KeptPart
		}
		lines = append(lines, c.Msg.count(text, strconv.Itoa(int(k.Kept.Variables)), "lost", c.Msg.list(k.Kept.Lost)))
	}
	switch {
	case k.Ending:
		say(c.Msg.Ending)
	case k.Releasing:
		say(c.Msg.Releasing)
	}
	if k.Message != "" {
		lines = append(lines, k.Message)
	}
	return lines
}

// movedLines say who has moved a kernel in the queue, and why.
func (c Console) movedLines(k holdings.Kernel) []string {
	if k.Moved == nil {
		return nil
	}
	text := c.Msg.MovedFirst
	if k.Moved.To == holdings.MovedLast {
		text = c.Msg.MovedLast
	}
	lines := []string{text.plain()}
	if k.Moved.By != "" || k.Moved.Reason != "" {
		lines = append(lines, c.Msg.say(c.Msg.MovedWhy, "by", k.Moved.By, "reason", k.Moved.Reason))
	}
	return lines
}

func (c Console) serverLines(s holdings.Server) []string {
	var lines []string
	say := func(t message, d time.Duration) { lines = append(lines, c.Msg.say(t, "time", c.Msg.about(d))) }
	if until := s.SnoozedUntil; until != nil && until.After(c.Now) && !s.Stopped {
		say(c.Msg.SnoozedFor, until.Sub(c.Now))
	}
	lines = append(lines, c.keptLines(s.Busy)...)
	if s.LastActivity != nil && s.Phase == v1alpha1.NotebookReady {
		say(c.Msg.LastUsed, c.Now.Sub(*s.LastActivity))
	}
	if s.StopAt != nil && !s.Stopped {
		switch s.StopCause {
		case v1alpha1.StopIdle:
			say(c.Msg.StopIfIdle, s.StopAt.Sub(c.Now))
		case v1alpha1.StopMaxRun:
			say(c.Msg.StopAtMax, s.StopAt.Sub(c.Now))
		case v1alpha1.StopBudget, v1alpha1.StopAdmin, v1alpha1.StopOrphan, v1alpha1.StopEnvironment:
		}
	}
	if s.Message != "" {
		lines = append(lines, s.Message)
	}
	if s.Orphan != nil {
		lines = append(lines, s.Orphan.Message)
	}
	return lines
}

// mostKept is how many of the things that keep a server have a line.
const mostKept = 3

// keptLines say what keeps a server, and for how long it has.
func (c Console) keptLines(all []holdings.Busy) []string {
	var lines []string
	for _, b := range all[:min(len(all), mostKept)] {
		what := b.Name
		switch b.Kind {
		case v1alpha1.BusyKernel:
			what = c.Msg.say(c.Msg.BusyKernel, "name", cmp.Or(b.Title, b.Name))
		case v1alpha1.BusyTerminal:
			what = c.Msg.say(c.Msg.BusyTerminal, "name", b.Name)
		case v1alpha1.BusyProcess:
			what = c.Msg.say(c.Msg.BusyProcess, "name", b.Name)
		}
		what = cmp.Or(what, b.Kind)
		if b.Since == nil {
			lines = append(lines, c.Msg.say(c.Msg.KeptBy, "what", what))
			continue
		}
		lines = append(lines, c.Msg.say(c.Msg.KeptBySince, "what", what, "time", c.Msg.about(c.Now.Sub(*b.Since))))
	}
	if more := len(all) - len(lines); more > 0 {
		lines = append(lines, c.Msg.count(c.Msg.KeptByMore, strconv.Itoa(more)))
	}
	return lines
}

// deviceLine is what a kernel holds or asks for, empty if it needs no device.
func (m *Messages) deviceLine(k holdings.Kernel) string {
	switch {
	case len(k.Devices) == 0:
		return ""
	case k.Holds:
		return m.say(m.HoldsDevices, "devices", m.amounts(k.Devices))
	}
	return m.say(m.AsksDevices, "devices", m.amounts(k.Devices))
}

func (c Console) ago(t *time.Time) string {
	if t == nil {
		return ""
	}
	return c.Msg.say(c.Msg.TimeAgo, "time", c.Msg.about(c.Now.Sub(*t)))
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// poolText is what a policy's members hold together.
func (m *Messages) poolText(g *holdings.PolicyGPUs) string {
	held := strconv.Itoa(int(g.Held))
	if g.Pool == nil {
		return m.say(m.GpusNoPool, "held", held)
	}
	return m.say(m.GpusOfPool, "held", held, "pool", strconv.Itoa(int(*g.Pool)))
}
