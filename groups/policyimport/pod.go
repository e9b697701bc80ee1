package policyimport

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// pod is what the servers of a profile have besides.
func pod(p *profile) *v1alpha1.PolicyPod {
	if p.shared.Pod == nil {
		p.shared.Pod = &v1alpha1.PolicyPod{}
	}
	return p.shared.Pod
}

// homePart reads a trait of KubeSpawner's about the claim of a home that storage_capacity, or
// zero-to-jupyterhub, makes; known is false for any other.
func (r *Result) homePart(path, key string, v any, p *profile) (known bool) {
	var into any
	switch key {
	case "storage_extra_labels":
		p.home.Labels = r.metadata(path+"."+key, v)
		return true
	case "storage_extra_annotations":
		p.home.Annotations = r.metadata(path+"."+key, v)
		return true
	case "storage_class":
		into = &p.home.StorageClassName
	case "storage_access_modes":
		into = &p.home.AccessModes
	case "storage_selector":
		into = &p.home.Selector
	default:
		return false
	}
	if err := decodeInto(v, into); err != nil {
		r.addLost("%s.%s: %v", path, key, err)
	}
	return true
}

// affinity reads the six traits that are parts of a Pod's affinity.
func (r *Result) affinity(path, key string, v any, p *profile) {
	if p.shared.Affinity == nil {
		p.shared.Affinity = &corev1.Affinity{}
	}
	a := p.shared.Affinity
	nodes, pods, apart := ptr.To(ptr.Deref(a.NodeAffinity, corev1.NodeAffinity{})), ptr.To(ptr.Deref(a.PodAffinity, corev1.PodAffinity{})), ptr.To(ptr.Deref(a.PodAntiAffinity, corev1.PodAntiAffinity{}))
	var into any
	switch key {
	case "node_affinity_preferred":
		into = &nodes.PreferredDuringSchedulingIgnoredDuringExecution
	case "node_affinity_required":
		nodes.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{}
		into = &nodes.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	case "pod_affinity_preferred":
		into = &pods.PreferredDuringSchedulingIgnoredDuringExecution
	case "pod_affinity_required":
		into = &pods.RequiredDuringSchedulingIgnoredDuringExecution
	case "pod_anti_affinity_preferred":
		into = &apart.PreferredDuringSchedulingIgnoredDuringExecution
	case "pod_anti_affinity_required":
		into = &apart.RequiredDuringSchedulingIgnoredDuringExecution
	}
	if err := decodeInto(listed(v), into); err != nil {
		r.addLost("%s.%s: %v", path, key, err)
		return
	}
	switch {
	case strings.HasPrefix(key, "node"):
		a.NodeAffinity = nodes
	case strings.HasPrefix(key, "pod_anti"):
		a.PodAntiAffinity = apart
	default:
		a.PodAffinity = pods
	}
}

// podPart reads a trait of KubeSpawner's that shapes Pods; known is false for any other.
func (r *Result) podPart(path, key string, v any, p *profile) (known bool) {
	decode := func(v, into any) bool {
		err := decodeInto(v, into)
		if err != nil {
			r.addLost("%s.%s: %v", path, key, err)
		}
		return err == nil
	}
	podContext := func() *corev1.PodSecurityContext {
		if pod(p).PodSecurityContext == nil {
			pod(p).PodSecurityContext = &corev1.PodSecurityContext{}
		}
		return pod(p).PodSecurityContext
	}
	switch key {
	case "init_containers":
		pod(p).InitContainers = r.containers(path+"."+key, v)
	case "extra_containers":
		pod(p).Containers = r.containers(path+"."+key, v)
	case "lifecycle_hooks":
		var hooks *corev1.Lifecycle
		if decode(r.texts(path+"."+key, v), &hooks) {
			pod(p).Lifecycle = hooks
		}
	case "extra_labels":
		pod(p).Labels = r.metadata(path+"."+key, v)
	case "extra_annotations":
		pod(p).Annotations = r.metadata(path+"."+key, v)
	case "uid":
		decode(v, &podContext().RunAsUser)
	case "gid":
		decode(v, &podContext().RunAsGroup)
	case "fs_gid":
		decode(v, &podContext().FSGroup)
	case "supplemental_gids":
		decode(v, &podContext().SupplementalGroups)
	case "container_security_context":
		var context *corev1.SecurityContext
		if decode(v, &context) {
			pod(p).SecurityContext = context
		}
	case "pod_security_context":
		var context *corev1.PodSecurityContext
		if decode(v, &context) {
			pod(p).PodSecurityContext = context
		}
	case "allow_privilege_escalation", "privileged":
		if v != false {
			r.addLost("%s.%s: Pod Security \"restricted\" allows it to nobody", path, key)
		}
	case "node_affinity_preferred", "node_affinity_required", "pod_affinity_preferred", "pod_affinity_required", "pod_anti_affinity_preferred", "pod_anti_affinity_required":
		r.affinity(path, key, v, p)
	case "service_account":
		r.addLost("%s.%s: name it in spec.serviceAccountName, once its owner has named the policy in the annotation %s", path, key, v1alpha1.AnnotationForPolicies)
	default:
		return r.homePart(path, key, v, p)
	}
	return true
}

// listed is a list, or what a map has in the order of its keys: KubeSpawner takes both.
func listed(v any) []any {
	list, _ := v.([]any)
	if m, ok := v.(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			list = append(list, m[name])
		}
	}
	return list
}

