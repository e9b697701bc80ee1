package policyimport

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// profile reads one profile and multiplies it by the choices of its options:
// every size with the default image, every image with the default size.
func (r *Result) profile(path string, fields map[string]any, every profile, n *yamlv3.Node) ([]profile, error) {
	base := every
	base.path, base.gpus, base.shared = path, maps.Clone(every.gpus), *every.shared.DeepCopy()
	base.title, _ = fields["display_name"].(string)
	slugged, _ := fields["slug"].(string)
	base.name = slug(cmp.Or(slugged, base.title, path))
	base.title = cmp.Or(base.title, slugged, path)
	base.description, _ = fields["description"].(string)
	base.isDefault = fields["default"] == true
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case "display_name", "slug", "description", "default", "profile_options":
		case "allowed_groups":
			var err error
			base.groups, base.restricted, err = allowedGroups(path, fields[key])
			faults = append(faults, err)
		case "kubespawner_override":
			faults = append(faults, r.override(path+"."+key, fields[key], &base))
		default:
			if restricts(key) {
				r.addLost("%s.%s: not known, and who may have the profile depends on it: it is left out", path, key)
				return nil, errors.Join(faults...)
			}
			r.addLost("%s.%s: not known", path, key)
		}
	}
	options, ok := fields["profile_options"].(map[string]any)
	if fields["profile_options"] != nil && !ok {
		faults = append(faults, fmt.Errorf("%s.profile_options: not a map", path))
	}
	var all [][]profile
	for _, name := range inOrder(options, under(n, "profile_options")) {
		choices, err := r.option(path+".profile_options."+name, options[name], base, under(n, "profile_options", name))
		faults = append(faults, err)
		if len(choices) > 0 {
			all = append(all, choices)
		}
	}
	if len(all) == 0 {
		return []profile{base}, errors.Join(faults...)
	}
	return combine(all), errors.Join(faults...)
}

// combine is the choices of all options. One of each is chosen, so that what every
// choice of one option sets is never what the profile sets itself.
func combine(options [][]profile) []profile {
	var all []profile
	for i, choices := range options {
		for _, p := range choices {
			for j, others := range options {
				if i == j {
					continue
				}
				has := func(set func(profile) bool) bool { return slices.ContainsFunc(others, set) }
				always := func(set func(profile) bool) bool {
					return !slices.ContainsFunc(others, func(o profile) bool { return !set(o) })
				}
				cpu, memory, image := func(o profile) bool { return o.sets.cpu }, func(o profile) bool { return o.sets.memory }, func(o profile) bool { return o.sets.image }
				p.anyCPU, p.anyMemory = p.anyCPU || has(cpu), p.anyMemory || has(memory)
				if always(cpu) && !p.sets.cpu {
					p.cpu, p.cpuRequest = nil, nil
				}
				if always(memory) && !p.sets.memory {
					p.memory, p.memoryRequest = nil, nil
				}
				if always(image) && !p.sets.image {
					p.image = ""
				}
			}
			all = append(all, p)
		}
	}
	return all
}

// allowedGroups reads who may have something; restricted is false for everybody.
func allowedGroups(path string, v any) (names []string, restricted bool, err error) {
	if v == nil {
		return nil, false, nil
	}
	if err := decodeInto(v, &names); err != nil {
		return nil, true, fmt.Errorf("%s.allowed_groups: not a list of names", path)
	}
	slices.Sort(names)
	return slices.Compact(names), true, nil
}

// restricts reports whether a key that nobody knows may be about who has something.
func restricts(key string) bool {
	return strings.Contains(key, "allow") || strings.Contains(key, "group") || strings.Contains(key, "team") || strings.Contains(key, "user")
}

func (r *Result) option(path string, v any, base profile, n *yamlv3.Node) ([]profile, error) {
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: not an option", path)
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case "display_name", "choices":
		case "unlisted_choice":
			if lookup(fields[key], "enabled") == true {
				r.addLost("%s.unlisted_choice: users cannot type an image of their own here", path)
			}
		default:
			r.addLost("%s.%s: not known", path, key)
		}
	}
	list, _ := fields["choices"].(map[string]any)
	var all []profile
	var faults []error
	keys := inOrder(list, under(n, "choices"))
	byDefault := slices.IndexFunc(keys, func(key string) bool { return lookup(list[key], "default") == true })
	for i, name := range keys {
		here := path + ".choices." + name
		choice, ok := list[name].(map[string]any)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: not a choice", here))
			continue
		}
		p, ok, err := r.choice(here, name, choice, base)
		faults = append(faults, err)
		if !ok {
			continue
		}
		p.isDefault = base.isDefault && i == max(byDefault, 0)
		all = append(all, p)
	}
	return all, errors.Join(faults...)
}

