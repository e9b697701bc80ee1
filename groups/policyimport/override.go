package policyimport

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// profile reads one profile and multiplies it by the choices of its options:
// every size with the default image, every image with the default size.
func (r *Result) profile(path string, fields map[string]any) ([]profile, error) {
	base := profile{path: path, gpus: map[string]int32{}}
	base.title, _ = fields["display_name"].(string)
	slugged, _ := fields["slug"].(string)
	base.name = slug(cmp.Or(slugged, base.title, path))
	base.title = cmp.Or(base.title, slugged, path)
	base.description, _ = fields["description"].(string)
	base.isDefault, _ = fields["default"].(bool)
	var faults []error
	var choices []profile
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case "display_name", "slug", "description", "default", "profile_options":
		case "allowed_groups":
			if err := decodeInto(fields[key], &base.groups); err != nil {
				faults = append(faults, fmt.Errorf("%s.allowed_groups: not a list of names", path))
			}
			slices.Sort(base.groups)
		case "kubespawner_override":
			faults = append(faults, r.override(path+"."+key, fields[key], &base))
		default:
			r.addLost("%s.%s: not known", path, key)
		}
	}
	options, ok := fields["profile_options"].(map[string]any)
	if fields["profile_options"] != nil && !ok {
		faults = append(faults, fmt.Errorf("%s.profile_options: not a map", path))
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		found, err := r.option(path+".profile_options."+name, options[name], base)
		choices, faults = append(choices, found...), append(faults, err)
	}
	all := []profile{base}
	if len(choices) > 0 && (base.cpu == nil || base.memory == nil) && slices.ContainsFunc(choices, func(c profile) bool { return c.cpu != nil && c.memory != nil }) {
		all = nil // the sizes are in the options
	}
	for i := range choices { // a choice of one option goes with any of another
		choices[i].anyCPU = slices.ContainsFunc(choices, func(c profile) bool { return c.cpu != nil })
		choices[i].anyMemory = slices.ContainsFunc(choices, func(c profile) bool { return c.memory != nil })
	}
	return append(all, choices...), errors.Join(faults...)
}

func (r *Result) option(path string, v any, base profile) ([]profile, error) {
	fields, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: not an option", path)
	}
	if unlisted, ok := fields["unlisted_choice"].(map[string]any); ok && unlisted["enabled"] == true {
		r.addLost("%s.unlisted_choice: users cannot type an image of their own here", path)
	}
	list, _ := fields["choices"].(map[string]any)
	var all []profile
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(list)) {
		here := path + ".choices." + name
		choice, ok := list[name].(map[string]any)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: not a choice", here))
			continue
		}
		p := base
		p.path, p.gpus = here, maps.Clone(base.gpus)
		p.shared = *base.shared.DeepCopy()
		title, _ := choice["display_name"].(string)
		p.imageTitle = cmp.Or(title, name)
		if chosen, ok := choice["default"].(bool); ok {
			p.isDefault = base.isDefault && chosen
		}
		before := p
		faults = append(faults, r.override(here+".kubespawner_override", choice["kubespawner_override"], &p))
		if !sameSize(before, p) {
			p.name, p.title = base.name+"-"+slug(name), base.title+", "+cmp.Or(title, name)
		}
		all = append(all, p)
	}
	return all, errors.Join(faults...)
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
	amount := func(key string, read func(any) (resource.Quantity, error)) *resource.Quantity {
		if fields[key] == nil {
			return nil
		}
		q, err := read(fields[key])
		if err != nil {
			faults = append(faults, fmt.Errorf("%s.%s: %w", path, key, err))
			return nil
		}
		return &q
	}
	memory := func(v any) (resource.Quantity, error) { return bytes(v, "") }
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
		case "image_pull_secrets":
			strict(key, &p.shared.ImagePullSecrets)
		case "environment":
			r.environment(path+"."+key, fields[key], p)
		case "storage_capacity":
			if size := amount(key, memory); size != nil {
				storage(p).Home = &v1alpha1.HomeVolume{Size: *size}
			}
		case "volumes":
			r.volumes(path, fields, p)
		case "volume_mounts":
			if fields["volumes"] == nil {
				r.addLost("%s.%s: without volumes", path, key)
			}
		default:
			r.addLost("%s.%s: no field of a policy holds it", path, key)
		}
	}
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
		q, err := cores(fields[name])
		switch {
		case err != nil || q.MilliValue()%1000 != 0 || q.Value() > 1024:
			faults = append(faults, fmt.Errorf("%s[%s]: not a whole number", path, name))
		case !strings.Contains(name, "/"):
			r.addLost("%s[%s]: no field of a policy holds it", path, name)
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
		var text string
		switch value := fields[name].(type) {
		case map[string]any, []any, nil:
			r.addLost("%s.%s: values from elsewhere are not carried over", path, name)
			continue
		default:
			text = fmt.Sprint(value)
		}
		if strings.Contains(text, "{username}") || strings.Contains(text, "{user_server}") || strings.Contains(text, "{servername}") {
			r.addLost("%s.%s: templates are not expanded in variables", path, name)
			continue
		}
		p.shared.Env = slices.DeleteFunc(p.shared.Env, func(e v1alpha1.PolicyEnv) bool { return e.Name == name })
		p.shared.Env = append(p.shared.Env, v1alpha1.PolicyEnv{Name: name, Value: text})
	}
}

// volumes carries over claims that are mounted whole at one path.
func (r *Result) volumes(path string, fields map[string]any, p *profile) {
	var volumes []struct {
		Name                  string `json:"name"`
		PersistentVolumeClaim *struct {
			ClaimName string `json:"claimName"`
			ReadOnly  bool   `json:"readOnly"`
		} `json:"persistentVolumeClaim"`
	}
	var mounts []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		ReadOnly  bool   `json:"readOnly"`
		SubPath   string `json:"subPath"`
	}
	for key, into := range map[string]any{"volumes": &volumes, "volume_mounts": &mounts} {
		list := fields[key]
		if m, ok := list.(map[string]any); ok { // KubeSpawner takes both
			var values []any
			for _, name := range slices.Sorted(maps.Keys(m)) {
				values = append(values, m[name])
			}
			list = values
		}
		if text := encoded(list); decodeLoose(text, into) != nil {
			r.addLost("%s.%s: not a list of %s", path, key, key)
			return
		}
	}
	for _, v := range volumes {
		if v.PersistentVolumeClaim == nil || strings.Contains(v.PersistentVolumeClaim.ClaimName, "{") {
			r.addLost("%s.volumes[%s]: only claims with plain names are carried over", path, v.Name)
			continue
		}
		used := 0
		for _, m := range mounts {
			if m.Name != v.Name {
				continue
			}
			used++
			if m.SubPath != "" || used > 1 {
				r.addLost("%s.volume_mounts[%s]: a claim is mounted whole, at one path", path, m.MountPath)
				continue
			}
			s := storage(p)
			s.Shared = append(s.Shared, v1alpha1.SharedVolume{
				Name: slug(v.Name), Claim: v.PersistentVolumeClaim.ClaimName, MountPath: m.MountPath,
				ReadOnly: m.ReadOnly || v.PersistentVolumeClaim.ReadOnly,
			})
		}
	}
}
