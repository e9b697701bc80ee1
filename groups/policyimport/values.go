package policyimport

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// found is where the profiles of a document are.
type found struct {
	// list is the profiles, nil if there are none, and path leads to it.
	list []any
	path []string
	// singleuser is what zero-to-jupyterhub gives to every server, nil if the
	// document is none of its values.
	singleuser map[string]any
	// scheduler places all servers, empty for the cluster's own; slugScheme is how KubeSpawner
	// writes names, empty where nothing is said.
	scheduler, slugScheme string
}

// userScheduler is what zero-to-jupyterhub calls its own.
const userScheduler = "user-scheduler"

// maxNesting is how deep zero-to-jupyterhub may lie among the charts that have it as a part.
const maxNesting = 4

// findProfiles finds the list itself, or where configuration files keep it.
func findProfiles(document any) (found, bool) {
	for _, path := range [][]string{{}, {"profile_list"}, {"profileList"}, {"KubeSpawner", "profile_list"}} {
		if list, ok := lookup(document, path...).([]any); ok {
			return found{list: list, path: path}, true
		}
	}
	var within []string
	at := singleuser(document, nil)
	if at == nil {
		return found{}, false
	}
	within = at[:len(at)-1]
	values, _ := lookup(document, at...).(map[string]any)
	f := found{singleuser: values}
	within = slices.Clip(within)
	spawner := append(within, "hub", "config", "KubeSpawner")
	f.slugScheme, _ = lookup(document, append(slices.Clip(spawner), "slug_scheme")...).(string)
	f.scheduler, _ = lookup(document, append(slices.Clip(spawner), "scheduler_name")...).(string)
	if lookup(document, append(within, "scheduling", "userScheduler", "enabled")...) == true {
		f.scheduler = cmp.Or(f.scheduler, userScheduler)
	}
	for _, path := range [][]string{
		append(slices.Clone(at), "profileList"),
		append(slices.Clone(within), "hub", "config", "KubeSpawner", "profile_list"),
	} {
		if list, ok := lookup(document, path...).([]any); ok && f.list == nil {
			f.list, f.path = list, path
		}
	}
	return f, true
}

// singleuser is the way to the values of that name, those of the outermost chart first.
func singleuser(document any, path []string) []string {
	fields, ok := document.(map[string]any)
	if !ok || len(path) == maxNesting {
		return nil
	}
	if _, ok := fields["singleuser"].(map[string]any); ok {
		return append(slices.Clone(path), "singleuser")
	}
	if _, ok := lookup(fields, "hub", "config", "KubeSpawner", "profile_list").([]any); ok {
		return append(slices.Clone(path), "singleuser")
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if at := singleuser(fields[key], append(slices.Clone(path), key)); at != nil {
			return at
		}
	}
	return nil
}

