package web

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/elastichub/elastichub/groups"
)

// gpuView is the part of the form on kernels and the GPUs they take.
type gpuView struct {
	title, intro, help string
	kernels            []kernelView
	// only is the one resource of most allowances, and several are those of
	// an allowance that has more, which is when they need names.
	only    resourceView
	several []resourceView
}

type resourceView struct {
	name   string
	limits []string
	free   string
	scarce bool
}

type kernelView struct {
	name, idle string
	gpus       []string
}

func newGPUs(in SpawnFormInput, msg *Messages) gpuView {
	v := gpuView{title: msg.GPUKernels.plain(), intro: msg.NoKernels.plain()}
	quotas := in.Allowance.GPUs
	hasGPU := false
	for _, k := range in.Kernels {
		if slices.Contains(in.Allowance.Kernels.Allowed, k.Name) && within(quotas, k.GPUs) {
			v.kernels = append(v.kernels, newKernel(k, len(quotas) > 1, msg))
			hasGPU = hasGPU || len(k.GPUs) > 0
		}
	}
	switch {
	case len(v.kernels) == 0:
	case !hasGPU:
		v.title, v.intro = msg.Kernels.plain(), msg.KernelsIntro.plain()
	default:
		v.intro = msg.GPUKernelsIntro.plain()
		if len(quotas) == 1 {
			v.only = newResource(quotas[0], in, msg)
			break
		}
		for _, quota := range quotas {
			v.several = append(v.several, newResource(quota, in, msg))
		}
	}
	return v
}

// within reports whether a kernel can ever get its GPUs: what no quota gives, or
// more than one gives a kernel, a user or all members, is refused.
func within(quotas []groups.GPUQuota, gpus map[string]int64) bool {
	for resource, n := range gpus {
		i := slices.IndexFunc(quotas, func(q groups.GPUQuota) bool { return q.Resource == resource })
		if i < 0 {
			return false
		}
		most := min(quotas[i].PerKernel, quotas[i].PerUser)
		if pool := quotas[i].Pool; pool != nil {
			most = min(most, *pool)
		}
		if n > int64(most) {
			return false
		}
	}
	return true
}

func newResource(quota groups.GPUQuota, in SpawnFormInput, msg *Messages) resourceView {
	v := resourceView{name: quota.Resource}
	perUser := strconv.Itoa(int(quota.PerUser))
	if in.Held == nil {
		v.limits = append(v.limits, msg.count(msg.GPULimit, perUser))
	} else {
		held := in.Held[quota.Resource]
		v.limits = append(v.limits, msg.count(msg.GPUsPerUser, perUser, "held", strconv.FormatInt(held.User, 10)))
		if quota.Pool != nil {
			v.limits = append(v.limits, msg.count(msg.GPUPool, strconv.Itoa(int(*quota.Pool)), "held", strconv.FormatInt(held.Pool, 10)))
		}
	}
	if in.GPUs != nil {
		now := in.GPUs[quota.Resource]
		v.free = msg.count(msg.GPUsFree, strconv.FormatInt(now.Total, 10), "free", strconv.FormatInt(now.Free, 10))
		v.scarce = now.Free == 0
	}
	return v
}

// newKernel names the resources if there are several to tell apart.
func newKernel(k KernelChoice, several bool, msg *Messages) kernelView {
	view := kernelView{name: k.DisplayName}
	if view.name == "" {
		view.name = k.Name
	}
	for _, resource := range slices.Sorted(maps.Keys(k.GPUs)) {
		n := strconv.FormatInt(k.GPUs[resource], 10)
		if several {
			view.gpus = append(view.gpus, n+nbsp+"×"+nbsp+resource)
		} else {
			view.gpus = append(view.gpus, msg.count(msg.KernelGPUs, n))
		}
	}
	idle, short := time.Duration(k.IdleSeconds)*time.Second, time.Duration(k.KeepSeconds)*time.Second
	switch {
	case k.IdleSeconds <= 0:
		view.idle = msg.KeptOpen.plain()
	case k.KeepSeconds > 0 && len(k.GPUs) > 0:
		view.idle = msg.say(msg.ReturnedIfKept, "short", msg.duration(short), "time", msg.duration(idle))
	case k.KeepSeconds > 0:
		view.idle = msg.say(msg.ParkedIfKept, "short", msg.duration(short), "time", msg.duration(idle))
	case len(k.GPUs) > 0:
		view.idle = msg.say(msg.Returned, "time", msg.duration(idle))
	default:
		view.idle = msg.say(msg.Parked, "time", msg.duration(idle))
	}
	if len(k.GPUs) == 0 {
		view.gpus = []string{msg.KernelNoGPU.plain()}
	}
	return view
}
