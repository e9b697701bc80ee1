package groups

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/naming"
	"github.com/elastichub/elastichub/podrules"
)

// Bounds that the CRD's schema has too.
const (
	maxTextBytes     = 4096 // of texts that the form shows
	maxNamed         = 256
	maxImages        = 64
	maxPresets       = 16
	maxTolerations   = 64
	maxPullSecrets   = 16
	maxAccountTokens = 16
	maxShared        = 32
	maxEnv           = 256
	maxEnvBytes      = 32 << 10
	maxKernels       = 256
	maxLanguages     = 32
	maxImageBytes    = 1024
	// maxSeconds is ten years: nanoseconds of it fit 64 bits.
	maxSeconds = 10 * 365 * 24 * 3600
	// maxVolumeName leaves room for the prefix of a Pod's volume.
	maxVolumeName = 63 - len("shared-")
)

var (
	channelID  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	kernelName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)
	// languageTag is the part of BCP 47 that browsers send.
	languageTag = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$`)
	imageText   = regexp.MustCompile(`^[!-~]+$`)
	envName     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// ValidatePolicy returns every fault of a policy, with its path. It repeats
// what the CRD's schema checks, since a policy may be older than the schema.
func ValidatePolicy(p v1alpha1.GroupPolicy) field.ErrorList {
	spec, at := p.Spec, field.NewPath("spec")
	if err := p.Malformed(); err != nil {
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, err.Error())}
	}
	var faults field.ErrorList
	faults = append(faults, validateText(spec.DisplayName, at.Child("displayName"))...)
	faults = append(faults, validateText(spec.HelpText, at.Child("helpText"))...)
	faults = append(faults, validateHelp(spec.Help, at.Child("help"))...)
	faults = append(faults, validateGroups(spec, at)...)
	faults = append(faults, validateRange(spec.CPU, cpuUnit, at.Child("cpu"))...)
	faults = append(faults, validateRange(spec.Memory, memoryUnit, at.Child("memory"))...)
	faults = append(faults, validateImages(spec.Images, at.Child("images"))...)
	faults = append(faults, validatePresets(spec, at)...)
	faults = append(faults, validatePlacement(spec, at)...)
	faults = append(faults, validateStorage(spec.Storage, at.Child("storage"))...)
	faults = append(faults, validatePod(spec, at.Child("pod"))...)
	faults = append(faults, validateEnv(spec.Env, at.Child("env"))...)
	faults = append(faults, validateKernels(spec.Kernels, at.Child("kernels"))...)
	faults = append(faults, notNegative(int64(spec.ServersPerUser), at.Child("serversPerUser"))...)
	faults = append(faults, validateSeconds(spec.ServerIdleSeconds, at.Child("serverIdleSeconds"))...)
	faults = append(faults, validateSeconds(spec.MaxRunSeconds, at.Child("maxRunSeconds"))...)
	faults = append(faults, validateSeconds(ptr.Deref(spec.SnoozeMaxSeconds, 0), at.Child("snoozeMaxSeconds"))...)
	if len(spec.Budget) > 0 {
		faults = append(faults, field.Forbidden(at.Child("budget"), "servers are in no ledger of hours; kernels.budget bounds kernels"))
	}
	return faults
}

func validateText(s string, at *field.Path) field.ErrorList {
	if len(s) > maxTextBytes {
		return field.ErrorList{field.TooLong(at, "", maxTextBytes)}
	}
	return nil
}

func validateGroups(spec v1alpha1.GroupPolicySpec, at *field.Path) field.ErrorList {
	faults := atMost(len(spec.Groups), maxNamed, at.Child("groups"))
	if len(spec.Groups) == 0 && !spec.Default {
		faults = append(faults, field.Required(at.Child("groups"), "name at least one group unless default is true"))
	}
	for i, entry := range spec.Groups {
		here := at.Child("groups").Index(i)
		if strings.TrimSpace(entry) == "" {
			faults = append(faults, field.Required(here, "a group needs a name"))
			continue
		}
		faults = append(faults, validateText(entry, here)...)
		if naming.LooksLikeDN(entry) {
			if _, err := naming.CanonicalDN(entry); err != nil {
				faults = append(faults, field.Invalid(here, entry, err.Error()))
			}
		}
	}
	return faults
}

func validateImages(images []v1alpha1.ImageChannel, at *field.Path) field.ErrorList {
	faults := atMost(len(images), maxImages, at)
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
		if len(c.Image) > maxImageBytes || !imageText.MatchString(c.Image) {
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
	faults := atMost(len(spec.Presets), maxPresets, at.Child("presets"))
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
		if len(preset.Name) > validation.DNS1123SubdomainMaxLength {
			faults = append(faults, field.TooLong(here.Child("name"), "", validation.DNS1123SubdomainMaxLength))
		}
		faults = append(faults, validateText(preset.Title, here.Child("title"))...)
		faults = append(faults, validateText(preset.Description, here.Child("description"))...)
		if cpuUsable {
			faults = append(faults, validateValue(preset.CPU, cpuUnit.fill(spec.CPU), here.Child("cpu"))...)
		}
		if memoryUsable {
			faults = append(faults, validateValue(preset.Memory, memoryUnit.fill(spec.Memory), here.Child("memory"))...)
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
		} else if p == v1alpha1.TokenDirectory || strings.HasPrefix(p, v1alpha1.TokenDirectory+"/") {
			faults = append(faults, field.Invalid(here, p, "is where tokens of the service account are"))
		} else if paths[p] {
			faults = append(faults, field.Duplicate(here, p))
		}
		paths[p] = true
	}
	if h := s.Home; h != nil {
		here := at.Child("home")
		faults = append(faults, podFaults(podrules.StaticHomeFaults(h, true), here)...)
		if h.Size.Sign() <= 0 && h.Static == nil {
			faults = append(faults, field.Invalid(here.Child("size"), h.Size.String(), "must be more than 0"))
		}
		mount(cmp.Or(h.MountPath, v1alpha1.DefaultHome), here.Child("mountPath"))
		if h.Claim != "" {
			faults = append(faults, validateClaim(h.Claim, here.Child("claim"))...)
		}
		if h.OnRemoval != "" && !slices.Contains(homeRemovals, h.OnRemoval) {
			faults = append(faults, field.NotSupported(here.Child("onRemoval"), h.OnRemoval, homeRemovals))
		}
		for i, mode := range h.AccessModes {
			if !slices.Contains(accessModes, mode) {
				faults = append(faults, field.NotSupported(here.Child("accessModes").Index(i), mode, accessModes))
			}
		}
		faults = append(faults, podFaults(podrules.HomeTemplateFaults(h, true), here)...)
	}
	faults = append(faults, atMost(len(s.Shared), maxShared, at.Child("shared"))...)
	names := map[string]bool{}
	for i, v := range s.Shared {
		here := at.Child("shared").Index(i)
		for _, text := range validation.IsDNS1123Label(v.Name) {
			faults = append(faults, field.Invalid(here.Child("name"), v.Name, text))
		}
		if len(v.Name) > maxVolumeName {
			faults = append(faults, field.TooLong(here.Child("name"), v.Name, maxVolumeName))
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

var homeRemovals = []string{v1alpha1.HomeKeep, v1alpha1.HomeDelete}

var accessModes = []corev1.PersistentVolumeAccessMode{
	corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod,
}

// validateClaim checks the template of a claim's name by an example.
func validateClaim(claim string, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	if !strings.Contains(claim, v1alpha1.UsernameMark) {
		faults = append(faults, field.Invalid(at, claim, "must contain "+v1alpha1.UsernameMark+": a volume for all members is a shared one"))
	}
	for _, text := range validation.IsDNS1123Subdomain(strings.ReplaceAll(claim, v1alpha1.UsernameMark, "x")) {
		faults = append(faults, field.Invalid(at, claim, text))
	}
	return faults
}

func validateEnv(env []v1alpha1.PolicyEnv, at *field.Path) field.ErrorList {
	faults := atMost(len(env), maxEnv, at)
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
		if len(e.Value) > maxEnvBytes {
			faults = append(faults, field.TooLong(here.Child("value"), "", maxEnvBytes))
		}
		faults = append(faults, validateEnvSource(e, here)...)
	}
	return faults
}

func validateEnvSource(e v1alpha1.PolicyEnv, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	if e.ValueFrom == nil {
		return nil
	}
	if e.Value != "" {
		faults = append(faults, field.Forbidden(at.Child("valueFrom"), "must not be set beside value"))
	}
	switch ref := e.ValueFrom.SecretKeyRef; {
	case ref == nil:
		faults = append(faults, field.Required(at.Child("valueFrom", "secretKeyRef"), "it is the only source there is"))
	case len(validation.IsDNS1123Subdomain(ref.Name)) > 0:
		faults = append(faults, field.Invalid(at.Child("valueFrom", "secretKeyRef", "name"), ref.Name, "must be the name of a Secret"))
	case len(validation.IsConfigMapKey(ref.Key)) > 0:
		faults = append(faults, field.Invalid(at.Child("valueFrom", "secretKeyRef", "key"), ref.Key, "must be a key of a Secret"))
	}
	return faults
}

func validateKernels(k v1alpha1.PolicyKernels, at *field.Path) field.ErrorList {
	faults := atMost(len(k.Allowed), maxKernels, at.Child("allowed"))
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
	faults = append(faults, validateSeconds(k.IdleSeconds, at.Child("idleSeconds"))...)
	faults = append(faults, validateSeconds(ptr.Deref(k.MaxRunSeconds, 0), at.Child("maxRunSeconds"))...)
	faults = append(faults, notNegative(int64(k.Weight), at.Child("weight"))...)
	return append(faults, validateBudgets(k, at)...)
}

func notNegative(n int64, at *field.Path) field.ErrorList {
	if n < 0 {
		return field.ErrorList{field.Invalid(at, n, "must not be negative")}
	}
	return nil
}

func validateSeconds(n int64, at *field.Path) field.ErrorList {
	if n > maxSeconds {
		return field.ErrorList{field.Invalid(at, n, fmt.Sprintf("must be at most %d, ten years", maxSeconds))}
	}
	return notNegative(n, at)
}

func atMost(n, most int, at *field.Path) field.ErrorList {
	if n > most {
		return field.ErrorList{field.TooMany(at, n, most)}
	}
	return nil
}

func validateHelp(h *v1alpha1.PolicyHelp, at *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	var faults field.ErrorList
	for _, text := range []struct {
		name  string
		words v1alpha1.LocalizedText
	}{{"server", h.Server}, {"cpu", h.CPU}, {"memory", h.Memory}, {"image", h.Image}, {"kernels", h.Kernels}} {
		here := at.Child(text.name)
		faults = append(faults, atMost(len(text.words), maxLanguages, here)...)
		for _, tag := range slices.Sorted(maps.Keys(text.words)) {
			if !languageTag.MatchString(tag) {
				faults = append(faults, field.Invalid(here.Key(tag), tag, "must be a language tag such as en or pt-BR"))
			}
			faults = append(faults, validateText(text.words[tag], here.Key(tag))...)
		}
	}
	return faults
}
