package podrules

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// A Fault is why no Pod is made from an object.
type Fault struct {
	// Path names the field, below the object that was looked at.
	Path    string
	Problem string
}

func (f *Fault) Error() string { return f.Path + ": " + f.Problem }

func fault(path, problem string) *Fault { return &Fault{Path: path, Problem: problem} }

// Words that Pod Security "restricted" allows, as of Kubernetes 1.34.
var (
	safeSysctls = []string{
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range",
		"net.ipv4.ip_local_reserved_ports",
		"net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range",
		"net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl",
		"net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_rmem",
		"net.ipv4.tcp_syncookies",
		"net.ipv4.tcp_wmem",
	}
	safeSELinuxTypes = []string{"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)

// TemplateFault returns the first reason to refuse a template, nil if there is
// none: whatever Pod Security "restricted" refuses and Harden does not change,
// a node chosen past the scheduler, and the identity of a service account.
func TemplateFault(t *corev1.PodTemplateSpec) *Fault {
	checks := []func(*corev1.PodTemplateSpec) *Fault{annotationFault, identityFault, hostFault, podContextFault, volumesFault, accountTokenVolumeFault, containersFault}
	for _, check := range checks {
		if f := check(t); f != nil {
			return f
		}
	}
	return nil
}

// annotationFault is about AppArmor's profiles, which annotations can name, too.
func annotationFault(t *corev1.PodTemplateSpec) *Fault {
	for key, profile := range t.Annotations {
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) && profile != "" &&
			profile != corev1.DeprecatedAppArmorBetaProfileRuntimeDefault &&
			!strings.HasPrefix(profile, corev1.DeprecatedAppArmorBetaProfileNamePrefix) {
			return fault(fmt.Sprintf("metadata.annotations[%s]", key), "must be runtime/default or a profile of localhost")
		}
	}
	return nil
}

func identityFault(t *corev1.PodTemplateSpec) *Fault {
	const problem = "service accounts are not available"
	switch spec := &t.Spec; {
	case spec.ServiceAccountName != "" && spec.ServiceAccountName != "default":
		return fault("spec.serviceAccountName", problem)
	case spec.DeprecatedServiceAccount != "" && spec.DeprecatedServiceAccount != "default":
		return fault("spec.serviceAccount", problem)
	case ptr.Deref(spec.AutomountServiceAccountToken, false):
		return fault("spec.automountServiceAccountToken", "must not be true")
	default:
		return nil
	}
}

func hostFault(t *corev1.PodTemplateSpec) *Fault {
	switch spec := &t.Spec; {
	case spec.HostNetwork:
		return fault("spec.hostNetwork", "must not be true")
	case spec.HostPID:
		return fault("spec.hostPID", "must not be true")
	case spec.HostIPC:
		return fault("spec.hostIPC", "must not be true")
	case spec.NodeName != "":
		return fault("spec.nodeName", "would pass by the scheduler; use nodeSelector")
	case len(spec.EphemeralContainers) > 0:
		return fault("spec.ephemeralContainers", "must be empty")
	default:
		return nil
	}
}

func podContextFault(t *corev1.PodTemplateSpec) *Fault {
	const at = "spec.securityContext"
	c := t.Spec.SecurityContext
	if c == nil {
		return nil
	}
	for i, sysctl := range c.Sysctls {
		if !slices.Contains(safeSysctls, sysctl.Name) {
			return fault(fmt.Sprintf("%s.sysctls[%d]", at, i), sysctl.Name+" is not allowed")
		}
	}
	return contextFault(at, sharedContext{c.RunAsUser, c.RunAsNonRoot, c.SeccompProfile, c.AppArmorProfile, c.SELinuxOptions, c.WindowsOptions})
}

// sharedContext is what the security contexts of Pods and containers have in common.
type sharedContext struct {
	runAsUser    *int64
	runAsNonRoot *bool
	seccomp      *corev1.SeccompProfile
	appArmor     *corev1.AppArmorProfile
	seLinux      *corev1.SELinuxOptions
	windows      *corev1.WindowsSecurityContextOptions
}

func contextFault(at string, c sharedContext) *Fault {
	switch {
	case c.runAsUser != nil && *c.runAsUser == 0:
		return fault(at+".runAsUser", "must not be 0")
	case !ptr.Deref(c.runAsNonRoot, true):
		return fault(at+".runAsNonRoot", "must not be false")
	case c.seccomp != nil && c.seccomp.Type != corev1.SeccompProfileTypeRuntimeDefault && c.seccomp.Type != corev1.SeccompProfileTypeLocalhost:
		return fault(at+".seccompProfile.type", "must be RuntimeDefault or Localhost")
	case c.appArmor != nil && c.appArmor.Type != corev1.AppArmorProfileTypeRuntimeDefault && c.appArmor.Type != corev1.AppArmorProfileTypeLocalhost:
		return fault(at+".appArmorProfile.type", "must be RuntimeDefault or Localhost")
	case c.seLinux != nil && c.seLinux.User != "":
		return fault(at+".seLinuxOptions.user", "must be empty")
	case c.seLinux != nil && c.seLinux.Role != "":
		return fault(at+".seLinuxOptions.role", "must be empty")
	case c.seLinux != nil && !slices.Contains(safeSELinuxTypes, c.seLinux.Type):
		return fault(at+".seLinuxOptions.type", c.seLinux.Type+" is not allowed")
	case c.windows != nil && ptr.Deref(c.windows.HostProcess, false):
		return fault(at+".windowsOptions.hostProcess", "must not be true")
	default:
		return nil
	}
}

func volumesFault(t *corev1.PodTemplateSpec) *Fault {
	for i := range t.Spec.Volumes {
		if f := volumeFault(fmt.Sprintf("spec.volumes[%d]", i), &t.Spec.Volumes[i].VolumeSource); f != nil {
			return f
		}
	}
	return nil
}

func volumeFault(at string, s *corev1.VolumeSource) *Fault {
	switch {
	case s.Projected != nil:
		for i, source := range s.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return fault(fmt.Sprintf("%s.projected.sources[%d].serviceAccountToken", at, i), "service accounts are not available")
			}
			if source.PodCertificate != nil {
				return fault(fmt.Sprintf("%s.projected.sources[%d].podCertificate", at, i), "identities of Pods are not available")
			}
		}
		return nil
	case s.ConfigMap != nil, s.CSI != nil, s.DownwardAPI != nil, s.EmptyDir != nil, s.Ephemeral != nil, s.Image != nil,
		s.PersistentVolumeClaim != nil, s.Secret != nil:
		return nil
	case *s == corev1.VolumeSource{}:
		return nil // the API server makes it an emptyDir
	default: // hostPath, nfs, iscsi and whatever a later release may bring
		return fault(at, "this kind of volume is not allowed")
	}
}

