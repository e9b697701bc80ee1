// Package kindfields lists the fields of the six kinds that are elastichub's own, as they
// stand in manifests: what is of Kubernetes' own types, such as a Pod, is left out.
package kindfields

import (
	"reflect"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Field is one of them.
type Field struct {
	// Path begins with the kind and has [] for the items of a list, as in
	// JupyterGateway.spec.auth.clients[].name.
	Path string
	// Type is that of its value, or of what the value points to.
	Type reflect.Type
	// Optional: a manifest may leave it out.
	Optional bool
}

// Kinds are the six, by their names.
var Kinds = map[string]any{
	"GroupPolicy":           v1alpha1.GroupPolicy{},
	"JupyterGateway":        v1alpha1.JupyterGateway{},
	"JupyterKernel":         v1alpha1.JupyterKernel{},
	"JupyterKernelSpec":     v1alpha1.JupyterKernelSpec{},
	"JupyterKernelTemplate": v1alpha1.JupyterKernelTemplate{},
	"JupyterNotebook":       v1alpha1.JupyterNotebook{},
}

var ours = reflect.TypeFor[v1alpha1.GroupPolicy]().PkgPath()

// All lists the fields of all kinds in the order of their paths.
func All() []Field {
	var all []Field
	for name, kind := range Kinds {
		for _, part := range []string{"Spec", "Status"} {
			field, _ := reflect.TypeOf(kind).FieldByName(part)
			all = append(all, below(name+"."+strings.ToLower(part), field.Type)...)
		}
	}
	slices.SortFunc(all, func(a, b Field) int { return strings.Compare(a.Path, b.Path) })
	return all
}

func below(path string, t reflect.Type) []Field {
	var all []Field
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		value, at := t.Field(i).Type, path+"."+name
		if value.Kind() == reflect.Pointer {
			value = value.Elem()
		}
		all = append(all, Field{Path: at, Type: value, Optional: strings.Contains(options, "omitempty")})
		if value.Kind() == reflect.Slice {
			value, at = value.Elem(), at+"[]"
		}
		if value.Kind() == reflect.Struct && value.PkgPath() == ours && value != reflect.TypeFor[v1alpha1.PodTemplate]() {
			all = append(all, below(at, value)...)
		}
	}
	return all
}
