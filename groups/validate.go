package groups

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// maxTextBytes bounds texts that the form shows.
const maxTextBytes = 4096

var (
	channelID  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	kernelName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// ValidatePolicy returns every fault of a policy, with its path. It repeats
// what the CRD's schema checks, since a policy may be older than the schema.
func ValidatePolicy(p v1alpha1.GroupPolicy) field.ErrorList {
	spec, at := p.Spec, field.NewPath("spec")
	var faults field.ErrorList
	faults = append(faults, validateText(spec.DisplayName, at.Child("displayName"))...)
	faults = append(faults, validateText(spec.HelpText, at.Child("helpText"))...)
	faults = append(faults, validateGroups(spec, at)...)
	faults = append(faults, validateRange(spec.CPU, cpuUnit, at.Child("cpu"))...)
	faults = append(faults, validateRange(spec.Memory, memoryUnit, at.Child("memory"))...)
	faults = append(faults, validateImages(spec.Images, at.Child("images"))...)
	faults = append(faults, validatePresets(spec, at)...)
	faults = append(faults, validatePlacement(spec, at)...)
	faults = append(faults, validateStorage(spec.Storage, at.Child("storage"))...)
	faults = append(faults, validateEnv(spec.Env, at.Child("env"))...)
	faults = append(faults, validateKernels(spec.Kernels, at.Child("kernels"))...)
	faults = append(faults, notNegative(int64(spec.ServersPerUser), at.Child("serversPerUser"))...)
	faults = append(faults, notNegative(spec.ServerIdleSeconds, at.Child("serverIdleSeconds"))...)
	faults = append(faults, notNegative(spec.MaxRunSeconds, at.Child("maxRunSeconds"))...)
	return faults
}

func validateText(s string, at *field.Path) field.ErrorList {
	if len(s) > maxTextBytes {
		return field.ErrorList{field.TooLong(at, "", maxTextBytes)}
	}
	return nil
}

func validateGroups(spec v1alpha1.GroupPolicySpec, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	if len(spec.Groups) == 0 && !spec.Default {
		faults = append(faults, field.Required(at.Child("groups"), "name at least one group unless default is true"))
	}
	for i, entry := range spec.Groups {
		here := at.Child("groups").Index(i)
		if strings.TrimSpace(entry) == "" {
			faults = append(faults, field.Required(here, "a group needs a name"))
			continue
		}
		if looksLikeDN(entry) {
			if _, err := canonicalDN(entry); err != nil {
				faults = append(faults, field.Invalid(here, entry, err.Error()))
			}
		}
	}
	return faults
}

func validateImages(images []v1alpha1.ImageChannel, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	ids := make(map[string]bool, len(images)) // id → hidden
	visible := false
	for i, c := range images {
		here := at.Index(i)
		if !channelID.MatchString(c.ID) {
			faults = append(faults, field.Invalid(here.Child("id"), c.ID, "must match "+channelID.String()))
		}
		if _, twice := ids[c.ID]; twice {
			faults = append(faults, field.Duplicate(here.Child("id"), c.ID))
		}
		ids[c.ID] = c.Hidden
		visible = visible || !c.Hidden
		if c.Image == "" || strings.ContainsAny(c.Image, " \t\r\n\x00") {
			faults = append(faults, field.Invalid(here.Child("image"), c.Image, "must be an image reference"))
		}
		faults = append(faults, validateText(c.DisplayName, here.Child("displayName"))...)
		faults = append(faults, validateText(c.Description, here.Child("description"))...)
	}
	for i, c := range images {
		if c.Redirect == nil {
			continue
		}
		here := at.Index(i).Child("redirect")
		faults = append(faults, validateText(c.Redirect.Message, here.Child("message"))...)
		hidden, exists := ids[c.Redirect.To]
		switch {
		case !exists:
			faults = append(faults, field.NotFound(here.Child("to"), c.Redirect.To))
		case c.Redirect.To == c.ID:
			faults = append(faults, field.Invalid(here.Child("to"), c.Redirect.To, "must be another channel"))
		case hidden:
			faults = append(faults, field.Invalid(here.Child("to"), c.Redirect.To, "must be a channel that is not hidden"))
		}
	}
	if !visible {
		faults = append(faults, field.Required(at, "at least one channel that is not hidden"))
	}
	return faults
}

func validatePresets(spec v1alpha1.GroupPolicySpec, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	names := map[string]bool{}
	cpuUsable := len(validateRange(spec.CPU, cpuUnit, at)) == 0
	memoryUsable := len(validateRange(spec.Memory, memoryUnit, at)) == 0
	for i, preset := range spec.Presets {
		here := at.Child("presets").Index(i)
		switch {
		case preset.Name == "":
			faults = append(faults, field.Required(here.Child("name"), "a preset needs a name"))
		case names[preset.Name]:
			faults = append(faults, field.Duplicate(here.Child("name"), preset.Name))
		}
		names[preset.Name] = true
		faults = append(faults, validateText(preset.Name, here.Child("name"))...)
		if cpuUsable {
			faults = append(faults, validateValue(preset.CPU, cpuUnit.fill(spec.CPU), here.Child("cpu"))...)
		}
		if memoryUsable {
			faults = append(faults, validateValue(preset.Memory, memoryUnit.fill(spec.Memory), here.Child("memory"))...)
		}
	}
	return faults
}

func validatePlacement(spec v1alpha1.GroupPolicySpec, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	for key, value := range spec.NodeSelector {
		here := at.Child("nodeSelector").Key(key)
		for _, text := range validation.IsQualifiedName(key) {
			faults = append(faults, field.Invalid(here, key, text))
		}
		for _, text := range validation.IsValidLabelValue(value) {
			faults = append(faults, field.Invalid(here, value, text))
		}
	}
	for i, t := range spec.Tolerations {
		here := at.Child("tolerations").Index(i)
		switch t.Operator {
		case "", corev1.TolerationOpEqual, corev1.TolerationOpExists:
		default:
			faults = append(faults, field.NotSupported(here.Child("operator"), t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Key == "" && t.Operator != corev1.TolerationOpExists {
			faults = append(faults, field.Required(here.Child("key"), "a toleration without a key needs the operator Exists"))
		}
		if t.Operator == corev1.TolerationOpExists && t.Value != "" {
			faults = append(faults, field.Invalid(here.Child("value"), t.Value, "must be empty with the operator Exists"))
		}
	}
	if spec.PriorityClassName != "" {
		for _, text := range validation.IsDNS1123Subdomain(spec.PriorityClassName) {
			faults = append(faults, field.Invalid(at.Child("priorityClassName"), spec.PriorityClassName, text))
		}
	}
	return faults
}

func validateStorage(s *v1alpha1.NotebookStorage, at *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	var faults field.ErrorList
	paths := map[string]bool{}
	mount := func(p string, here *field.Path) {
		if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
			faults = append(faults, field.Invalid(here, p, "must be a clean absolute path below /"))
		} else if paths[p] {
			faults = append(faults, field.Duplicate(here, p))
		}
		paths[p] = true
	}
	if h := s.Home; h != nil {
		here := at.Child("home")
		if h.Size.Sign() <= 0 {
			faults = append(faults, field.Invalid(here.Child("size"), h.Size.String(), "must be more than 0"))
		}
		if h.MountPath != "" {
			mount(h.MountPath, here.Child("mountPath"))
		}
	}
	names := map[string]bool{}
	for i, v := range s.Shared {
		here := at.Child("shared").Index(i)
		for _, text := range validation.IsDNS1123Label(v.Name) {
			faults = append(faults, field.Invalid(here.Child("name"), v.Name, text))
		}
		if names[v.Name] {
			faults = append(faults, field.Duplicate(here.Child("name"), v.Name))
		}
		names[v.Name] = true
		for _, text := range validation.IsDNS1123Subdomain(v.Claim) {
			faults = append(faults, field.Invalid(here.Child("claim"), v.Claim, text))
		}
		mount(v.MountPath, here.Child("mountPath"))
	}
	return faults
}

func validateEnv(env []v1alpha1.PolicyEnv, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	names := map[string]bool{}
	for i, e := range env {
		here := at.Index(i)
		if !envName.MatchString(e.Name) {
			faults = append(faults, field.Invalid(here.Child("name"), e.Name, "must match "+envName.String()))
		} else if names[e.Name] {
			faults = append(faults, field.Duplicate(here.Child("name"), e.Name))
		}
		names[e.Name] = true
		if strings.ContainsRune(e.Value, 0) {
			faults = append(faults, field.Invalid(here.Child("value"), "", "must not contain NUL"))
		}
	}
	return faults
}

func validateKernels(k v1alpha1.PolicyKernels, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	names := map[string]bool{}
	for i, name := range k.Allowed {
		here := at.Child("allowed").Index(i)
		if !kernelName.MatchString(name) {
			faults = append(faults, field.Invalid(here, name, "must be the name of a JupyterKernelSpec"))
		} else if names[name] {
			faults = append(faults, field.Duplicate(here, name))
		}
		names[name] = true
	}
	if k.GPUResource != "" {
		for _, text := range validation.IsQualifiedName(k.GPUResource) {
			faults = append(faults, field.Invalid(at.Child("gpuResource"), k.GPUResource, text))
		}
		if !strings.Contains(k.GPUResource, "/") {
			faults = append(faults, field.Invalid(at.Child("gpuResource"), k.GPUResource, "must be an extended resource such as nvidia.com/gpu"))
		}
	}
	faults = append(faults, notNegative(int64(k.GPUsPerKernel), at.Child("gpusPerKernel"))...)
	faults = append(faults, notNegative(int64(k.GPUsPerUser), at.Child("gpusPerUser"))...)
	if k.GPUsPerKernel > k.GPUsPerUser {
		faults = append(faults, field.Invalid(at.Child("gpusPerKernel"), k.GPUsPerKernel, fmt.Sprintf("must not be more than gpusPerUser %d", k.GPUsPerUser)))
	}
	if k.GPUPool != nil {
		faults = append(faults, notNegative(int64(*k.GPUPool), at.Child("gpuPool"))...)
		if k.GPUsPerUser > *k.GPUPool {
			faults = append(faults, field.Invalid(at.Child("gpusPerUser"), k.GPUsPerUser, fmt.Sprintf("must not be more than gpuPool %d", *k.GPUPool)))
		}
	}
	faults = append(faults, notNegative(int64(k.PerUser), at.Child("perUser"))...)
	switch k.AtLimit {
	case "", v1alpha1.AtLimitQueue, v1alpha1.AtLimitRefuse:
	default:
		faults = append(faults, field.NotSupported(at.Child("atLimit"), k.AtLimit, []v1alpha1.AtLimit{v1alpha1.AtLimitQueue, v1alpha1.AtLimitRefuse}))
	}
	faults = append(faults, notNegative(k.IdleSeconds, at.Child("idleSeconds"))...)
	faults = append(faults, notNegative(int64(k.Weight), at.Child("weight"))...)
	return faults
}

func notNegative(n int64, at *field.Path) field.ErrorList {
	if n < 0 {
		return field.ErrorList{field.Invalid(at, n, "must not be negative")}
	}
	return nil
}
