package podrules

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// User and group of Jupyter's own images; the group is called "users" there.
const (
	DefaultUID int64 = 1000
	DefaultGID int64 = 100
)

// Harden fills in what Pod Security "restricted" wants where the template has
// not said something that it allows, and takes away every identity in the
// cluster. What TemplateFault refuses it does not change.
func Harden(spec *corev1.PodSpec) {
	spec.AutomountServiceAccountToken = ptr.To(false)
	spec.EnableServiceLinks = ptr.To(false)
	spec.ServiceAccountName, spec.DeprecatedServiceAccount = "", ""
	if spec.SecurityContext == nil {
		spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	c := spec.SecurityContext
	c.RunAsNonRoot = ptr.To(true)
	if c.RunAsUser == nil {
		c.RunAsUser = ptr.To(DefaultUID)
	}
	if c.FSGroup == nil {
		c.FSGroup = ptr.To(DefaultGID)
	}
	if c.FSGroupChangePolicy == nil {
		// A recursive chown of a large home at every start takes minutes.
		c.FSGroupChangePolicy = ptr.To(corev1.FSGroupChangeOnRootMismatch)
	}
	if c.SeccompProfile == nil {
		c.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			hardenContainer(&containers[i])
		}
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