// everyServer reads what zero-to-jupyterhub gives to every server. Profiles override it.
func (r *Result) everyServer(in found) (profile, error) {
	base, values := profile{gpus: map[string]int32{}}, in.singleuser
	base.shared.SchedulerName = in.scheduler
	if in.scheduler == userScheduler {
		r.addLost("scheduling.userScheduler: %s is zero-to-jupyterhub's own, which goes when that chart does", userScheduler)
	}
	if values == nil {
		return base, nil
	}
	override := map[string]any{}
	take := func(name string, path ...string) {
		if v := lookup(values, path...); v != nil {
			override[name] = v
		}
	}
	take("cpu_limit", "cpu", "limit")
	take("cpu_guarantee", "cpu", "guarantee")
	take("mem_limit", "memory", "limit")
	take("mem_guarantee", "memory", "guarantee")
	take("node_selector", "nodeSelector")
	take("tolerations", "extraTolerations")
	take("environment", "extraEnv")
	take("extra_resource_limits", "extraResource", "limits")
	take("extra_resource_guarantees", "extraResource", "guarantees")
	take("init_containers", "initContainers")
	take("extra_containers", "extraContainers")
	take("lifecycle_hooks", "lifecycleHooks")
	take("extra_labels", "extraLabels")
	take("extra_annotations", "extraAnnotations")
	take("storage_extra_labels", "storage", "extraLabels")
	take("storage_extra_annotations", "storage", "extraAnnotations")
	take("service_account", "serviceAccountName")
	take("node_affinity_required", "extraNodeAffinity", "required")
	take("node_affinity_preferred", "extraNodeAffinity", "preferred")
	take("pod_affinity_required", "extraPodAffinity", "required")
	take("pod_affinity_preferred", "extraPodAffinity", "preferred")
	take("pod_anti_affinity_required", "extraPodAntiAffinity", "required")
	take("pod_anti_affinity_preferred", "extraPodAntiAffinity", "preferred")
	take("uid", "uid")
	take("fs_gid", "fsGid")
	take("volumes", "storage", "extraVolumes")
	take("volume_mounts", "storage", "extraVolumeMounts")
	if name, ok := lookup(values, "image", "name").(string); ok && name != "" {
		override["image"] = name
		if tag := scalar(lookup(values, "image", "tag")); tag != "" {
			override["image"] = name + ":" + tag
		}
	}
	if secrets, ok := lookup(values, "image", "pullSecrets").([]any); ok {
		override["image_pull_secrets"] = named(secrets)
	}
	for key, v := range override { // an empty list or map says nothing
		if empty(v) {
			delete(override, key)
		}
	}
	err := r.override("singleuser", override, &base)
	r.home(values, in.slugScheme, &base)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch key {
		case "profileList", "cpu", "memory", "nodeSelector", "extraTolerations", "extraEnv", "extraResource", "storage", "image",
			"initContainers", "extraContainers", "lifecycleHooks", "extraLabels", "extraAnnotations", "uid", "fsGid",
			"serviceAccountName", "extraNodeAffinity", "extraPodAffinity", "extraPodAntiAffinity":
		case "extraFiles":
			if !empty(values[key]) {
				r.addLost("singleuser.extraFiles: put them into a ConfigMap or a Secret, and that into spec.pod.volumes")
			}
		case "cmd", "defaultUrl", "startTimeout", "allowPrivilegeEscalation":
			r.addLost("singleuser.%s: belongs to the Hub's configuration, c.ElasticSpawner", key)
		default:
			if !empty(values[key]) {
				r.addLost("singleuser.%s: no field of a policy holds it", key)
			}
		}
	}
	return base, err
}

// named makes objects with names of names.
func named(list []any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		if name, ok := v.(string); ok {
			v = map[string]any{"name": name}
		}
		out[i] = v
	}
	return out
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// home reads storage, which is a home for every server where nothing else is said.
func (r *Result) home(values map[string]any, slugScheme string, base *profile) {
	storageValues, _ := values["storage"].(map[string]any)
	switch kind := cmp.Or(scalar(storageValues["type"]), "dynamic"); kind {
	case "dynamic":
	case "static":
		r.staticHome(storageValues, slugScheme, base)
		return
	case "none":
		return
	default:
		r.addLost("singleuser.storage: homes of type %s are not carried over: servers have none until spec.storage.home is set", kind)
		return
	}
	capacity := storageValues["capacity"]
	if capacity == nil {
		capacity = "10Gi"
		r.addLost("singleuser.storage.capacity: not said: homes have 10Gi, as zero-to-jupyterhub makes them by itself")
	}
	size, rounded, err := bytes(capacity, "")
	if err != nil {
		r.addLost("singleuser.storage.capacity: %v: servers have no home until spec.storage.home is set", err)
		return
	}
	r.addRounded(rounded)
	home := &v1alpha1.HomeVolume{Size: size, MountPath: scalar(storageValues["homeMountPath"])}
	dynamic, _ := storageValues["dynamic"].(map[string]any)
	if class := scalar(dynamic["storageClass"]); class != "" {
		home.StorageClassName = &class
	}
	if modes := dynamic["storageAccessModes"]; modes != nil {
		if err := decodeInto(modes, &home.AccessModes); err != nil {
			r.addLost("singleuser.storage.dynamic.storageAccessModes: not a list of names")
		}
	}
	home.Claim = r.claim(scalar(dynamic["pvcNameTemplate"]))
	storage(base).Home = home
	r.restOfStorage(storageValues)
}

