package lifecycle

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/usage/budgets"
)

const (
	// budgetNotice is how long people have between the notice that a budget is spent and the
	// parking of their kernels.
	budgetNotice = time.Minute
	// budgetsEvery is how often it is looked at how budgets stand.
	budgetsEvery = time.Second
	// nearAgain is the share below which it is forgotten that most of a budget was used: one
	// that comes and goes over usage.Low is told of once.
	nearAgain = 0.75
)

// Reasons of ConditionBudgetLeft.
const (
	reasonLow   = "Low"
	reasonSpent = "Spent"
)

// Standings tells how budgets stand; nil: that is not known yet.
type Standings func() *usage.Standings

// budgetLevel is how much of a kernel's budgets is used.
type budgetLevel int

const (
	budgetUnknown budgetLevel = iota // what was known holds
	budgetFree
	budgetLow
	budgetSpent
)

// budgetFinding is how the budgets stand of the policy that a kernel is accounted to.
type budgetFinding struct {
	level    budgetLevel
	standing usage.Standing // the one of which most is used, or which holds longest
	onBudget v1alpha1.OnBudget
}

// findBudget looks up the budgets that bound a kernel with a Pod.
func findBudget(k *v1alpha1.JupyterKernel, policies []v1alpha1.GroupPolicy, standings Standings) budgetFinding {
	if k.Status.Phase != v1alpha1.KernelReady || len(policies) == 0 {
		return budgetFinding{}
	}
	f := budgetFinding{level: budgetFree, onBudget: policies[0].Spec.Kernels.OnBudget}
	if f.onBudget == "" {
		f.onBudget = v1alpha1.OnBudgetWhole
	}
	held := podspec.FromList(k.Status.Held)
	var found []usage.Standing
	for _, b := range budgets.Of(&policies[0]) {
		if !b.Binds(func(device string) bool { return held[device] > 0 }) {
			continue
		}
		if standings == nil {
			return budgetFinding{}
		}
		standing, known := standings().Of(b, k.Spec.User, k.Spec.Notebook == "")
		if !known {
			return budgetFinding{}
		}
		found = append(found, standing)
	}
	if len(found) == 0 {
		return f
	}
	f.standing = usage.Longest(found)
	low := usage.Low
	if meta.FindStatusCondition(k.Status.Conditions, ConditionBudgetLeft) != nil {
		low = nearAgain
	}
	switch {
	case f.standing.Spent():
		f.level = budgetSpent
	case f.standing.Share() >= low:
		f.level = budgetLow
	}
	return f
}

// reason is that of ConditionBudgetLeft; empty: there is none.
func (f budgetFinding) reason() string {
	switch f.level {
	case budgetLow:
		return reasonLow
	case budgetSpent:
		return reasonSpent
	case budgetFree, budgetUnknown:
	}
	return ""
}

// shownBudget is the reason that a kernel's status shows.
func shownBudget(s *v1alpha1.JupyterKernelStatus) string {
	if c := meta.FindStatusCondition(s.Conditions, ConditionBudgetLeft); c != nil {
		return c.Reason
	}
	return ""
}

// what names the budget, for people.
func (f budgetFinding) what() string {
	whose := "of all members"
	if f.standing.PerUser {
		whose = "of each user"
	}
	return fmt.Sprintf("the budget of policy %s, %s hours of %s %s per %s", f.standing.Policy, f.standing.LimitText(), f.standing.Resource, whose, f.standing.Window.InWords())
}

// notice is what people read in a cell.
func (f budgetFinding) notice() string {
	switch f.level {
	case budgetLow:
		return fmt.Sprintf("%.0f %% of %s is used. Once all of it is, no more kernels are started%s.", 100*f.standing.Share(), f.what(), f.andParked())
	case budgetSpent:
		return fmt.Sprintf("All of %s is used: no more kernels are started%s.", f.what(), f.soonParked())
	case budgetFree, budgetUnknown:
	}
	return ""
}

func (f budgetFinding) andParked() string {
	switch f.onBudget {
	case v1alpha1.OnBudgetNone:
		return ""
	case v1alpha1.OnBudgetForce:
		return ", and those that run are parked"
	case v1alpha1.OnBudgetWhole, v1alpha1.OnBudgetAny:
	}
	return ", and those that run are parked when they are idle"
}

func (f budgetFinding) soonParked() string {
	when := fmt.Sprintf("in %d s", int(budgetNotice.Seconds()))
	switch f.onBudget {
	case v1alpha1.OnBudgetNone:
		return ""
	case v1alpha1.OnBudgetForce:
		return ", and this one is parked " + when + ", busy or not"
	case v1alpha1.OnBudgetAny:
		return ", and this one is parked " + when + ", or when it is idle"
	case v1alpha1.OnBudgetWhole:
	}
	return ", and this one is parked " + when + ", or when it is idle, if all of its variables can be kept"
}

// parked is the sentence for the user of a kernel that was parked for a budget.
func (f budgetFinding) parked() string {
	text := "The kernel was parked, since a budget of its policy is spent."
	if f.level == budgetSpent {
		text = fmt.Sprintf("The kernel was parked, since %s, is spent. It can return from %s.", f.what(), usage.ToldTime(f.standing.Again))
	}
	return text
}

// followBudget notes how the budgets stand when that changes. The text stays that of the change.
func (p *plan) followBudget(v observed) {
	reason := v.budget.reason()
	switch {
	case p.status.Phase != v1alpha1.KernelReady || v.budget.level == budgetUnknown:
		return
	case reason == "":
		meta.RemoveStatusCondition(&p.status.Conditions, ConditionBudgetLeft)
	case reason != shownBudget(&p.status):
		p.setCondition(v.now, ConditionBudgetLeft, v.budget.level == budgetLow, reason, v.budget.notice())
	}
	if left := budgetNotice - spentFor(&p.status, v.now); reason == reasonSpent && left > 0 && (p.lookAgain == 0 || left < p.lookAgain) {
		p.lookAgain = left
	}
}

