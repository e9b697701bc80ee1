package prepull

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/prepull/imagestate"
)

const (
	gpu     = "nvidia.com/gpu"
	service = "elastichub:1"
)

func testConfig() Config {
	return Config{
		Enabled: true, Namespace: "hub", Name: "elastichub", Kernels: true, NodesAtOnce: 2,
		NotebookImages: podrules.ImageMap{{From: "old/*", To: "lab:4"}},
		Pods:           podspec.Config{Image: service, KernelImage: "kernel:1", Images: podrules.ImageMap{{From: "elyra/*", To: "kernel:1"}}},
	}
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "hub", Name: name}
}

// policy has one channel, and allows kernels.
func policy(name, image string, kernels ...string) v1alpha1.GroupPolicy {
	p := v1alpha1.GroupPolicy{ObjectMeta: named(name)}
	p.Spec.Images, p.Spec.Kernels.Allowed = []v1alpha1.ImageChannel{{ID: "stable", Image: image}}, kernels
	return p
}

func gateway(kernels ...string) v1alpha1.JupyterGateway {
	return v1alpha1.JupyterGateway{ObjectMeta: named("default"), Spec: v1alpha1.JupyterGatewaySpec{Kernels: kernels}}
}

func kernelSpec(name, image string, gpus int64) v1alpha1.JupyterKernelSpec {
	ks := v1alpha1.JupyterKernelSpec{ObjectMeta: named(name), Spec: v1alpha1.JupyterKernelSpecSpec{Language: "python", Image: image}}
	if gpus > 0 {
		ks.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}}
	}
	return ks
}

func channelOf(policy string) imagestate.Use {
	return imagestate.Use{Policy: policy, Channel: "stable"}
}

func kernelUse(name string) imagestate.Use { return imagestate.Use{KernelSpec: name} }

// told is a plan in short: who uses each image, what keeps it from being pulled, and the images
// of each placement.
type told struct {
	uses   map[string][]imagestate.Use
	whys   map[string][]string
	places [][]string
}

func tell(plan Plan) told {
	t := told{uses: map[string][]imagestate.Use{}, whys: map[string][]string{}}
	for _, w := range plan.Wanted {
		t.uses[w.Image] = w.UsedBy
		if len(w.Why) > 0 {
			t.whys[w.Image] = w.Why
		}
	}
	for _, p := range plan.Placements {
		t.places = append(t.places, p.Images)
	}
	return t
}

