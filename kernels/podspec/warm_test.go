package podspec

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

func TestWarmClass(t *testing.T) {
	build := func(change func(*Parts)) string {
		in := sample()
		in.Notebook, in.Kernel.Spec.Env = nil, nil
		change(&in)
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		return in.warmClass(testPods, pod)
	}
	same := build(func(*Parts) {})
	for name, f := range map[string]func(*Parts){
		"whose": func(p *Parts) {
			p.Kernel.Name, p.Kernel.UID, p.Kernel.Spec.User, p.Kernel.Spec.Notebook = "other", "o", "bob", "nb-bob"
		},
		"run": func(p *Parts) { p.Kernel.Spec.Run = 7 },
		"idle time": func(p *Parts) {
			p.Gateway.Spec.CullIdleTimeout = new(int32(5))
			p.Gateway.Spec.CullConnected = new(false)
		},
		"run time": func(p *Parts) { p.Policies[0].Spec.Kernels.MaxRunSeconds = new(int64(60)) },
		"warm":     func(p *Parts) { p.Warm = true },
		"where it is in the Hub, and its document": func(p *Parts) {
			p.Notebook = &v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{EnvSecret: "nb-env"}}
			p.Kernel.Spec.Env = []corev1.EnvVar{{Name: podrules.EnvSession, Value: "a.ipynb"}}
		},
		"policies": func(p *Parts) { p.Kernel.Spec.Policies = []string{"research", "gone"} },
		"what its client sent": func(p *Parts) {
			p.Kernel.Spec.Env = []corev1.EnvVar{{Name: "KERNEL_A", Value: "1"}, {Name: podrules.EnvSession, Value: "a.ipynb"}}
		},
	} {
		assert.Equal(t, same, build(f), name)
	}
	assert.Equal(t, build(func(p *Parts) { p.Notebook = sample().Notebook }), build(func(p *Parts) {
		p.Notebook, p.Kernel.Spec.WorkingDir = sample().Notebook, "/home/jovyan/elsewhere"
	}), "its document's directory")
	r := func(p *Parts) { p.Spec.Spec.Language, p.Spec.Spec.Command = "R", []string{"ir"} }
	assert.NotEqual(t, build(r), build(func(p *Parts) {
		r(p)
		p.Kernel.Spec.Env = []corev1.EnvVar{{Name: podrules.EnvSession, Value: "a.ipynb"}}
	}), "a kernel that cannot be told while it runs")
	seen := map[string]string{same: "sample"}
	for name, f := range map[string]func(*Parts){
		"image":                          func(p *Parts) { p.Spec.Spec.Image = "gpu:next" },
		"resources":                      func(p *Parts) { p.Spec.Spec.Resources = nil },
		"command":                        func(p *Parts) { p.Spec.Spec.Command = []string{"k", "{kernel_id}"} },
		"a variable that is no client's": func(p *Parts) { p.Kernel.Spec.Env = []corev1.EnvVar{{Name: "A", Value: "1"}} },
		"one that the kernelspec has, too": func(p *Parts) {
			p.Spec.Spec.Env = append(p.Spec.Spec.Env, corev1.EnvVar{Name: "KERNEL_A", Value: "1"})
			p.Kernel.Spec.Env = []corev1.EnvVar{{Name: "KERNEL_A", Value: "2"}}
		},
		"more than can be told": func(p *Parts) {
			p.Kernel.Spec.Env = []corev1.EnvVar{{Name: "KERNEL_A", Value: strings.Repeat("x", clientToldBytes)}}
		},
		"that nothing is to be kept":        func(p *Parts) { p.Kernel.Spec.Env = []corev1.EnvVar{{Name: EnvKeepState, Value: "false"}} },
		"policy's env":                      func(p *Parts) { p.Policies[0].Spec.Env[0].Value = "x" },
		"policy's other words for the user": func(p *Parts) { p.Policies[0].Spec.Env[0].Value += "{username}" },
		"policy without words for the user": func(p *Parts) { p.Policies[0].Spec.Env = p.Policies[0].Spec.Env[1:] },
		"placement":                         func(p *Parts) { p.Policies[0].Spec.NodeSelector = nil },
		"volumes":                           func(p *Parts) { p.Notebook = sample().Notebook },
		"volumes of another":                func(p *Parts) { p.Notebook = sample().Notebook.DeepCopy(); p.Notebook.UID = "other" },
		"volumes, for another user":         func(p *Parts) { p.Notebook, p.Kernel.Spec.User = sample().Notebook, "bob" },
		"gateway":                           func(p *Parts) { p.Gateway.Name, p.Kernel.Spec.Gateway = "two", "two" },
		"output limits":                     func(p *Parts) { p.Gateway.Spec.IOPub = &v1alpha1.IOPubLimits{BytesPerSecond: 1} },
	} {
		class := build(f)
		assert.Empty(t, seen[class], name)
		seen[class] = name
	}
}

