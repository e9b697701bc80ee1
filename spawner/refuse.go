package spawner

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// refusal is why nothing may ever be built from a spec.
type refusal struct {
	reason  Reason
	message string
}

// refuse returns the first reason not to build a notebook, nil if there is
// none. A notebook's author may be allowed less than the controller is: what
// would lend them the controller's rights over nodes and identities is refused,
// not dropped. Secrets of the namespace are not guarded: whoever may write
// JupyterNotebooks may name one in spec.envSecret.
func refuse(nb *v1alpha1.JupyterNotebook) *refusal {
	for _, fault := range validation.IsDNS1035Label(nb.Name) {
		return &refusal{ReasonNameInvalid, "The name cannot be that of a Service: " + fault}
	}
	if gateway := nb.Spec.Gateway; gateway != nil {
		if gateway.Name == "" {
			return &refusal{ReasonGatewayRefused, "spec.gateway.name is empty."}
		}
		if gateway.Namespace != "" && gateway.Namespace != nb.Namespace {
			return &refusal{ReasonGatewayRefused, fmt.Sprintf(
				"spec.gateway.namespace is %s: a gateway must be in the notebook's own namespace, %s, because kernels mount its volumes.",
				gateway.Namespace, nb.Namespace)}
		}
	}
	if fault := templateFault(nb.Spec.Template); fault != "" {
		return &refusal{ReasonTemplateRefused, "spec.template: " + fault + "."}
	}
	if fault := storageFault(nb.Spec.Storage); fault != "" {
		return &refusal{ReasonStorageRefused, "spec.storage: " + fault + "."}
	}
	return nil
}

func templateFault(template *v1alpha1.PodTemplate) string {
	if template == nil {
		return ""
	}
	pod := template.Spec
	switch {
	case pod.HostNetwork, pod.HostPID, pod.HostIPC:
		return "the host's namespaces are not available"
	case pod.ServiceAccountName != "" && pod.ServiceAccountName != "default",
		pod.DeprecatedServiceAccount != "" && pod.DeprecatedServiceAccount != "default":
		return "other service accounts are not available"
	case pod.AutomountServiceAccountToken != nil && *pod.AutomountServiceAccountToken:
		return "service-account tokens are not available"
	case pod.NodeName != "":
		return "nodeName would pass by the scheduler; use nodeSelector"
	case len(pod.EphemeralContainers) > 0:
		return "ephemeral containers are not available"
	}
	if s := pod.SecurityContext; s != nil && (isRoot(s.RunAsUser) || isFalse(s.RunAsNonRoot)) {
		return "UID 0 is not available"
	}
	for _, volume := range pod.Volumes {
		if fault := volumeFault(volume); fault != "" {
			return fault
		}
	}
	for _, container := range append(append([]corev1.Container{}, pod.InitContainers...), pod.Containers...) {
		if fault := containerFault(container); fault != "" {
			return fault
		}
	}
	return ""
}

func volumeFault(volume corev1.Volume) string {
	switch {
	case volume.HostPath != nil:
		return "hostPath volumes are not available"
	case volume.Projected != nil:
		for _, source := range volume.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return "service-account tokens are not available"
			}
		}
	}
	return ""
}

func containerFault(container corev1.Container) string {
	for _, port := range container.Ports {
		if port.HostPort != 0 {
			return "host ports are not available"
		}
	}
	s := container.SecurityContext
	if s == nil {
		return ""
	}
	switch {
	case s.Privileged != nil && *s.Privileged, s.AllowPrivilegeEscalation != nil && *s.AllowPrivilegeEscalation:
		return "privileges are not available"
	case s.Capabilities != nil && len(s.Capabilities.Add) > 0:
		return "capabilities are not available"
	case isRoot(s.RunAsUser), isFalse(s.RunAsNonRoot):
		return "UID 0 is not available"
	}
	return ""
}

func isRoot(uid *int64) bool   { return uid != nil && *uid == 0 }
func isFalse(value *bool) bool { return value != nil && !*value }

func storageFault(storage *v1alpha1.NotebookStorage) string {
	if storage == nil {
		return ""
	}
	paths := map[string]bool{}
	claim := func(name, mountPath string) string {
		switch clean := path.Clean(mountPath); {
		case !path.IsAbs(mountPath), clean == "/", strings.Contains(mountPath, ":"), strings.Contains(mountPath, ".."):
			return fmt.Sprintf("mount path %q of %s must be absolute and not the root", mountPath, name)
		case paths[clean]:
			return fmt.Sprintf("mount path %q is used twice", mountPath)
		default:
			paths[clean] = true
			return ""
		}
	}
	if home := storage.Home; home != nil {
		if home.Size.Sign() <= 0 {
			return "home.size must be positive"
		}
		if fault := claim("home", homePath(home)); fault != "" {
			return fault
		}
	}
	names := map[string]bool{}
	for _, shared := range storage.Shared {
		if faults := validation.IsDNS1123Label(shared.Name); len(faults) > 0 || len(sharedVolumePrefix+shared.Name) > 63 || names[shared.Name] {
			return fmt.Sprintf("shared volume %q: the name must be unique and a DNS label of at most %d characters", shared.Name, 63-len(sharedVolumePrefix))
		}
		names[shared.Name] = true
		if fault := claim(shared.Name, shared.MountPath); fault != "" {
			return fault
		}
	}
	return ""
}
