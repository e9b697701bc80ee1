package groups

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Bounds of budgets. The ledger of hours goes back as far as the longest window.
const (
	maxBudgets       = 16
	shortestWindow   = time.Minute
	longestWindow    = 35 * 24 * time.Hour
	maxTimeZoneBytes = 253
)

// maxBudgetHours keeps sums of the ledger exact in 64 bits.
var maxBudgetHours = resource.MustParse("1G")

func validateBudgets(k v1alpha1.PolicyKernels, at *field.Path) field.ErrorList {
	faults := atMost(len(k.Budget), maxBudgets, at.Child("budget"))
	type scope struct {
		resource string
		per      v1alpha1.BudgetScope
		calendar v1alpha1.BudgetCalendar
		rolling  time.Duration
	}
	seen := map[scope]bool{}
	for i, b := range k.Budget {
		here := at.Child("budget").Index(i)
		faults = append(faults, validateBudgetResource(b.Resource, here.Child("resource"))...)
		switch {
		case b.Hours.Sign() <= 0:
			faults = append(faults, field.Invalid(here.Child("hours"), b.Hours.String(), "must be more than 0"))
		case b.Hours.Cmp(maxBudgetHours) > 0:
			faults = append(faults, field.Invalid(here.Child("hours"), b.Hours.String(), "must be at most "+maxBudgetHours.String()))
		case b.Hours.Cmp(*resource.NewScaledQuantity(1, resource.Micro)) < 0:
			faults = append(faults, field.Invalid(here.Child("hours"), b.Hours.String(), "must be at least 1u, a millionth of an hour"))
		}
		switch b.Per {
		case v1alpha1.BudgetPerUser, v1alpha1.BudgetPerGroup:
		default:
			faults = append(faults, field.NotSupported(here.Child("per"), b.Per, []v1alpha1.BudgetScope{v1alpha1.BudgetPerUser, v1alpha1.BudgetPerGroup}))
		}
		faults = append(faults, validateWindow(b.Window, here.Child("window"))...)
		s := scope{resource: b.Resource, per: b.Per, calendar: b.Window.Calendar}
		if b.Window.Rolling != nil {
			s.rolling = b.Window.Rolling.Duration
		}
		if seen[s] {
			faults = append(faults, field.Duplicate(here, b.Resource+" per "+string(b.Per)+" in one window"))
		}
		seen[s] = true
	}
	values := []v1alpha1.OnBudget{v1alpha1.OnBudgetWhole, v1alpha1.OnBudgetAny, v1alpha1.OnBudgetForce, v1alpha1.OnBudgetNone}
	if k.OnBudget != "" && !slices.Contains(values, k.OnBudget) {
		faults = append(faults, field.NotSupported(at.Child("onBudget"), k.OnBudget, values))
	}
	return faults
}

func validateBudgetResource(name string, at *field.Path) field.ErrorList {
	if name == "cpu" || name == "memory" {
		return nil
	}
	if !strings.Contains(name, "/") {
		return field.ErrorList{field.Invalid(at, name, "must be cpu, memory or an extended resource such as nvidia.com/gpu")}
	}
	var faults field.ErrorList
	for _, text := range validation.IsQualifiedName(name) {
		faults = append(faults, field.Invalid(at, name, text))
	}
	return faults
}

func validateWindow(w v1alpha1.BudgetWindow, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	calendars := []v1alpha1.BudgetCalendar{v1alpha1.BudgetDay, v1alpha1.BudgetWeek, v1alpha1.BudgetMonth}
	switch {
	case (w.Rolling != nil) == (w.Calendar != ""):
		faults = append(faults, field.Invalid(at, field.OmitValueType{}, "exactly one of rolling and calendar must be set"))
	case w.Rolling != nil && (w.Rolling.Duration < shortestWindow || w.Rolling.Duration > longestWindow):
		faults = append(faults, field.Invalid(at.Child("rolling"), w.Rolling.Duration.String(), "must be from 1m to 840h, 35 days"))
	case w.Calendar != "" && !slices.Contains(calendars, w.Calendar):
		faults = append(faults, field.NotSupported(at.Child("calendar"), w.Calendar, calendars))
	}
	if len(w.TimeZone) > maxTimeZoneBytes {
		return append(faults, field.TooLong(at.Child("timeZone"), "", maxTimeZoneBytes))
	}
	if _, err := time.LoadLocation(w.TimeZone); err != nil || w.TimeZone == "Local" {
		faults = append(faults, field.Invalid(at.Child("timeZone"), w.TimeZone, "must be a time zone of IANA's such as Europe/Berlin"))
	}
	return faults
}