// spentFor is for how long people have known that a budget is spent.
func spentFor(s *v1alpha1.JupyterKernelStatus, now time.Time) time.Duration {
	c := meta.FindStatusCondition(s.Conditions, ConditionBudgetLeft)
	if c == nil || c.Reason != reasonSpent {
		return 0
	}
	return now.Sub(c.LastTransitionTime.Time)
}

// endsByBudget reports whether a run that its agent has parked was to be, for a budget.
func (p *plan) endsByBudget(v observed) bool {
	return v.budget.onBudget != v1alpha1.OnBudgetNone && spentFor(&v.kernel.Status, v.now) >= budgetNotice
}

// budgetOf is findBudget with the policy that a kernel is accounted to.
func (r *kernelReconciler) budgetOf(ctx context.Context, k *v1alpha1.JupyterKernel) (budgetFinding, error) {
	if k.Status.Phase != v1alpha1.KernelReady || len(k.Status.Policies) == 0 {
		return budgetFinding{}, nil
	}
	policies, err := podspec.PoliciesNamed(ctx, r.client, r.pods.Config().PoliciesOf(k), k.Status.Policies[:1])
	if err != nil {
		return budgetFinding{}, err
	}
	return findBudget(k, policies, r.standings), nil
}

// askForBudget asks the agent of a kernel to park it, once its budget is spent and the notice is over.
func (r *kernelReconciler) askForBudget(ctx context.Context, k *v1alpha1.JupyterKernel, f budgetFinding) parkAnswer {
	if f.level != budgetSpent || f.onBudget == v1alpha1.OnBudgetNone || spentFor(&k.Status, r.now()) < budgetNotice {
		return parkNone
	}
	refused := parkLater
	if f.onBudget == v1alpha1.OnBudgetForce {
		refused = parkNow
	}
	if !HasAgent(k) || k.Spec.KernelSpec == "" {
		return refused
	}
	secrets, err := podspec.AgentSecrets(ctx, r.live, k)
	if err != nil {
		log.FromContext(ctx).Error(err, "the agent of a kernel whose budget is spent cannot be asked")
		return refused
	}
	calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
	defer cancel()
	agreed, err := r.agents.ParkForBudget(calling, k.Status.PodIP, secrets, parkIdle, f.onBudget == v1alpha1.OnBudgetWhole)
	switch {
	case err != nil:
		log.FromContext(ctx).Info("the agent of a kernel whose budget is spent does not answer", "error", err.Error())
		return refused
	case agreed:
		return parkAgreed
	}
	return refused
}

// tellBudget has people read in their cells how their budget stands, when that has changed. An agent that
// does not answer, or is of a former release, tells nobody.
func (r *kernelReconciler) tellBudget(ctx context.Context, k *v1alpha1.JupyterKernel, p *plan, f budgetFinding) {
	reason := shownBudget(&p.status)
	if reason == shownBudget(&k.Status) || !p.status.Phase.HasPod() || !HasAgent(k) || k.Spec.KernelSpec == "" {
		return
	}
	text := ""
	if reason != "" {
		text = f.notice()
	}
	secrets, err := podspec.AgentSecrets(ctx, r.live, k)
	if err == nil {
		calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
		defer cancel()
		err = r.agents.Notify(calling, k.Status.PodIP, secrets, protocol.Notice{Text: text})
	}
	if err != nil {
		log.FromContext(ctx).Info("a notice of a budget is not in the cells", "error", err.Error())
	}
}

// budgetWatch looks how the budgets stand of all kernels with Pods, and has those looked at for
// which that has changed.
type budgetWatch struct {
	scope     *namespaces.Scope
	client    client.Reader // reads from the cache
	standings Standings
	changed   chan event.GenericEvent
}

// NeedLeaderElection makes the leader look, who has the ledger.
func (w *budgetWatch) NeedLeaderElection() bool { return true }

// Start looks until the context ends.
func (w *budgetWatch) Start(ctx context.Context) error {
	ticker := time.NewTicker(budgetsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "it cannot be seen whether budgets are spent")
		}
	}
}

func (w *budgetWatch) look(ctx context.Context) error {
	var policies v1alpha1.GroupPolicyList
	if err := w.client.List(ctx, &policies, client.InNamespace(w.scope.Own()), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("kernels: list policies: %w", err)
	}
	bounding := map[string][]v1alpha1.GroupPolicy{}
	for i := range policies.Items {
		if len(policies.Items[i].Spec.Kernels.Budget) > 0 {
			bounding[policies.Items[i].Name] = policies.Items[i : i+1]
		}
	}
	var kernels v1alpha1.JupyterKernelList
	if err := w.scope.List(ctx, w.client, &kernels, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("kernels: list kernels: %w", err)
	}
	for i := range kernels.Items {
		k := &kernels.Items[i]
		if k.Status.Phase != v1alpha1.KernelReady || len(k.Status.Policies) == 0 {
			continue
		}
		shown, of := shownBudget(&k.Status), bounding[k.Status.Policies[0]]
		f := findBudget(k, of, w.standings)
		if f.level == budgetUnknown && (len(of) > 0 || shown == "") || f.reason() == shown {
			continue
		}
		select {
		case w.changed <- event.GenericEvent{Object: k.DeepCopy()}:
		default: // the next look says it again
		}
	}
	return nil
}
