package podspec

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podrules/podrulestest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, object any) {
	t.Helper()
	got, err := yaml.Marshal(object)
	require.NoError(t, err)
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

func decode[T any](t *testing.T, text string) *T {
	t.Helper()
	into := new(T)
	require.NoError(t, v1alpha1.UnmarshalStrict([]byte(text), into))
	return into
}

// sample is what gather finds for a kernel of a Hub user.
func sample() Parts {
	k := kerneltest.Kernel("5f0c0f4e-5d0a-4c9b-9f4d-2d8b6c1f7a11", "default", "python-gpu", func(k *v1alpha1.JupyterKernel) {
		k.Namespace, k.UID = "ns", "uid-1"
		k.Spec.User, k.Spec.Policies, k.Spec.Notebook = "Ann@Example.org", []string{"research"}, "nb-ann"
		k.Spec.Env = []corev1.EnvVar{{Name: "KERNEL_X", Value: "$(ELASTICHUB_KERNEL_ID) $$(HOME) 5$"}}
		k.Spec.WorkingDir = "/home/jovyan/project"
	})
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "ns"}}
	gw.Spec.CullIdleTimeout = ptr.To[int32](60)
	ks := kerneltest.GPUSpec("python-gpu", 1)
	ks.Namespace = "ns"
	ks.Spec.Env = []corev1.EnvVar{{Name: "HF_HOME", Value: "/data/hf"}}
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "nb-ann", Namespace: "ns"}}
	nb.Spec.Storage = &v1alpha1.NotebookStorage{
		Home:   &v1alpha1.HomeVolume{Size: resource.MustParse("10Gi")},
		Shared: []v1alpha1.SharedVolume{{Name: "data", Claim: "datasets", MountPath: "/data", ReadOnly: true}},
	}
	research := kerneltest.Policy("research", func(*v1alpha1.PolicyKernels) {})
	research.Spec.NodeSelector = map[string]string{"pool": "gpu"}
	research.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
	research.Spec.PriorityClassName = "interactive"
	research.Spec.Env = []v1alpha1.PolicyEnv{
		{Name: "MLFLOW_TRACKING_URI", Value: "http://mlflow/$(USER)/{username}"},
		{Name: "MLFLOW_TOKEN", ValueFrom: &v1alpha1.PolicyEnvSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "mlflow"}, Key: "token",
		}}},
	}
	return Parts{Kernel: k, Gateway: gw, Spec: ks, Notebook: nb, Policies: []v1alpha1.GroupPolicy{*research}}
}

func TestPodOfAHubUser(t *testing.T) {
	in := sample()
	in.Account, in.AccountTokens = "bucket", []v1alpha1.ServiceAccountToken{{Audience: "sts.amazonaws.com", Path: "aws"}}
	pod, err := Build(testPods, in)
	require.NoError(t, err)
	golden(t, "pod-hub-user", pod)
}

// TestAKernelHasTheSameDirectoryAsItsNotebook: of a volume that many homes are in it sees no
// more than the notebook, also in a Pod that is kept ready, and it is kept there.
func TestAKernelHasTheSameDirectoryAsItsNotebook(t *testing.T) {
	in := sample()
	in.Notebook.Spec.Storage.Home = &v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: "homes", SubPath: "all/ann"}}
	in.Policies[0].Spec.SchedulerName = "packing"
	for _, warm := range []bool{false, true} {
		in.Warm = warm
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		assert.Equal(t, "packing", pod.Spec.SchedulerName)
		assert.NotContains(t, pod.Labels, v1alpha1.LabelHome, "homes of others are in it, on other nodes")
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == "homes"
		})
		require.GreaterOrEqual(t, i, 0)
		mounts := 0
		for _, c := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
			for _, m := range c.VolumeMounts {
				if m.Name == pod.Spec.Volumes[i].Name {
					mounts++
					assert.Equal(t, corev1.VolumeMount{Name: m.Name, MountPath: v1alpha1.DefaultHome, SubPath: "all/ann"}, m, c.Name)
				}
			}
		}
		assert.Positive(t, mounts)
	}
	in.Warm = false
	cfg := testPods
	cfg.Keeps, cfg.Keep = true, Keep{Enabled: true, TTL: time.Hour}
	assert.Equal(t, v1alpha1.DefaultHome, KeepOf(cfg, in).Home)
	in.Notebook.Spec.Storage.Home.Static.SubPath = "../ann"
	_, err := Build(testPods, in)
	assert.ErrorContains(t, err, "spec.storage.home.static.subPath")
}

