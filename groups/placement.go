package groups

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// validatePlacement finds what the API server would otherwise refuse at the
// first Pod of a member.
func validatePlacement(spec v1alpha1.GroupPolicySpec, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		value, here := spec.NodeSelector[key], at.Child("nodeSelector").Key(key)
		for _, text := range validation.IsQualifiedName(key) {
			faults = append(faults, field.Invalid(here, key, text))
		}
		for _, text := range validation.IsValidLabelValue(value) {
			faults = append(faults, field.Invalid(here, value, text))
		}
	}
	faults = append(faults, atMost(len(spec.Tolerations), maxTolerations, at.Child("tolerations"))...)
	for i, t := range spec.Tolerations {
		faults = append(faults, validateToleration(t, at.Child("tolerations").Index(i))...)
	}
	faults = append(faults, validateAffinity(spec.Affinity, at.Child("affinity"))...)
	if spec.SchedulerName != "" {
		for _, text := range validation.IsDNS1123Subdomain(spec.SchedulerName) {
			faults = append(faults, field.Invalid(at.Child("schedulerName"), spec.SchedulerName, text))
		}
	}
	if spec.PriorityClassName != "" {
		for _, text := range validation.IsDNS1123Subdomain(spec.PriorityClassName) {
			faults = append(faults, field.Invalid(at.Child("priorityClassName"), spec.PriorityClassName, text))
		}
	}
	if spec.ServiceAccountName != "" {
		for _, text := range validation.IsDNS1123Subdomain(spec.ServiceAccountName) {
			faults = append(faults, field.Invalid(at.Child("serviceAccountName"), spec.ServiceAccountName, text))
		}
	}
	faults = append(faults, validateAccountTokens(spec, at)...)
	faults = append(faults, atMost(len(spec.ImagePullSecrets), maxPullSecrets, at.Child("imagePullSecrets"))...)
	for i, s := range spec.ImagePullSecrets {
		for _, text := range validation.IsDNS1123Subdomain(s.Name) {
			faults = append(faults, field.Invalid(at.Child("imagePullSecrets").Index(i).Child("name"), s.Name, text))
		}
	}
	return faults
}

// validateAccountTokens knows the Kubernetes API by the names that it has in every
// cluster. By others it is known where Pods are made.
func validateAccountTokens(spec v1alpha1.GroupPolicySpec, at *field.Path) field.ErrorList {
	tokens := spec.ServiceAccountTokens
	faults := atMost(len(tokens), maxAccountTokens, at.Child("serviceAccountTokens"))
	if len(tokens) > 0 && spec.ServiceAccountName == "" {
		faults = append(faults, field.Required(at.Child("serviceAccountName"), "the tokens are those of an account; default is one, too"))
	}
	paths := map[string]bool{}
	for i, token := range tokens {
		here := at.Child("serviceAccountTokens").Index(i)
		if name, problem := token.Problem(nil); problem != "" {
			value := map[string]any{"audience": token.Audience, "expirationSeconds": token.ExpirationSeconds, "path": token.Path}[name]
			faults = append(faults, field.Invalid(here.Child(name), value, problem))
		} else if paths[token.Path] {
			faults = append(faults, field.Duplicate(here.Child("path"), token.Path))
		}
		paths[token.Path] = true
	}
	return faults
}

var (
	tolerationOperators = []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}
	taintEffects        = []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
)

func validateToleration(t corev1.Toleration, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	if t.Operator != "" && !slices.Contains(tolerationOperators, t.Operator) {
		faults = append(faults, field.NotSupported(at.Child("operator"), t.Operator, tolerationOperators))
	}
	if t.Key == "" && t.Operator != corev1.TolerationOpExists {
		faults = append(faults, field.Required(at.Child("key"), "a toleration without a key needs the operator Exists"))
	}
	if t.Key != "" {
		for _, text := range validation.IsQualifiedName(t.Key) {
			faults = append(faults, field.Invalid(at.Child("key"), t.Key, text))
		}
	}
	if t.Operator == corev1.TolerationOpExists && t.Value != "" {
		faults = append(faults, field.Invalid(at.Child("value"), t.Value, "must be empty with the operator Exists"))
	} else {
		for _, text := range validation.IsValidLabelValue(t.Value) {
			faults = append(faults, field.Invalid(at.Child("value"), t.Value, text))
		}
	}
	if t.Effect != "" && !slices.Contains(taintEffects, t.Effect) {
		faults = append(faults, field.NotSupported(at.Child("effect"), t.Effect, taintEffects))
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		faults = append(faults, field.Invalid(at.Child("effect"), t.Effect, "must be NoExecute with tolerationSeconds"))
	}
	return faults
}

