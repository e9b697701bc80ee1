package policyimport

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// defaultGroup is what formConf.yaml calls everybody whom no group matches.
const defaultGroup = "default"

// formConf reads groups.<name>.{cpu,mem}.{min,max,default,step}; cpu counts
// cores, mem what KubeSpawner calls G, 1024³ bytes.
func (r *Result) formConf(document, forms map[string]any, o Options) error {
	for _, key := range slices.Sorted(maps.Keys(document)) {
		if key != "groups" {
			r.addLost("%s: not known", key)
		}
	}
	if len(o.Images) == 0 {
		return fmt.Errorf("%w: formConf.yaml names no images: give --image ID=IMAGE", ErrInput)
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		path := "groups." + name
		fields, ok := forms[name].(map[string]any)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: not a group", path))
			continue
		}
		p := r.newPolicy(name, o)
		if name == defaultGroup {
			p.Spec.Default = true
		} else {
			p.Spec.Groups = []string{name}
		}
		for _, key := range slices.Sorted(maps.Keys(fields)) {
			var fault error
			switch key {
			case "cpu":
				p.Spec.CPU, fault = r.slider(path+".cpu", fields[key], cores)
			case "mem":
				p.Spec.Memory, fault = r.slider(path+".mem", fields[key], func(v any) (resource.Quantity, bool, error) { return bytes(v, "G") })
			default:
				r.addLost("%s.%s: not known", path, key)
			}
			faults = append(faults, fault)
		}
		for _, key := range []string{"cpu", "mem"} {
			if _, ok := fields[key]; !ok {
				faults = append(faults, fmt.Errorf("%s.%s: missing", path, key))
			}
		}
		r.Policies = append(r.Policies, p)
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("%w:\n%w", ErrInput, err)
	}
	r.rank()
	return nil
}

func (r *Result) slider(path string, v any, read func(any) (resource.Quantity, bool, error)) (v1alpha1.ResourceRange, error) {
	var out v1alpha1.ResourceRange
	fields, ok := v.(map[string]any)
	if !ok {
		return out, fmt.Errorf("%s: not a map", path)
	}
	var faults []error
	amount := func(key string) *resource.Quantity {
		value, ok := fields[key]
		if !ok {
			return nil
		}
		q, rounded, err := read(value)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s.%s: %w", path, key, err))
			return nil
		}
		r.addRounded(rounded)
		return &q
	}
	for key, into := range map[string]*resource.Quantity{"min": &out.Min, "max": &out.Max} {
		if _, ok := fields[key]; !ok {
			faults = append(faults, fmt.Errorf("%s.%s: missing", path, key))
		} else if q := amount(key); q != nil {
			*into = *q
		}
	}
	out.Step, out.Default = amount("step"), amount("default")
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains([]string{"min", "max", "step", "default"}, key) {
			r.addLost("%s.%s: not known", path, key)
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return out, errors.Join(faults...)
}

// rank gives priorities: the order of the candidates was in Python code.
func (r *Result) rank() {
	var named []*v1alpha1.GroupPolicy
	for i := range r.Policies {
		if !r.Policies[i].Spec.Default {
			named = append(named, &r.Policies[i])
		}
	}
	slices.SortStableFunc(named, func(a, b *v1alpha1.GroupPolicy) int {
		return cmp.Or(a.Spec.Memory.Max.Cmp(b.Spec.Memory.Max), a.Spec.CPU.Max.Cmp(b.Spec.CPU.Max))
	})
	for i, p := range named {
		p.Spec.Priority = int32(10 * (i + 1))
	}
	if len(named) > 1 {
		r.addLost("the order of groups is not in formConf.yaml: priorities were given by size, the largest first; check spec.priority")
	}
	r.addLost("rights of single users (in the spawner's code) are not in formConf.yaml: put those users into groups")
}
