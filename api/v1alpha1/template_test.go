package v1alpha1

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStrayMetadataBecomesLabels has the shape of elastic-jupyter-operator's
// own JupyterKernelTemplate sample.
func TestStrayMetadataBecomesLabels(t *testing.T) {
	t.Parallel()
	var template PodTemplate
	require.NoError(t, json.Unmarshal([]byte(`{
	  "metadata": {"app": "enterprise-gateway", "component": "kernel", "replica": 3, "spot": true,
	    "name": "n", "labels": {"app": "given"}, "annotations": {"a": "b"}, "nested": {"c": "d"}},
	  "spec": {"restartPolicy": "Always", "containers": [{"name": "kernel"}]}
	}`), &template))

	assert.Equal(t, map[string]string{"app": "given", "component": "kernel", "replica": "3", "spot": "true"}, template.Labels)
	assert.Equal(t, "n", template.Name)
	assert.Equal(t, map[string]string{"a": "b"}, template.Annotations)
	require.Len(t, template.Spec.Containers, 1)
	assert.Equal(t, "kernel", template.Spec.Containers[0].Name)

	raw, err := json.Marshal(template)
	require.NoError(t, err)
	var again PodTemplate
	require.NoError(t, json.Unmarshal(raw, &again))
	assert.Equal(t, template, again, "what was read is written back as a plain template")
}

func TestTemplateWithoutStrayMetadata(t *testing.T) {
	t.Parallel()
	var template PodTemplate
	require.NoError(t, json.Unmarshal([]byte(`{"metadata": {"creationTimestamp": null, "labels": {"a": "b"}}}`), &template))
	assert.Equal(t, map[string]string{"a": "b"}, template.Labels)
	assert.Error(t, json.Unmarshal([]byte(`{"spec": {"containers": "none"}}`), &template))
}
