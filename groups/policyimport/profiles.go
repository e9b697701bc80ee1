package policyimport

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// everybody is the policy of profiles that are open to all.
const everybody = "everybody"

// profile is one of KubeSpawner's, with the choices of its options as
// profiles of their own.
type profile struct {
	path, name, title, description string
	isDefault                      bool
	// groups may have it, if it is restricted; else everybody.
	groups                []string
	restricted            bool
	image, imageTitle     string
	cpu, cpuRequest       *resource.Quantity
	memory, memoryRequest *resource.Quantity
	gpus                  map[string]int32
	// anyCPU and anyMemory: another option of the profile has the limit.
	anyCPU, anyMemory bool
	// sets is what a choice sets itself.
	sets struct{ cpu, memory, image bool }
	// shared is what a policy has once: it is carried over if all profiles agree.
	shared v1alpha1.GroupPolicySpec
	// home is what the claim of a home has besides, if there is one.
	home v1alpha1.HomeVolume
}

// profiles makes a policy for every set of allowed_groups, and one for everybody.
// Each has what is open to all, and what all of its groups may have.
func (r *Result) profiles(in found, o Options) error {
	every, err := r.everyServer(in)
	faults := []error{err}
	var all []profile
	anyDefault := slices.ContainsFunc(in.list, func(v any) bool { return lookup(v, "default") == true })
	for i, v := range in.list {
		path := fmt.Sprintf("profile_list[%d]", i)
		fields, ok := v.(map[string]any)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: not a profile", path))
			continue
		}
		if !anyDefault && i == 0 {
			fields = maps.Clone(fields)
			fields["default"] = true
		}
		found, err := r.profile(path, fields, every, item(under(r.root, in.path...), i))
		all, faults = append(all, found...), append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("%w:\n%w", ErrInput, err)
	}
	if len(in.list) == 0 && in.singleuser != nil {
		every.path, every.name, every.title, every.isDefault = "singleuser", "default", "Default", true
		all = []profile{every}
	}
	sets := map[string][]string{}
	for _, p := range all {
		if p.restricted && len(p.groups) == 0 {
			r.addLost("%s: nobody may have it: it is left out", p.path)
			continue
		}
		sets[strings.Join(p.groups, "\x00")] = p.groups
	}
	if len(sets) == 0 {
		return fmt.Errorf("%w: no profiles", ErrInput)
	}
	sizes := map[int]bool{}
	members := map[string][]profile{}
	for key, names := range sets {
		for _, p := range all {
			if !p.restricted || len(names) > 0 && subset(names, p.groups) {
				members[key] = append(members[key], p)
			}
		}
		if len(names) > 0 {
			sizes[len(members[key])] = true
		}
	}
	ranks := slices.Sorted(maps.Keys(sizes))
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		policy, err := r.fromProfiles(sets[key], members[key], o)
		if err != nil {
			return err
		}
		if !policy.Spec.Default {
			policy.Spec.Priority = int32(10 * (1 + slices.Index(ranks, len(members[key]))))
		}
		r.Policies = append(r.Policies, policy)
	}
	if len(sets) > 2 || len(sets) == 2 && sets[""] == nil {
		r.addLost("a user of several groups had the profiles of all: set policies.matching to union in the service's configuration")
	}
	return nil
}

// subset tells that all of a are in b.
func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(name string) bool { return !slices.Contains(b, name) })
}

func (r *Result) fromProfiles(names []string, members []profile, o Options) (v1alpha1.GroupPolicy, error) {
	title := cmp.Or(strings.Join(names, ", "), everybody)
	p := r.newPolicy(title, o)
	p.Spec.Groups, p.Spec.Default = names, len(names) == 0
	for _, m := range members {
		r.addImage(&p.Spec, m)
	}
	if len(p.Spec.Images) == 0 {
		return p, fmt.Errorf("%w: no profile of %s names an image: give --image ID=IMAGE", ErrInput, title)
	}
	p.Spec.CPU = r.bounds(title, "cpu_limit", members, func(m profile) (*resource.Quantity, *resource.Quantity) { return m.cpu, m.cpuRequest }, resource.MustParse("1"))
	p.Spec.Memory = r.bounds(title, "mem_limit", members, func(m profile) (*resource.Quantity, *resource.Quantity) { return m.memory, m.memoryRequest }, resource.MustParse("1Gi"))
	for _, m := range members {
		if m.cpu == nil || m.memory == nil || slices.ContainsFunc(p.Spec.Presets, func(x v1alpha1.Preset) bool { return x.Name == m.name }) {
			continue
		}
		if len(p.Spec.Presets) == 16 {
			r.addLost("%s: more than 16 sizes; %s is no preset", title, m.path)
			continue
		}
		p.Spec.Presets = append(p.Spec.Presets, v1alpha1.Preset{Name: m.name, Title: m.title, CPU: *m.cpu, Memory: *m.memory, Description: m.description})
	}
	r.share(&p.Spec, title, members)
	for _, m := range members {
		for name, n := range m.gpus {
			k := &p.Spec.Kernels
			if k.GPUResource != "" && k.GPUResource != name {
				r.addLost("%s: %s: a policy counts one GPU resource, here %s; make a second policy for %s", m.path, title, k.GPUResource, name)
				continue
			}
			k.GPUResource, k.GPUsPerKernel, k.GPUsPerUser = name, max(k.GPUsPerKernel, n), max(k.GPUsPerUser, n)
			r.addLost("%s: %d %s: GPUs are for kernels here, not for servers: name JupyterKernelSpecs with GPUs in spec.kernels.allowed of %s", m.path, n, name, p.Name)
		}
	}
	return p, nil
}

