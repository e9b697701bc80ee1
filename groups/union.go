package groups

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// union is what policies give together, the highest priority first. One alone
// stays as it is. Of several,
//
//   - bounds: the least min, the greatest max, the coarsest step on which every
//     value of every policy lies; the default is that of the first; the
//     greatest request ratio;
//   - images, presets, environment, pull secrets and kernels: all of them. Of
//     two with one name the first counts, whole; a visible image comes before a
//     hidden one;
//   - volumes: the first home; every shared volume, the first where two have
//     one path; writable if one policy lets write the same claim there;
//   - Pods: all of what they have besides, see unionPod;
//   - quotas and times: the most generous, never their sum. No limit is more
//     generous than any, but a policy that allows no kernel has no say in the
//     limits of kernels;
//   - budgets: those of the first policy, which hours are booked to;
//   - names, texts and placement (node selector, tolerations, affinity, priority
//     class, service account and the tokens of that, which belong together): those
//     of the first.
//
// So nothing that one of the policies permits is forbidden, and every number is
// one that some policy states, apart from steps. GPU quotas are kept by
// resource; a pool is that of the first policy that gives the resource.
//
// Kernels merge the policies that they name once more, as those are when the
// kernel is admitted: admission.limitsOf, podspec.runLimit and podspec.IdleSeconds.
// A limit that counts there, too, needs a rule there; one that is shown needs
// its origin in explain.go.
func union(parts []Allowance) Allowance {
	if len(parts) == 1 {
		return parts[0]
	}
	u := parts[0]
	u.Policies = concat(parts, func(a Allowance) []string { return a.Policies })
	u.CPU = unionRange(parts, func(a Allowance) Range { return a.CPU })
	u.Memory = unionRange(parts, func(a Allowance) Range { return a.Memory })
	u.Images = unionImages(parts)
	u.Presets = named(concat(parts, func(a Allowance) []v1alpha1.Preset { return a.Presets }), func(p v1alpha1.Preset) string { return p.Name })
	u.Env = named(concat(parts, func(a Allowance) []v1alpha1.PolicyEnv { return a.Env }), func(e v1alpha1.PolicyEnv) string { return e.Name })
	u.ImagePullSecrets = named(concat(parts, func(a Allowance) []v1alpha1.PullSecret { return a.ImagePullSecrets }), func(s v1alpha1.PullSecret) string { return s.Name })
	u.Storage = unionStorage(parts)
	u.Pod = unionPod(parts)
	u.GPUs = unionGPUs(parts)
	u.Kernels = unionKernels(parts, u.GPUs)
	u.ServersPerUser = most(parts, func(a Allowance) int32 { return a.ServersPerUser })
	u.ServerIdleSeconds = unlessUnlimited(parts, func(a Allowance) int64 { return a.ServerIdleSeconds })
	u.MaxRunSeconds = unlessUnlimited(parts, func(a Allowance) int64 { return a.MaxRunSeconds })
	if slices.ContainsFunc(parts, func(a Allowance) bool { return a.SnoozeMaxSeconds != nil }) {
		u.SnoozeMaxSeconds = ptr.To(most(parts, snoozeSeconds))
	}
	return u
}

func concat[T any](parts []Allowance, of func(Allowance) []T) []T {
	var all []T
	for _, a := range parts {
		all = append(all, of(a)...)
	}
	return all
}

// named keeps the first of each name.
func named[T any](all []T, name func(T) string) []T {
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(t T) bool {
		again := seen[name(t)]
		seen[name(t)] = true
		return again
	})
}

func most[N cmp.Ordered](parts []Allowance, of func(Allowance) N) N {
	n := of(parts[0])
	for _, a := range parts[1:] {
		n = max(n, of(a))
	}
	return n
}

// unlessUnlimited is the greatest number, where 0 stands for no limit.
func unlessUnlimited[N int32 | int64](parts []Allowance, of func(Allowance) N) N {
	if slices.ContainsFunc(parts, func(a Allowance) bool { return of(a) == 0 }) {
		return 0
	}
	return most(parts, of)
}

// snoozeSeconds is for how long in all an automatic stop may be put off.
func snoozeSeconds(a Allowance) int64 {
	return int64(v1alpha1.SnoozeBound(a.SnoozeMaxSeconds) / time.Second)
}

// unionRange works in thousandths of a core or byte, in which all bounds of
// valid policies are exact.
func unionRange(parts []Allowance, of func(Allowance) Range) Range {
	u := of(parts[0])
	u.Min, u.Max, u.Step, u.Default = u.Min.DeepCopy(), u.Max.DeepCopy(), u.Step.DeepCopy(), u.Default.DeepCopy()
	for _, a := range parts[1:] {
		r := of(a)
		if r.Min.Cmp(u.Min) < 0 {
			u.Min = r.Min.DeepCopy()
		}
		if r.Max.Cmp(u.Max) > 0 {
			u.Max = r.Max.DeepCopy()
		}
		u.RequestRatio = max(u.RequestRatio, r.RequestRatio)
	}
	var step int64
	for _, a := range parts {
		r := of(a)
		step = divisor(step, r.Step.MilliValue())
		step = divisor(step, r.Min.MilliValue()-u.Min.MilliValue())
		if r.Max.Cmp(u.Max) < 0 { // the greatest is on offer in any case
			step = divisor(step, r.Max.MilliValue()-u.Min.MilliValue())
		}
	}
	if step != u.Step.MilliValue() {
		if step%1000 == 0 {
			u.Step = *resource.NewQuantity(step/1000, u.Step.Format)
		} else {
			u.Step = *resource.NewMilliQuantity(step, resource.DecimalSI)
		}
	}
	return u
}

