package groups

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Value is one value of an allowance, without words.
type Value struct {
	// Field is the value's key in Explanation.Origins, close to its path in a policy.
	Field string `json:"field"`
	Value string `json:"value"`
	// From are the policies that state it; empty where it is made of several.
	From []string `json:"from,omitempty"`
}

// Values are those of the allowance, for who shows them in a table; none if there is
// no allowance.
func (e Explanation) Values() []Value {
	if e.Allowance == nil {
		return nil
	}
	a := e.Allowance
	var all []Value
	add := func(field, value string) { all = append(all, Value{field, value, e.Origins[field]}) }
	number := func(field string, n int64) { add(field, strconv.FormatInt(n, 10)) }
	for _, r := range []struct {
		name string
		Range
	}{{"cpu", a.CPU}, {"memory", a.Memory}} {
		add(r.name+".min", r.Min.String())
		add(r.name+".max", r.Max.String())
		add(r.name+".step", r.Step.String())
		add(r.name+".default", r.Default.String())
		add(r.name+".requestRatio", strconv.FormatFloat(r.RequestRatio, 'g', 4, 64))
	}
	for _, c := range a.Images {
		add("images."+c.ID, c.Image)
	}
	for _, p := range a.Presets {
		add("presets."+p.Name, p.CPU.String()+" / "+p.Memory.String())
	}
	for _, k := range a.Kernels.Allowed {
		add("kernels.allowed."+k, k)
	}
	for _, g := range a.GPUs {
		text := fmt.Sprintf("perKernel %d, perUser %d", g.PerKernel, g.PerUser)
		if g.Pool != nil {
			text += fmt.Sprintf(", pool %d (%s)", *g.Pool, g.Policy)
		}
		add("gpus."+g.Resource, text)
	}
	if k := a.Kernels; len(k.Allowed) > 0 {
		number("kernels.perUser", int64(k.PerUser))
		add("kernels.atLimit", string(k.AtLimit))
		number("kernels.idleSeconds", k.IdleSeconds)
		if k.MaxRunSeconds != nil {
			number("kernels.maxRunSeconds", *k.MaxRunSeconds)
		}
		number("kernels.weight", int64(k.Weight))
		for _, b := range k.Budget {
			add("kernels.budget", BudgetText(b))
		}
		if len(k.Budget) > 0 {
			add("kernels.onBudget", string(cmp.Or(k.OnBudget, v1alpha1.OnBudgetWhole)))
		}
	}
	number("serversPerUser", int64(a.ServersPerUser))
	number("serverIdleSeconds", a.ServerIdleSeconds)
	number("maxRunSeconds", a.MaxRunSeconds)
	number("snoozeMaxSeconds", snoozeSeconds(*a))
	for _, key := range slices.Sorted(maps.Keys(a.NodeSelector)) {
		all = append(all, Value{"nodeSelector." + key, a.NodeSelector[key], e.Origins["placement"]})
	}
	if s := a.Storage; s != nil {
		if s.Home != nil {
			add("storage.home", homeText(s.Home)+" "+s.Home.Path())
		}
		for _, v := range s.Shared {
			add("storage.shared."+v.MountPath, v.Claim)
		}
	}
	for _, v := range a.Env {
		add("env."+v.Name, v.Name) // what it holds may be nobody's to see
	}
	return all
}
