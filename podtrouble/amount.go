package podtrouble

import (
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	mebi = 1 << 20
	gibi = 1 << 30
)

// amount is so much of a resource, with its name: "8 CPUs", "16 GiB of memory".
func amount(name corev1.ResourceName, q resource.Quantity) string {
	number := figure(name, q)
	switch name {
	case corev1.ResourceCPU:
		if number == "1" {
			return "1 CPU"
		}
		return number + " CPUs"
	case corev1.ResourceMemory:
		return number + " of memory"
	case corev1.ResourceEphemeralStorage:
		return number + " of disk"
	default:
		return number + " " + string(name)
	}
}

// figure is a number with its unit, rounded down: nobody is to be told of more than there is.
func figure(name corev1.ResourceName, q resource.Quantity) string {
	switch name {
	case corev1.ResourceCPU:
		return decimal(q.AsApproximateFloat64(), 100)
	case corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		n := max(q.Value(), 0)
		if n < gibi {
			return strconv.FormatInt(n/mebi, 10) + " MiB"
		}
		return decimal(float64(n)/gibi, 10) + " GiB"
	default:
		return strconv.FormatInt(max(q.Value(), 0), 10)
	}
}

func decimal(f float64, parts float64) string {
	return strconv.FormatFloat(max(math.Floor(f*parts+1e-6)/parts, 0), 'f', -1, 64)
}

// requested is what the scheduler looks for on one node: the sum of what runs together,
// or what one init container takes if that is more.
func requested(name corev1.ResourceName, spec *corev1.PodSpec) resource.Quantity {
	var sum, sidecars, peak resource.Quantity
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		own := c.Resources.Requests[name]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars.Add(own)
			continue
		}
		own = own.DeepCopy()
		own.Add(sidecars)
		if own.Cmp(peak) > 0 {
			peak = own
		}
	}
	sum.Add(sidecars)
	for i := range spec.Containers {
		sum.Add(spec.Containers[i].Resources.Requests[name])
	}
	if peak.Cmp(sum) > 0 {
		sum = peak
	}
	sum.Add(spec.Overhead[name])
	return sum
}

// list is "a", "a and b", "a, b and c".
func list(items []string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:len(items)-1], ", ") + " and " + items[len(items)-1]
}

// Sentence makes a sentence of its own of what goes after a colon.
func Sentence(clause string) string {
	if clause == "" {
		return ""
	}
	return strings.ToUpper(clause[:1]) + clause[1:]
}
