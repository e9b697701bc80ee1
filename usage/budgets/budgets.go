// Package budgets reads the budgets of GroupPolicies.
package budgets

import (
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/usage"
)

// Of are the budgets of a policy's kernels. What has faults, which groups.ValidatePolicy
// finds, bounds nothing: its policy gives nothing to anyone.
func Of(p *v1alpha1.GroupPolicy) []usage.Budget {
	var all []usage.Budget
	for i := range p.Spec.Kernels.Budget {
		if b := of(p.Name, &p.Spec.Kernels.Budget[i]); b.Limit > 0 {
			all = append(all, b)
		}
	}
	return all
}

func of(policy string, b *v1alpha1.Budget) usage.Budget {
	read := usage.Budget{Policy: policy, Resource: b.Resource, Limit: limit(b.Hours), PerUser: b.Per == v1alpha1.BudgetPerUser}
	read.Window.Zone = b.Window.TimeZone
	switch b.Window.Calendar {
	case "":
	case v1alpha1.BudgetDay:
		read.Window.Calendar = usage.Day
	case v1alpha1.BudgetWeek:
		read.Window.Calendar = usage.Week
	case v1alpha1.BudgetMonth:
		read.Window.Calendar = usage.Month
	}
	if b.Window.Rolling != nil {
		read.Window.Rolling = b.Window.Rolling.Duration
	}
	return read
}

// limit is in thousandths of a unit times milliseconds. Hours are whole thousandths of a
// second then, and at most what fits.
func limit(hours resource.Quantity) int64 {
	const perHour = float64(1000 * time.Hour / time.Millisecond)
	return int64(min(math.Round(hours.AsApproximateFloat64()*perHour), math.MaxInt64/2))
}

// Named are the budgets of the policy that a kernel is accounted to, the first of these names.
func Named(policies []v1alpha1.GroupPolicy, names []string) []usage.Budget {
	if len(names) == 0 {
		return nil
	}
	i := slices.IndexFunc(policies, func(p v1alpha1.GroupPolicy) bool { return p.Name == names[0] })
	if i < 0 {
		return nil
	}
	return Of(&policies[i])
}

// All are the budgets of all policies.
func All(policies []v1alpha1.GroupPolicy) []usage.Budget {
	var all []usage.Budget
	for i := range policies {
		all = append(all, Of(&policies[i])...)
	}
	return all
}
