package podspec

import (
	"iter"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/podrules"
)

// Extended is what a Pod takes of extended resources while it runs: that of
// its containers and sidecars, or of its greediest init container if more.
func Extended(spec *corev1.PodSpec) map[string]int64 {
	total, sidecars, peak := map[string]int64{}, map[string]int64{}, map[string]int64{}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		own := ExtendedOf(c.Resources)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			for name, n := range own {
				sidecars[name] += n
			}
			continue
		}
		for name, n := range own {
			peak[name] = max(peak[name], n+sidecars[name])
		}
	}
	maps.Copy(total, sidecars)
	for i := range spec.Containers {
		for name, n := range ExtendedOf(spec.Containers[i].Resources) {
			total[name] += n
		}
	}
	for name, n := range peak {
		total[name] = max(total[name], n)
	}
	return total
}

func ExtendedOf(r corev1.ResourceRequirements) map[string]int64 {
	own := map[string]int64{}
	for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
		for name, quantity := range list {
			if podrules.IsExtendedResource(name) && quantity.Sign() > 0 {
				own[string(name)] = quantity.Value()
			}
		}
	}
	return own
}

// ToList is the inverse of fromList; of nothing it is nil.
func ToList(r map[string]int64) corev1.ResourceList {
	if len(r) == 0 {
		return nil
	}
	list := corev1.ResourceList{}
	for name, n := range r {
		list[corev1.ResourceName(name)] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	return list
}

// FromList counts the extended resources of a list.
func FromList(list corev1.ResourceList) map[string]int64 {
	return maps.Collect(InList(list))
}

// InList are the extended resources of a list, in no order.
func InList(list corev1.ResourceList) iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		for name, quantity := range list {
			if podrules.IsExtendedResource(name) && !yield(string(name), quantity.Value()) {
				return
			}
		}
	}
}

// overlay puts the resources of a kernelspec over those of a template, name by name.
func overlay(under corev1.ResourceRequirements, over *corev1.ResourceRequirements) corev1.ResourceRequirements {
	if over == nil {
		return under
	}
	merged := *under.DeepCopy()
	for _, pair := range []struct {
		to   *corev1.ResourceList
		from corev1.ResourceList
	}{{&merged.Limits, over.Limits}, {&merged.Requests, over.Requests}} {
		if len(pair.from) > 0 && *pair.to == nil {
			*pair.to = corev1.ResourceList{}
		}
		maps.Copy(*pair.to, pair.from)
	}
	if len(over.Claims) > 0 {
		merged.Claims = over.Claims
	}
	// extended resources cannot be overcommitted: a template's request must
	// not contradict the kernelspec's limit
	for name, limit := range over.Limits {
		if _, given := over.Requests[name]; podrules.IsExtendedResource(name) && !given && merged.Requests != nil {
			if _, stale := merged.Requests[name]; stale {
				merged.Requests[name] = limit
			}
		}
	}
	return merged
}

// units counts the units of all resources together.
func units(resources map[string]int64) int64 {
	var n int64
	for _, v := range resources {
		n += v
	}
	return n
}
