package support

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// shownVariables begin the names of environment variables whose values are ours.
const shownVariables = "ELASTICHUB_"

// presentable takes out of an object what says nothing, and what its users wrote.
func presentable(o *unstructured.Unstructured) map[string]any {
	o.SetManagedFields(nil)
	annotations := o.GetAnnotations()
	delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
	o.SetAnnotations(annotations)
	switch o.GetKind() {
	case "Secret":
		for _, member := range []string{"data", "stringData"} {
			sized(o.Object, member)
		}
	case "ConfigMap":
		if o.GetLabels()["helm.sh/chart"] == "" { // the ledger, and what its users may have made
			sized(o.Object, "data")
			sized(o.Object, "binaryData")
		}
	case "JupyterKernel":
		for _, file := range [][]string{{"spec", "session", "path"}, {"spec", "session", "name"}, {"spec", "workingDir"}, {"spec", "environment"}} {
			if name, found, _ := unstructured.NestedString(o.Object, file...); found {
				_ = unstructured.SetNestedField(o.Object, size(name), file...) // a string is in its place
			}
		}
	}
	withoutVariables(o.Object)
	return o.Object
}

// sized leaves of each value of a member how long it is.
func sized(object map[string]any, member string) {
	values, _, _ := unstructured.NestedMap(object, member)
	if len(values) == 0 {
		return
	}
	for key, value := range values {
		values[key] = size(fmt.Sprint(value))
	}
	object[member] = values
}

func size(text string) string { return fmt.Sprintf("(%d bytes)", len(text)) }

// withoutVariables hides the values of environment variables, wherever they are in an object.
func withoutVariables(value any) {
	switch value := value.(type) {
	case []any:
		for _, each := range value {
			withoutVariables(each)
		}
	case map[string]any:
		name, named := value["name"].(string)
		text, valued := value["value"].(string)
		if named && valued && len(value) == 2 && !strings.HasPrefix(name, shownVariables) {
			value["value"] = size(text)
			return
		}
		for _, each := range value {
			withoutVariables(each)
		}
	}
}