// TestPodOfTheOperatorsSamples builds from the manifests of
// elastic-jupyter-operator as they are: stray scalars under metadata, a
// container without image, restartPolicy Always, a launcher command.
func TestPodOfTheOperatorsSamples(t *testing.T) {
	in := Parts{
		Kernel:  kerneltest.Kernel("0a1b", "jupytergateway-sample", "python-kubernetes"),
		Gateway: &v1alpha1.JupyterGateway{},
		Spec: decode[v1alpha1.JupyterKernelSpec](t, `
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterKernelSpec
metadata: {name: python-kubernetes, namespace: default}
spec:
  language: Python
  displayName: Python on Kubernetes as a JupyterKernelSpec
  image: ghcr.io/skai-x/kernel-py:2.6.0
  className: enterprise_gateway.services.processproxies.kubeflow.KubeflowProcessProxy
  template: {namespace: default, name: jupyterkerneltemplate-elastic}
  command: [kubeflow-launcher, --verbose, --RemoteProcessProxy.kernel-id, "{kernel_id}", --RemoteProcessProxy.port-range, "{port_range}",
    --RemoteProcessProxy.response-address, "{response_address}", --RemoteProcessProxy.public-key, "{public_key}"]
`),
		Template: decode[v1alpha1.JupyterKernelTemplate](t, `
apiVersion: kubeflow.tkestack.io/v1alpha1
kind: JupyterKernelTemplate
metadata: {name: jupyterkerneltemplate-elastic, namespace: default}
spec:
  template:
    metadata: {app: enterprise-gateway, component: kernel}
    spec:
      restartPolicy: Always
      containers:
      - {name: kernel}
`),
	}
	in.Kernel.Namespace = "default"
	name, err := templateRef(in.Spec)
	require.NoError(t, err)
	assert.Equal(t, "jupyterkerneltemplate-elastic", name)
	pod, err := Build(testPods, in)
	require.NoError(t, err)
	golden(t, "pod-operator-sample", pod)

	// some versions: another launcher, no template, no className, resources
	in.Template = nil
	in.Spec = decode[v1alpha1.JupyterKernelSpec](t, `
metadata: {name: python, namespace: default}
spec:
  language: Python
  image: kernel-py:1
  command: [python, /usr/local/share/jupyter/kernels/python_kubernetes/scripts/launch_kubernetes.py, --RemoteProcessProxy.kernel-id, "{kernel_id}"]
`)
	pod, err = Build(testPods, in)
	require.NoError(t, err)
	assert.Equal(t, []string{"/opt/elastichub/elastichub", "run-kernel", "--", "python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"}, KernelContainer(&pod.Spec).Command)
	assert.Equal(t, corev1.RestartPolicyNever, pod.Spec.RestartPolicy)
}

func TestCommands(t *testing.T) {
	for name, tc := range map[string]struct {
		spec v1alpha1.JupyterKernelSpecSpec
		want []string
		path string
	}{
		"standard":     {v1alpha1.JupyterKernelSpecSpec{Language: "R"}, []string{"R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"}, ""},
		"no language":  {v1alpha1.JupyterKernelSpecSpec{}, []string{"python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"}, ""},
		"own":          {v1alpha1.JupyterKernelSpecSpec{Language: "x", Command: []string{"mine", "{connection_file}", "--id={kernel_id}"}}, []string{"mine", "{connection_file}", "--id=kid"}, ""},
		"bootstrap":    {v1alpha1.JupyterKernelSpecSpec{Language: "julia", Command: []string{"/usr/local/bin/bootstrap-kernel.sh"}}, languages.Of("julia").Command, ""},
		"placeholders": {v1alpha1.JupyterKernelSpecSpec{Language: "python", Command: []string{"launch", "{response_address}"}}, languages.Of("python").Command, ""},
		"unknown":      {v1alpha1.JupyterKernelSpecSpec{Language: "cobol"}, nil, "spec.command"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := kernelArgv(tc.spec, "kid")
			assert.Equal(t, tc.want, got)
			if tc.path == "" {
				assert.NoError(t, err)
				return
			}
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
			assert.Equal(t, tc.path, invalid.Path)
		})
	}
}

func TestIdleTimeout(t *testing.T) {
	cfg := testPods
	for name, tc := range map[string]struct {
		change func(*Parts)
		want   int64
	}{
		"gateway":            {func(*Parts) {}, 60},
		"service":            {func(p *Parts) { p.Gateway.Spec.CullIdleTimeout = nil }, 3600},
		"gateway says never": {func(p *Parts) { p.Gateway.Spec.CullIdleTimeout = ptr.To[int32](-1) }, 0},
		"policy":             {func(p *Parts) { p.Policies[0].Spec.Kernels.IdleSeconds = 90 }, 90},
		"kernelspec": {func(p *Parts) {
			p.Policies[0].Spec.Kernels.IdleSeconds = 90
			p.Spec.Spec.IdleTimeoutSeconds = ptr.To[int64](7)
		}, 7},
		"kernel": {func(p *Parts) {
			p.Spec.Spec.IdleTimeoutSeconds = ptr.To[int64](7)
			p.Kernel.Spec.IdleTimeoutSeconds = ptr.To[int64](5)
		}, 5},
		"kernel that never is":  {func(p *Parts) { p.Kernel.Spec.IdleTimeoutSeconds = ptr.To[int64](0) }, 0},
		"kernelspec that never": {func(p *Parts) { p.Spec.Spec.IdleTimeoutSeconds = ptr.To[int64](-3) }, 0},
	} {
		in := sample()
		tc.change(&in)
		assert.Equal(t, tc.want, IdleSeconds(cfg, in), name)
	}
}

