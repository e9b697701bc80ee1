package kernels

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const (
	defaultUID int64 = 1000
	defaultGID int64 = 100 // "users", the group of Jupyter's own images
)

// checkPod refuses what Pod Security "restricted" refuses, and what would give
// a kernel the identity of a service account. Paths are below at.
func checkPod(at string, namespace string, t *corev1.PodTemplateSpec) error {
	spec := &t.Spec
	path := func(format string, args ...any) string { return at + "." + fmt.Sprintf(format, args...) }
	if t.Namespace != "" && t.Namespace != namespace {
		return invalid(path("metadata.namespace"), "must be %s", namespace)
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"hostNetwork", spec.HostNetwork}, {"hostPID", spec.HostPID}, {"hostIPC", spec.HostIPC},
		{"automountServiceAccountToken", ptr.Deref(spec.AutomountServiceAccountToken, false)},
	} {
		if flag.set {
			return invalid(path("spec.%s", flag.name), "must not be true")
		}
	}
	for name, value := range map[string]string{"serviceAccountName": spec.ServiceAccountName, "serviceAccount": spec.DeprecatedServiceAccount} {
		if value != "" && value != "default" {
			return invalid(path("spec.%s", name), "kernels have no service account")
		}
	}
	if len(spec.EphemeralContainers) > 0 {
		return invalid(path("spec.ephemeralContainers"), "must be empty")
	}
	if c := spec.SecurityContext; c != nil {
		if err := checkPodContext(path("spec.securityContext"), c); err != nil {
			return err
		}
	}
	for i := range spec.Volumes {
		if err := checkVolume(path("spec.volumes[%d]", i), &spec.Volumes[i]); err != nil {
			return err
		}
	}
	for i := range spec.InitContainers {
		if err := checkContainer(path("spec.initContainers[%d]", i), &spec.InitContainers[i]); err != nil {
			return err
		}
	}
	for i := range spec.Containers {
		if err := checkContainer(path("spec.containers[%d]", i), &spec.Containers[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkPodContext(at string, c *corev1.PodSecurityContext) error {
	switch {
	case c.RunAsUser != nil && *c.RunAsUser == 0:
		return invalid(at+".runAsUser", "must not be 0")
	case c.RunAsNonRoot != nil && !*c.RunAsNonRoot:
		return invalid(at+".runAsNonRoot", "must not be false")
	case len(c.Sysctls) > 0:
		return invalid(at+".sysctls", "must be empty")
	case c.SeccompProfile != nil && c.SeccompProfile.Type == corev1.SeccompProfileTypeUnconfined:
		return invalid(at+".seccompProfile.type", "must not be Unconfined")
	case c.AppArmorProfile != nil && c.AppArmorProfile.Type == corev1.AppArmorProfileTypeUnconfined:
		return invalid(at+".appArmorProfile.type", "must not be Unconfined")
	case c.SELinuxOptions != nil && (c.SELinuxOptions.User != "" || c.SELinuxOptions.Role != ""):
		return invalid(at+".seLinuxOptions", "user and role must be empty")
	case c.WindowsOptions != nil && ptr.Deref(c.WindowsOptions.HostProcess, false):
		return invalid(at+".windowsOptions.hostProcess", "must not be true")
	}
	return nil
}

func checkContainer(at string, c *corev1.Container) error {
	for i, p := range c.Ports {
		if p.HostPort != 0 {
			return invalid(fmt.Sprintf("%s.ports[%d].hostPort", at, i), "must be 0")
		}
	}
	s := c.SecurityContext
	if s == nil {
		return nil
	}
	at += ".securityContext"
	if s.Capabilities != nil {
		for i, added := range s.Capabilities.Add {
			if added != "NET_BIND_SERVICE" {
				return invalid(fmt.Sprintf("%s.capabilities.add[%d]", at, i), "%s is not allowed", added)
			}
		}
	}
	switch {
	case ptr.Deref(s.Privileged, false):
		return invalid(at+".privileged", "must not be true")
	case ptr.Deref(s.AllowPrivilegeEscalation, false):
		return invalid(at+".allowPrivilegeEscalation", "must not be true")
	case s.RunAsUser != nil && *s.RunAsUser == 0:
		return invalid(at+".runAsUser", "must not be 0")
	case s.RunAsNonRoot != nil && !*s.RunAsNonRoot:
		return invalid(at+".runAsNonRoot", "must not be false")
	case s.ProcMount != nil && *s.ProcMount != corev1.DefaultProcMount:
		return invalid(at+".procMount", "must be Default")
	case s.SeccompProfile != nil && s.SeccompProfile.Type == corev1.SeccompProfileTypeUnconfined:
		return invalid(at+".seccompProfile.type", "must not be Unconfined")
	case s.AppArmorProfile != nil && s.AppArmorProfile.Type == corev1.AppArmorProfileTypeUnconfined:
		return invalid(at+".appArmorProfile.type", "must not be Unconfined")
	case s.SELinuxOptions != nil && (s.SELinuxOptions.User != "" || s.SELinuxOptions.Role != ""):
		return invalid(at+".seLinuxOptions", "user and role must be empty")
	case s.WindowsOptions != nil && ptr.Deref(s.WindowsOptions.HostProcess, false):
		return invalid(at+".windowsOptions.hostProcess", "must not be true")
	}
	return nil
}

// checkVolume accepts the kinds of volumes that "restricted" accepts.
func checkVolume(at string, v *corev1.Volume) error {
	s := v.VolumeSource
	switch {
	case s.HostPath != nil:
		return invalid(at+".hostPath", "is not allowed")
	case s.Projected != nil:
		for i, source := range s.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return invalid(fmt.Sprintf("%s.projected.sources[%d].serviceAccountToken", at, i), "kernels have no service account")
			}
		}
		return nil
	case s.ConfigMap != nil, s.CSI != nil, s.DownwardAPI != nil, s.EmptyDir != nil, s.Ephemeral != nil, s.PersistentVolumeClaim != nil, s.Secret != nil:
		return nil
	case s == corev1.VolumeSource{}:
		return nil // the API server makes it an emptyDir
	default:
		return invalid(at, "this kind of volume is not allowed")
	}
}

// hardenPod fills in what "restricted" wants, where the template has not said
// something stricter.
func hardenPod(spec *corev1.PodSpec) {
	spec.AutomountServiceAccountToken = ptr.To(false)
	spec.EnableServiceLinks = ptr.To(false)
	spec.ServiceAccountName, spec.DeprecatedServiceAccount = "", ""
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	c := spec.SecurityContext
	c.RunAsNonRoot = ptr.To(true)
	if c.RunAsUser == nil {
		c.RunAsUser = ptr.To(defaultUID)
	}
	if c.FSGroup == nil {
		c.FSGroup = ptr.To(defaultGID)
	}
	if c.FSGroupChangePolicy == nil {
		// a recursive chown of a large home at every start takes minutes
		c.FSGroupChangePolicy = ptr.To(corev1.FSGroupChangeOnRootMismatch)
	}
	if c.SeccompProfile == nil {
		c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	for i := range spec.InitContainers {
		hardenContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		hardenContainer(&spec.Containers[i])
	}
}

func hardenContainer(c *corev1.Container) {
	if c.SecurityContext == nil {
		c.SecurityContext = &corev1.SecurityContext{}
	}
	s := c.SecurityContext
	s.AllowPrivilegeEscalation = ptr.To(false)
	s.RunAsNonRoot = ptr.To(true)
	if s.Capabilities == nil {
		s.Capabilities = &corev1.Capabilities{}
	}
	s.Capabilities.Drop = []corev1.Capability{"ALL"}
}
