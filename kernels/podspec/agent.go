package podspec

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/podrules"
)

// The Pod of a kernel has two ordinary containers, the agent's first. The
// kubelet starts them in order, and waits for the agent's postStart: the binary
// is there, and the agent has its port, before anything of the kernel's owner
// runs. It kills the kernel's container when the agent says so (livenessProbe),
// whatever goes on in there and whoever else is away.
const (
	agentDir    = protocol.AgentDirectory
	agentBinary = agentDir + "/elastichub"
	agentVolume = "elastichub-agent" // the binary
	keyDir      = "/var/run/elastichub/agent"
	keyVolume   = "elastichub-agent-key"
	runVolume   = "elastichub-run" // where agent and run-kernel meet

	// agentUser is the user of the agent, and agentUserToo where the kernel's is that one.
	agentUser, agentUserToo int64 = 65532, 65533

	graceSeconds = 10
	// keepGraceSeconds is where the agent saves its kernel's state first.
	keepGraceSeconds = 60
	// defaultParkNotice is in seconds, as spec.parkNoticeSeconds of a gateway.
	defaultParkNotice = 60
)

var reservedVolumes = []string{agentVolume, keyVolume, runVolume, podrules.SharedMemoryVolume}

// annotationDefaultContainer is what kubectl logs and kubectl exec go by.
const annotationDefaultContainer = "kubectl.kubernetes.io/default-container"

// checkReserved refuses a template that would have what is the agent's alone.
func checkReserved(t *corev1.PodTemplateSpec) *InvalidError {
	for _, list := range []struct {
		at         string
		containers []corev1.Container
	}{{"initContainers", t.Spec.InitContainers}, {"containers", t.Spec.Containers}} {
		for i, c := range list.containers {
			at := fmt.Sprintf("spec.template.spec.%s[%d]", list.at, i)
			if c.Name == v1alpha1.AgentContainer {
				return invalid(at+".name", "%s is reserved", c.Name)
			}
			for j, m := range c.VolumeMounts {
				if slices.Contains(reservedVolumes, m.Name) {
					return invalid(fmt.Sprintf("%s.volumeMounts[%d].name", at, j), "%s is reserved", m.Name)
				}
			}
		}
	}
	for i, v := range t.Spec.Volumes {
		if slices.Contains(reservedVolumes, v.Name) {
			return invalid(fmt.Sprintf("spec.template.spec.volumes[%d].name", i), "%s is reserved", v.Name)
		}
	}
	return nil
}

// HasAgentContainer reports whether a Pod's agent has a container of its own. In
// Pods of former releases it was the first process of the kernel's, and nothing
// but an init container had its name.
func HasAgentContainer(spec *corev1.PodSpec) bool {
	return slices.ContainsFunc(spec.Containers, func(c corev1.Container) bool {
		return c.Name == v1alpha1.AgentContainer && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == keyVolume })
	})
}

// KernelContainer is the one named "kernel", else the first that is not the
// agent's, else a new one.
func KernelContainer(spec *corev1.PodSpec) *corev1.Container {
	if len(spec.Containers) == 0 {
		spec.Containers = []corev1.Container{{Name: v1alpha1.KernelContainer}}
	}
	if i := slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == v1alpha1.KernelContainer }); i >= 0 {
		return &spec.Containers[i]
	}
	if HasAgentContainer(spec) && len(spec.Containers) > 1 {
		return &spec.Containers[1]
	}
	return &spec.Containers[0]
}

// KernelContainerOf is the same of a Pod that exists, in which others may have put containers of
// their own, also before ours: the annotation says which it is. One of a former release has none.
func KernelContainerOf(pod *corev1.Pod) *corev1.Container {
	said := pod.Annotations[annotationDefaultContainer]
	if i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == said }); i >= 0 {
		return &pod.Spec.Containers[i]
	}
	return KernelContainer(&pod.Spec)
}

