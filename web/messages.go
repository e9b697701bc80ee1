package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/elastichub/elastichub/forms"
)

// Messages is every text of the pages in one language. Texts that depend on
// numbers are functions, since plurals differ by language. Those with {names}
// in braces are filled in by the page's script, which knows no grammar.
type Messages struct {
	// Lang is the BCP 47 tag of the texts.
	Lang string

	OptionsFor func(group string) string
	// Faults heads the list of what is wrong.
	Faults string
	// Reset says that last time's choice of the fields is not allowed any more.
	Reset func(labels []string) string
	Stale func(asOf time.Time) string

	Size     string
	Presets  string
	CPULabel string
	// CPUUnit and CPUUnitOne follow a number; the latter follows 1.
	CPUUnit, CPUUnitOne string
	MemoryLabel         string
	MemoryUnit          string
	Slider              func(label string) string
	Bounds              func(b FieldBounds) string
	Steps               func(step string) string
	// Guaranteed has {request}, {limit} and {unit}; All stands when they are equal.
	Guaranteed, GuaranteedAll string

	Image            string
	HiddenChannel    string
	RedirectProposed func(channel string) string
	Kernels          string
	KernelsIntro     string
	NoKernels        string
	// RemoteKernels heads a list without GPUs.
	RemoteKernels, RemoteKernelsIntro string
	KernelGPUs                        func(n int) string
	KernelNoGPU                       string
	ReturnedAfter                     func(idle time.Duration) string
	ParkedAfter                       func(idle time.Duration) string
	KeptWhileOpen                     string
	GPUsPerUser                       func(n int) string
	FreeGPUs                          func(free, total int) string
	FieldFault                        func(f forms.FieldError, view FieldBounds) string
	ImageFault                        string
	UnknownFieldFault                 func(name string) string
}

// FieldBounds are a number field's bounds as the form spells them.
type FieldBounds struct {
	Lowest, Highest, Step string
	// Unit follows a number, UnitOne follows 1.
	Unit, UnitOne string
}

func (b FieldBounds) unitAfter(number string) string {
	if number == "1" {
		return b.UnitOne
	}
	return b.Unit
}

// English returns the English texts.
func English() *Messages {
	return &Messages{
		Lang:       "en",
		OptionsFor: func(group string) string { return "Options for " + group },
		Faults:     "The server was not started. Please correct:",
		Reset: func(labels []string) string {
			return "Your last choice is no longer available (" + strings.Join(labels, ", ") + "), so the default is selected."
		},
		Stale: func(asOf time.Time) string {
			return "The user directory does not answer; your groups are as of " + asOf.UTC().Format("15:04 UTC") + "."
		},

		Size: "Size", Presets: "Presets",
		CPULabel: "CPU", CPUUnit: "CPUs", CPUUnitOne: "CPU", MemoryLabel: "Memory", MemoryUnit: "GiB",
		Slider: func(label string) string { return label + " slider" },
		Bounds: func(b FieldBounds) string {
			if b.Lowest == b.Highest {
				return fmt.Sprintf("Always %s %s.", b.Lowest, b.unitAfter(b.Lowest))
			}
			return fmt.Sprintf("%s to %s %s, in steps of %s.", b.Lowest, b.Highest, b.unitAfter(b.Highest), b.Step)
		},
		Steps:         func(step string) string { return "steps of " + step },
		Guaranteed:    "{request} of {limit} {unit} guaranteed, the rest when the machine has it to spare.",
		GuaranteedAll: "All {limit} {unit} guaranteed.",

		Image:            "Software",
		HiddenChannel:    "no longer offered",
		RedirectProposed: func(channel string) string { return "Switch to " + channel },

		Kernels:            "GPU kernels",
		KernelsIntro:       "The server itself holds no GPU. These kernels get one when you run a cell.",
		RemoteKernels:      "Kernels on demand",
		RemoteKernelsIntro: "These kernels run beside the server, with resources of their own, from the first cell you run.",
		NoKernels:          "Your group has no GPU kernels. Notebooks run on the CPUs chosen above.",
		KernelGPUs: func(n int) string {
			if n == 1 {
				return "1 GPU"
			}
			return fmt.Sprintf("%d GPUs", n)
		},
		KernelNoGPU: "no GPU",
		ReturnedAfter: func(idle time.Duration) string {
			return "GPU is returned after " + englishDuration(idle) + " without work"
		},
		ParkedAfter:   func(idle time.Duration) string { return "parked after " + englishDuration(idle) + " without work" },
		KeptWhileOpen: "kept until you shut it down",
		GPUsPerUser: func(n int) string {
			if n == 1 {
				return "You can hold 1 GPU at a time."
			}
			return fmt.Sprintf("You can hold up to %d GPUs at a time.", n)
		},
		FreeGPUs: func(free, total int) string { return fmt.Sprintf("%d of %d GPUs free now", free, total) },

		FieldFault:        englishFault,
		ImageFault:        "Choose one of these.",
		UnknownFieldFault: func(name string) string { return "There is no option named “" + name + "”." },
	}
}

func englishFault(f forms.FieldError, b FieldBounds) string {
	switch f.Code {
	case forms.Missing:
		return fmt.Sprintf("Enter a number from %s to %s %s.", b.Lowest, b.Highest, b.Unit)
	case forms.BelowMin:
		return fmt.Sprintf("Your group starts at %s %s.", b.Lowest, b.unitAfter(b.Lowest))
	case forms.AboveMax:
		return fmt.Sprintf("Your group may have at most %s %s.", b.Highest, b.unitAfter(b.Highest))
	case forms.OffStep:
		return fmt.Sprintf("Count from %s in steps of %s, or take %s %s.", b.Lowest, b.Step, b.Highest, b.Unit)
	case forms.Repeated:
		return "Enter one number only."
	default:
		return fmt.Sprintf("Enter a plain number from %s to %s %s, such as %s.", b.Lowest, b.Highest, b.Unit, b.Lowest)
	}
}

func englishDuration(d time.Duration) string {
	count := func(n int64, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	seconds := int64(d / time.Second)
	switch {
	case seconds >= 3600 && seconds%3600 == 0:
		return count(seconds/3600, "hour")
	case seconds > 60 && seconds%60 == 0:
		return count(seconds/60, "minute")
	default:
		return fmt.Sprintf("%d s", seconds)
	}
}
