// Package podrulestest holds the tables by which podrules and the rooms that
// make Pods are tested alike.
package podrulestest

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var port = intstr.FromInt32(8080)

// Users maps user names to the values of their label, as KubeSpawner has them.
func Users() map[string]string {
	return map[string]string{
		"ann":             "ann",
		"first.last":      "first.last",
		"First_Last":      "First_Last",
		"Ann":             "Ann",
		"a--b":            "a-b---90827a2e",
		"Ann@Example.org": "ann-example-org---d9c6f474",
		"Анна":            "x---25f4b213",
		"-":               "x---3973e022",
		"ann-":            "ann---209dc672",
	}
}

// Row is a template that is refused, or not.
type Row struct {
	Change func(*corev1.PodTemplateSpec)
	// Path of the field at fault, below the template; empty: it is allowed.
	Path string
	// Ours: Pod Security "restricted" allows it.
	Ours bool
	// Unasked: the API server finds fault with the object for other reasons, so
	// that it cannot be asked what Pod Security says.
	Unasked bool
}

// Template is the one of a row.
func Template(row Row) corev1.PodTemplateSpec {
	t := Plain()
	row.Change(&t)
	return t
}

// Plain is a template that nothing is said against.
func Plain() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "first", Image: "first:1"}},
		Containers:     []corev1.Container{{Name: "main", Image: "main:1"}, {Name: "beside", Image: "beside:1"}},
	}}
}

// Templates are rows of every rule, by name.
func Templates() map[string]Row {
	rows := map[string]Row{
		"plain":              {Change: func(*corev1.PodTemplateSpec) {}},
		"host network":       {Path: "spec.hostNetwork", Change: func(t *corev1.PodTemplateSpec) { t.Spec.HostNetwork = true }},
		"host pid":           {Path: "spec.hostPID", Change: func(t *corev1.PodTemplateSpec) { t.Spec.HostPID = true }},
		"host ipc":           {Path: "spec.hostIPC", Change: func(t *corev1.PodTemplateSpec) { t.Spec.HostIPC = true }},
		"node name":          {Path: "spec.nodeName", Ours: true, Change: func(t *corev1.PodTemplateSpec) { t.Spec.NodeName = "node-1" }},
		"service account":    {Path: "spec.serviceAccountName", Ours: true, Change: func(t *corev1.PodTemplateSpec) { t.Spec.ServiceAccountName = "admin" }},
		"former field of it": {Path: "spec.serviceAccount", Ours: true, Change: func(t *corev1.PodTemplateSpec) { t.Spec.DeprecatedServiceAccount = "admin" }},
		"volume of tokens": {Path: "spec.volumes[0].name", Ours: true, Change: func(t *corev1.PodTemplateSpec) {
			t.Spec.Volumes = []corev1.Volume{{Name: "elastichub-account-tokens"}}
		}},
		"mount of tokens": {Path: "spec.containers[1].volumeMounts[0].name", Ours: true, Unasked: true, Change: func(t *corev1.PodTemplateSpec) {
			t.Spec.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "elastichub-account-tokens", MountPath: "/x"}}
		}},
		"default account":    {Change: func(t *corev1.PodTemplateSpec) { t.Spec.ServiceAccountName = "default" }},
		"account token":      {Path: "spec.automountServiceAccountToken", Ours: true, Change: func(t *corev1.PodTemplateSpec) { t.Spec.AutomountServiceAccountToken = ptr.To(true) }},
		"no account token":   {Change: func(t *corev1.PodTemplateSpec) { t.Spec.AutomountServiceAccountToken = ptr.To(false) }},
		"own user namespace": {Change: func(t *corev1.PodTemplateSpec) { t.Spec.HostUsers = ptr.To(false) }},
		"shared process ids": {Change: func(t *corev1.PodTemplateSpec) { t.Spec.ShareProcessNamespace = ptr.To(true) }},
		"node selector":      {Change: func(t *corev1.PodTemplateSpec) { t.Spec.NodeSelector = map[string]string{"pool": "gpu"} }},
		"sidecar": {Change: func(t *corev1.PodTemplateSpec) {
			t.Spec.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}},
		"port": {Change: func(t *corev1.PodTemplateSpec) {
			t.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}}
		}},
		"ephemeral containers":  {Path: "spec.ephemeralContainers", Unasked: true, Change: func(t *corev1.PodTemplateSpec) { t.Spec.EphemeralContainers = []corev1.EphemeralContainer{{}} }},
		"apparmor annotation":   {Path: "metadata.annotations[container.apparmor.security.beta.kubernetes.io/main]", Change: appArmorAnnotation("unconfined")},
		"apparmor of localhost": {Change: appArmorAnnotation("localhost/jupyter")},
		"apparmor of runtime":   {Change: appArmorAnnotation("runtime/default")},
		"unsafe sysctl":         {Path: "spec.securityContext.sysctls[1]", Change: podContext(func(c *corev1.PodSecurityContext) { c.Sysctls = sysctls("net.ipv4.tcp_syncookies", "kernel.msgmax") })},
		"safe sysctls": {Change: podContext(func(c *corev1.PodSecurityContext) {
			c.Sysctls = sysctls(
				"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
				"net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
				"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem")
		})},
		"root group": {Change: podContext(func(c *corev1.PodSecurityContext) { c.RunAsGroup, c.FSGroup = ptr.To[int64](0), ptr.To[int64](0) })},
	}
	maps.Copy(rows, volumes())
	maps.Copy(rows, ofPods())
	maps.Copy(rows, ofContainers())
	return rows
}