// choice is a profile with one of its options chosen; ok is false if nobody may have it.
func (r *Result) choice(path, name string, fields map[string]any, base profile) (p profile, ok bool, err error) {
	p = base
	p.path, p.gpus, p.shared = path, maps.Clone(base.gpus), *base.shared.DeepCopy()
	title, _ := fields["display_name"].(string)
	title = cmp.Or(title, name)
	p.imageTitle = title
	var faults []error
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case "display_name", "description", "slug", "default", "kubespawner_override":
		case "allowed_groups":
			names, restricted, err := allowedGroups(path, fields[key])
			faults = append(faults, err)
			if !restricted {
				continue
			}
			if base.restricted {
				both := slices.DeleteFunc(slices.Clone(base.groups), func(g string) bool { return !slices.Contains(names, g) })
				r.addLost("%s.allowed_groups: counted for groups that the profile names, too, not for users of one group of each", path)
				names = both
			}
			p.groups, p.restricted = names, true
		default:
			if restricts(key) {
				r.addLost("%s.%s: not known, and who may have the choice depends on it: it is left out", path, key)
				return p, false, errors.Join(faults...)
			}
			r.addLost("%s.%s: not known", path, key)
		}
	}
	override, _ := fields["kubespawner_override"].(map[string]any)
	before := p
	faults = append(faults, r.override(path+".kubespawner_override", fields["kubespawner_override"], &p))
	_, p.sets.cpu = override["cpu_limit"]
	_, p.sets.memory = override["mem_limit"]
	_, p.sets.image = override["image"]
	if !sameSize(before, p) {
		p.name, p.title = base.name+"-"+slug(name), base.title+", "+title
	}
	return p, true, errors.Join(faults...)
}

func sameSize(a, b profile) bool {
	same := func(x, y *resource.Quantity) bool { return x == y || x != nil && y != nil && x.Cmp(*y) == 0 }
	return same(a.cpu, b.cpu) && same(a.memory, b.memory)
}

// override reads kubespawner_override. What no field of a policy holds is listed.
func (r *Result) override(path string, v any, p *profile) error {
	if v == nil {
		return nil
	}
	fields, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: not a map", path)
	}
	var faults []error
	amount := func(key string, read func(any) (resource.Quantity, bool, error)) *resource.Quantity {
		if fields[key] == nil {
			return nil
		}
		q, rounded, err := read(fields[key])
		if err != nil {
			faults = append(faults, fmt.Errorf("%s.%s: %w", path, key, err))
			return nil
		}
		r.addRounded(rounded)
		return &q
	}
	memory := func(v any) (resource.Quantity, bool, error) { return bytes(v, "") }
	strict := func(key string, into any) {
		if err := decodeInto(fields[key], into); err != nil {
			r.addLost("%s.%s: %v", path, key, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case "image":
			p.image, _ = fields[key].(string)
		case "cpu_limit":
			p.cpu = amount(key, cores)
		case "cpu_guarantee":
			p.cpuRequest = amount(key, cores)
		case "mem_limit":
			p.memory = amount(key, memory)
		case "mem_guarantee":
			p.memoryRequest = amount(key, memory)
		case "extra_resource_limits":
			faults = append(faults, r.gpus(path+"."+key, fields[key], p))
		case "extra_resource_guarantees":
			if encoded(fields[key]) != encoded(fields["extra_resource_limits"]) {
				r.addLost("%s.%s: differs from the limits, which count", path, key)
			}
		case "node_selector":
			strict(key, &p.shared.NodeSelector)
		case "tolerations":
			strict(key, &p.shared.Tolerations)
		case "priority_class_name":
			strict(key, &p.shared.PriorityClassName)
		case "scheduler_name":
			strict(key, &p.shared.SchedulerName)
		case "image_pull_secrets":
			strict(key, &p.shared.ImagePullSecrets)
		case "environment":
			r.environment(path+"."+key, fields[key], p)
		case "storage_capacity":
			if size := amount(key, memory); size != nil {
				home := v1alpha1.HomeVolume{}
				if had := storage(p).Home; had != nil {
					home = *had
				}
				if home.Static != nil {
					r.addLost("%s.%s: homes are directories of the claim %s, which have no size", path, key, home.Static.Claim)
					continue
				}
				home.Size = *size
				storage(p).Home = &home
			}
		case "default_url", "cmd", "args", "working_dir", "notebook_dir", "start_timeout", "http_timeout":
			r.addLost("%s.%s: belongs to the Hub's configuration, c.ElasticSpawner", path, key)
		case "volumes":
			r.volumes(path, fields, p)
		case "volume_mounts":
			if fields["volumes"] == nil {
				r.addLost("%s.%s: without volumes", path, key)
			}
		default:
			if !r.podPart(path, key, fields[key], p) {
				r.addLost("%s.%s: no field of a policy holds it", path, key)
			}
		}
	}
	namedVolumes(p)
	return errors.Join(faults...)
}

func storage(p *profile) *v1alpha1.NotebookStorage {
	if p.shared.Storage == nil {
		p.shared.Storage = &v1alpha1.NotebookStorage{}
	}
	return p.shared.Storage
}