func TestPlan(t *testing.T) {
	t.Parallel()
	agent := []imagestate.Use{{Service: true}}
	for name, tc := range map[string]struct {
		change func(*Config, *Sources)
		want   told
	}{
		"nothing": {func(*Config, *Sources) {}, told{}},
		"a channel": {func(_ *Config, s *Sources) { s.Policies = []v1alpha1.GroupPolicy{policy("staff", "lab:3")} },
			told{uses: map[string][]imagestate.Use{"lab:3": {channelOf("staff")}}, places: [][]string{{"lab:3"}}}},
		"two policies, one image, which is replaced": {func(_ *Config, s *Sources) {
			s.Policies = []v1alpha1.GroupPolicy{policy("staff", "old/lab:1"), policy("guests", "lab:4")}
		}, told{uses: map[string][]imagestate.Use{"lab:4": {channelOf("guests"), channelOf("staff")}}, places: [][]string{{"lab:4"}}}},
		"containers beside servers, and before them": {func(_ *Config, s *Sources) {
			p := policy("staff", "lab:3")
			p.Spec.Pod = &v1alpha1.PolicyPod{
				InitContainers: []corev1.Container{{Name: "fetch", Image: "git:2"}, {Name: "none"}},
				Containers:     []corev1.Container{{Name: "proxy", Image: "old/proxy:1"}, {Name: "again", Image: "lab:3"}},
			}
			s.Policies = []v1alpha1.GroupPolicy{p}
		}, told{uses: map[string][]imagestate.Use{
			"git:2": {{Policy: "staff", Container: "fetch"}}, "lab:4": {{Policy: "staff", Container: "proxy"}},
			"lab:3": {{Policy: "staff", Container: "again"}, channelOf("staff")},
		}, places: [][]string{{"lab:3", "git:2", "lab:4"}}}},
		"hidden, and nobody has chosen it": {func(_ *Config, s *Sources) {
			p := policy("staff", "lab:3")
			p.Spec.Images = append(p.Spec.Images, v1alpha1.ImageChannel{ID: "former", Image: "lab:2", Hidden: true})
			chosen := v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{ImageChannel: "former", KernelOptions: &v1alpha1.KernelOptions{Policies: []string{"guests"}}}}
			s.Policies, s.Notebooks = []v1alpha1.GroupPolicy{p}, []v1alpha1.JupyterNotebook{chosen}
		}, told{uses: map[string][]imagestate.Use{"lab:3": {channelOf("staff")}}, places: [][]string{{"lab:3"}}}},
		"hidden, and a server has it": {func(_ *Config, s *Sources) {
			p := policy("staff", "lab:3")
			p.Spec.Images = append(p.Spec.Images, v1alpha1.ImageChannel{ID: "former", Image: "lab:2", Hidden: true})
			chosen := v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{ImageChannel: "former", KernelOptions: &v1alpha1.KernelOptions{Policies: []string{"staff"}}}}
			s.Policies, s.Notebooks = []v1alpha1.GroupPolicy{p}, []v1alpha1.JupyterNotebook{chosen}
		}, told{uses: map[string][]imagestate.Use{"lab:2": {{Policy: "staff", Channel: "former"}}, "lab:3": {channelOf("staff")}}, places: [][]string{{"lab:2", "lab:3"}}}},
		"one with a redirect, which is still on offer": {func(_ *Config, s *Sources) {
			p := policy("staff", "lab:3")
			p.Spec.Images = append(p.Spec.Images, v1alpha1.ImageChannel{ID: "old", Image: "lab:2", Redirect: &v1alpha1.ChannelRedirect{To: "stable"}})
			s.Policies = []v1alpha1.GroupPolicy{p}
		}, told{uses: map[string][]imagestate.Use{"lab:2": {{Policy: "staff", Channel: "old"}}, "lab:3": {channelOf("staff")}}, places: [][]string{{"lab:2", "lab:3"}}}},
		"kernels that a policy allows and a gateway offers, their images replaced": {func(_ *Config, s *Sources) {
			s.Policies = []v1alpha1.GroupPolicy{policy("staff", "lab:3", "py", "unoffered", "absent")}
			s.Gateways = []v1alpha1.JupyterGateway{gateway("py", "absent", "forbidden")}
			s.Specs = []v1alpha1.JupyterKernelSpec{kernelSpec("py", "elyra/kernel-py:2", 0), kernelSpec("unoffered", "x:1", 0), kernelSpec("forbidden", "y:1", 0)}
		}, told{uses: map[string][]imagestate.Use{service: agent, "lab:3": {channelOf("staff")}, "kernel:1": {kernelUse("py")}}, places: [][]string{{service, "lab:3", "kernel:1"}}}},
		"kernels are not wanted": {func(c *Config, s *Sources) {
			c.Kernels = false
			s.Policies, s.Gateways = []v1alpha1.GroupPolicy{policy("staff", "lab:3", "py")}, []v1alpha1.JupyterGateway{gateway("py")}
			s.Specs = []v1alpha1.JupyterKernelSpec{kernelSpec("py", "py:1", 0)}
		}, told{uses: map[string][]imagestate.Use{"lab:3": {channelOf("staff")}}, places: [][]string{{"lab:3"}}}},
		"the built-in kernel, without policies": {func(_ *Config, s *Sources) { s.Gateways = []v1alpha1.JupyterGateway{gateway()} },
			told{uses: map[string][]imagestate.Use{service: agent, "kernel:1": {kernelUse(v1alpha1.DefaultKernelName)}}, places: [][]string{{service, "kernel:1"}}}},
		"a client without policies": {func(_ *Config, s *Sources) {
			gw := gateway("py")
			gw.Spec.Auth = &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{{Name: "batch"}}}
			s.Policies, s.Gateways = []v1alpha1.GroupPolicy{policy("staff", "lab:3")}, []v1alpha1.JupyterGateway{gw}
			s.Specs = []v1alpha1.JupyterKernelSpec{kernelSpec("py", "py:1", 0)}
		}, told{uses: map[string][]imagestate.Use{service: agent, "lab:3": {channelOf("staff")}, "py:1": {kernelUse("py")}}, places: [][]string{{service, "lab:3", "py:1"}}}},
		"nobody counts nodes with GPUs": {func(_ *Config, s *Sources) {
			s.Gateways, s.Specs = []v1alpha1.JupyterGateway{gateway("torch")}, []v1alpha1.JupyterKernelSpec{kernelSpec("torch", "torch:2", 1)}
		}, told{uses: map[string][]imagestate.Use{service: agent, "torch:2": {kernelUse("torch")}},
			whys: map[string][]string{"torch:2": {"For the kernelspec torch: nobody can tell which nodes have nvidia.com/gpu. Set kernels.clusterCapacity, or a nodeSelector in its template or in the policy."}}}},
		"no node has GPUs": {func(_ *Config, s *Sources) {
			s.Gateways, s.Specs = []v1alpha1.JupyterGateway{gateway("torch")}, []v1alpha1.JupyterKernelSpec{kernelSpec("torch", "torch:2", 1)}
			s.Devices = map[string][]string{}
		}, told{uses: map[string][]imagestate.Use{service: agent, "torch:2": {kernelUse("torch")}},
			whys: map[string][]string{"torch:2": {"For the kernelspec torch: no node has nvidia.com/gpu."}}}},
		"a kernelspec without an image": {func(_ *Config, s *Sources) {
			s.Gateways, s.Specs = []v1alpha1.JupyterGateway{gateway("none")}, []v1alpha1.JupyterKernelSpec{kernelSpec("none", "", 0)}
		}, told{}},
		"a template that does not exist": {func(_ *Config, s *Sources) {
			ks := kernelSpec("py", "py:1", 0)
			ks.Spec.Template = &corev1.ObjectReference{Name: "absent"}
			s.Gateways, s.Specs = []v1alpha1.JupyterGateway{gateway("py")}, []v1alpha1.JupyterKernelSpec{ks}
		}, told{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, from := testConfig(), Sources{}
			tc.change(&cfg, &from)
			if tc.want.uses == nil {
				tc.want.uses = map[string][]imagestate.Use{}
			}
			if tc.want.whys == nil {
				tc.want.whys = map[string][]string{}
			}
			assert.Equal(t, tc.want, tell(PlanOf(cfg, from)))
		})
	}
}