func TestGatewaySettingsOfTheAgent(t *testing.T) {
	env := func(change func(*v1alpha1.JupyterGatewaySpec)) map[string]string {
		in := sample()
		change(&in.Gateway.Spec)
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		found := map[string]string{}
		for _, v := range pod.Spec.Containers[0].Env {
			found[v.Name] = v.Value
		}
		return found
	}
	plain := env(func(*v1alpha1.JupyterGatewaySpec) {})
	assert.Equal(t, "60", plain["ELASTICHUB_PARK_NOTICE"])
	assert.Equal(t, "0", plain["ELASTICHUB_IOPUB_MESSAGE_RATE"])
	assert.Equal(t, "0", plain["ELASTICHUB_IOPUB_BYTE_RATE"])
	set := env(func(gw *v1alpha1.JupyterGatewaySpec) {
		gw.ParkNoticeSeconds = ptr.To[int64](0)
		gw.IOPub = &v1alpha1.IOPubLimits{MessagesPerSecond: 1000, BytesPerSecond: 1 << 20}
	})
	assert.Equal(t, "0", set["ELASTICHUB_PARK_NOTICE"])
	assert.Equal(t, "1000", set["ELASTICHUB_IOPUB_MESSAGE_RATE"])
	assert.Equal(t, "1048576", set["ELASTICHUB_IOPUB_BYTE_RATE"])
}

// TestInterruptMode: the kernelspec's own reaches the agent, which has one where it says none.
func TestInterruptMode(t *testing.T) {
	for _, mode := range []v1alpha1.InterruptMode{"", v1alpha1.InterruptAuto, v1alpha1.InterruptSignal} {
		in := sample()
		in.Spec.Spec.InterruptMode = mode
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		var told []string
		for _, v := range pod.Spec.Containers[0].Env {
			if v.Name == protocol.EnvInterruptMode {
				told = append(told, v.Value)
			}
		}
		assert.Equal(t, map[bool][]string{true: nil, false: {string(mode)}}[mode == ""], told)
	}
}

func TestPlacementByPolicy(t *testing.T) {
	in := sample()
	more := *in.Policies[0].DeepCopy()
	p := &in.Policies[0].Spec
	p.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
	p.ImagePullSecrets = []v1alpha1.PullSecret{{Name: "registry"}}
	p.Kernels.MaxRunSeconds = ptr.To[int64](3600)
	pod, err := Build(testPods, in)
	require.NoError(t, err)
	assert.Equal(t, p.Affinity, pod.Spec.Affinity)
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "registry"}}, pod.Spec.ImagePullSecrets)
	assert.Equal(t, int64(3600), *pod.Spec.ActiveDeadlineSeconds)

	more.Spec.Kernels.MaxRunSeconds = ptr.To[int64](7200)
	in.Policies = append(in.Policies, more)
	pod, err = Build(testPods, in)
	require.NoError(t, err)
	assert.Equal(t, int64(7200), *pod.Spec.ActiveDeadlineSeconds, "the most generous counts")
	in.Policies[1].Spec.Kernels.MaxRunSeconds = ptr.To[int64](0)
	pod, err = Build(testPods, in)
	require.NoError(t, err)
	assert.Nil(t, pod.Spec.ActiveDeadlineSeconds)
}

// TestLongestRun: what a policy does not say, the configuration says; 0 is for ever.
func TestLongestRun(t *testing.T) {
	day, hour, never := ptr.To[int64](86400), ptr.To[int64](3600), ptr.To[int64](0)
	for name, row := range map[string]struct {
		configured int64
		policies   []*int64
		want       *int64
	}{
		"no policy":               {86400, nil, day},
		"none says it":            {86400, []*int64{nil, nil}, day},
		"a policy is shorter":     {86400, []*int64{hour}, hour},
		"a policy is longer":      {3600, []*int64{day}, day},
		"one says it":             {86400, []*int64{hour, nil}, day},
		"for ever by a policy":    {86400, []*int64{hour, never}, nil},
		"for ever by the chart":   {0, []*int64{nil}, nil},
		"for ever by one of both": {0, []*int64{hour, nil}, nil},
		"no policy, for ever":     {0, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, in := testPods, sample()
			cfg.MaxRunSeconds, in.Policies = row.configured, nil
			for _, limit := range row.policies {
				var p v1alpha1.GroupPolicy
				p.Spec.Kernels.MaxRunSeconds = limit
				in.Policies = append(in.Policies, p)
			}
			pod, err := Build(cfg, in)
			require.NoError(t, err)
			assert.Equal(t, row.want, pod.Spec.ActiveDeadlineSeconds)
		})
	}
	bare := Parts{Kernel: &v1alpha1.JupyterKernel{Spec: v1alpha1.JupyterKernelCRDSpec{Template: &v1alpha1.PodTemplate{PodTemplateSpec: corev1.PodTemplateSpec{
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "k", Image: "i"}}},
	}}}}}
	cfg := testPods
	cfg.MaxRunSeconds = 60
	pod, err := Build(cfg, bare)
	require.NoError(t, err)
	assert.Nil(t, pod.Spec.ActiveDeadlineSeconds, "a complete template runs as it is")
}