// TestKernelsOfPeopleAreNotDisrupted, and warm Pods, which are nobody's, may be.
func TestKernelsOfPeopleAreNotDisrupted(t *testing.T) {
	cfg := testPods
	cfg.DoNotDisrupt = true
	in := sample()
	pod, err := Build(cfg, in)
	require.NoError(t, err)
	assert.Equal(t, "true", pod.Labels[v1alpha1.LabelTaken])
	assert.Equal(t, "false", pod.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"])
	assert.Equal(t, "true", pod.Annotations["karpenter.sh/do-not-disrupt"])
	class := in.warmClass(cfg, pod)

	in.Template = &v1alpha1.JupyterKernelTemplate{Spec: v1alpha1.JupyterKernelTemplateSpec{Template: &v1alpha1.PodTemplate{}}}
	in.Template.Spec.Template.Annotations = map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "true"}
	pod, err = Build(cfg, in)
	require.NoError(t, err)
	assert.Equal(t, "true", pod.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"], "the template's")
	assert.Equal(t, "true", pod.Annotations["karpenter.sh/do-not-disrupt"])

	unprotected := func(cfg Config, in Parts, build func(Config, Parts) (*corev1.Pod, error)) *corev1.Pod {
		pod, err := build(cfg, in)
		require.NoError(t, err)
		assert.NotContains(t, pod.Annotations, "cluster-autoscaler.kubernetes.io/safe-to-evict")
		assert.NotContains(t, pod.Annotations, "karpenter.sh/do-not-disrupt")
		return pod
	}
	assert.Equal(t, "true", unprotected(testPods, sample(), Build).Labels[v1alpha1.LabelTaken], "the budget alone")
	in = sample()
	in.Warm = true
	warm := unprotected(cfg, in, func(cfg Config, in Parts) (*corev1.Pod, error) { return buildWarm(cfg, in, WarmWant{}) })
	assert.NotContains(t, warm.Labels, v1alpha1.LabelTaken)
	assert.Equal(t, class, warm.Annotations[v1alpha1.AnnotationWarm], "it can be taken all the same")
}

// TestWarmPodsOfKernelsThatAreKept have room for the state and no key: one of it, and of
// no kernel in particular, is of the class of all runs.
func TestWarmPodsOfKernelsThatAreKept(t *testing.T) {
	cfg := testPods
	class := func(cfg Config, change func(*Parts)) (string, *corev1.Pod) {
		in := sample()
		change(&in)
		pod, err := Build(cfg, in)
		require.NoError(t, err)
		return in.warmClass(cfg, pod), pod
	}
	none, _ := class(cfg, func(*Parts) {})
	cfg.Keeps, cfg.Keep = true, Keep{Enabled: true, IdleSeconds: 300, TTL: time.Hour}
	kept, pod := class(cfg, func(*Parts) {})
	assert.NotEqual(t, none, kept, "its home is where the state goes")
	for name, change := range map[string]func(*Parts){
		"another kernel": func(p *Parts) { p.Kernel.UID = "other" },
		"a later run": func(p *Parts) {
			p.Kernel.Spec.Run = 5
			p.Kernel.Status.Kept = &v1alpha1.KeptState{Run: 3, Outcome: "whole"}
		},
		"other limits":      func(p *Parts) { p.Gateway.Spec.Keep = &v1alpha1.GatewayKeep{IdleSeconds: new(int64(5))} },
		"a warm Pod itself": func(p *Parts) { p.Warm = true },
	} {
		same, _ := class(cfg, change)
		assert.Equal(t, kept, same, name)
	}
	off, _ := class(cfg, func(p *Parts) { p.Gateway.Spec.Keep = &v1alpha1.GatewayKeep{Enabled: new(false)} })
	assert.Equal(t, none, off)
	in := sample()
	in.Warm = true
	warm, err := buildWarm(cfg, in, WarmWant{Notebook: in.Notebook})
	require.NoError(t, err)
	assert.True(t, FollowsKey(pod))
	assert.True(t, FollowsKey(warm))
	assert.Equal(t, pod.Spec.TerminationGracePeriodSeconds, warm.Spec.TerminationGracePeriodSeconds)
	assert.Equal(t, KernelContainer(&pod.Spec).Command[:4], KernelContainer(&warm.Spec).Command[:4])
	for _, v := range warm.Spec.Containers[0].Env {
		if strings.HasPrefix(v.Name, "ELASTICHUB_AGENT_KEEP_") {
			assert.Equal(t, corev1.EnvVar{Name: "ELASTICHUB_AGENT_KEEP_LATER", Value: "true"}, v)
		}
	}
}
