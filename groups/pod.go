package groups

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

func validatePod(spec v1alpha1.GroupPolicySpec, at *field.Path) field.ErrorList {
	return podFaults(podrules.PolicyPodFaults(spec.Pod, podrules.PolicyPodBounds{
		CPU: spec.CPU.Max, Memory: spec.Memory.Max, Storage: spec.Storage, GPUResources: []string{spec.Kernels.GPUResource},
	}), at)
}

func podFaults(found []podrules.Fault, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	for _, f := range found {
		here := at
		if f.Path != "" {
			here = field.NewPath(at.String() + "." + f.Path)
		}
		faults = append(faults, field.Forbidden(here, f.Problem))
	}
	return faults
}

// unionPod is all of what several policies put into Pods, in their order: of what two have alike
// there is one, and of a resource the most. What they contradict each other in is the first's;
// podContradiction refuses that.
func unionPod(parts []Allowance) *v1alpha1.PolicyPod {
	var u *v1alpha1.PolicyPod
	for _, a := range parts {
		if a.Pod == nil {
			continue
		}
		if u == nil {
			u = a.Pod.DeepCopy()
			continue
		}
		p := a.Pod.DeepCopy()
		u.Labels, u.Annotations = over(p.Labels, u.Labels), over(p.Annotations, u.Annotations)
		u.InitContainers = named(append(u.InitContainers, p.InitContainers...), containerName)
		u.Containers = named(append(u.Containers, p.Containers...), containerName)
		u.Volumes = named(append(u.Volumes, p.Volumes...), volumeName)
		u.VolumeMounts = named(append(u.VolumeMounts, p.VolumeMounts...), mountPath)
		u.SecurityContext = firstSaid(u.SecurityContext, p.SecurityContext)
		u.PodSecurityContext = firstSaid(u.PodSecurityContext, p.PodSecurityContext)
		u.Lifecycle = firstSaid(u.Lifecycle, p.Lifecycle)
		for name, q := range p.ExtraResources {
			if had := u.ExtraResources[name]; q.Cmp(had) > 0 {
				u.ExtraResources = over(u.ExtraResources, corev1.ResourceList{name: q})
			}
		}
	}
	return u
}

// over is one map with another over it.
func over[M ~map[K]V, K comparable, V any](below, above M) M {
	if len(below)+len(above) == 0 {
		return above
	}
	all := M{}
	maps.Copy(all, below)
	maps.Copy(all, above)
	return all
}

func firstSaid[T any](first, second *T) *T {
	if first != nil {
		return first
	}
	return second
}

func containerName(c corev1.Container) string { return c.Name }
func volumeName(v corev1.Volume) string       { return v.Name }
func mountPath(m corev1.VolumeMount) string   { return m.MountPath }

// podContradiction is why what several policies put into Pods does not go together, nil if it
// does. It wraps ErrInvalidPolicy.
func podContradiction(parts []Allowance, together Allowance) error {
	var faults []error
	for i, a := range parts {
		for _, b := range parts[i+1:] {
			for _, at := range contradictions(a.Pod, b.Pod) {
				faults = append(faults, fmt.Errorf("%w: spec.pod.%s is one thing in %q and another in %q", ErrInvalidPolicy, at, a.Policies[0], b.Policies[0]))
			}
		}
		for _, f := range sharedNamesakes(a, together) {
			faults = append(faults, fmt.Errorf("%w: spec.pod of %q mounts %s of its storage, in the place of which is another policy's", ErrInvalidPolicy, a.Policies[0], f))
		}
	}
	if len(faults) > 0 || len(parts) < 2 {
		return errors.Join(faults...)
	}
	bounds := podrules.PolicyPodBounds{Storage: together.Storage}
	for _, a := range parts {
		bounds.CPU.Add(a.CPU.Max)
		bounds.Memory.Add(a.Memory.Max)
		bounds.GPUResources = append(bounds.GPUResources, a.Kernels.GPUResource)
	}
	for _, f := range podrules.PolicyPodFaults(together.Pod, bounds) {
		faults = append(faults, fmt.Errorf("%w: spec.pod of the policies %s together: %w", ErrInvalidPolicy, strings.Join(together.Policies, ", "), &f))
	}
	return errors.Join(faults...)
}

