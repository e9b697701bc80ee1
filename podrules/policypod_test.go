package podrules_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

func policyBounds() podrules.PolicyPodBounds {
	return podrules.PolicyPodBounds{
		CPU: resource.MustParse("4"), Memory: resource.MustParse("8Gi"), GPUResources: []string{"example.org/fpga"},
		Storage: &v1alpha1.NotebookStorage{
			Home:   &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")},
			Shared: []v1alpha1.SharedVolume{{Name: "data", Claim: "datasets", MountPath: "/data"}},
		},
	}
}

// fullPolicyPod has something of everything, and no faults.
func fullPolicyPod() *v1alpha1.PolicyPod {
	return &v1alpha1.PolicyPod{
		Labels:      map[string]string{"team": "ml", "owner": "of-{username}", "server": "{servername}"},
		Annotations: map[string]string{"example.org/who": "{username} at {servername}"},
		InitContainers: []corev1.Container{
			{Name: "prepare", Image: "registry.example/prepare:1", Command: []string{"sh", "-c", "mkdir -p /home/jovyan/{username}"},
				Env:          []corev1.EnvVar{{Name: "WHO", Value: "{username} of $(TEAM)"}},
				VolumeMounts: []corev1.VolumeMount{{Name: "home", MountPath: "/home/jovyan"}, {Name: "shared-data", MountPath: "/data", ReadOnly: true}}},
			{Name: "logs", Image: "registry.example/logs:1", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
		},
		Containers: []corev1.Container{{Name: "proxy", Image: "registry.example/proxy:1",
			EnvFrom:   []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "proxy-{username}"}}}},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}, Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}}},
		Volumes: []corev1.Volume{
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "plain"},
			{Name: "ram", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("64Mi"))}}},
			{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
			{Name: "own", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-{username}--{servername}"}}},
			{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "key-{username}"}}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}}}},
		},
		VolumeMounts:       []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}, {Name: "own", MountPath: "/own", SubPath: "of/{username}/{servername}"}},
		SecurityContext:    &corev1.SecurityContext{ReadOnlyRootFilesystem: ptr.To(true)},
		PodSecurityContext: &corev1.PodSecurityContext{SupplementalGroups: []int64{3000}},
		Lifecycle: &corev1.Lifecycle{
			PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"before-start", "{username}"}}},
			PreStop:   &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}},
		},
		ExtraResources: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("2Gi"), "example.org/nic": resource.MustParse("1")},
	}
}

func TestAPolicysPodWithoutFaults(t *testing.T) {
	assert.Empty(t, podrules.PolicyPodFaults(nil, policyBounds()))
	assert.Empty(t, podrules.PolicyPodFaults(&v1alpha1.PolicyPod{}, policyBounds()))
	assert.Empty(t, podrules.PolicyPodFaults(fullPolicyPod(), policyBounds()))
}