func (r *Result) addImage(spec *v1alpha1.GroupPolicySpec, m profile) {
	if m.image == "" || slices.ContainsFunc(spec.Images, func(c v1alpha1.ImageChannel) bool { return c.Image == m.image }) {
		return
	}
	id := slug(cmp.Or(m.imageTitle, m.title))
	for i := 2; slices.ContainsFunc(spec.Images, func(c v1alpha1.ImageChannel) bool { return c.ID == id }); i++ {
		id = fmt.Sprintf("%s-%d", slug(cmp.Or(m.imageTitle, m.title)), i)
	}
	channel := v1alpha1.ImageChannel{ID: id, DisplayName: cmp.Or(m.imageTitle, m.title), Image: m.image}
	if m.isDefault {
		spec.Images = slices.Insert(spec.Images, 0, channel)
	} else {
		spec.Images = append(spec.Images, channel)
	}
}

// bounds go from the smallest to the largest profile, in steps that meet all.
func (r *Result) bounds(title, what string, members []profile, of func(profile) (limit, request *resource.Quantity), absent resource.Quantity) v1alpha1.ResourceRange {
	var out v1alpha1.ResourceRange
	found := false
	ratios := map[string]bool{}
	for _, m := range members {
		limit, request := of(m)
		if limit == nil {
			if what == "cpu_limit" && m.anyCPU || what == "mem_limit" && m.anyMemory {
				continue
			}
			r.addLost("%s: no %s, which means no limit there", m.path, what)
			continue
		}
		if !found || limit.Cmp(out.Min) < 0 {
			out.Min = *limit
		}
		if !found || limit.Cmp(out.Max) > 0 {
			out.Max = *limit
		}
		found = true
		if m.isDefault && out.Default == nil {
			out.Default = limit
		}
		if request != nil && limit.Sign() > 0 {
			ratios[ratio(*request, *limit)] = true
		}
	}
	if !found {
		r.addLost("%s: no profile has a %s: %s is a placeholder, set it", title, what, absent.String())
		return v1alpha1.ResourceRange{Min: absent, Max: absent}
	}
	var step int64
	for _, m := range members {
		if limit, _ := of(m); limit != nil {
			step = divisor(step, limit.MilliValue()-out.Min.MilliValue())
		}
	}
	if step > 0 {
		q := *resource.NewMilliQuantity(step, resource.DecimalSI)
		if absent.Format == resource.BinarySI {
			q = *resource.NewQuantity(step/1000, resource.BinarySI)
		}
		out.Step = &q
	}
	switch len(ratios) {
	case 0:
	case 1:
		out.RequestRatio = slices.Collect(maps.Keys(ratios))[0]
	default:
		r.addLost("%s: guarantees are not the same part of the limit in all profiles: the default ratio is used for %s", title, what)
	}
	return out
}