func (r *Result) gpus(path string, v any, p *profile) error {
	fields, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: not a map", path)
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		q, rounded, err := cores(fields[name])
		switch {
		case err != nil || rounded || q.MilliValue()%1000 != 0 || q.Value() > 1024:
			faults = append(faults, fmt.Errorf("%s[%s]: not a whole number", path, name))
		case !strings.Contains(name, "/"):
			r.addLost("%s[%s]: no field of a policy holds it", path, name)
		case q.Value() > 0 && !podrules.IsGPU(corev1.ResourceName(name)):
			if pod(p).ExtraResources == nil {
				pod(p).ExtraResources = corev1.ResourceList{}
			}
			pod(p).ExtraResources[corev1.ResourceName(name)] = q
		case q.Value() > 0:
			p.gpus[name] = int32(q.Value())
		}
	}
	return errors.Join(faults...)
}

func (r *Result) environment(path string, v any, p *profile) {
	fields, ok := v.(map[string]any)
	if !ok {
		r.addLost("%s: not a map", path)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		variable := v1alpha1.PolicyEnv{Name: name}
		switch value := fields[name].(type) {
		case map[string]any:
			if err := decodeInto(value["valueFrom"], &variable.ValueFrom); err != nil || variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil {
				r.addLost("%s.%s: only values and secretKeyRef are carried over", path, name)
				continue
			}
		case []any, nil:
			r.addLost("%s.%s: only values and secretKeyRef are carried over", path, name)
			continue
		default:
			variable.Value = plain(value)
		}
		if strings.Contains(strings.ReplaceAll(variable.Value, v1alpha1.UsernameMark, ""), "{") {
			r.addLost("%s.%s: no other templates than {username} are expanded in variables", path, name)
			continue
		}
		if variable.Personal() {
			r.addLost("%s.%s: {username} is the user's name as it is here, and not KubeSpawner's slug of it", path, name)
		}
		if strings.Contains(variable.Value, "$(") {
			r.addLost("%s.%s: references to other variables, $(NAME), are text in a policy", path, name)
			continue
		}
		p.shared.Env = slices.DeleteFunc(p.shared.Env, func(e v1alpha1.PolicyEnv) bool { return e.Name == name })
		p.shared.Env = append(p.shared.Env, variable)
	}
}

// plain is a value as Python, which has had it from YAML, writes it for a variable.
func plain(v any) string {
	switch v := v.(type) {
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// claim is a template of KubeSpawner's for claims as a policy has it; empty for one that
// makes a home for each server, as those of ours without a name are.
func (r *Result) claim(template string) string {
	const server = `{servername}`
	switch {
	case template == "", strings.Contains(template, server), strings.Contains(template, "{user_server}"):
		return ""
	case !strings.Contains(template, v1alpha1.UsernameMark), strings.Contains(strings.ReplaceAll(template, v1alpha1.UsernameMark, ""), "{"):
		r.addLost("singleuser.storage.dynamic.pvcNameTemplate: %s is no template of a policy: each server has a home of its own", template)
		return ""
	}
	return template
}

// volumes carries over claims that are mounted whole at one path as shared volumes, which
// kernels have, too, and all others as volumes of servers.
func (r *Result) volumes(path string, fields map[string]any, p *profile) {
	var volumes []corev1.Volume
	var mounts []corev1.VolumeMount
	if p.shared.Storage != nil {
		p.shared.Storage.Shared = nil // an override stands in the place of what every server has
	}
	if p.shared.Pod != nil {
		p.shared.Pod.Volumes, p.shared.Pod.VolumeMounts = nil, nil
	}
	for key, into := range map[string]any{"volumes": &volumes, "volume_mounts": &mounts} {
		if fields[key] == nil {
			continue
		}
		list := listed(fields[key])
		if list == nil {
			r.addLost("%s.%s: not a list of %s", path, key, key)
			return
		}
		if err := decodeInto(r.texts(path+"."+key, list), into); err != nil {
			r.addLost("%s.%s: %v", path, key, err)
			return
		}
	}
	for _, v := range volumes {
		own := slices.DeleteFunc(slices.Clone(mounts), func(m corev1.VolumeMount) bool { return m.Name != v.Name })
		claim := v.PersistentVolumeClaim
		if claim != nil && !strings.Contains(claim.ClaimName, "{") && len(own) == 1 && own[0].SubPath == "" {
			s := storage(p)
			s.Shared = append(s.Shared, v1alpha1.SharedVolume{
				Name: slug(v.Name), Claim: claim.ClaimName, MountPath: own[0].MountPath, ReadOnly: own[0].ReadOnly || claim.ReadOnly,
			})
			continue
		}
		if len(own) > 0 {
			r.addLost("%s.volumes[%s]: servers have it by spec.pod.volumes, and kernels have not", path, v.Name)
		}
		to := pod(p)
		to.Volumes, to.VolumeMounts = append(to.Volumes, v), append(to.VolumeMounts, own...)
	}
}
