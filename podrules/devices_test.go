package podrules_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/podrules"
)

func TestOnlyOwnDevices(t *testing.T) {
	all := []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: podrules.EnvNvidiaDevices, Value: "all"}, {Name: podrules.EnvNvidiaDevices, Value: "0,1"}}
	limits := func(name, quantity string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceName(name): resource.MustParse(quantity)}}
	}
	for name, row := range map[string]struct {
		resources corev1.ResourceRequirements
		want      string // empty: left to the device plugin
	}{
		"none":      {corev1.ResourceRequirements{}, "void"},
		"cpu":       {limits("cpu", "4"), "void"},
		"huge page": {limits("hugepages-2Mi", "4Mi"), "void"},
		"volumes":   {limits("attachable-volumes.kubernetes.io/x", "1"), "void"},
		"no GPUs":   {limits("nvidia.com/gpu", "0"), "void"},
		"a GPU":     {limits("nvidia.com/gpu", "1"), ""},
		"a slice":   {limits("nvidia.com/mig-1g.5gb", "1"), ""},
		"requested": {corev1.ResourceRequirements{Requests: limits("example.com/gpu", "1").Limits}, ""},
		"claimed":   {corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu"}}}, ""},
	} {
		pod := corev1.PodSpec{
			InitContainers: []corev1.Container{{Env: append([]corev1.EnvVar(nil), all...), Resources: row.resources}, {}},
			Containers:     []corev1.Container{{Env: append([]corev1.EnvVar(nil), all...), Resources: row.resources}, {}},
		}
		for range 2 { // applying it again changes nothing
			podrules.OnlyOwnDevices(&pod)
			for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
				want := []corev1.EnvVar{{Name: "A", Value: "1"}}
				if row.want != "" {
					want = append(want, corev1.EnvVar{Name: podrules.EnvNvidiaDevices, Value: row.want})
				}
				assert.Equal(t, want, list[0].Env, name)
				assert.Equal(t, []corev1.EnvVar{{Name: podrules.EnvNvidiaDevices, Value: "void"}}, list[1].Env, "the container beside it: %s", name)
			}
		}
	}
}

func TestNoDevicesIsKept(t *testing.T) {
	pod := corev1.PodSpec{Containers: []corev1.Container{{
		Env:       []corev1.EnvVar{{Name: podrules.EnvNvidiaDevices, Value: "all"}, {Name: podrules.EnvNvidiaDevices, Value: "void"}},
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"example.org/nic": resource.MustParse("1")}},
	}}}
	podrules.OnlyOwnDevices(&pod)
	assert.Equal(t, []corev1.EnvVar{{Name: podrules.EnvNvidiaDevices, Value: "void"}}, pod.Containers[0].Env, "a network card is no GPU")
}