func divisor(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func ratio(request, limit resource.Quantity) string {
	text := fmt.Sprintf("%.4f", min(request.AsApproximateFloat64()/limit.AsApproximateFloat64(), 1))
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// share carries over what all profiles of a policy agree on.
func (r *Result) share(spec *v1alpha1.GroupPolicySpec, title string, members []profile) {
	agree := func(what string, of func(*v1alpha1.GroupPolicySpec) any, apply func(*v1alpha1.GroupPolicySpec)) {
		first := encoded(of(&members[0].shared))
		for i := range members {
			if encoded(of(&members[i].shared)) != first {
				r.addLost("%s: %s differs between profiles: set it by hand, or make several policies", title, what)
				return
			}
		}
		apply(&members[0].shared)
	}
	agree("node_selector", func(s *v1alpha1.GroupPolicySpec) any { return s.NodeSelector }, func(s *v1alpha1.GroupPolicySpec) { spec.NodeSelector = s.NodeSelector })
	agree("affinity", func(s *v1alpha1.GroupPolicySpec) any { return s.Affinity }, func(s *v1alpha1.GroupPolicySpec) { spec.Affinity = s.Affinity })
	agree("tolerations", func(s *v1alpha1.GroupPolicySpec) any { return s.Tolerations }, func(s *v1alpha1.GroupPolicySpec) { spec.Tolerations = s.Tolerations })
	agree("priority_class_name", func(s *v1alpha1.GroupPolicySpec) any { return s.PriorityClassName }, func(s *v1alpha1.GroupPolicySpec) { spec.PriorityClassName = s.PriorityClassName })
	agree("scheduler_name", func(s *v1alpha1.GroupPolicySpec) any { return s.SchedulerName }, func(s *v1alpha1.GroupPolicySpec) { spec.SchedulerName = s.SchedulerName })
	agree("image_pull_secrets", func(s *v1alpha1.GroupPolicySpec) any { return s.ImagePullSecrets }, func(s *v1alpha1.GroupPolicySpec) { spec.ImagePullSecrets = s.ImagePullSecrets })
	agree("environment", func(s *v1alpha1.GroupPolicySpec) any { return s.Env }, func(s *v1alpha1.GroupPolicySpec) { spec.Env = s.Env })
	had := func(s *v1alpha1.GroupPolicySpec) v1alpha1.NotebookStorage {
		return ptr.Deref(s.Storage, v1alpha1.NotebookStorage{})
	}
	var kept v1alpha1.NotebookStorage
	r.sharePod(spec, agree)
	agree("the home volume", func(s *v1alpha1.GroupPolicySpec) any { return had(s).Home }, func(s *v1alpha1.GroupPolicySpec) { kept.Home = had(s).Home })
	agree("shared volumes", func(s *v1alpha1.GroupPolicySpec) any { return had(s).Shared }, func(s *v1alpha1.GroupPolicySpec) { kept.Shared = had(s).Shared })
	if kept.Home != nil || len(kept.Shared) > 0 {
		spec.Storage = &kept
	}
	if kept.Home != nil && kept.Home.Static == nil {
		kept.Home = dressed(kept.Home, &members[0].home)
		for i := range members {
			if encoded(members[i].home) != encoded(members[0].home) {
				r.addLost("%s: claims of homes differ between profiles: those of %s are made", title, members[0].path)
				break
			}
		}
	}
}

// dressed is a home with what its claim has besides.
func dressed(home, besides *v1alpha1.HomeVolume) *v1alpha1.HomeVolume {
	home, besides = home.DeepCopy(), besides.DeepCopy()
	home.Labels, home.Annotations, home.Selector = besides.Labels, besides.Annotations, besides.Selector
	if besides.StorageClassName != nil {
		home.StorageClassName = besides.StorageClassName
	}
	if len(besides.AccessModes) > 0 {
		home.AccessModes = besides.AccessModes
	}
	return home
}

// sharePod carries over what all profiles put into Pods.
func (r *Result) sharePod(spec *v1alpha1.GroupPolicySpec, agree func(string, func(*v1alpha1.GroupPolicySpec) any, func(*v1alpha1.GroupPolicySpec))) {
	var kept v1alpha1.PolicyPod
	of := func(s *v1alpha1.GroupPolicySpec) v1alpha1.PolicyPod { return ptr.Deref(s.Pod, v1alpha1.PolicyPod{}) }
	for _, part := range []struct {
		what string
		of   func(v1alpha1.PolicyPod) any
		take func(v1alpha1.PolicyPod)
	}{
		{"extra_labels", func(p v1alpha1.PolicyPod) any { return p.Labels }, func(p v1alpha1.PolicyPod) { kept.Labels = p.Labels }},
		{"extra_annotations", func(p v1alpha1.PolicyPod) any { return p.Annotations }, func(p v1alpha1.PolicyPod) { kept.Annotations = p.Annotations }},
		{"init_containers", func(p v1alpha1.PolicyPod) any { return p.InitContainers }, func(p v1alpha1.PolicyPod) { kept.InitContainers = p.InitContainers }},
		{"extra_containers", func(p v1alpha1.PolicyPod) any { return p.Containers }, func(p v1alpha1.PolicyPod) { kept.Containers = p.Containers }},
		{"volumes", func(p v1alpha1.PolicyPod) any { return [2]any{p.Volumes, p.VolumeMounts} }, func(p v1alpha1.PolicyPod) { kept.Volumes, kept.VolumeMounts = p.Volumes, p.VolumeMounts }},
		{"container_security_context", func(p v1alpha1.PolicyPod) any { return p.SecurityContext }, func(p v1alpha1.PolicyPod) { kept.SecurityContext = p.SecurityContext }},
		{"pod_security_context", func(p v1alpha1.PolicyPod) any { return p.PodSecurityContext }, func(p v1alpha1.PolicyPod) { kept.PodSecurityContext = p.PodSecurityContext }},
		{"lifecycle_hooks", func(p v1alpha1.PolicyPod) any { return p.Lifecycle }, func(p v1alpha1.PolicyPod) { kept.Lifecycle = p.Lifecycle }},
		{"extra_resource_limits", func(p v1alpha1.PolicyPod) any { return p.ExtraResources }, func(p v1alpha1.PolicyPod) { kept.ExtraResources = p.ExtraResources }},
	} {
		agree(part.what, func(s *v1alpha1.GroupPolicySpec) any { return part.of(of(s)) }, func(s *v1alpha1.GroupPolicySpec) { part.take(of(s)) })
	}
	spec.Pod = kept.DeepCopy() // prunePod takes an empty one away
}

func encoded(v any) string {
	text, err := yaml.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// decodeInto reads a part of the input as a Kubernetes type, strictly.
func decodeInto(v, into any) error {
	text, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(text, into)
}