func appArmorAnnotation(profile string) func(*corev1.PodTemplateSpec) {
	return func(t *corev1.PodTemplateSpec) {
		t.Annotations = map[string]string{corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "main": profile}
	}
}

func sysctls(names ...string) []corev1.Sysctl {
	var all []corev1.Sysctl
	for _, name := range names {
		all = append(all, corev1.Sysctl{Name: name, Value: "1"})
	}
	return all
}

func podContext(change func(*corev1.PodSecurityContext)) func(*corev1.PodTemplateSpec) {
	return func(t *corev1.PodTemplateSpec) {
		if t.Spec.SecurityContext == nil {
			t.Spec.SecurityContext = &corev1.PodSecurityContext{}
		}
		change(t.Spec.SecurityContext)
	}
}

func volumes() map[string]Row {
	rows := map[string]Row{}
	for name, source := range map[string]corev1.VolumeSource{
		"hostPath": {HostPath: &corev1.HostPathVolumeSource{Path: "/"}},
		"nfs":      {NFS: &corev1.NFSVolumeSource{Server: "nfs", Path: "/"}},
		"iscsi":    {ISCSI: &corev1.ISCSIVolumeSource{TargetPortal: "10.0.0.1:3260", IQN: "iqn.2001-04.com.example:storage"}},
		"gitRepo":  {GitRepo: &corev1.GitRepoVolumeSource{Repository: "https://git.example/x"}},
		"cephfs":   {CephFS: &corev1.CephFSVolumeSource{Monitors: []string{"ceph"}}},
		"fc":       {FC: &corev1.FCVolumeSource{WWIDs: []string{"3600508b400105e210000900000490000"}}},
	} {
		rows["volume "+name] = Row{Path: "spec.volumes[1]", Change: volume(source)}
	}
	for name, source := range map[string]corev1.VolumeSource{
		"nothing":     {},
		"emptyDir":    {EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}},
		"configMap":   {ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}}},
		"secret":      {Secret: &corev1.SecretVolumeSource{SecretName: "s"}},
		"claim":       {PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "p"}},
		"csi":         {CSI: &corev1.CSIVolumeSource{Driver: "csi.example"}},
		"image":       {Image: &corev1.ImageVolumeSource{Reference: "models:1"}},
		"downwardAPI": {DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}},
		"projected": {Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}}}}}},
		"ephemeral": {Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		}}}},
	} {
		rows["volume "+name] = Row{Change: volume(source)}
	}
	rows["volume of a token"] = Row{Path: "spec.volumes[1].projected.sources[0].serviceAccountToken", Unasked: true, Change: volume(corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}}}}})}
	rows["volume of a certificate"] = Row{Path: "spec.volumes[1].projected.sources[0].podCertificate", Unasked: true, Change: volume(corev1.VolumeSource{
		Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{SignerName: "kubernetes.io/kube-apiserver-client-pod", KeyType: "ED25519"}}}}})}
	return rows
}