// contradictions are the fields of two Pods of which one cannot have both.
func contradictions(a, b *v1alpha1.PolicyPod) []string {
	if a == nil || b == nil {
		return nil
	}
	var at []string
	at = append(at, differ("labels", a.Labels, b.Labels)...)
	at = append(at, differ("annotations", a.Annotations, b.Annotations)...)
	at = append(at, differ("initContainers", byName(a.InitContainers, containerName), byName(b.InitContainers, containerName))...)
	at = append(at, differ("containers", byName(a.Containers, containerName), byName(b.Containers, containerName))...)
	at = append(at, differ("volumes", byName(a.Volumes, volumeName), byName(b.Volumes, volumeName))...)
	at = append(at, differ("volumeMounts", byName(a.VolumeMounts, mountPath), byName(b.VolumeMounts, mountPath))...)
	for _, one := range []struct {
		at     string
		differ bool
	}{
		{"securityContext", a.SecurityContext != nil && b.SecurityContext != nil && !equality.Semantic.DeepEqual(a.SecurityContext, b.SecurityContext)},
		{"podSecurityContext", a.PodSecurityContext != nil && b.PodSecurityContext != nil && !equality.Semantic.DeepEqual(a.PodSecurityContext, b.PodSecurityContext)},
		{"lifecycle", a.Lifecycle != nil && b.Lifecycle != nil && !equality.Semantic.DeepEqual(a.Lifecycle, b.Lifecycle)},
	} {
		if one.differ {
			at = append(at, one.at)
		}
	}
	return at
}

func byName[T any](all []T, name func(T) string) map[string]T {
	m := make(map[string]T, len(all))
	for _, t := range all {
		m[name(t)] = t
	}
	return m
}

func differ[T any](at string, a, b map[string]T) []string {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(a)) {
		if other, both := b[key]; both && !equality.Semantic.DeepEqual(a[key], other) {
			keys = append(keys, fmt.Sprintf("%s[%s]", at, key))
		}
	}
	return keys
}

// sharedNamesakes are the volumes of a policy's storage that its Pod mounts and that are others,
// or not there, once its storage is together with that of others.
func sharedNamesakes(a, together Allowance) []string {
	if a.Pod == nil {
		return nil
	}
	mounts := slices.Clone(a.Pod.VolumeMounts)
	for _, list := range [][]corev1.Container{a.Pod.InitContainers, a.Pod.Containers} {
		for _, c := range list {
			mounts = append(mounts, c.VolumeMounts...)
		}
	}
	own, all := claims(a.Storage), claims(together.Storage)
	var lost []string
	for _, m := range mounts {
		claim, is := own[m.Name]
		if is && all[m.Name] != claim && !slices.Contains(lost, m.Name) {
			lost = append(lost, m.Name)
		}
	}
	return lost
}

// claims are the claims of a storage by the names of their volumes. Whose home it is does not
// matter: a server has one.
func claims(s *v1alpha1.NotebookStorage) map[string]string {
	all := map[string]string{}
	for _, claim := range podrules.Claims(&v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{Storage: s}}) {
		all[claim.Volume] = claim.Name
		if s.Home != nil && claim.Volume == podrules.HomeVolume {
			all[claim.Volume] = ""
		}
	}
	return all
}

// podText is what an explanation says of a Pod.
func podText(p *v1alpha1.PolicyPod) string {
	var parts []string
	list := func(what string, names []string) {
		if len(names) > 0 {
			parts = append(parts, what+" "+strings.Join(names, ", "))
		}
	}
	list("labels", slices.Sorted(maps.Keys(p.Labels)))
	list("annotations", slices.Sorted(maps.Keys(p.Annotations)))
	list("first", namesIn(p.InitContainers, containerName))
	list("beside", namesIn(p.Containers, containerName))
	list("volumes", namesIn(p.Volumes, volumeName))
	list("mounts", namesIn(p.VolumeMounts, mountPath))
	for _, one := range []struct {
		what string
		is   bool
	}{{"security context", p.SecurityContext != nil}, {"security context of the Pod", p.PodSecurityContext != nil}, {"lifecycle hooks", p.Lifecycle != nil}} {
		if one.is {
			parts = append(parts, one.what)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.ExtraResources)) {
		q := p.ExtraResources[name]
		parts = append(parts, string(name)+" "+q.String())
	}
	return strings.Join(parts, "; ")
}

func namesIn[T any](all []T, name func(T) string) []string {
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = name(t)
	}
	return names
}
