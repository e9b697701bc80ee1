package kernels

import (
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const defaultHome = "/home/jovyan"

// mountNotebook gives a kernel the volumes of its notebook at the same paths,
// and the working directory of its notebook file. A mount of the template at
// one of these paths gives way.
func mountNotebook(spec *corev1.PodSpec, main *corev1.Container, in parts) error {
	if in.Notebook == nil {
		return nil
	}
	var mounts []corev1.VolumeMount
	var volumes []corev1.Volume
	claim := func(volume, claim, at string, readOnly bool) {
		mounts = append(mounts, corev1.VolumeMount{Name: volume, MountPath: at, ReadOnly: readOnly})
		volumes = append(volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim, ReadOnly: readOnly},
		}})
	}
	home := defaultHome
	if storage := in.Notebook.Spec.Storage; storage != nil {
		if h := storage.Home; h != nil {
			if h.MountPath != "" {
				home = h.MountPath
			}
			claim("notebook-home", homeClaim(in.Notebook.Name, h.Claim), home, false)
		}
		for i, shared := range storage.Shared {
			claim(fmt.Sprintf("notebook-shared-%d", i), shared.Claim, shared.MountPath, shared.ReadOnly)
		}
	}
	if len(mounts) == 0 {
		return nil
	}
	for i, m := range mounts {
		for _, taken := range []string{agentDir, keyDir} {
			if below(m.MountPath, taken) || below(taken, m.MountPath) {
				return invalid("spec.storage", "the mount path %s is needed for the agent", mounts[i].MountPath).in("JupyterNotebook " + in.Notebook.Name)
			}
		}
	}
	main.VolumeMounts = slices.DeleteFunc(main.VolumeMounts, func(old corev1.VolumeMount) bool {
		return slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool { return path.Clean(m.MountPath) == path.Clean(old.MountPath) })
	})
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(old corev1.Volume) bool {
		return slices.ContainsFunc(volumes, func(v corev1.Volume) bool { return v.Name == old.Name })
	})
	main.VolumeMounts = append(main.VolumeMounts, mounts...)
	spec.Volumes = append(spec.Volumes, volumes...)
	main.WorkingDir = workingDir(in.Kernel.Spec.WorkingDir, home, mounts)
	return nil
}

// workingDir is the wish if it lies on one of the mounts, else home.
func workingDir(wish, home string, mounts []corev1.VolumeMount) string {
	if wish != "" && path.IsAbs(wish) && slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool { return below(path.Clean(wish), path.Clean(m.MountPath)) }) {
		return path.Clean(wish)
	}
	return home
}

// below tells whether a is dir or lies in it; both are clean.
func below(a, dir string) bool {
	return a == dir || strings.HasPrefix(a, strings.TrimSuffix(dir, "/")+"/")
}

// agentResources are what copying the agent takes; the file it writes counts as cache.
func agentResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
}

// missing tells what a kernelspec's template reference names that is not in
// the kernel's namespace.
func templateRef(ks *v1alpha1.JupyterKernelSpec) (string, error) {
	ref := ks.Spec.Template
	if ref == nil || ref.Name == "" {
		return "", nil
	}
	if ref.Namespace != "" && ref.Namespace != ks.Namespace {
		return "", invalid("spec.template.namespace", "must be %s", ks.Namespace).in("JupyterKernelSpec " + ks.Name)
	}
	return ref.Name, nil
}
