package podrules

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// LimitVariables tell a container what it may use, as JupyterHub does and
// jupyter-resource-usage reads: bytes of memory and cores. What has no limit, or
// no request, has no variable.
func LimitVariables(r corev1.ResourceRequirements) []corev1.EnvVar {
	var env []corev1.EnvVar
	for _, list := range []struct {
		suffix string
		values corev1.ResourceList
	}{{"LIMIT", r.Limits}, {"GUARANTEE", r.Requests}} {
		if memory, ok := list.values[corev1.ResourceMemory]; ok && !memory.IsZero() {
			env = append(env, corev1.EnvVar{Name: "MEM_" + list.suffix, Value: strconv.FormatInt(memory.Value(), 10)})
		}
		if cpu, ok := list.values[corev1.ResourceCPU]; ok && !cpu.IsZero() {
			env = append(env, corev1.EnvVar{Name: "CPU_" + list.suffix, Value: strconv.FormatFloat(cpu.AsApproximateFloat64(), 'f', -1, 64)})
		}
	}
	return env
}