func TestWhatIsRefusedOfAPolicysPod(t *testing.T) {
	type pod = v1alpha1.PolicyPod
	limits := func(name corev1.ResourceName, q string) func(*pod) {
		return func(p *pod) { p.Containers[0].Resources.Limits[name] = resource.MustParse(q) }
	}
	claim := func(name string) func(*pod) {
		return func(p *pod) { p.Volumes[4].PersistentVolumeClaim.ClaimName = name }
	}
	mount := func(change func(*corev1.VolumeMount)) func(*pod) {
		return func(p *pod) { change(&p.VolumeMounts[0]) }
	}
	extra := func(name corev1.ResourceName, q string) func(*pod) {
		return func(p *pod) { p.ExtraResources = corev1.ResourceList{name: resource.MustParse(q)} }
	}
	for want, change := range map[string]func(*pod){
		"labels[elastichub.io/notebook]: is elastichub's own":             func(p *pod) { p.Labels["elastichub.io/notebook"] = "x" },
		"labels[component]: is elastichub's own":                          func(p *pod) { p.Labels["component"] = "x" },
		"labels[app.kubernetes.io/part-of]: is elastichub's own":          func(p *pod) { p.Labels["app.kubernetes.io/part-of"] = "x" },
		"labels[hub.jupyter.org/network-access-hub]: is elastichub's own": func(p *pod) { p.Labels["hub.jupyter.org/network-access-hub"] = "false" },
		"labels[pod-template-hash]: is elastichub's own":                  func(p *pod) { p.Labels["pod-template-hash"] = "x" },
		"labels[x y]: ":                         func(p *pod) { p.Labels["x y"] = "x" },
		"labels[team]: ":                        func(p *pod) { p.Labels["team"] = "no label!" },
		"labels[team]: must be no more than 63": func(p *pod) { p.Labels["team"] = "{username}" + strings.Repeat("x", 26) },
		"annotations[hub.jupyter.org/username]: is elastichub's own": func(p *pod) { p.Annotations["hub.jupyter.org/username"] = "bob" },
		"annotations[sub.elastichub.io/x]: is elastichub's own":      func(p *pod) { p.Annotations["sub.elastichub.io/x"] = "bob" },
		"annotations: have 32784 bytes, the most is 32768":           func(p *pod) { p.Annotations = map[string]string{"a": strings.Repeat("x", 32783)} },
		": has 69529 bytes as JSON, the most is 65536":               func(p *pod) { p.Containers[0].Args = []string{strings.Repeat("x", 70000-2000)} },
		"labels: has 65, the most is 64":                             func(p *pod) { p.Labels = many(65) },
		"volumes[0]: this kind of volume is not allowed": func(p *pod) {
			p.Volumes[0].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
		},
		"volumes[5].projected.sources[0].serviceAccountToken: ": func(p *pod) {
			p.Volumes[5].Projected.Sources[0].ServiceAccountToken = &corev1.ServiceAccountTokenProjection{}
		},
		"volumes[5].projected.sources[0].podCertificate: ":                     func(p *pod) { p.Volumes[5].Projected.Sources[0].PodCertificate = &corev1.PodCertificateProjection{} },
		"volumes[0].emptyDir.sizeLimit: 2Ti must be more than 0, and at most ": func(p *pod) { p.Volumes[0].EmptyDir.SizeLimit = ptr.To(resource.MustParse("2Ti")) },
		"volumes[0].emptyDir.sizeLimit: 0 must be more than 0":                 func(p *pod) { p.Volumes[0].EmptyDir.SizeLimit = ptr.To(resource.MustParse("0")) },
		`volumes[0].name: "home": home, auth, `:                                func(p *pod) { p.Volumes[0].Name = "home" },
		`volumes[0].name: "elastichub-account-tokens": `:                       func(p *pod) { p.Volumes[0].Name = "elastichub-account-tokens" },
		`volumes[1].name: "scratch" is there twice`:                            func(p *pod) { p.Volumes[1].Name = "scratch" },
		"volumes[0]: is of 2 kinds":                                            func(p *pod) { p.Volumes[0].ConfigMap = &corev1.ConfigMapVolumeSource{} },
		"volumes[3].configMap.name: ":                                          func(p *pod) { p.Volumes[3].ConfigMap.Name = "No Name" },

		// Whoever chooses a name in the Hub must not choose whose volume that is.
		`volumes[4].persistentVolumeClaim.claimName: "{username}": what is before {username}`:                  claim("{username}"),
		`volumes[4].persistentVolumeClaim.claimName: "home-{username}": what is before {username}`:             claim("home-{username}"),
		`volumes[4].persistentVolumeClaim.claimName: "jupyter-{username}-env": what is before`:                 claim("jupyter-{username}-env"),
		`volumes[4].persistentVolumeClaim.claimName: "data-{username}-{servername}": {servername} must follow`: claim("data-{username}-{servername}"),
		`volumes[4].persistentVolumeClaim.claimName: "data-{servername}": {servername} must follow`:            claim("data-{servername}"),
		`volumes[4].persistentVolumeClaim.claimName: "data-{userid}": `:                                        claim("data-{userid}"),
		`containers[0].envFrom[0].secretRef.name: "{username}": what is before`: func(p *pod) {
			p.Containers[0].EnvFrom[0].SecretRef.Name = "{username}"
		},
		`volumeMounts[1].subPath: "{username}-{servername}": {servername} must follow {username}, with -- or / between`: func(p *pod) { p.VolumeMounts[1].SubPath = "{username}-{servername}" },

		`volumeMounts[0].name: "x" is no volume of pod.volumes`:                              mount(func(m *corev1.VolumeMount) { m.Name = "x" }),
		`volumeMounts[0].mountPath: "/home/jovyan/" is where a volume of storage is mounted`: mount(func(m *corev1.VolumeMount) { m.MountPath = "/home/jovyan/" }),
		`volumeMounts[0].mountPath: "/var/run/secrets/tokens/x" is where tokens`:             mount(func(m *corev1.VolumeMount) { m.MountPath = "/var/run/secrets/tokens/x" }),
		`volumeMounts[0].mountPath: "/home/{username}": names are written out in subPath`:    mount(func(m *corev1.VolumeMount) { m.MountPath = "/home/{username}" }),
		`volumeMounts[0].mountPath: "relative" must be absolute`:                             mount(func(m *corev1.VolumeMount) { m.MountPath = "relative" }),
		`volumeMounts[1].mountPath: "/own" is used twice`:                                    mount(func(m *corev1.VolumeMount) { m.MountPath = "/own" }),
		`volumeMounts[0].subPath: "../x" must be relative`:                                   mount(func(m *corev1.VolumeMount) { m.SubPath = "../x" }),
		`volumeMounts[0].subPathExpr: must be empty`:                                         mount(func(m *corev1.VolumeMount) { m.SubPathExpr = "$(JUPYTERHUB_USER)" }),
		`volumeMounts[0].mountPropagation: Bidirectional`:                                    mount(func(m *corev1.VolumeMount) { m.MountPropagation = ptr.To(corev1.MountPropagationBidirectional) }),
		`initContainers[0].volumeMounts[0].name: "shared-x" is no volume`:                    func(p *pod) { p.InitContainers[0].VolumeMounts[0].Name = "shared-x" },
		`initContainers[0].name: "notebook" is the server's own container`:                   func(p *pod) { p.InitContainers[0].Name = "notebook" },
		`containers[0].name: "logs" is there twice`:                                          func(p *pod) { p.Containers[0].Name = "logs" },
		`containers[0].name: "A": `:                                                          func(p *pod) { p.Containers[0].Name = "A" },
		"containers[0].image: must be an image of 1 to 1024 bytes":                           func(p *pod) { p.Containers[0].Image = "" },
		"containers[0].env[0].name: ":                                                        func(p *pod) { p.Containers[0].Env = []corev1.EnvVar{{Name: "a=b"}} },
		"containers[0].ports[0].containerPort: 8888 is the server's own":                     func(p *pod) { p.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8888}} },
		"containers[0].ports[0].hostPort: must be 0":                                         func(p *pod) { p.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}} },
		"containers[0].volumeDevices: must be empty":                                         func(p *pod) { p.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "own"}} },
		"containers[0].securityContext.privileged: must not be true":                         func(p *pod) { p.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)} },
		"initContainers[0].securityContext.runAsUser: must not be 0": func(p *pod) {
			p.InitContainers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: ptr.To[int64](0)}
		},
		"securityContext.capabilities.add[0]: SYS_ADMIN is not allowed": func(p *pod) {
			p.SecurityContext.Capabilities = &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}
		},
		"podSecurityContext.runAsNonRoot: must not be false":                     func(p *pod) { p.PodSecurityContext.RunAsNonRoot = ptr.To(false) },
		"podSecurityContext.sysctls[0]: kernel.msgmax is not allowed":            func(p *pod) { p.PodSecurityContext.Sysctls = []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}} },
		"annotations[container.apparmor.security.beta.kubernetes.io/notebook]: ": func(p *pod) { p.Annotations["container.apparmor.security.beta.kubernetes.io/notebook"] = "unconfined" },
		"lifecycle.postStart: must have one of exec, httpGet and sleep":          func(p *pod) { p.Lifecycle.PostStart = &corev1.LifecycleHandler{} },
		"lifecycle.postStart.exec.command: must not be empty":                    func(p *pod) { p.Lifecycle.PostStart.Exec.Command = nil },
		"lifecycle.postStart.httpGet.host: must be empty": func(p *pod) {
			p.Lifecycle.PostStart = &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Host: "169.254.169.254"}}
		},
		"lifecycle.preStop.sleep.seconds: 11 must be from 0 to 10":                                                        func(p *pod) { p.Lifecycle.PreStop.Sleep.Seconds = 11 },
		"lifecycle.stopSignal: must not be set":                                                                           func(p *pod) { p.Lifecycle.StopSignal = ptr.To(corev1.SIGKILL) },
		"containers[0].resources.limits[cpu]: 5 must be more than 0, and at most cpu.max, which is 4":                     limits(corev1.ResourceCPU, "5"),
		"containers[0].resources.limits[memory]: 9Gi must be":                                                             limits(corev1.ResourceMemory, "9Gi"),
		"containers[0].resources.limits[cpu]: 0 must be more than 0":                                                      limits(corev1.ResourceCPU, "0"),
		"containers[0].resources.limits[nvidia.com/gpu]: is for":                                                          limits("nvidia.com/gpu", "1"),
		"containers[0].resources.requests[memory]: 1Gi must not be more than the limit, which is 512Mi":                   limits(corev1.ResourceMemory, "512Mi"),
		"containers[0].resources.claims: must be empty":                                                                   func(p *pod) { p.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "gpu"}} },
		"containers: and initContainers that go on have limits of 4500m of cpu together, the most is cpu.max, which is 4": limits(corev1.ResourceCPU, "4"),

		"extraResources[cpu]: is what members choose": extra(corev1.ResourceCPU, "1"),
		"extraResources[nvidia.com/gpu]: GPUs are not given to servers: kernels borrow them while they compute. Set spec.kernels.allowed": extra("nvidia.com/gpu", "1"),
		"extraResources[nvidia.com/mig-1g.5gb]: GPUs are not given":                                                                       extra("nvidia.com/mig-1g.5gb", "1"),
		"extraResources[gpu.intel.com/i915]: GPUs are not given":                                                                          extra("gpu.intel.com/i915", "1"),
		"extraResources[example.org/fpga]: GPUs are not given":                                                                            extra("example.org/fpga", "1"), // the policy's gpuResource
		"extraResources[example.org/nic]: 0 must be a whole number":                                                                       extra("example.org/nic", "0"),
		"extraResources[example.org/nic]: 500m must be a whole number":                                                                    extra("example.org/nic", "500m"),
		"extraResources[pods]: must be ephemeral-storage, hugepages-":                                                                     extra("pods", "1"),
		"extraResources: has 17, the most is 16":                                                                                          func(p *pod) { p.ExtraResources = manyResources(17) },
	} {
		p := fullPolicyPod()
		change(p)
		faults := podrules.PolicyPodFaults(p, policyBounds())
		var said []string
		for _, f := range faults {
			said = append(said, f.Error())
		}
		assert.True(t, slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, want) }), "%q is not in %q", want, said)
		assert.LessOrEqual(t, len(faults), 2, said) // a volume that is refused is none to mount; much for one is much for all
	}
}

