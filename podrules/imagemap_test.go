package podrules

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

func TestImagesAreMapped(t *testing.T) {
	t.Parallel()
	m := ImageMap{{"ghcr.io/skai-x/kernel-py:2.6.0", "first:1"}, {"ghcr.io/skai-x/*", "kernel:1"}, {"elyra/kernel-py", "other:1"}}
	for image, want := range map[string]string{
		"ghcr.io/skai-x/kernel-py:2.6.0": "first:1", "ghcr.io/skai-x/kernel-py:2.5.0": "kernel:1", "ghcr.io/skai-x2/kernel": "ghcr.io/skai-x2/kernel",
		"elyra/kernel-py": "other:1", "elyra/kernel-py:3": "other:1", "elyra/kernel-py@sha256:00": "other:1",
		"elyra/kernel-python:3": "elyra/kernel-python:3", "elyra/kernel-py:5000/x": "elyra/kernel-py:5000/x", "": "",
	} {
		assert.Equal(t, want, m.Of(image), image)
	}
	pod := corev1.PodSpec{InitContainers: []corev1.Container{{Image: "elyra/kernel-py"}}, Containers: []corev1.Container{{Image: "busybox"}}}
	assert.Equal(t, "The image elyra/kernel-py is replaced by other:1: the chart's values map it.", m.Told(Images(&pod)...))
	m.Replace(&pod)
	assert.Equal(t, []string{"other:1", "busybox"}, Images(&pod))
	assert.Empty(t, m.Told("busybox"))
	assert.NoError(t, m.Validate())
	for _, rule := range []ImageRule{{"", "a"}, {"*a", "a"}, {"a", ""}, {"a", "b*"}} {
		assert.Error(t, ImageMap{rule}.Validate(), rule)
	}
}
