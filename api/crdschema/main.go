// The crdschema command goes over the CRDs that controller-gen wrote, and mends in
// them what no marker can say.
//
// Numbers of 32 bits get their bounds: an API server does not know the format, and
// a larger one could not be read.
//
// What is told of fields in the same words everywhere, their units, defaults and examples,
// is added to their descriptions.
//
// The release is noted that a definition is of, which Chart.yaml beside the directory says:
// an older one is not put over a newer one.
//
// What is said of Pods is made to fit what elastichub takes. There nothing is required, nothing is filled in and a null means that a
// field is not there: a template need not be a whole Pod, and manifests that
// were taken when there was no schema still are. Lists are replaced as a whole, as
// they were then. Under a template's metadata anything may stand, since
// elastic-jupyter-operator's manifests have labels there.
package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

type schema = map[string]any

// podParts are the fields of spec that hold Pods or parts of them, by the plural
// of the kind.
var podParts = map[string]string{
	"jupyternotebooks":       "template",
	"jupyterkernels":         "template",
	"jupyterkerneltemplates": "template",
	"grouppolicies":          "pod",
	"jupytergateways":        "",
	"jupyterkernelspecs":     "",
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crdschema DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "crdschema:", err)
		os.Exit(1)
	}
}

func run(directory string) error {
	if unused := unusedFacts(); len(unused) > 0 {
		return fmt.Errorf("there are no fields %v", unused)
	}
	release, err := releaseOf(filepath.Join(directory, "..", "Chart.yaml"))
	if err != nil {
		return err
	}
	for plural, field := range podParts {
		path := filepath.Join(directory, "kubeflow.tkestack.io_"+plural+".yaml")
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read CRD: %w", err)
		}
		var crd map[string]any
		if err := yaml.Unmarshal(text, &crd); err != nil {
			return fmt.Errorf("decode %s: %w", path, err)
		}
		root, err := rootSchema(crd)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if field != "" {
			at, err := property(root, "spec", field)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			walk(at, lenient)
			if field == "template" {
				openMetadata(at)
			}
		}
		walk(root, bound)
		metadata, _ := crd["metadata"].(schema)
		annotations, _ := metadata["annotations"].(schema)
		if annotations == nil {
			return fmt.Errorf("%s: no annotations", path)
		}
		annotations[v1alpha1.AnnotationRelease] = release
		names, _ := crd["spec"].(schema)["names"].(schema)
		kind, _ := names["kind"].(string)
		if err := explain(kind, root); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if text, err = yaml.Marshal(crd); err != nil {
			return fmt.Errorf("encode %s: %w", path, err)
		}
		if err := os.WriteFile(path, append([]byte("---\n"), text...), 0o644); err != nil { //nolint:gosec // part of the sources
			return fmt.Errorf("write CRD: %w", err)
		}
	}
	return nil
}

// releaseOf is the release that a chart installs.
func releaseOf(chart string) (string, error) {
	text, err := os.ReadFile(chart)
	if err != nil {
		return "", fmt.Errorf("read the chart: %w", err)
	}
	var said struct {
		AppVersion string `json:"appVersion"`
	}
	if err := yaml.Unmarshal(text, &said); err != nil || said.AppVersion == "" {
		return "", fmt.Errorf("%s says no appVersion: %w", chart, err)
	}
	return said.AppVersion, nil
}

func rootSchema(crd map[string]any) (schema, error) {
	spec, _ := crd["spec"].(schema)
	versions, _ := spec["versions"].([]any)
	if len(versions) != 1 {
		return nil, fmt.Errorf("%d versions instead of one", len(versions))
	}
	version, _ := versions[0].(schema)
	outer, _ := version["schema"].(schema)
	root, ok := outer["openAPIV3Schema"].(schema)
	if !ok {
		return nil, fmt.Errorf("no schema")
	}
	return root, nil
}

func property(at schema, names ...string) (schema, error) {
	for _, name := range names {
		properties, _ := at["properties"].(schema)
		next, ok := properties[name].(schema)
		if !ok {
			return nil, fmt.Errorf("no property %s", name)
		}
		at = next
	}
	return at, nil
}

// walk does something to a schema and to all within it.
func walk(s schema, do func(schema)) {
	do(s)
	properties, _ := s["properties"].(schema)
	for _, of := range properties {
		if inner, ok := of.(schema); ok {
			walk(inner, do)
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := s[key].(schema); ok {
			walk(inner, do)
		}
	}
}

// bound keeps numbers of 32 bits within 32 bits.
func bound(s schema) {
	if s["format"] != "int32" {
		return
	}
	for key, limit := range map[string]int64{"minimum": math.MinInt32, "maximum": math.MaxInt32} {
		if _, said := s[key]; !said {
			s[key] = limit
		}
	}
}

// lenient takes away what refuses or changes an object that leaves something out
// or says it twice.
func lenient(s schema) {
	delete(s, "required")
	delete(s, "default")
	if s["x-kubernetes-list-type"] == "map" || s["x-kubernetes-list-type"] == "set" {
		s["x-kubernetes-list-type"] = "atomic"
		delete(s, "x-kubernetes-list-map-keys")
	}
	properties, _ := s["properties"].(schema)
	for _, of := range properties {
		if inner, ok := of.(schema); ok {
			inner["nullable"] = true
		}
	}
}

// openMetadata describes what controller-gen leaves out of the metadata of a template.
func openMetadata(template schema) {
	texts := func(description string) schema {
		return schema{"type": "object", "description": description, "nullable": true, "additionalProperties": schema{"type": "string"}}
	}
	template["properties"].(schema)["metadata"] = schema{
		"type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true,
		"description": "Metadata of the Pod. Texts, numbers and booleans that are no fields of it become labels.",
		"properties":  schema{"labels": texts("Labels of the Pod."), "annotations": texts("Annotations of the Pod.")},
	}
}