func TestWorkingDirectory(t *testing.T) {
	for wish, want := range map[string]string{
		"":                          "",
		"/home/jovyan":              "/home/jovyan",
		"/home/jovyan/a/../b":       "/home/jovyan/b",
		"/home/jovyan/$(HOME)":      "/home/jovyan/$$(HOME)",
		"/data/x":                   "/data/x",
		"/home/jovyan2":             "",
		"/home/jovyan/../../etc":    "",
		"relative":                  "",
		"/opt/elastichub/somewhere": "",
	} {
		in := sample()
		in.Kernel.Spec.WorkingDir = wish
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		kernel := KernelContainer(&pod.Spec)
		assert.Equal(t, "/home/jovyan", kernel.WorkingDir, "a mount: the container runtime makes nothing")
		if want == "" {
			assert.Equal(t, []string{"/opt/elastichub/elastichub", "run-kernel", "--"}, kernel.Command[:3], wish)
			continue
		}
		assert.Equal(t, []string{"run-kernel", "--working-dir", want, "--root", "/home/jovyan", "--root", "/data", "--"}, kernel.Command[1:9], wish)
	}
}

// TestRefusedTemplates holds the table that notebooks are held to as well.
func TestRefusedTemplates(t *testing.T) {
	for name, row := range podrulestest.Templates() {
		t.Run(name, func(t *testing.T) {
			template := &v1alpha1.PodTemplate{PodTemplateSpec: podrulestest.Template(row)}
			in := sample()
			in.Template = &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "tmpl"}, Spec: v1alpha1.JupyterKernelTemplateSpec{Template: template}}
			complete := Parts{Kernel: kerneltest.Kernel("k", "", "", func(k *v1alpha1.JupyterKernel) {
				k.Spec.Template = template
			})}
			for object, in := range map[string]Parts{"JupyterKernelTemplate tmpl": in, "JupyterKernel k": complete} {
				_, err := Build(testPods, in)
				if row.Path == "" {
					require.NoError(t, err)
					continue
				}
				var invalid *InvalidError
				require.ErrorAs(t, err, &invalid)
				assert.Equal(t, "spec.template."+row.Path, invalid.Path)
				assert.Equal(t, object, invalid.Object)
			}
		})
	}
}

func TestTemplateOfAnotherNamespace(t *testing.T) {
	in := sample()
	template := &v1alpha1.PodTemplate{}
	template.Namespace = "kube-system"
	in.Template = &v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "tmpl"}, Spec: v1alpha1.JupyterKernelTemplateSpec{Template: template}}
	_, err := Build(testPods, in)
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, "spec.template.metadata.namespace", invalid.Path)
}

// TestLabelsOfUsers: those of a user's kernels are those of their notebooks.
func TestLabelsOfUsers(t *testing.T) {
	for user, label := range podrulestest.Users() {
		in := sample()
		in.Kernel.Spec.User = user
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		assert.Equal(t, label, pod.Labels[v1alpha1.LabelHubUsername], user)
		assert.Equal(t, user, pod.Annotations[v1alpha1.LabelHubUsername])
	}
}

// TestLabelOfTheNotebook: it is the notebook's name, as its own Pod has it.
func TestLabelOfTheNotebook(t *testing.T) {
	for _, name := range []string{"nb-ann", "jupyter-ann--work", "jupyter-x---25f4b213"} {
		in := sample()
		in.Kernel.Spec.Notebook, in.Notebook.Name = name, name
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		assert.Equal(t, name, pod.Labels[v1alpha1.LabelNotebook])
	}
}

// TestPathsOfTheAgentAreTaken however a notebook writes them.
func TestPathsOfTheAgentAreTaken(t *testing.T) {
	for _, at := range []string{"/opt/elastichub", "/opt//elastichub/", "/opt/./elastichub/x", "/opt", "/var/run/elastichub", "/run/elastichub/agent", "/run"} {
		in := sample()
		in.Notebook.Spec.Storage.Shared[0].MountPath = at
		_, err := Build(testPods, in)
		var invalid *InvalidError
		require.ErrorAs(t, err, &invalid, at)
		assert.Equal(t, "JupyterNotebook nb-ann", invalid.Object)
	}
}

// TestPolicyVariablesAreLiteral, as they are in a notebook's Secret.
func TestPolicyVariablesAreLiteral(t *testing.T) {
	in := sample()
	in.Policies[0].Spec.Env = []v1alpha1.PolicyEnv{{Name: "PASSWORD_HASH", Value: "$$1$x$(HOME)"}}
	pod, err := Build(testPods, in)
	require.NoError(t, err)
	assert.Contains(t, KernelContainer(&pod.Spec).Env, corev1.EnvVar{Name: "PASSWORD_HASH", Value: "$$$$1$$x$$(HOME)"})
}