func validateAffinity(a *corev1.Affinity, at *field.Path) field.ErrorList {
	if a == nil {
		return nil
	}
	var faults field.ErrorList
	if n := a.NodeAffinity; n != nil {
		here := at.Child("nodeAffinity")
		if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			terms := here.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
			if len(r.NodeSelectorTerms) == 0 {
				faults = append(faults, field.Required(terms, "at least one term"))
			}
			for i, t := range r.NodeSelectorTerms {
				faults = append(faults, validateNodeTerm(t, terms.Index(i))...)
			}
		}
		for i, p := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			each := here.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			faults = append(faults, validateWeight(p.Weight, each.Child("weight"))...)
			faults = append(faults, validateNodeTerm(p.Preference, each.Child("preference"))...)
		}
	}
	if p := a.PodAffinity; p != nil {
		faults = append(faults, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAffinity"))...)
	}
	if p := a.PodAntiAffinity; p != nil {
		faults = append(faults, validatePodTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAntiAffinity"))...)
	}
	return faults
}

func validateWeight(weight int32, at *field.Path) field.ErrorList {
	if weight < 1 || weight > 100 {
		return field.ErrorList{field.Invalid(at, weight, "must be from 1 to 100")}
	}
	return nil
}

// nodeOperators tells how many values each takes: 0, 1, or -1 for at least one.
var nodeOperators = map[corev1.NodeSelectorOperator]int{
	corev1.NodeSelectorOpIn: -1, corev1.NodeSelectorOpNotIn: -1,
	corev1.NodeSelectorOpExists: 0, corev1.NodeSelectorOpDoesNotExist: 0,
	corev1.NodeSelectorOpGt: 1, corev1.NodeSelectorOpLt: 1,
}

func validateNodeTerm(t corev1.NodeSelectorTerm, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	for _, list := range []struct {
		name         string
		requirements []corev1.NodeSelectorRequirement
	}{{"matchExpressions", t.MatchExpressions}, {"matchFields", t.MatchFields}} {
		for i, r := range list.requirements {
			here := at.Child(list.name).Index(i)
			for _, text := range validation.IsQualifiedName(r.Key) {
				faults = append(faults, field.Invalid(here.Child("key"), r.Key, text))
			}
			n, known := nodeOperators[r.Operator]
			switch {
			case !known:
				faults = append(faults, field.NotSupported(here.Child("operator"), r.Operator, slices.Sorted(maps.Keys(nodeOperators))))
			case n >= 0 && len(r.Values) != n, n < 0 && len(r.Values) == 0:
				faults = append(faults, field.Invalid(here.Child("values"), strings.Join(r.Values, ", "), "is not what the operator "+string(r.Operator)+" takes"))
			}
		}
	}
	return faults
}

func validatePodTerms(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	for i, t := range required {
		faults = append(faults, validatePodTerm(t, at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i))...)
	}
	for i, t := range preferred {
		here := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		faults = append(faults, validateWeight(t.Weight, here.Child("weight"))...)
		faults = append(faults, validatePodTerm(t.PodAffinityTerm, here.Child("podAffinityTerm"))...)
	}
	return faults
}

func validatePodTerm(t corev1.PodAffinityTerm, at *field.Path) field.ErrorList {
	var faults field.ErrorList
	if t.TopologyKey == "" {
		faults = append(faults, field.Required(at.Child("topologyKey"), "such as kubernetes.io/hostname"))
	} else {
		for _, text := range validation.IsQualifiedName(t.TopologyKey) {
			faults = append(faults, field.Invalid(at.Child("topologyKey"), t.TopologyKey, text))
		}
	}
	for _, s := range []struct {
		name     string
		selector *metav1.LabelSelector
	}{{"labelSelector", t.LabelSelector}, {"namespaceSelector", t.NamespaceSelector}} {
		faults = append(faults, metavalidation.ValidateLabelSelector(s.selector, metavalidation.LabelSelectorValidationOptions{}, at.Child(s.name))...)
	}
	return faults
}