// TestPlacements: images go where their Pods may run, and nowhere else.
func TestPlacements(t *testing.T) {
	t.Parallel()
	zone := &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}}}}}}
	research := policy("research", "lab:4", "torch", "py")
	research.Spec.NodeSelector = map[string]string{"pool": "research"}
	research.Spec.Tolerations = []corev1.Toleration{{Key: "pool", Operator: corev1.TolerationOpExists}}
	research.Spec.ImagePullSecrets = []v1alpha1.PullSecret{{Name: "research-registry"}}
	template := v1alpha1.JupyterKernelTemplate{ObjectMeta: named("zoned")}
	template.Spec.Template = &v1alpha1.PodTemplate{PodTemplateSpec: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Affinity:         &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: zone}, PodAntiAffinity: &corev1.PodAntiAffinity{}},
		Containers:       []corev1.Container{{Name: "kernel"}, {Name: "beside", Image: "beside:1"}},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "torch-registry"}},
	}}}
	torch := kernelSpec("torch", "torch:2", 1)
	torch.Spec.Template = &corev1.ObjectReference{Name: "zoned"}
	plan := PlanOf(testConfig(), Sources{
		Policies:  []v1alpha1.GroupPolicy{policy("staff", "lab:4"), research},
		Gateways:  []v1alpha1.JupyterGateway{gateway("torch", "py")},
		Specs:     []v1alpha1.JupyterKernelSpec{torch, kernelSpec("py", "py:1", 0)},
		Templates: []v1alpha1.JupyterKernelTemplate{template},
		Devices:   map[string][]string{gpu: {"g2", "g1"}, "other": {"g3"}},
	})
	byImages := map[string]Placement{}
	for _, p := range plan.Placements {
		byImages[p.Images[len(p.Images)-1]] = p
	}
	require.Len(t, byImages, 3)
	staff := byImages["lab:4"]
	assert.Equal(t, []string{"lab:4"}, staff.Images)
	assert.Empty(t, staff.NodeSelector)
	assert.Empty(t, staff.PullSecrets)
	// The policy's servers, and its kernels without a GPU: any node of its pool.
	pool := byImages["py:1"]
	assert.Equal(t, []string{service, "lab:4", "py:1"}, pool.Images)
	assert.Equal(t, map[string]string{"pool": "research"}, pool.NodeSelector)
	assert.Equal(t, research.Spec.Tolerations, pool.Tolerations)
	assert.Equal(t, []string{"research-registry"}, pool.PullSecrets)
	assert.Nil(t, pool.Nodes)
	// Kernels with a GPU: nodes of the pool that have one.
	gpus := byImages["torch:2"]
	assert.Equal(t, []string{service, "beside:1", "torch:2"}, gpus.Images)
	assert.Equal(t, map[string]string{"pool": "research"}, gpus.NodeSelector)
	assert.ElementsMatch(t, append(research.Spec.Tolerations, corev1.Toleration{Key: gpu, Operator: corev1.TolerationOpExists}), gpus.Tolerations)
	assert.Equal(t, []string{"research-registry", "torch-registry"}, gpus.PullSecrets)
	require.Len(t, gpus.Nodes.NodeSelectorTerms, 2)
	for i, node := range []string{"g1", "g2"} {
		term := gpus.Nodes.NodeSelectorTerms[i]
		assert.Equal(t, zone.NodeSelectorTerms[0].MatchExpressions, term.MatchExpressions)
		assert.Equal(t, []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}, term.MatchFields)
	}
	assert.Len(t, zone.NodeSelectorTerms[0].MatchFields, 0, "what was read is left as it is")
}