// addAgent puts the agent's container before all others, which end when it says so.
func addAgent(cfg Config, pod *corev1.Pod, main *corev1.Container, env []corev1.EnvVar, keeps bool) {
	spec := &pod.Spec
	main.Args = nil
	main.StartupProbe, main.ReadinessProbe, main.Lifecycle = nil, nil, nil
	main.VolumeMounts = append(main.VolumeMounts,
		corev1.VolumeMount{Name: agentVolume, MountPath: agentDir, ReadOnly: true},
		corev1.VolumeMount{Name: runVolume, MountPath: protocol.RunDirectory})
	users := []*int64{}
	if spec.SecurityContext != nil {
		users = append(users, spec.SecurityContext.RunAsUser)
	}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		c.LivenessProbe = liveProbe()
		c.RestartPolicy = nil
		c.Ports = slices.DeleteFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == protocol.Port })
		if c.SecurityContext != nil {
			users = append(users, c.SecurityContext.RunAsUser)
		}
	}
	user := agentUser
	if slices.ContainsFunc(users, func(u *int64) bool { return u != nil && *u == agentUser }) {
		user = agentUserToo
	}
	pod.Annotations[annotationDefaultContainer] = main.Name
	spec.Containers = append([]corev1.Container{agentContainer(cfg, user, env)}, spec.Containers...)
	spec.Volumes = append(spec.Volumes,
		corev1.Volume{Name: agentVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		corev1.Volume{Name: runVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: ptr.To(resource.MustParse("4Mi")),
		}}},
		corev1.Volume{Name: keyVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: pod.Name, DefaultMode: ptr.To[int32](0o440), // as a whole: what comes into it later is read
		}}})
	spec.ShareProcessNamespace = nil
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.TerminationGracePeriodSeconds = ptr.To[int64](graceSeconds)
	if keeps {
		spec.TerminationGracePeriodSeconds = ptr.To[int64](keepGraceSeconds)
	}
}

func agentContainer(cfg Config, user int64, env []corev1.EnvVar) corev1.Container {
	return corev1.Container{
		Name: v1alpha1.AgentContainer, Image: cfg.Image, ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"/elastichub", "agent"},
		Env:     append(env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: "320MiB"}),
		Ports:   []corev1.ContainerPort{{Name: "agent", ContainerPort: protocol.Port}},
		Lifecycle: &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
			Command: []string{"/elastichub", "install-agent", "--await", protocol.ControlSocket, agentDir},
		}}},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS, Path: protocol.PathReady, Port: intstr.FromInt32(protocol.Port)}},
			PeriodSeconds:    1,
			TimeoutSeconds:   2,
			FailureThreshold: 3,
		},
		SecurityContext: &corev1.SecurityContext{RunAsUser: ptr.To(user), ReadOnlyRootFilesystem: ptr.To(true)},
		// What is on its way to clients is kept here.
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("384Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{
			{Name: agentVolume, MountPath: agentDir},
			{Name: runVolume, MountPath: protocol.RunDirectory},
			{Name: keyVolume, MountPath: keyDir, ReadOnly: true},
		},
	}
}

// liveProbe asks the agent, whichever container it is of: they share a network.
// An agent that is gone has nobody answer, and one that is slow is given time:
// the answer ends somebody's work.
func liveProbe() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:                  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS, Path: protocol.PathLive, Port: intstr.FromInt32(protocol.Port)}},
		PeriodSeconds:                 int32(protocol.LivePeriod.Seconds()),
		TimeoutSeconds:                10,
		FailureThreshold:              1,
		TerminationGracePeriodSeconds: ptr.To[int64](1),
	}
}

// IntroduceKubelet tells the kubelet how to present itself to the agent of a Pod
// that is about to be created, and notes the ID of the gateway's key from which the
// agent's secret follows. It is apart from Build, which knows no secrets.
func IntroduceKubelet(pod *corev1.Pod, agent keys.Secret, key string) {
	if key != "" {
		pod.Annotations[v1alpha1.AnnotationAgentKey] = key
	}
	for i := range pod.Spec.Containers {
		if p := pod.Spec.Containers[i].LivenessProbe; p != nil && p.HTTPGet != nil && p.HTTPGet.Path == protocol.PathLive {
			p.HTTPGet.HTTPHeaders = []corev1.HTTPHeader{{Name: protocol.HeaderProbe, Value: agent.Probe()}}
		}
	}
}

// FollowsKey reports whether the agent of a Pod reads its secret again when that is changed.
// Those of former releases see nothing but what they began with.
func FollowsKey(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Name == keyVolume && v.Secret != nil && len(v.Secret.Items) == 0
	})
}