func TestClientEnvironment(t *testing.T) {
	for path, v := range map[string]corev1.EnvVar{
		"spec.env[0].name":      {Name: "ELASTICHUB_AGENT_KEY_FILE", Value: "/etc/passwd"},
		"spec.env[0].valueFrom": {Name: "A", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "token"}}},
		"spec.env[0].value":     {Name: "A", Value: "a\x00b"},
	} {
		_, err := clientEnv([]corev1.EnvVar{v})
		var invalid *InvalidError
		require.True(t, errors.As(err, &invalid), path)
		assert.Equal(t, path, invalid.Path)
	}
}

func TestNames(t *testing.T) {
	long := "a-very-long-name-of-a-kernel-that-somebody-has-made-with-kubectl-by-hand"
	assert.Equal(t, "k-12", PodName("k", 12))
	names := map[string]bool{}
	for _, k := range []string{long, long + "x", "k", "a.b", "a-b"} {
		for _, run := range []int64{1, 10, 123456789} {
			name := PodName(k, run)
			assert.LessOrEqual(t, len(name), 63)
			assert.False(t, names[name], name)
			names[name] = true
		}
	}
}

// testPods is what every Pod of the tests of this package is made with.
var testPods = Config{Image: "elastichub:test", ImagePullPolicy: corev1.PullIfNotPresent, KernelImage: "kernel:test", IdleSeconds: 3600, BusyCPU: 0.05, BusyGPU: 5}

// TestNobodyAsksForAllGPUs: not the kernelspec, not a policy, not the template
// of a sidecar; a kernel with GPUs gets those of the device plugin.
func TestNobodyAsksForAllGPUs(t *testing.T) {
	everything := corev1.EnvVar{Name: podrules.EnvNvidiaDevices, Value: "all"}
	devices := func(in Parts) map[string]string {
		pod, err := Build(testPods, in)
		require.NoError(t, err)
		seen := map[string]string{}
		for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
			for _, v := range c.Env {
				if v.Name == podrules.EnvNvidiaDevices {
					seen[c.Name] = v.Value
				}
			}
		}
		return seen
	}
	in := sample()
	in.Spec.Spec.Env = append(in.Spec.Spec.Env, everything)
	in.Policies[0].Spec.Env = append(in.Policies[0].Spec.Env, v1alpha1.PolicyEnv{Name: everything.Name, Value: everything.Value})
	in.Template = &v1alpha1.JupyterKernelTemplate{}
	in.Template.Spec.Template = &v1alpha1.PodTemplate{}
	in.Template.Spec.Template.Spec.Containers = []corev1.Container{
		{Name: "kernel", Env: []corev1.EnvVar{everything}}, {Name: "sidecar", Image: "x", Env: []corev1.EnvVar{everything}}}
	assert.Equal(t, map[string]string{"agent": "void", "sidecar": "void"}, devices(in))
	in.Spec.Spec.Resources = nil
	assert.Equal(t, map[string]string{"agent": "void", "sidecar": "void", "kernel": "void"}, devices(in))
}

// TestWhatAKernelMayUse: it is told in variables, which nobody overrides, and
// /dev/shm is as large as the kernelspec says.
func TestWhatAKernelMayUse(t *testing.T) {
	in := sample()
	in.Spec.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("4Gi"),
	}}
	in.Spec.Spec.ShmSize = ptr.To(resource.MustParse("1Gi"))
	in.Kernel.Spec.Env = append(in.Kernel.Spec.Env, corev1.EnvVar{Name: "CPU_LIMIT", Value: "64"})
	pod, err := Build(testPods, in)
	require.NoError(t, err)
	main := KernelContainer(&pod.Spec)
	assert.Contains(t, main.Env, corev1.EnvVar{Name: "CPU_LIMIT", Value: "1.5"})
	assert.Contains(t, main.Env, corev1.EnvVar{Name: "MEM_LIMIT", Value: "4294967296"})
	assert.NotContains(t, main.Env, corev1.EnvVar{Name: "CPU_LIMIT", Value: "64"})
	assert.Contains(t, main.VolumeMounts, corev1.VolumeMount{Name: podrules.SharedMemoryVolume, MountPath: "/dev/shm"})
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == podrules.SharedMemoryVolume })
	require.GreaterOrEqual(t, i, 0)
	assert.Equal(t, "1Gi", pod.Spec.Volumes[i].EmptyDir.SizeLimit.String())
}

// TestNoTokenReachesAKernel: of the notebook's environment it sees what it may.
func TestNoTokenReachesAKernel(t *testing.T) {
	in := sample()
	in.Notebook.Spec.EnvSecret = "nb-env"
	pod, err := Build(testPods, in)
	require.NoError(t, err)
	var seen []string
	for _, c := range pod.Spec.Containers {
		assert.Empty(t, c.EnvFrom)
		for _, v := range c.Env {
			if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef.Name == "nb-env" {
				assert.Equal(t, v1alpha1.KernelContainer, c.Name)
				assert.Equal(t, v.Name, v.ValueFrom.SecretKeyRef.Key)
				assert.True(t, *v.ValueFrom.SecretKeyRef.Optional, "a Hub may not have it")
				seen = append(seen, v.Name)
			}
		}
	}
	assert.Equal(t, []string{
		"JUPYTERHUB_USER", "JUPYTERHUB_SERVER_NAME", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_BASE_URL",
		"JUPYTERHUB_HOST", "JUPYTERHUB_PUBLIC_URL", "JUPYTERHUB_PUBLIC_HUB_URL",
	}, seen)
}