// TestNodesComeAndGo: the placement stays, and so do the Pods on other nodes.
func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	from := Sources{
		Gateways: []v1alpha1.JupyterGateway{gateway("torch")}, Specs: []v1alpha1.JupyterKernelSpec{kernelSpec("torch", "torch:2", 1)},
		Devices: map[string][]string{gpu: {"g1"}},
	}
	before := PlanOf(testConfig(), from).Placements[0]
	from.Devices = map[string][]string{gpu: {"g1", "g2"}}
	after := PlanOf(testConfig(), from).Placements[0]
	assert.NotEqual(t, before.Nodes, after.Nodes)
	one, two := daemonSet(testConfig(), before, nil), daemonSet(testConfig(), after, nil)
	assert.Equal(t, one.Name, two.Name)
	assert.Equal(t, one.Spec.Template.Labels, two.Spec.Template.Labels)

	from.Specs[0].Spec.Image = "torch:3"
	three := daemonSet(testConfig(), PlanOf(testConfig(), from).Placements[0], nil)
	assert.Equal(t, one.Name, three.Name)
	assert.NotEqual(t, one.Spec.Template.Labels[labelImages], three.Spec.Template.Labels[labelImages])
	assert.Equal(t, one.Spec.Selector, three.Spec.Selector, "it cannot be changed")
}

func TestConfigValidates(t *testing.T) {
	t.Parallel()
	require.NoError(t, testConfig().Validate())
	bad := Config{Name: "A", NodesAtOnce: 0, PriorityClassName: "-"}
	err := bad.Validate()
	for _, path := range []string{"name: ", "nodesAtOnce: 0, must be between 1 and 1000", "priorityClassName: "} {
		assert.ErrorContains(t, err, path)
	}
}

func TestFullNames(t *testing.T) {
	t.Parallel()
	for short, full := range map[string]string{
		"python": "docker.io/library/python:latest", "jupyter/base:4": "docker.io/jupyter/base:4", "quay.io/a/b": "quay.io/a/b:latest",
		"localhost/a:1": "localhost/a:1", "registry:5000/a": "registry:5000/a:latest", "a:1@sha256:ab": "docker.io/library/a@sha256:ab",
		"registry:5000/a@sha256:ab": "registry:5000/a@sha256:ab",
	} {
		assert.Equal(t, full, fullName(short), short)
	}
}
