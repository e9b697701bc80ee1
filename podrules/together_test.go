package podrules_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

func TestPodsWithAHomeOfOneNodeAreKeptTogether(t *testing.T) {
	of := func(modes ...corev1.PersistentVolumeAccessMode) *v1alpha1.JupyterNotebook {
		return notebook(v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Claim: "home of alice", AccessModes: modes}})
	}
	template := &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1}}}}
	labels, pod := map[string]string{}, corev1.PodSpec{Affinity: template}
	podrules.KeepTogether(of(), labels, &pod)
	near := pod.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	require.Len(t, near, 2)
	assert.Equal(t, labels, near[1].PodAffinityTerm.LabelSelector.MatchLabels, "it is near those like itself")
	assert.Equal(t, "kubernetes.io/hostname", near[1].PodAffinityTerm.TopologyKey)
	assert.Len(t, template.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1, "a template is others', too")

	for name, nb := range map[string]*v1alpha1.JupyterNotebook{
		"of many nodes": of(corev1.ReadWriteOnce, corev1.ReadWriteMany), "no home": notebook(v1alpha1.NotebookStorage{}), "no storage": {},
	} {
		labels, pod = map[string]string{}, corev1.PodSpec{}
		podrules.KeepTogether(nb, labels, &pod)
		assert.Empty(t, labels, name)
		assert.Nil(t, pod.Affinity, name)
	}
}