func volume(source corev1.VolumeSource) func(*corev1.PodTemplateSpec) {
	return func(t *corev1.PodTemplateSpec) {
		t.Spec.Volumes = []corev1.Volume{
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "v", VolumeSource: source},
		}
	}
}

// shared are the rules that hold for the security contexts of Pods and of
// containers; a Pod's is written as if it were a container's.
var shared = map[string]struct {
	path    string
	unasked bool
	change  func(*corev1.SecurityContext)
}{
	"root":                 {path: "runAsUser", change: func(s *corev1.SecurityContext) { s.RunAsUser = ptr.To[int64](0) }},
	"other user":           {change: func(s *corev1.SecurityContext) { s.RunAsUser = ptr.To[int64](1234) }},
	"may be root":          {path: "runAsNonRoot", change: func(s *corev1.SecurityContext) { s.RunAsNonRoot = ptr.To(false) }},
	"seccomp unconfined":   {path: "seccompProfile.type", change: seccomp(corev1.SeccompProfileTypeUnconfined)},
	"seccomp of localhost": {change: seccomp(corev1.SeccompProfileTypeLocalhost)},
	"apparmor unconfined":  {path: "appArmorProfile.type", change: appArmor(corev1.AppArmorProfileTypeUnconfined)},
	"apparmor of runtime":  {change: appArmor(corev1.AppArmorProfileTypeRuntimeDefault)},
	"selinux user":         {path: "seLinuxOptions.user", change: seLinux(corev1.SELinuxOptions{User: "system_u"})},
	"selinux role":         {path: "seLinuxOptions.role", change: seLinux(corev1.SELinuxOptions{Role: "system_r"})},
	"selinux type":         {path: "seLinuxOptions.type", change: seLinux(corev1.SELinuxOptions{Type: "spc_t"})},
	"selinux level":        {change: seLinux(corev1.SELinuxOptions{Type: "container_t", Level: "s0:c1,c2"})},
	"windows host process": {path: "windowsOptions.hostProcess", unasked: true, change: func(s *corev1.SecurityContext) {
		s.WindowsOptions = &corev1.WindowsSecurityContextOptions{HostProcess: ptr.To(true)}
	}},
}

func seccomp(kind corev1.SeccompProfileType) func(*corev1.SecurityContext) {
	return func(s *corev1.SecurityContext) {
		s.SeccompProfile = &corev1.SeccompProfile{Type: kind}
		if kind == corev1.SeccompProfileTypeLocalhost {
			s.SeccompProfile.LocalhostProfile = ptr.To("jupyter.json")
		}
	}
}

func appArmor(kind corev1.AppArmorProfileType) func(*corev1.SecurityContext) {
	return func(s *corev1.SecurityContext) { s.AppArmorProfile = &corev1.AppArmorProfile{Type: kind} }
}

func seLinux(options corev1.SELinuxOptions) func(*corev1.SecurityContext) {
	return func(s *corev1.SecurityContext) { s.SELinuxOptions = &options }
}

