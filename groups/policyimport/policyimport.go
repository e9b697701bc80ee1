// Package policyimport turns the configuration of other spawners into
// GroupPolicies: formConf.yaml of the custom KubeSpawner (KTS), and
// KubeSpawner's profile_list, alone or within the values of zero-to-jupyterhub.
// It is pure. What cannot be carried over is listed, never dropped in silence.
package policyimport

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

// MaxBytes bounds what is read.
const MaxBytes = 1 << 20

// ErrInput: what was read is none of the known formats, or states what no
// policy can.
var ErrInput = errors.New("policyimport: unusable input")

// Options is what the other configuration does not say.
type Options struct {
	// Images are offered by every policy, before those that are found.
	Images []v1alpha1.ImageChannel
	// Kernels are the JupyterKernelSpecs that policies allow.
	Kernels []string
}

// Result is what became of the input.
type Result struct {
	Policies []v1alpha1.GroupPolicy
	// Lost are sentences: what the input says and no policy does, and what was
	// chosen in its place.
	Lost []string

	// root is the input as it was written, which knows the order of keys.
	root *yamlv3.Node
}

func (r *Result) addLost(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(r.Lost, text) {
		r.Lost = append(r.Lost, text)
	}
}

// addRounded notes that an amount is less than the input says.
func (r *Result) addRounded(rounded bool) {
	if rounded {
		r.addLost("amounts are rounded down: cores to thousandths, memory to MiB")
	}
}

// Import tells the format by its shape. Errors wrap ErrInput and list all faults.
func Import(text []byte, o Options) (Result, error) {
	if len(text) > MaxBytes {
		return Result{}, fmt.Errorf("%w: longer than %d bytes", ErrInput, MaxBytes)
	}
	var document any
	if err := yaml.Unmarshal(text, &document); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrInput, err)
	}
	var r Result
	var err error
	if forms, ok := lookup(document, "groups").(map[string]any); ok {
		err = r.formConf(document.(map[string]any), forms, o)
	} else if found, ok := findProfiles(document); ok {
		r.root = written(text)
		err = r.profiles(found, o)
		r.root = nil
	} else {
		return Result{}, fmt.Errorf("%w: neither groups (formConf.yaml), nor a list of profiles (profile_list), nor singleuser (values of zero-to-jupyterhub)", ErrInput)
	}
	if err != nil {
		return Result{}, err
	}
	var faults []error
	for i := range r.Policies {
		r.prunePod(&r.Policies[i])
	}
	for _, p := range r.Policies {
		if found := groups.ValidatePolicy(p); len(found) > 0 {
			faults = append(faults, fmt.Errorf("%s: %w", p.Name, found.ToAggregate()))
		}
	}
	if len(faults) > 0 {
		return Result{}, fmt.Errorf("%w: the policies would not be valid:\n%w", ErrInput, errors.Join(faults...))
	}
	return r, nil
}

// lookup follows keys through maps; nil where there is nothing.
func lookup(document any, keys ...string) any {
	for _, key := range keys {
		m, ok := document.(map[string]any)
		if !ok {
			return nil
		}
		document = m[key]
	}
	return document
}

// newPolicy has its images and kernels. Names of policies are made from names
// of groups and are unique.
func (r *Result) newPolicy(group string, o Options) v1alpha1.GroupPolicy {
	var p v1alpha1.GroupPolicy
	p.APIVersion, p.Kind = v1alpha1.GroupVersion.String(), "GroupPolicy"
	p.Name = r.unique(slug(group))
	p.Spec.DisplayName = group
	p.Spec.Images = slices.Clone(o.Images)
	p.Spec.Kernels.Allowed = slices.Clone(o.Kernels)
	return p
}

func (r *Result) unique(name string) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(r.Policies, func(p v1alpha1.GroupPolicy) bool { return p.Name == name })
	}
	unique := name
	for i := 2; taken(unique); i++ {
		unique = fmt.Sprintf("%s-%d", name, i)
	}
	return unique
}

var unsafe = regexp.MustCompile(`[^a-z0-9]+`)

// slug fits names of objects and ids of channels.
func slug(name string) string {
	text := strings.Trim(unsafe.ReplaceAllString(strings.ToLower(name), "-"), "-")
	return cmp.Or(strings.TrimRight(text[:min(len(text), 50)], "-"), "group")
}

// YAML writes policies as documents that kubectl apply takes, without a status.
func YAML(policies []v1alpha1.GroupPolicy) ([]byte, error) {
	var all []byte
	for i, p := range policies {
		spec, err := yaml.Marshal(p.Spec)
		if err != nil {
			return nil, fmt.Errorf("policyimport: %w", err)
		}
		var plain map[string]any
		if err := yaml.Unmarshal(spec, &plain); err != nil {
			return nil, fmt.Errorf("policyimport: %w", err)
		}
		if k, ok := plain["kernels"].(map[string]any); ok && len(k) == 0 {
			delete(plain, "kernels")
		}
		document, err := yaml.Marshal(map[string]any{
			"apiVersion": p.APIVersion, "kind": p.Kind, "metadata": map[string]any{"name": p.Name}, "spec": plain,
		})
		if err != nil {
			return nil, fmt.Errorf("policyimport: %w", err)
		}
		if i > 0 {
			all = append(all, "---\n"...)
		}
		all = append(all, document...)
	}
	return all, nil
}
