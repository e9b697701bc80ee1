package groups

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// twoPods are two policies of one user, with Pods.
func twoPods(first, second *v1alpha1.PolicyPod) []v1alpha1.GroupPolicy {
	a, b := policy("first", 10, "g"), policy("second", 5, "g")
	a.Spec.Pod, b.Spec.Pod = first, second
	return []v1alpha1.GroupPolicy{a, b}
}

func besides(containers ...string) *v1alpha1.PolicyPod {
	p := &v1alpha1.PolicyPod{}
	for _, name := range containers {
		p.Containers = append(p.Containers, corev1.Container{Name: name, Image: "registry.example/" + name + ":1"})
	}
	return p
}

func TestPodsOfSeveralPolicies(t *testing.T) {
	first, second := besides("logs", "proxy"), besides("proxy", "metrics")
	first.ExtraResources = corev1.ResourceList{"example.org/fpga": *quantity("1")}
	second.ExtraResources = corev1.ResourceList{"example.org/fpga": *quantity("2"), corev1.ResourceEphemeralStorage: *quantity("1Gi")}
	second.SecurityContext = &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)}
	policies := twoPods(first, second)
	a, err := Resolve(member("g"), policies, MatchUnion)
	require.NoError(t, err)
	assert.Equal(t, []string{"logs", "proxy", "metrics"}, namesIn(a.Pod.Containers, containerName), "of what both have alike there is one")
	assert.Equal(t, corev1.ResourceList{"example.org/fpga": *quantity("2"), corev1.ResourceEphemeralStorage: *quantity("1Gi")}, a.Pod.ExtraResources, "the most")
	assert.NotNil(t, a.Pod.SecurityContext)
	assert.Len(t, policies[0].Spec.Pod.Containers, 2, "the policies' own are left alone")

	a, err = Resolve(member("g"), policies, MatchPriority)
	require.NoError(t, err)
	assert.Equal(t, []string{"logs", "proxy"}, namesIn(a.Pod.Containers, containerName))
}

func TestPodsThatContradictEachOther(t *testing.T) {
	type pod = v1alpha1.PolicyPod
	sidecar := func(image string) *pod { return &pod{Containers: []corev1.Container{{Name: "x", Image: image}}} }
	claim := func(name string) *pod {
		return &pod{Volumes: []corev1.Volume{{Name: "x", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}}
	}
	mount := func(sub string) *pod {
		p := claim("x")
		p.VolumeMounts = []corev1.VolumeMount{{Name: "x", MountPath: "/x", SubPath: sub}}
		return p
	}
	user := func(id int64) *pod { return &pod{PodSecurityContext: &corev1.PodSecurityContext{RunAsUser: &id}} }
	for _, row := range []struct {
		first, second *pod
		at            string
	}{
		{&pod{Labels: map[string]string{"team": "a"}}, &pod{Labels: map[string]string{"team": "b"}}, "labels[team]"},
		{&pod{Annotations: map[string]string{"a": "a"}}, &pod{Annotations: map[string]string{"a": "b"}}, "annotations[a]"},
		{sidecar("a:1"), sidecar("a:2"), "containers[x]"},
		{&pod{InitContainers: sidecar("a:1").Containers}, &pod{InitContainers: sidecar("a:2").Containers}, "initContainers[x]"},
		{claim("a"), claim("b"), "volumes[x]"},
		{mount("a"), mount("b"), "volumeMounts[/x]"},
		{user(1000), user(2000), "podSecurityContext"},
		{&pod{SecurityContext: &corev1.SecurityContext{}}, &pod{SecurityContext: &corev1.SecurityContext{RunAsUser: ptr.To[int64](7)}}, "securityContext"},
		{&pod{Lifecycle: &corev1.Lifecycle{}}, &pod{Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}}}, "lifecycle"},
	} {
		_, err := Resolve(member("g"), twoPods(row.first, row.second), MatchUnion)
		require.ErrorIs(t, err, ErrInvalidPolicy, row.at)
		assert.ErrorContains(t, err, `spec.pod.`+row.at+` is one thing in "first" and another in "second"`)
		_, err = Resolve(member("g"), twoPods(row.first, row.first), MatchUnion)
		require.NoError(t, err, row.at)
	}
}

func TestPodsThatDoNotGoTogether(t *testing.T) {
	fpga := &v1alpha1.PolicyPod{ExtraResources: corev1.ResourceList{"example.org/fpga": *quantity("1")}}
	policies := twoPods(fpga, nil)
	policies[1].Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"python"}, GPUResource: "example.org/fpga", GPUsPerKernel: 1, GPUsPerUser: 1}
	_, err := Resolve(member("g"), policies, MatchUnion)
	require.ErrorIs(t, err, ErrInvalidPolicy, "what one policy lends, another does not give away")
	require.ErrorContains(t, err, "spec.pod of the policies first, second together: extraResources[example.org/fpga]: GPUs are not given to servers: kernels borrow them while they compute. Set spec.kernels")

	data := &v1alpha1.PolicyPod{Containers: []corev1.Container{{Name: "index", Image: "i", VolumeMounts: []corev1.VolumeMount{{Name: "shared-data", MountPath: "/d"}}}}}
	shared := func(claim, path string) *v1alpha1.NotebookStorage {
		return &v1alpha1.NotebookStorage{Shared: []v1alpha1.SharedVolume{{Name: "data", Claim: claim, MountPath: path}}}
	}
	policies = twoPods(nil, data)
	policies[0].Spec.Storage, policies[1].Spec.Storage = shared("a", "/a"), shared("b", "/b")
	_, err = Resolve(member("g"), policies, MatchUnion)
	require.ErrorContains(t, err, `spec.pod of "second" mounts shared-data of its storage, in the place of which is another policy's`)
	policies[0].Spec.Storage = nil
	_, err = Resolve(member("g"), policies, MatchUnion)
	require.NoError(t, err)

	scratch := &v1alpha1.PolicyPod{Volumes: []corev1.Volume{{Name: "x"}}, VolumeMounts: []corev1.VolumeMount{{Name: "x", MountPath: "/a"}}}
	policies = twoPods(scratch, nil)
	policies[1].Spec.Storage = shared("a", "/a")
	_, err = Resolve(member("g"), policies, MatchUnion)
	require.ErrorContains(t, err, `volumeMounts[0].mountPath: "/a" is where a volume of storage is mounted`)
}
