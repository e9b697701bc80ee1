package portal

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/usage/budgets"
	"github.com/elastichub/elastichub/web"
)

// standings are how the budgets of all policies stand, and what they are.
func (p *Portal) standings(ctx context.Context) (*usage.Standings, []usage.Budget, error) {
	var policies v1alpha1.GroupPolicyList
	if err := p.deps.Client.List(ctx, &policies, client.InNamespace(p.config.Namespace)); err != nil {
		return nil, nil, fmt.Errorf("portal: list policies: %w", err)
	}
	all := budgets.All(policies.Items)
	if len(all) == 0 {
		return nil, nil, nil
	}
	books, err := p.hours.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	return usage.NewStandings(books, all, p.deps.Now()), all, nil
}

// ownBudgets are those of the policies that a person's servers and kernels are accounted to,
// and those of which the person has used something.
func (p *Portal) ownBudgets(r *request) ([]web.Budget, error) {
	h, err := p.lists.get(r.Context())
	if err != nil {
		return nil, err
	}
	user := r.person.User
	if user == "" {
		return []web.Budget{}, nil
	}
	counts := map[string]bool{}
	for _, s := range own(h.Servers, ownerOfServer, user) {
		counts[s.Policy] = true
	}
	for _, k := range own(h.Kernels, ownerOfKernel, user) {
		counts[k.Policy] = true
	}
	standings, all, err := p.standings(r.Context())
	if err != nil {
		return nil, err
	}
	mine := []web.Budget{}
	for _, b := range all {
		standing, known := standings.Of(b, user, false)
		if known && (counts[b.Policy] || b.PerUser && standing.Used > 0) {
			mine = append(mine, web.Budget{Standing: standing, Own: true})
		}
	}
	return mine, nil
}

// budgetsOf are those of a policy: as they stand for all members, or for whom of them has used most.
func (p *Portal) budgetsOf(ctx context.Context, policy string) ([]web.Budget, error) {
	standings, all, err := p.standings(ctx)
	if err != nil {
		return nil, err
	}
	var found []web.Budget
	for _, b := range all {
		if b.Policy == policy {
			found = append(found, web.Budget{Standing: standings.Most(b)})
		}
	}
	return found, nil
}

// toldBudget is a budget as the API tells it.
type toldBudget struct {
	Policy   string `json:"policy"`
	Resource string `json:"resource"`
	Per      string `json:"per"`
	Window   string `json:"window"`
	TimeZone string `json:"time_zone"`
	// LimitHours and UsedHours are of one unit of the resource.
	LimitHours float64 `json:"limit_hours"`
	UsedHours  float64 `json:"used_hours"`
	Spent      bool    `json:"spent"`
	// Again is when a spent one allows something again.
	Again *time.Time `json:"again,omitempty"`
}

func tellBudgets(all []web.Budget) items[toldBudget] {
	told := items[toldBudget]{[]toldBudget{}}
	for _, b := range all {
		t := toldBudget{
			Policy: b.Policy, Resource: b.Resource, Per: string(v1alpha1.BudgetPerGroup), Window: b.Window.String(), TimeZone: b.Window.Location().String(),
			LimitHours: b.LimitHours(), UsedHours: b.UsedHours(), Spent: b.Spent(),
		}
		if b.PerUser {
			t.Per = string(v1alpha1.BudgetPerUser)
		}
		if b.Spent() {
			again := b.Again.UTC()
			t.Again = &again
		}
		told.Items = append(told.Items, t)
	}
	return told
}

func (p *Portal) tellOwnBudgets(r *request) error {
	mine, err := p.ownBudgets(r)
	if err != nil {
		return err
	}
	return r.json(tellBudgets(mine))
}

// tellBudgets tells those of all policies.
func (p *Portal) tellBudgets(r *request) error {
	standings, all, err := p.standings(r.Context())
	if err != nil {
		return err
	}
	var found []web.Budget
	for _, b := range all {
		found = append(found, web.Budget{Standing: standings.Most(b)})
	}
	return r.json(tellBudgets(found))
}
