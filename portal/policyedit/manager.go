package policyedit

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Manager is a tool that would undo a change made here, sooner or later.
type Manager struct {
	// Name is what people call it; empty: none.
	Name string `json:"name"`
	// Sign is by what it is known: a label, an annotation, or a manager of fields.
	Sign string `json:"sign"`
}

// sign is how an object shows that a tool manages it.
type sign struct {
	tool, key string
	// value is that of the key, empty for any.
	value string
}

// Labels and annotations, as the tools document them.
var signs = []sign{
	{"Helm", "app.kubernetes.io/managed-by", "Helm"},
	{"Helm", "meta.helm.sh/release-name", ""},
	{"Argo CD", "argocd.argoproj.io/tracking-id", ""},
	{"Argo CD", "argocd.argoproj.io/instance", ""},
	{"Flux", "kustomize.toolkit.fluxcd.io/name", ""},
	{"Flux", "helm.toolkit.fluxcd.io/name", ""},
}

// managers are names under which tools write fields.
var managers = []struct{ tool, name string }{
	{"Helm", "helm"}, {"Argo CD", "argocd-controller"}, {"Argo CD", "argocd-application-controller"},
	{"Flux", "kustomize-controller"}, {"Flux", "helm-controller"}, {"Flux", "flux"}, {"Terraform", "terraform"}, {"Terraform", "hashicorp"}, {"Pulumi", "pulumi-kubernetes"},
}

// ManagerOf finds out by labels, annotations and who has written fields of spec. People
// with kubectl are no such tool.
func ManagerOf(o metav1.Object) Manager {
	for _, s := range signs {
		for _, notes := range []map[string]string{o.GetLabels(), o.GetAnnotations()} {
			if value, there := notes[s.key]; there && (s.value == "" || value == s.value) {
				return Manager{s.tool, s.key + "=" + value}
			}
		}
	}
	if value := o.GetLabels()["app.kubernetes.io/managed-by"]; value != "" {
		return Manager{value, "app.kubernetes.io/managed-by=" + value}
	}
	for _, entry := range o.GetManagedFields() {
		if entry.Subresource != "" || entry.FieldsV1 == nil || !strings.Contains(entry.FieldsV1.GetRawString(), `"f:spec"`) {
			continue
		}
		i := slices.IndexFunc(managers, func(m struct{ tool, name string }) bool { return strings.EqualFold(m.name, entry.Manager) })
		if i >= 0 {
			return Manager{managers[i].tool, "managedFields: " + entry.Manager}
		}
	}
	return Manager{}
}

// lastApplied is kubectl's copy of an object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// YAML is a policy as it may be committed: what the API server adds is left out.
func YAML(apiVersion, kind string, o metav1.Object, spec Spec) string {
	metadata := map[string]any{"name": o.GetName()}
	if o.GetNamespace() != "" {
		metadata["namespace"] = o.GetNamespace()
	}
	if len(o.GetLabels()) > 0 {
		metadata["labels"] = o.GetLabels()
	}
	notes := map[string]string{}
	for key, value := range o.GetAnnotations() {
		if key != lastApplied {
			notes[key] = value
		}
	}
	if len(notes) > 0 {
		metadata["annotations"] = notes
	}
	raw, err := yaml.Marshal(map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata, "spec": spec})
	if err != nil {
		panic(err) // it came from JSON
	}
	return string(raw)
}