// divisor is the greatest common one of two numbers that are not negative; 0
// is divided by all.
func divisor(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func unionImages(parts []Allowance) []v1alpha1.ImageChannel {
	var all []v1alpha1.ImageChannel
	for _, c := range concat(parts, func(a Allowance) []v1alpha1.ImageChannel { return a.Images }) {
		i := slices.IndexFunc(all, func(known v1alpha1.ImageChannel) bool { return known.ID == c.ID })
		switch {
		case i < 0:
			all = append(all, c)
		case all[i].Hidden && !c.Hidden:
			all[i] = c
		}
	}
	return all
}

func unionStorage(parts []Allowance) *v1alpha1.NotebookStorage {
	var u v1alpha1.NotebookStorage
	at, names := map[string]int{}, map[string]bool{}
	for _, a := range parts {
		if a.Storage != nil && a.Storage.Home != nil {
			u.Home = a.Storage.Home
			break
		}
	}
	for _, a := range parts {
		if a.Storage == nil {
			continue
		}
		for _, v := range a.Storage.Shared {
			if u.Home != nil && path.Clean(v.MountPath) == u.Home.Path() {
				continue
			}
			if i, taken := at[v.MountPath]; taken {
				if known := &u.Shared[i]; known.Claim == v.Claim {
					known.ReadOnly = known.ReadOnly && v.ReadOnly
				}
				continue
			}
			v.Name = unused(v.Name, names)
			names[v.Name], at[v.MountPath] = true, len(u.Shared)
			u.Shared = append(u.Shared, v)
		}
	}
	if u.Home == nil && u.Shared == nil {
		return nil
	}
	return &u
}

// unused makes a name of a volume that no other has.
func unused(name string, taken map[string]bool) string {
	unique := name
	for i := 2; taken[unique]; i++ {
		suffix := fmt.Sprintf("-%d", i)
		unique = name[:min(len(name), maxVolumeName-len(suffix))] + suffix
	}
	return unique
}

func unionGPUs(parts []Allowance) []GPUQuota {
	var all []GPUQuota
	for _, g := range concat(allowingKernels(parts), func(a Allowance) []GPUQuota { return a.GPUs }) {
		i := slices.IndexFunc(all, func(known GPUQuota) bool { return known.Resource == g.Resource })
		if i < 0 {
			all = append(all, g)
			continue
		}
		all[i].PerKernel, all[i].PerUser = max(all[i].PerKernel, g.PerKernel), max(all[i].PerUser, g.PerUser)
	}
	return all
}

// allowingKernels are those that allow any kernel: the others' absent limits are
// no permission.
func allowingKernels(parts []Allowance) []Allowance {
	return slices.DeleteFunc(slices.Clone(parts), func(a Allowance) bool { return len(a.Kernels.Allowed) == 0 })
}

// longestRun is the longest time that any of them gives to a run, where 0 stands
// for ever. One that says nothing has the chart's, which is not known here.
func longestRun(parts []Allowance) *int64 {
	said := slices.DeleteFunc(slices.Clone(parts), func(a Allowance) bool { return a.Kernels.MaxRunSeconds == nil })
	if len(said) == 0 {
		return nil
	}
	return ptr.To(unlessUnlimited(said, func(a Allowance) int64 { return *a.Kernels.MaxRunSeconds }))
}

// anyOf is true if any of them says so, false if one says that and none the
// contrary, and nil if none says anything.
func anyOf(parts []Allowance, of func(Allowance) *bool) *bool {
	var said *bool
	for _, a := range parts {
		if v := of(a); v != nil && (said == nil || *v) {
			said = v
		}
	}
	return said
}

func unionKernels(all []Allowance, gpus []GPUQuota) v1alpha1.PolicyKernels {
	parts := allowingKernels(all)
	if len(parts) == 0 {
		return all[0].Kernels
	}
	u := parts[0].Kernels
	u.Budget, u.OnBudget = all[0].Kernels.Budget, all[0].Kernels.OnBudget // hours are booked to the first
	kernels := concat(parts, func(a Allowance) []string { return a.Kernels.Allowed })
	u.Allowed = named(kernels, func(name string) string { return name })
	u.GPUsPerKernel, u.GPUsPerUser, u.GPUPool = 0, 0, nil
	if len(gpus) > 0 {
		u.GPUResource, u.GPUsPerKernel, u.GPUsPerUser, u.GPUPool = gpus[0].Resource, gpus[0].PerKernel, gpus[0].PerUser, gpus[0].Pool
	}
	u.PerUser = unlessUnlimited(parts, func(a Allowance) int32 { return a.Kernels.PerUser })
	u.MaxRunSeconds = longestRun(parts)
	// What one policy opens holds for the kernels that it allows; see v1alpha1.OwnEnvironments.
	u.OwnEnvironments = anyOf(parts, func(a Allowance) *bool { return a.Kernels.OwnEnvironments })
	// 0 is not "never" here but "as the gateway has it", which is not known.
	u.IdleSeconds = most(parts, func(a Allowance) int64 { return a.Kernels.IdleSeconds })
	u.Weight = most(parts, func(a Allowance) int32 { return a.Kernels.Weight })
	u.AtLimit = v1alpha1.AtLimitRefuse
	if slices.ContainsFunc(parts, func(a Allowance) bool { return a.Kernels.AtLimit == v1alpha1.AtLimitQueue }) {
		u.AtLimit = v1alpha1.AtLimitQueue
	}
	return u
}