func many(n int) map[string]string {
	all := map[string]string{}
	for i := range n {
		all["l"+strings.Repeat("x", i%60)+string(rune('a'+i/60))] = "x"
	}
	return all
}

func manyResources(n int) corev1.ResourceList {
	all := corev1.ResourceList{}
	for i := range n {
		all[corev1.ResourceName("example.org/"+string(rune('a'+i)))] = resource.MustParse("1")
	}
	return all
}

func TestAPolicysPodWrittenOut(t *testing.T) {
	shape := func(who podrules.Person) corev1.PodTemplateSpec {
		template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "notebook",
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{}, Requests: corev1.ResourceList{}}}}}}
		pod := fullPolicyPod()
		podrules.Shape(&template, pod, who)
		assert.Equal(t, fullPolicyPod(), pod, "the policy's own is left alone")
		return template
	}
	who := podrules.Person{User: "{servername}$(HOME)", Server: "GPU", UserSlug: "x---1", ServerSlug: "gpu---2"}
	template := shape(who)
	assert.Equal(t, map[string]string{"team": "ml", "owner": "of-x---1", "server": "gpu---2"}, template.Labels)
	assert.Equal(t, "{servername}$(HOME) at GPU", template.Annotations["example.org/who"], "a name is not read again")
	first := template.Spec.InitContainers[0]
	assert.Equal(t, "mkdir -p /home/jovyan/x---1", first.Command[2], "no name gets into a shell as it is")
	assert.Equal(t, "{servername}$$(HOME) of $(TEAM)", first.Env[0].Value)
	assert.Equal(t, "proxy-x---1", template.Spec.Containers[1].EnvFrom[0].SecretRef.Name)
	assert.Equal(t, "data-x---1--gpu---2", template.Spec.Volumes[4].PersistentVolumeClaim.ClaimName)
	assert.Equal(t, "key-x---1", template.Spec.Volumes[5].Projected.Sources[0].Secret.Name)
	server := template.Spec.Containers[0]
	assert.Equal(t, "of/x---1/gpu---2", server.VolumeMounts[1].SubPath)
	assert.Equal(t, []string{"before-start", "x---1"}, server.Lifecycle.PostStart.Exec.Command)

	nameless := shape(podrules.Person{User: "alice", UserSlug: "alice"})
	assert.Equal(t, map[string]string{"team": "ml", "owner": "of-alice", "server": ""}, nameless.Labels)
	assert.Equal(t, "data-alice", nameless.Spec.Volumes[4].PersistentVolumeClaim.ClaimName)
	assert.Equal(t, "of/alice", nameless.Spec.Containers[0].VolumeMounts[1].SubPath)
	assert.Equal(t, "alice at ", nameless.Annotations["example.org/who"])
}