// staticHome reads storage of the type static: a directory of one claim for each user.
func (r *Result) staticHome(storageValues map[string]any, slugScheme string, base *profile) {
	claim, at := scalar(lookup(storageValues, "static", "pvcName")), scalar(lookup(storageValues, "static", "subPath"))
	at = strings.Trim(path.Clean(cmp.Or(at, v1alpha1.UsernameMark)), "/")
	mark := v1alpha1.SafeUsernameMark
	if slugScheme == "escape" {
		mark = v1alpha1.EscapedUsernameMark
	}
	if strings.Contains(at, v1alpha1.UsernameMark) && mark == v1alpha1.SafeUsernameMark {
		r.addLost("singleuser.storage.static.subPath: {username} is %s, as KubeSpawner has written it since 7: of directories that zero-to-jupyterhub before 4 has made, write %s", mark, v1alpha1.EscapedUsernameMark)
	}
	r.withinHome(at, base)
	at = strings.ReplaceAll(at, v1alpha1.UsernameMark, mark)
	home := &v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: claim, SubPath: at}, MountPath: scalar(storageValues["homeMountPath"])}
	if faults := podrules.StaticHomeFaults(home, true); len(faults) > 0 {
		r.addLost("singleuser.storage.%s: servers have no home until spec.storage.home is set", faults[0].Error())
		return
	}
	storage(base).Home = home
	r.restOfStorage(storageValues)
}

// withinHome has containers that mount the directory of the user mount the home, which is that.
func (r *Result) withinHome(subPath string, base *profile) {
	if base.shared.Pod == nil {
		return
	}
	for _, list := range [][]corev1.Container{base.shared.Pod.InitContainers, base.shared.Pod.Containers} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				switch m := &list[i].VolumeMounts[j]; {
				case m.Name != podrules.HomeVolume:
				case path.Clean(m.SubPath) == subPath:
					m.SubPath = ""
				default:
					r.addLost("singleuser: the container %s mounts the user's directory of the claim at %s, and not what is beside it", list[i].Name, m.MountPath)
				}
			}
		}
	}
}

// restOfStorage lists what of storage is not known.
func (r *Result) restOfStorage(storageValues map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(storageValues)) {
		switch key {
		case "type", "capacity", "homeMountPath", "extraVolumes", "extraVolumeMounts", "dynamic", "static", "extraLabels", "extraAnnotations":
		default:
			r.addLost("singleuser.storage.%s: no field of a policy holds it", key)
		}
	}
}

func scalar(v any) string {
	switch v.(type) {
	case nil, map[string]any, []any:
		return ""
	}
	return plain(v)
}

// --- the order of what was written

// written is the input as YAML's nodes; nil where there is none.
func written(text []byte) *yamlv3.Node {
	var document yamlv3.Node
	if yamlv3.Unmarshal(text, &document) != nil || len(document.Content) == 0 {
		return nil
	}
	return document.Content[0]
}

// under is the node that a path of keys leads to, nil if there is none.
func under(n *yamlv3.Node, path ...string) *yamlv3.Node {
	for _, key := range path {
		n = resolved(n)
		if n == nil || n.Kind != yamlv3.MappingNode {
			return nil
		}
		next := (*yamlv3.Node)(nil)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				next = n.Content[i+1]
			}
		}
		n = next
	}
	return resolved(n)
}

// item is an element of a list, nil if there is none.
func item(n *yamlv3.Node, i int) *yamlv3.Node {
	if n = resolved(n); n == nil || n.Kind != yamlv3.SequenceNode || i >= len(n.Content) {
		return nil
	}
	return resolved(n.Content[i])
}

func resolved(n *yamlv3.Node) *yamlv3.Node {
	if n != nil && n.Kind == yamlv3.AliasNode {
		return n.Alias
	}
	return n
}

// inOrder are the keys of a map as they were written; those that came from
// elsewhere, by merging, follow.
func inOrder(fields map[string]any, n *yamlv3.Node) []string {
	var keys []string
	if n = resolved(n); n != nil && n.Kind == yamlv3.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if _, ok := fields[n.Content[i].Value]; ok && !slices.Contains(keys, n.Content[i].Value) {
				keys = append(keys, n.Content[i].Value)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}