func containersFault(t *corev1.PodTemplateSpec) *Fault {
	for _, list := range []struct {
		at         string
		containers []corev1.Container
	}{{"spec.initContainers", t.Spec.InitContainers}, {"spec.containers", t.Spec.Containers}} {
		for i := range list.containers {
			at, c := fmt.Sprintf("%s[%d]", list.at, i), &list.containers[i]
			for _, check := range []func(string, *corev1.Container) *Fault{portFault, handlerFault, containerContextFault} {
				if f := check(at, c); f != nil {
					return f
				}
			}
		}
	}
	return nil
}

func portFault(at string, c *corev1.Container) *Fault {
	for i, port := range c.Ports {
		if port.HostPort != 0 {
			return fault(fmt.Sprintf("%s.ports[%d].hostPort", at, i), "must be 0")
		}
	}
	return nil
}

// handlerFault is about probes and hooks that the kubelet would send elsewhere.
func handlerFault(at string, c *corev1.Container) *Fault {
	handlers := map[string]corev1.ProbeHandler{}
	for name, probe := range map[string]*corev1.Probe{"livenessProbe": c.LivenessProbe, "readinessProbe": c.ReadinessProbe, "startupProbe": c.StartupProbe} {
		if probe != nil {
			handlers[name] = probe.ProbeHandler
		}
	}
	if c.Lifecycle != nil {
		for name, hook := range map[string]*corev1.LifecycleHandler{"lifecycle.postStart": c.Lifecycle.PostStart, "lifecycle.preStop": c.Lifecycle.PreStop} {
			if hook != nil {
				handlers[name] = corev1.ProbeHandler{HTTPGet: hook.HTTPGet, TCPSocket: hook.TCPSocket}
			}
		}
	}
	for name, handler := range handlers {
		switch {
		case handler.HTTPGet != nil && handler.HTTPGet.Host != "":
			return fault(at+"."+name+".httpGet.host", "must be empty")
		case handler.TCPSocket != nil && handler.TCPSocket.Host != "":
			return fault(at+"."+name+".tcpSocket.host", "must be empty")
		}
	}
	return nil
}

func containerContextFault(at string, c *corev1.Container) *Fault {
	s := c.SecurityContext
	if s == nil {
		return nil
	}
	at += ".securityContext"
	if s.Capabilities != nil {
		for i, added := range s.Capabilities.Add {
			if added != "NET_BIND_SERVICE" {
				return fault(fmt.Sprintf("%s.capabilities.add[%d]", at, i), string(added)+" is not allowed")
			}
		}
	}
	switch {
	case ptr.Deref(s.Privileged, false):
		return fault(at+".privileged", "must not be true")
	case ptr.Deref(s.AllowPrivilegeEscalation, false):
		return fault(at+".allowPrivilegeEscalation", "must not be true")
	case ptr.Deref(s.ProcMount, corev1.DefaultProcMount) != corev1.DefaultProcMount:
		return fault(at+".procMount", "must be Default")
	}
	return contextFault(at, sharedContext{s.RunAsUser, s.RunAsNonRoot, s.SeccompProfile, s.AppArmorProfile, s.SELinuxOptions, s.WindowsOptions})
}
