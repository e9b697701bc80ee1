package groups

import (
	"fmt"
	"regexp"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// The largest bounds a policy may set. They keep every sum and product of
// quantities exact in 64 bits.
var (
	maxCPU    = resource.MustParse("10k")
	maxMemory = resource.MustParse("1Pi")
)

var requestRatio = regexp.MustCompile(`^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$`)

// OnStep reports whether q is Min plus a whole number of Steps, or Max. The
// caller has checked that q is between the two; a Range from a valid policy
// has whole millicores or bytes, for which this is exact.
func (r Range) OnStep(q resource.Quantity) bool {
	if q.Cmp(r.Max) == 0 {
		return true
	}
	return (q.MilliValue()-r.Min.MilliValue())%r.Step.MilliValue() == 0
}

// Includes reports whether q may be chosen.
func (r Range) Includes(q resource.Quantity) bool {
	return q.Cmp(r.Min) >= 0 && q.Cmp(r.Max) <= 0 && r.OnStep(q)
}

// unit is what differs between cpu and memory.
type unit struct {
	largest     resource.Quantity
	defaultStep resource.Quantity
	ratio       float64
	whole       func(resource.Quantity) bool
	wholeText   string
}

var (
	cpuUnit = unit{
		largest:     maxCPU,
		defaultStep: resource.MustParse("1"),
		ratio:       1.0 / 3,
		whole: func(q resource.Quantity) bool {
			return resource.NewMilliQuantity(q.MilliValue(), resource.DecimalSI).Cmp(q) == 0
		},
		wholeText: "must be a whole number of millicores",
	}
	memoryUnit = unit{
		largest:     maxMemory,
		defaultStep: resource.MustParse("1Gi"),
		ratio:       1,
		whole: func(q resource.Quantity) bool {
			return resource.NewQuantity(q.Value(), resource.BinarySI).Cmp(q) == 0
		},
		wholeText: "must be a whole number of bytes",
	}
)

// fill is the range with its defaults; it may still have faults.
func (u unit) fill(r v1alpha1.ResourceRange) Range {
	filled := Range{Min: r.Min.DeepCopy(), Max: r.Max.DeepCopy(), Step: u.defaultStep.DeepCopy(), Default: r.Min.DeepCopy(), RequestRatio: u.ratio}
	if r.Step != nil {
		filled.Step = r.Step.DeepCopy()
	}
	if r.Default != nil {
		filled.Default = r.Default.DeepCopy()
	}
	if r.RequestRatio != "" {
		// The pattern admits nothing that ParseFloat refuses.
		filled.RequestRatio, _ = strconv.ParseFloat(r.RequestRatio, 64)
	}
	return filled
}

func validateRange(r v1alpha1.ResourceRange, u unit, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	usable := true
	number := func(q resource.Quantity, name string) {
		switch here := at.Child(name); {
		case q.Sign() <= 0:
			faults = append(faults, field.Invalid(here, q.String(), "must be more than 0"))
			usable = false
		case q.Cmp(u.largest) > 0:
			faults = append(faults, field.Invalid(here, q.String(), "must be at most "+u.largest.String()))
			usable = false
		case !u.whole(q):
			faults = append(faults, field.Invalid(here, q.String(), u.wholeText))
			usable = false
		}
	}
	filled := u.fill(r)
	number(filled.Min, "min")
	number(filled.Max, "max")
	number(filled.Step, "step")
	if r.Default != nil {
		number(filled.Default, "default")
	}
	if r.RequestRatio != "" && !requestRatio.MatchString(r.RequestRatio) {
		faults = append(faults, field.Invalid(at.Child("requestRatio"), r.RequestRatio, "must be a number from 0 to 1 with at most four decimals"))
	}
	if !usable {
		return faults
	}
	if filled.Min.Cmp(filled.Max) > 0 {
		return append(faults, field.Invalid(at.Child("max"), r.Max.String(), "must not be less than min "+r.Min.String()))
	}
	if r.Default != nil {
		faults = append(faults, validateValue(filled.Default, filled, at.Child("default"))...)
	}
	return faults
}

// validateValue checks a value against a range that has no faults itself.
func validateValue(q resource.Quantity, r Range, at *field.Path) field.ErrorList {
	switch {
	case q.Cmp(r.Min) < 0:
		return field.ErrorList{field.Invalid(at, q.String(), "must not be less than min "+r.Min.String())}
	case q.Cmp(r.Max) > 0:
		return field.ErrorList{field.Invalid(at, q.String(), "must not be more than max "+r.Max.String())}
	case !r.OnStep(q):
		return field.ErrorList{field.Invalid(at, q.String(), fmt.Sprintf("must be min %s plus a multiple of step %s, or max", r.Min.String(), r.Step.String()))}
	}
	return nil
}
