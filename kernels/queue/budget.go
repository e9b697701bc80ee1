package queue

import (
	"slices"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/usage/budgets"
)

// Standings tells how budgets stand; nil: that is not known yet.
type Standings func() *usage.Standings

// budgetPause is when to look again whether it is known how budgets stand.
const budgetPause = time.Second

// budgetOf says why the budgets of the policy that a kernel is accounted to forbid it now;
// the zero Reason if they do not. It is accounted as the ledger has it.
func (a *admitter) budgetOf(s *survey, k *v1alpha1.JupyterKernel, wants admission.Resources) admission.Reason {
	bounds := budgets.Named(s.policies, k.Spec.Policies)
	bounds = slices.DeleteFunc(bounds, func(b usage.Budget) bool {
		return !b.Binds(func(device string) bool { return wants[device] > 0 })
	})
	if len(bounds) == 0 {
		return admission.Reason{}
	}
	if s.standings == nil && a.cfg.Standings != nil {
		s.standings = a.cfg.Standings() // those of one moment for the whole pass
	}
	var spent []usage.Standing
	for _, b := range bounds {
		switch standing, known := s.standings.Of(b, k.Spec.User, k.Spec.Notebook == ""); {
		case !known:
			s.lookAgain(budgetPause)
			return admission.Reason{Code: admission.BudgetUnknown, Policy: b.Policy}
		case standing.Spent():
			spent = append(spent, standing)
		}
	}
	if len(spent) == 0 {
		return admission.Reason{}
	}
	longest := usage.Longest(spent)
	return admission.Reason{
		Code: admission.BudgetSpent, Policy: longest.Policy, Resource: longest.Resource, PerUser: longest.PerUser,
		Hours: longest.LimitText(), Window: longest.Window.InWords(), Again: usage.ToldTime(longest.Again),
	}
}