func ofPods() map[string]Row {
	rows := map[string]Row{}
	for name, rule := range shared {
		row := Row{Unasked: rule.unasked, Change: podContext(func(c *corev1.PodSecurityContext) {
			var s corev1.SecurityContext
			rule.change(&s)
			if s.RunAsUser != nil {
				c.RunAsUser = s.RunAsUser
			}
			if s.RunAsNonRoot != nil {
				c.RunAsNonRoot = s.RunAsNonRoot
			}
			if s.SeccompProfile != nil {
				c.SeccompProfile = s.SeccompProfile
			}
			c.AppArmorProfile, c.SELinuxOptions, c.WindowsOptions = s.AppArmorProfile, s.SELinuxOptions, s.WindowsOptions
		})}
		if rule.path != "" {
			row.Path = "spec.securityContext." + rule.path
		}
		rows["pod: "+name] = row
	}
	return rows
}

// ofContainers are the rules for a container, each for an init container and
// for one that is not the first.
func ofContainers() map[string]Row {
	type rule struct {
		path    string
		unasked bool
		change  func(*corev1.Container)
	}
	context := func(change func(*corev1.SecurityContext)) func(*corev1.Container) {
		return func(c *corev1.Container) {
			if c.SecurityContext == nil {
				c.SecurityContext = &corev1.SecurityContext{}
			}
			change(c.SecurityContext)
		}
	}
	elsewhere := corev1.HTTPGetAction{Host: "169.254.169.254", Path: "/", Port: port}
	socket := corev1.TCPSocketAction{Host: "169.254.169.254", Port: port}
	rules := map[string]rule{
		"host port": {path: "ports[0].hostPort", change: func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 22, HostPort: 22}} }},
		"readiness probe": {path: "readinessProbe.httpGet.host", change: func(c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &elsewhere}}
		}},
		"liveness probe": {path: "livenessProbe.tcpSocket.host", change: func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &socket}}
		}},
		"startup probe": {path: "startupProbe.httpGet.host", change: func(c *corev1.Container) {
			c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &elsewhere}}
		}},
		"post-start hook": {path: "lifecycle.postStart.httpGet.host", change: func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{HTTPGet: &elsewhere}}
		}},
		"pre-stop hook": {path: "lifecycle.preStop.httpGet.host", change: func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &elsewhere}}
		}},
		"own probe": {change: func(c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: port}}}
		}},
		"privileged": {path: "securityContext.privileged", unasked: true, change: context(func(s *corev1.SecurityContext) { s.Privileged = ptr.To(true) })},
		"escalation": {path: "securityContext.allowPrivilegeEscalation", change: context(func(s *corev1.SecurityContext) { s.AllowPrivilegeEscalation = ptr.To(true) })},
		"capability": {path: "securityContext.capabilities.add[1]", change: context(func(s *corev1.SecurityContext) {
			s.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE", "NET_RAW"}}
		})},
		"low ports": {change: context(func(s *corev1.SecurityContext) {
			s.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"}}
		})},
		"proc": {path: "securityContext.procMount", unasked: true, change: context(func(s *corev1.SecurityContext) { s.ProcMount = ptr.To(corev1.UnmaskedProcMount) })},
	}
	for name, r := range shared {
		rules[name] = rule{path: join("securityContext", r.path), unasked: r.unasked, change: context(r.change)}
	}
	rows := map[string]Row{}
	for name, r := range rules {
		for at, of := range map[string]func(*corev1.PodTemplateSpec) *corev1.Container{
			"spec.initContainers[0]": func(t *corev1.PodTemplateSpec) *corev1.Container {
				t.Spec.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways) // else it may have no probes
				return &t.Spec.InitContainers[0]
			},
			"spec.containers[1]": func(t *corev1.PodTemplateSpec) *corev1.Container { return &t.Spec.Containers[1] },
		} {
			rows[fmt.Sprintf("%s: %s", strings.TrimPrefix(at, "spec."), name)] = Row{
				Path: join(at, r.path), Unasked: r.unasked, Change: func(t *corev1.PodTemplateSpec) { r.change(of(t)) },
			}
		}
	}
	return rows
}

func join(at, path string) string {
	if path == "" {
		return ""
	}
	return at + "." + path
}
