package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/kernels/agent/keep/store"
)

// named is how many things a notice names.
const named = 5

// Kept is what a user reads of a save when the kernel was parked.
func Kept(r Report) string {
	gone := slices.Concat(r.Lost, r.Holes, r.StateLost)
	var text string
	switch total := r.Variables + count(r.Lost); {
	case len(gone) > 0:
		text = fmt.Sprintf("%d of %d variables are kept (%s). Not kept: %s.", r.Variables, total, size(r.Bytes), list(gone, true))
	case total == 0:
		text = "There were no variables to keep."
	case total == 1:
		text = fmt.Sprintf("Its one variable is kept (%s).", size(r.Bytes))
	default:
		text = fmt.Sprintf("All %d variables are kept (%s).", total, size(r.Bytes))
	}
	return text + leftOut(r.Skipped)
}

// Returned is what a user reads of a load: what is back, what is not, and what is
// made anew. The records are those in which a process died.
func Returned(r Report, without []Record) string {
	gone := slices.Concat(r.Lost, r.Holes, r.StillLost)
	for _, each := range r.Failed {
		if !slices.ContainsFunc(without, func(w Record) bool { return w.Name == each.Name }) {
			gone = append(gone, each)
		}
	}
	for _, each := range without {
		gone = append(gone, Thing{Name: each.Name, Type: each.Type, Cell: each.Cell, Why: "making it again ended the process"})
	}
	var with, text string
	switch {
	case r.Variables == 0:
		with = "without variables"
	case r.Variables == 1:
		with = "with one variable"
	case len(gone) == 0:
		with = fmt.Sprintf("with all %d variables", r.Variables)
	default:
		with = fmt.Sprintf("with %d variables", r.Variables)
	}
	text = fmt.Sprintf("Kernel is back %s.", with)
	if r.Seconds >= 0.1 {
		text = fmt.Sprintf("Kernel is back %s (%.1f s).", with, r.Seconds)
	}
	if len(gone) > 0 {
		text += fmt.Sprintf(" Not back: %s.", list(gone, true))
	}
	if len(r.Changed) > 0 {
		text += fmt.Sprintf(" Not as it was, so look before you use it: %s.", list(r.Changed, false))
	}
	if len(r.Again) > 0 {
		text += fmt.Sprintf(" Made again: %s.", list(r.Again, true))
	}
	if r.Debugger.Why != "" {
		text += fmt.Sprintf(" Breakpoints are not set: %s.", r.Debugger.Why)
	}
	return text + leftOut(r.Skipped)
}

// NotReturned is what a user reads where nothing was loaded, and why.
func NotReturned(err error) string {
	why := "they could not be loaded"
	var damaged *store.DamagedError
	switch {
	case errors.As(err, &damaged), errors.Is(err, store.ErrOtherKernel), errors.Is(err, store.ErrOtherKey):
		why = "what is in the home is not what was kept"
	case errors.Is(err, store.ErrExpired):
		why = "they were kept for too long"
	case errors.Is(err, store.ErrUnknownFormat):
		why = "they were kept by another release"
	case errors.Is(err, ErrGone):
		why = "the process ended while they were loaded"
	}
	return fmt.Sprintf("Kernel is back without its variables: %s.", why)
}

// NotKept is what a user reads where the kernel was parked without its state.
func NotKept(err error) string {
	why := "they could not be saved"
	switch {
	case errors.Is(err, store.ErrVolumeFull):
		why = "the home has no room for them"
	case errors.Is(err, store.ErrTooLarge):
		why = "they are larger than may be kept"
	case errors.Is(err, errInterrupted):
		why = "something was asked of the kernel each time they were saved"
	case errors.Is(err, errTooSlow):
		why = "saving them took too long"
	case errors.Is(err, errNoAnswer), errors.Is(err, context.DeadlineExceeded):
		why = "the kernel did not answer"
	}
	return fmt.Sprintf("Variables are gone (%s), files are kept.", why)
}

// LostIn names what a save did not keep, at most so many things.
func LostIn(r Report, most int) []string {
	var all []string
	for _, each := range slices.Concat(r.Lost, r.Holes, r.StateLost) {
		if each.More == 0 && len(all) < most {
			all = append(all, each.Name+" ("+each.about()+")")
		}
	}
	return all
}

func count(things []Thing) int {
	n := 0
	for _, each := range things {
		n += max(each.More, 1)
	}
	return n
}

func leftOut(skipped []Thing) string {
	if len(skipped) == 0 {
		return ""
	}
	return fmt.Sprintf(" Left out, as you wished: %s.", list(skipped, false))
}

// list names things, and why.
func list(things []Thing, why bool) string {
	var texts []string
	more := 0
	for i, each := range things {
		if each.More > 0 || i >= named {
			more += max(each.More, 1)
			continue
		}
		text := "`" + each.Name + "`"
		if why {
			text += " (" + each.about() + ")"
		}
		texts = append(texts, text)
	}
	if more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// about says of what type a thing is, why it is not as it was, and where it came from.
func (t Thing) about() string {
	text := t.Type
	for _, each := range []string{t.Why, t.What} {
		if each != "" {
			text += ": " + each
		}
	}
	if t.Cell != nil {
		text += fmt.Sprintf(", In [%d]", *t.Cell)
	}
	return text
}

// size is a number of bytes as people say it.
func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%d KB", (n+999)/1000)
}