// TestVariablesOfTheHubsConfiguration: those that are named, where nobody else sets them.
func TestVariablesOfTheHubsConfiguration(t *testing.T) {
	cfg := testPods
	cfg.HubEnvironment = []string{"FROM_HUB", "IN_SPEC", "IN_POLICY"}
	in := sample()
	in.HubEnvironment = cfg.HubEnvironment
	in.Notebook.Spec.EnvSecret = "nb-env"
	in.Spec.Spec.Env = append(in.Spec.Spec.Env, corev1.EnvVar{Name: "IN_SPEC", Value: "spec"})
	in.Policies[0].Spec.Env = append(in.Policies[0].Spec.Env, v1alpha1.PolicyEnv{Name: "IN_POLICY", Value: "policy"})
	pod, err := Build(cfg, in)
	require.NoError(t, err)
	seen := map[string]corev1.EnvVar{}
	for _, c := range pod.Spec.Containers {
		for _, v := range c.Env {
			if slices.Contains(cfg.HubEnvironment, v.Name) {
				assert.Equal(t, v1alpha1.KernelContainer, c.Name)
				assert.NotContains(t, seen, v.Name, "once")
				seen[v.Name] = v
			}
		}
	}
	assert.Equal(t, "spec", seen["IN_SPEC"].Value)
	assert.Equal(t, "policy", seen["IN_POLICY"].Value)
	from := seen["FROM_HUB"].ValueFrom.SecretKeyRef
	assert.Equal(t, []string{"nb-env", "FROM_HUB"}, []string{from.Name, from.Key})
	assert.True(t, *from.Optional, "the Hub may have no such variable")

	// A kernel that takes a warm Pod is told the same.
	notebook := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: in.Kernel.Namespace, Name: "nb-env"}, Data: map[string][]byte{
		"FROM_HUB": []byte("http://mlflow"), "IN_SPEC": []byte("hub"), "IN_POLICY": []byte("hub"), "OTHER": []byte("hub"),
	}}
	in.Spec.Spec.Language = "python"
	told, err := Told(t.Context(), fake.NewClientBuilder().WithObjects(notebook).Build(), in)
	require.NoError(t, err)
	assert.Equal(t, "http://mlflow", told.Variables["FROM_HUB"])
	for _, name := range []string{"IN_SPEC", "IN_POLICY", "OTHER"} {
		assert.NotContains(t, told.Variables, name)
	}
	left := in.withoutTold([]corev1.EnvVar{seen["FROM_HUB"], seen["IN_SPEC"], seen["IN_POLICY"]})
	assert.Equal(t, []corev1.EnvVar{seen["IN_SPEC"], seen["IN_POLICY"]}, left, "what is told is no part of a class")
}

// TestAKernelRunsAsTheAccountOfItsPolicy, if its owner has named that, and never with
// a token of it for the Kubernetes API.
func TestAKernelRunsAsTheAccountOfItsPolicy(t *testing.T) {
	in := sample()
	policy := in.Policies[0].DeepCopy()
	policy.Spec.ServiceAccountName = "bucket"
	gather := func(account *corev1.ServiceAccount) (Parts, error) {
		objects := fake.NewClientBuilder()
		if account != nil {
			objects = objects.WithObjects(account)
		}
		parts := sample()
		parts.Policies = []v1alpha1.GroupPolicy{*policy}
		return parts, gatherAccount(t.Context(), testPods, objects.Build(), &parts)
	}
	marked := func(mark string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: in.Kernel.Namespace, Name: "bucket", Annotations: map[string]string{v1alpha1.AnnotationForPolicies: mark}}}
	}
	var missing *MissingError
	_, err := gather(nil)
	require.ErrorAs(t, err, &missing)
	assert.EqualError(t, err, "ServiceAccount bucket does not exist")
	_, err = gather(marked("other"))
	require.ErrorAs(t, err, &missing)
	assert.Contains(t, err.Error(), "is not for the policy "+policy.Name)
	parts, err := gather(marked("other, " + policy.Name))
	require.NoError(t, err)
	pod, err := Build(testPods, parts)
	require.NoError(t, err)
	assert.Equal(t, "bucket", pod.Spec.ServiceAccountName)
	assert.False(t, *pod.Spec.AutomountServiceAccountToken)
	without, err := Build(testPods, sample())
	require.NoError(t, err)
	assert.Empty(t, without.Spec.ServiceAccountName)
}

