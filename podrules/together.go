package podrules

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// nearness is the weight of a home's node among the scheduler's preferences: the most.
const nearness = 100

// Shareable reports whether the home of a notebook, if it has one, may be in use on
// several nodes at a time, by what was asked of its claim. One that holds many homes has to.
func Shareable(nb *v1alpha1.JupyterNotebook) bool {
	if nb.Spec.Storage == nil || nb.Spec.Storage.Home == nil {
		return true
	}
	home := nb.Spec.Storage.Home
	return home.Static != nil || slices.Contains(home.AccessModes, corev1.ReadWriteMany)
}

// KeepTogether has the scheduler prefer, for a Pod with the home of a notebook, the node
// where others have it, if the home may be in use on one node only. It is no more than a
// preference: file servers serve every node whatever their claims say.
func KeepTogether(nb *v1alpha1.JupyterNotebook, labels map[string]string, pod *corev1.PodSpec) {
	if Shareable(nb) {
		return
	}
	home := ObjectLabel(nb.HomeClaim())
	labels[v1alpha1.LabelHome] = home
	pod.Affinity = pod.Affinity.DeepCopy()
	if pod.Affinity == nil {
		pod.Affinity = &corev1.Affinity{}
	}
	if pod.Affinity.PodAffinity == nil {
		pod.Affinity.PodAffinity = &corev1.PodAffinity{}
	}
	near := &pod.Affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	*near = append(*near, corev1.WeightedPodAffinityTerm{Weight: nearness, PodAffinityTerm: corev1.PodAffinityTerm{
		TopologyKey:   corev1.LabelHostname,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelHome: home}},
	}})
}