func TestBoundsOfWhatIsBeside(t *testing.T) {
	template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "notebook",
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{}, Requests: corev1.ResourceList{}}}}}}
	podrules.Shape(&template, fullPolicyPod(), podrules.Person{User: "alice", UserSlug: "alice"})
	bounds := func(c corev1.Container) []string {
		var all []string
		for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
			cpu, memory := list[corev1.ResourceCPU], list[corev1.ResourceMemory]
			all = append(all, cpu.String(), memory.String())
		}
		return all
	}
	assert.Equal(t, []string{"500m", "512Mi", "50m", "512Mi"}, bounds(template.Spec.InitContainers[0]))
	assert.Equal(t, []string{"1", "1Gi", "50m", "1Gi"}, bounds(template.Spec.Containers[1]), "a limit is not below what is requested")
	assert.Equal(t, "1Gi", template.Spec.Volumes[0].EmptyDir.SizeLimit.String())
	assert.Equal(t, "1Gi", template.Spec.Volumes[1].EmptyDir.SizeLimit.String(), "what is of no kind is an emptyDir")
	assert.Equal(t, "64Mi", template.Spec.Volumes[2].EmptyDir.SizeLimit.String())
	extra := template.Spec.Containers[0].Resources
	assert.Equal(t, extra.Limits, extra.Requests)
	assert.Len(t, extra.Limits, 2)
}
