package podrules

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func TestSharedMemory(t *testing.T) {
	limit := corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")}}
	for name, c := range map[string]struct {
		resources corev1.ResourceRequirements
		size      *resource.Quantity
		want      string // empty: no limit
	}{
		"all of the memory there is":     {limit, nil, "2Gi"},
		"less":                           {limit, ptr.To(resource.MustParse("512Mi")), "512Mi"},
		"never more than the memory":     {limit, ptr.To(resource.MustParse("8Gi")), "2Gi"},
		"a size, and memory without end": {corev1.ResourceRequirements{}, ptr.To(resource.MustParse("1Gi")), "1Gi"},
		"neither a size nor a limit":     {corev1.ResourceRequirements{}, nil, ""},
	} {
		pod := &corev1.PodSpec{Containers: []corev1.Container{{Resources: c.resources}}}
		ShareMemory(pod, &pod.Containers[0], c.size)
		require.Len(t, pod.Volumes, 1, name)
		assert.Equal(t, []corev1.VolumeMount{{Name: pod.Volumes[0].Name, MountPath: "/dev/shm"}}, pod.Containers[0].VolumeMounts, name)
		require.NotNil(t, pod.Volumes[0].EmptyDir, name)
		assert.Equal(t, corev1.StorageMediumMemory, pod.Volumes[0].EmptyDir.Medium, name)
		got := ""
		if size := pod.Volumes[0].EmptyDir.SizeLimit; size != nil {
			got = size.String()
		}
		assert.Equal(t, c.want, got, name)
	}
	own := &corev1.PodSpec{Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "mine", MountPath: "/dev/shm/"}}}}}
	ShareMemory(own, &own.Containers[0], nil)
	assert.Len(t, own.Containers[0].VolumeMounts, 1, "what a template mounts there stays")
	assert.Empty(t, own.Volumes)
}

func TestLimitVariables(t *testing.T) {
	assert.Empty(t, LimitVariables(corev1.ResourceRequirements{}))
	assert.Equal(t, []corev1.EnvVar{
		{Name: "MEM_LIMIT", Value: "2147483648"}, {Name: "CPU_LIMIT", Value: "1.5"}, {Name: "CPU_GUARANTEE", Value: "0.1"},
	}, LimitVariables(corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi"), corev1.ResourceCPU: resource.MustParse("1500m")},
		Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("0"), corev1.ResourceCPU: resource.MustParse("100m")},
	}))
}
