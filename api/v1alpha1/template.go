package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// PodTemplate is a core/v1 PodTemplateSpec that tolerates what
// elastic-jupyter-operator's own manifests contain: scalars directly under
// metadata (`app: x`), which were meant as labels and become labels here.
type PodTemplate struct {
	corev1.PodTemplateSpec `json:",inline"`
}

// objectMetaKeys are the scalar fields that ObjectMeta itself defines.
var objectMetaKeys = map[string]bool{
	"name": true, "generateName": true, "namespace": true, "selfLink": true, "uid": true,
	"resourceVersion": true, "generation": true, "creationTimestamp": true,
	"deletionTimestamp": true, "deletionGracePeriodSeconds": true,
}

// UnmarshalJSON decodes a PodTemplateSpec; strings, numbers and booleans
// under metadata that are not fields of ObjectMeta become labels. A label
// given properly wins over a stray one of the same name.
func (t *PodTemplate) UnmarshalJSON(data []byte) error {
	var spec corev1.PodTemplateSpec
	if err := json.Unmarshal(data, &spec); err != nil {
		return err
	}
	var raw struct {
		Metadata map[string]any `json:"metadata"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	labels := map[string]string{}
	for key, value := range raw.Metadata {
		if objectMetaKeys[key] {
			continue
		}
		switch value.(type) {
		case string, float64, bool:
			labels[key] = fmt.Sprint(value)
		}
	}
	if len(labels) > 0 {
		maps.Copy(labels, spec.Labels)
		spec.Labels = labels
	}
	t.PodTemplateSpec = spec
	return nil
}

// MarshalJSON encodes the template as a plain PodTemplateSpec.
func (t PodTemplate) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.PodTemplateSpec)
}