// TestAKernelHasTokensForWhomTheOwnerNames, in its own container alone, and for nobody's
// Kubernetes API, by whatever name.
func TestAKernelHasTokensForWhomTheOwnerNames(t *testing.T) {
	cfg := testPods
	cfg.APIAudiences = []string{"https://oidc.example.org/id/1"}
	gather := func(account, audiences string, tokens ...v1alpha1.ServiceAccountToken) (Parts, error) {
		parts := sample()
		policy := &parts.Policies[0]
		policy.Spec.ServiceAccountName, policy.Spec.ServiceAccountTokens = account, tokens
		marked := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: parts.Kernel.Namespace, Name: "default", Annotations: map[string]string{
			v1alpha1.AnnotationForPolicies: "research", v1alpha1.AnnotationTokenAudiences: audiences,
		}}}
		return parts, gatherAccount(t.Context(), cfg, fake.NewClientBuilder().WithObjects(marked).Build(), &parts)
	}
	aws := v1alpha1.ServiceAccountToken{Audience: "sts.amazonaws.com", Path: "aws"}
	vault := v1alpha1.ServiceAccountToken{Audience: "vault", Path: "vault", ExpirationSeconds: 600}

	_, err := gather("default", "vault", vault, aws)
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	assert.EqualError(t, err, "ServiceAccount default gives no token for the audience sts.amazonaws.com: its owner has not named that in the annotation elastichub.io/token-audiences")
	for path, row := range map[string]struct {
		account string
		token   v1alpha1.ServiceAccountToken
	}{
		"spec.serviceAccountTokens[0].audience": {"default", v1alpha1.ServiceAccountToken{Audience: "https://oidc.example.org/id/1/", Path: "a"}},
		"spec.serviceAccountName":               {"", vault},
	} {
		_, err := gather(row.account, row.token.Audience, row.token) // the owner's word does not count there
		var faulty *InvalidError
		require.ErrorAs(t, err, &faulty, path)
		assert.Equal(t, path, faulty.Path)
		assert.Equal(t, "GroupPolicy research", faulty.Object)
	}

	parts, err := gather("default", "vault, sts.amazonaws.com", vault, aws)
	require.NoError(t, err)
	parts.Template = &v1alpha1.JupyterKernelTemplate{}
	parts.Template.Spec.Template = &v1alpha1.PodTemplate{PodTemplateSpec: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{
		{Name: "kernel", VolumeMounts: []corev1.VolumeMount{{Name: "own", MountPath: v1alpha1.TokenDirectory + "/"}}}, {Name: "beside", Image: "beside:1"},
	}, Volumes: []corev1.Volume{{Name: "own"}}}}}
	pod, err := Build(cfg, parts)
	require.NoError(t, err)
	assert.Equal(t, "default", pod.Spec.ServiceAccountName)
	assert.False(t, *pod.Spec.AutomountServiceAccountToken)
	mounts := map[string][]string{}
	for _, c := range pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			if m.MountPath == v1alpha1.TokenDirectory || m.Name == podrules.AccountTokenVolume {
				mounts[c.Name] = append(mounts[c.Name], m.Name)
			}
		}
	}
	assert.Equal(t, map[string][]string{"kernel": {podrules.AccountTokenVolume}}, mounts)
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == podrules.AccountTokenVolume })
	require.GreaterOrEqual(t, i, 0)
	assert.Equal(t, []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", ExpirationSeconds: new(int64(600)), Path: "vault"}},
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "sts.amazonaws.com", ExpirationSeconds: new(int64(3600)), Path: "aws"}},
	}, pod.Spec.Volumes[i].Projected.Sources)
}

// TestWhenImagesArePulled: as the template says, else the configuration, else
// Kubernetes; the agent's is one that the service has run already.
func TestWhenImagesArePulled(t *testing.T) {
	for _, policy := range []corev1.PullPolicy{"", corev1.PullAlways} {
		cfg := testPods
		cfg.ImagePullPolicy = policy
		in := sample()
		in.Template = &v1alpha1.JupyterKernelTemplate{}
		in.Template.Spec.Template = &v1alpha1.PodTemplate{}
		in.Template.Spec.Template.Spec.Containers = []corev1.Container{{Name: "kernel"}, {Name: "sidecar", Image: "x", ImagePullPolicy: corev1.PullNever}}
		pod, err := Build(cfg, in)
		require.NoError(t, err)
		got := map[string]corev1.PullPolicy{}
		for _, c := range pod.Spec.Containers {
			got[c.Name] = c.ImagePullPolicy
		}
		assert.Equal(t, map[string]corev1.PullPolicy{"agent": corev1.PullIfNotPresent, "kernel": policy, "sidecar": corev1.PullNever}, got)
	}
}

// TestWhatIsTheAgentsAlone: no template has a part of it.
func TestWhatIsTheAgentsAlone(t *testing.T) {
	for at, change := range map[string]func(*corev1.PodSpec){
		"containers[0].name":     func(s *corev1.PodSpec) { s.Containers[0].Name = "agent" },
		"initContainers[0].name": func(s *corev1.PodSpec) { s.InitContainers = []corev1.Container{{Name: "agent", Image: "x"}} },
		"containers[0].volumeMounts[0].name": func(s *corev1.PodSpec) {
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: keyVolume, MountPath: "/k"}}
		},
		"initContainers[0].volumeMounts[0].name": func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "i", VolumeMounts: []corev1.VolumeMount{{Name: runVolume, MountPath: "/k"}}}}
		},
		"volumes[0].name": func(s *corev1.PodSpec) { s.Volumes = []corev1.Volume{{Name: agentVolume}} },
	} {
		in := sample()
		in.Template = &v1alpha1.JupyterKernelTemplate{}
		in.Template.Spec.Template = &v1alpha1.PodTemplate{}
		in.Template.Spec.Template.Spec.Containers = []corev1.Container{{Name: "kernel"}}
		change(&in.Template.Spec.Template.Spec)
		_, err := Build(testPods, in)
		var invalid *InvalidError
		require.ErrorAs(t, err, &invalid, at)
		assert.Equal(t, "spec.template.spec."+at, invalid.Path)
	}
}