func (r *Result) containers(path string, v any) []corev1.Container {
	var all []corev1.Container
	for i, one := range listed(v) {
		here := fmt.Sprintf("%s[%d]", path, i)
		var c corev1.Container
		if err := decodeInto(r.texts(here, one), &c); err != nil {
			r.addLost("%s: %v", here, err)
			continue
		}
		all = append(all, c)
	}
	return all
}

func (r *Result) metadata(path string, v any) map[string]string {
	fields, _ := v.(map[string]any)
	all := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key == v1alpha1.LabelHubAccess && scalar(fields[key]) == "true" {
			continue // every server has it
		}
		all[key] = scalar(r.texts(path+"."+key, fields[key]))
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// otherMark is what KubeSpawner writes out and policies do not.
var otherMark = regexp.MustCompile(`\{(userid|unescaped_username|unescaped_servername|escaped_username|escaped_servername|safe_username|safe_servername|pod_name|pvc_name|namespace|hubnamespace)\}`)

// texts are those of a policy for those of KubeSpawner, whose braces are written twice.
func (r *Result) texts(path string, v any) any {
	switch v := v.(type) {
	case string:
		v = strings.ReplaceAll(v, "{user_server}", v1alpha1.UsernameMark+"--"+v1alpha1.ServernameMark)
		if mark := otherMark.FindString(v); mark != "" {
			r.addLost("%s: no other templates than {username} and {servername} are written out: %s stays as it is", path, mark)
		}
		return strings.NewReplacer("{{", "{", "}}", "}").Replace(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = r.texts(path, v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = r.texts(path, v[key])
		}
		return out
	}
	return v
}

// namedVolumes has containers mount volumes by the names that they have here: the home's,
// and those of claims that are the policy's shared ones.
func namedVolumes(p *profile) {
	if p.shared.Pod == nil {
		return
	}
	for _, list := range [][]corev1.Container{p.shared.Pod.InitContainers, p.shared.Pod.Containers} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				m := &list[i].VolumeMounts[j]
				switch {
				case strings.HasPrefix(m.Name, "volume-{"): // zero-to-jupyterhub's name of it
					m.Name = podrules.HomeVolume
				case slices.ContainsFunc(storage(p).Shared, func(v v1alpha1.SharedVolume) bool { return v.Name == slug(m.Name) }):
					m.Name = podrules.SharedVolume(slug(m.Name))
				}
			}
		}
	}
	if s := p.shared.Storage; s.Home == nil && len(s.Shared) == 0 {
		p.shared.Storage = nil
	}
}

// prunePod takes away what would be refused, and lists it.
func (r *Result) prunePod(p *v1alpha1.GroupPolicy) {
	spec := &p.Spec
	for spec.Pod != nil {
		faults := podrules.PolicyPodFaults(spec.Pod, podrules.PolicyPodBounds{
			CPU: spec.CPU.Max, Memory: spec.Memory.Max, Storage: spec.Storage, GPUResources: []string{spec.Kernels.GPUResource},
		})
		if len(faults) == 0 {
			break
		}
		r.addLost("%s: pod.%s: left out", p.Name, faults[0].Error())
		if !without(spec.Pod, faults[0].Path) {
			spec.Pod = nil
		}
	}
	if spec.Pod != nil && encoded(spec.Pod) == encoded(&v1alpha1.PolicyPod{}) {
		spec.Pod = nil
	}
	if spec.Storage == nil || spec.Storage.Home == nil {
		return
	}
	home := spec.Storage.Home
	for _, f := range podrules.HomeTemplateFaults(home, true) {
		r.addLost("%s: storage.home.%s: left out", p.Name, f.Error())
		_, rest, _ := strings.Cut(f.Path, "[")
		key := strings.TrimSuffix(rest, "]")
		switch {
		case strings.HasPrefix(f.Path, "labels["):
			delete(home.Labels, key)
		case f.Path == "annotations":
			home.Annotations = nil
		case strings.HasPrefix(f.Path, "annotations["):
			delete(home.Annotations, key)
		default:
			home.Selector = nil
		}
	}
}

var faultAt = regexp.MustCompile(`^([A-Za-z]+)(?:\[([^\]]*)\])?`)

// without takes the part of a Pod away in which a path is; false if there is none.
func without(pod *v1alpha1.PolicyPod, at string) bool {
	found := faultAt.FindStringSubmatch(at)
	if found == nil {
		return false
	}
	i, err := strconv.Atoi(found[2])
	one := err == nil
	switch found[1] {
	case "labels":
		cut(pod.Labels, found[2])
	case "annotations":
		cut(pod.Annotations, found[2])
	case "initContainers":
		pod.InitContainers = deleted(pod.InitContainers, i, one)
	case "containers":
		if len(pod.Containers) == 0 { // it is about init containers that go on
			pod.InitContainers = nil
		}
		pod.Containers = deleted(pod.Containers, i, one)
	case "volumes":
		pod.Volumes = deleted(pod.Volumes, i, one)
	case "volumeMounts":
		pod.VolumeMounts = deleted(pod.VolumeMounts, i, one)
	case "securityContext":
		pod.SecurityContext = nil
	case "podSecurityContext":
		pod.PodSecurityContext = nil
	case "lifecycle":
		pod.Lifecycle = nil
	case "extraResources":
		cut(pod.ExtraResources, corev1.ResourceName(found[2]))
	default:
		return false
	}
	return true
}

func cut[M ~map[K]V, K comparable, V any](m M, key K) {
	if _, has := m[key]; has {
		delete(m, key)
	} else {
		clear(m) // it is about all of them
	}
}

func deleted[T any](list []T, i int, one bool) []T {
	if !one || i >= len(list) {
		return nil
	}
	return slices.Delete(list, i, i+1)
}