// TestTheAgentIsApart: whatever a template says, the agent is first, alone with
// the key, under another user, and everything else ends when it says so.
func TestTheAgentIsApart(t *testing.T) {
	in := sample()
	in.Template = &v1alpha1.JupyterKernelTemplate{}
	in.Template.Spec.Template = &v1alpha1.PodTemplate{}
	spec := &in.Template.Spec.Template.Spec
	spec.ShareProcessNamespace, spec.RestartPolicy = ptr.To(true), corev1.RestartPolicyAlways
	spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr.To(agentUser)}
	own := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	spec.Containers = []corev1.Container{
		{Name: "sidecar", Image: "x", LivenessProbe: own},
		{Name: "kernel", LivenessProbe: own, ReadinessProbe: own, Lifecycle: &corev1.Lifecycle{}, Ports: []corev1.ContainerPort{{ContainerPort: 8443}},
			RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
	}
	pod, err := Build(testPods, in)
	require.NoError(t, err)
	secret, err := keys.Derive(make([]byte, keys.Size), "u", 1)
	require.NoError(t, err)
	IntroduceKubelet(pod, secret, "id")

	assert.Equal(t, "id", pod.Annotations["elastichub.io/agent-key"])
	assert.True(t, FollowsKey(pod))
	for i := range pod.Spec.Volumes { // of a former release
		if pod.Spec.Volumes[i].Name == keyVolume {
			former := pod.DeepCopy()
			former.Spec.Volumes[i].Secret.Items = []corev1.KeyToPath{{Key: KeyName, Path: KeyName}}
			assert.False(t, FollowsKey(former))
		}
	}

	assert.True(t, HasAgentContainer(&pod.Spec))
	assert.Equal(t, "kernel", KernelContainer(&pod.Spec).Name)
	assert.Equal(t, "kernel", pod.Annotations["kubectl.kubernetes.io/default-container"])
	assert.Equal(t, corev1.RestartPolicyNever, pod.Spec.RestartPolicy)
	assert.Nil(t, pod.Spec.ShareProcessNamespace)
	require.Len(t, pod.Spec.Containers, 3)
	agent := pod.Spec.Containers[0]
	assert.Equal(t, "agent", agent.Name)
	assert.Equal(t, agentUserToo, *agent.SecurityContext.RunAsUser, "the kernel has its usual one")
	assert.Nil(t, agent.LivenessProbe)
	for _, c := range pod.Spec.Containers[1:] {
		live := c.LivenessProbe
		require.NotNil(t, live, c.Name)
		assert.Equal(t, "/v1/live", live.HTTPGet.Path)
		assert.Equal(t, []corev1.HTTPHeader{{Name: "Elastichub-Probe", Value: secret.Probe()}}, live.HTTPGet.HTTPHeaders)
		assert.Equal(t, []int32{2, 1}, []int32{live.PeriodSeconds, live.FailureThreshold})
		assert.Equal(t, int64(1), *live.TerminationGracePeriodSeconds)
		assert.Nil(t, c.RestartPolicy)
		assert.Nil(t, c.ReadinessProbe)
		assert.Nil(t, c.Lifecycle)
		for _, m := range c.VolumeMounts {
			assert.NotEqual(t, keyVolume, m.Name)
		}
		for _, v := range c.Env {
			assert.False(t, strings.HasPrefix(v.Name, "ELASTICHUB_AGENT_"), v.Name)
		}
	}
	assert.Empty(t, KernelContainer(&pod.Spec).Ports)
	assert.Empty(t, pod.Spec.InitContainers)
}

// TestACompleteTemplateKeepsNoGPU by crashing again and again.
func TestACompleteTemplateKeepsNoGPU(t *testing.T) {
	build := func(resources corev1.ResourceRequirements) corev1.RestartPolicy {
		template := &v1alpha1.PodTemplate{}
		template.Spec.RestartPolicy = corev1.RestartPolicyAlways
		template.Spec.Containers = []corev1.Container{{Name: "x", Image: "x", Resources: resources}}
		pod, err := Build(testPods, Parts{Kernel: kerneltest.Kernel("k", "", "", func(k *v1alpha1.JupyterKernel) { k.Spec.Template = template })})
		require.NoError(t, err)
		return pod.Spec.RestartPolicy
	}
	assert.Equal(t, corev1.RestartPolicyAlways, build(corev1.ResourceRequirements{}))
	assert.Equal(t, corev1.RestartPolicyNever, build(*kerneltest.GPUSpec("gpu", 1).Spec.Resources))
}
