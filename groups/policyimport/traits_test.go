package policyimport

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// samples are values of KubeSpawner's traits in a kubespawner_override.
var samples = map[string]string{
	"image": "other:1", "node_selector": "{pool: x}", "tolerations": "[{operator: Exists}]", "priority_class_name": "low", "scheduler_name": "packing",
	"image_pull_secrets":      "[{name: registry}]",
	"node_affinity_preferred": "[{weight: 1, preference: {matchExpressions: [{key: a, operator: Exists}]}}]",
	"node_affinity_required":  "[{matchExpressions: [{key: a, operator: Exists}]}]",
	"pod_affinity_preferred":  "[{weight: 1, podAffinityTerm: {topologyKey: zone}}]", "pod_affinity_required": "[{topologyKey: zone}]",
	"pod_anti_affinity_preferred": "[{weight: 1, podAffinityTerm: {topologyKey: zone}}]", "pod_anti_affinity_required": "[{topologyKey: zone}]",
	"volumes":          "[{name: scratch, emptyDir: {}}]",
	"volume_mounts":    "[{name: scratch, mountPath: /scratch}]",
	"storage_capacity": "2Gi", "storage_class": "fast", "storage_access_modes": "[ReadWriteMany]", "storage_selector": "{matchLabels: {a: b}}",
	"storage_extra_labels": "{a: b}", "storage_extra_annotations": "{a: b}",
	"extra_labels": "{a: b}", "extra_annotations": "{a: b}",
	"init_containers": "[{name: x, image: x}]", "extra_containers": "{x: {name: x, image: x}}",
	"lifecycle_hooks":       "{postStart: {exec: {command: [x]}}}",
	"extra_resource_limits": "{example.org/nic: 1}",
	"uid":                   "2000", "gid": "2000", "fs_gid": "2000", "supplemental_gids": "[2000]",
	"container_security_context": "{readOnlyRootFilesystem: true}", "pod_security_context": "{fsGroup: 5}",
}

// elsewhere are traits with a field that no kubespawner_override becomes.
var elsewhere = map[string]string{
	"profile_list":                    "it is what is read",
	"working_dir":                     "it follows the home",
	"storage_pvc_ensure":              "a home is made where there is one",
	"pvc_name_template":               "zero-to-jupyterhub's storage.dynamic.pvcNameTemplate is read",
	"delete_pvc":                      "it follows the claim's name",
	"common_labels":                   "of the Hub's whole configuration",
	"service_account":                 "its owner has to name the policy first",
	"automount_service_account_token": "who takes such a token is not said",
	"extra_resource_guarantees":       "the limits count",
}

// TestWhatTheTableOfTraitsSays: what a trait holds gets into the field that docs/moving-in.md names.
func TestWhatTheTableOfTraitsSays(t *testing.T) {
	page, err := os.ReadFile("../../docs/moving-in.md")
	require.NoError(t, err)
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| `(spec\\.[^`]+)`")
	rows := row.FindAllStringSubmatch(string(page), -1)
	assert.Greater(t, len(rows), 35)
	for _, r := range rows {
		trait, at := r[1], strings.Split(strings.ReplaceAll(r[2], "[]", ""), ".")[1:]
		value, sampled := samples[trait]
		if _, is := elsewhere[trait]; is {
			assert.False(t, sampled, trait)
			continue
		}
		require.True(t, sampled, "give a sample of %s", trait)
		overrides := map[string]string{"image": "a:1", "cpu_limit": "1", "mem_limit": "1G", "storage_capacity": "1Gi", trait: value}
		if strings.HasPrefix(trait, "volume") {
			overrides["volumes"], overrides["volume_mounts"] = samples["volumes"], samples["volume_mounts"]
		}
		imported := func() string {
			text := "- display_name: One\n  kubespawner_override:\n"
			for key, v := range overrides {
				text += "    " + key + ": " + v + "\n"
			}
			result, err := Import([]byte(text), Options{})
			require.NoError(t, err, trait)
			require.Len(t, result.Policies, 1)
			var spec any
			require.NoError(t, yaml.Unmarshal([]byte(encoded(result.Policies[0].Spec)), &spec))
			for i, key := range at {
				if list, ok := spec.([]any); ok {
					require.NotEmpty(t, list, trait)
					spec = list[0]
				}
				spec = lookup(spec, key)
				if spec == nil {
					return "no " + strings.Join(at[:i+1], ".")
				}
			}
			return encoded(spec)
		}
		with := imported()
		assert.NotContains(t, with, "no ", trait)
		delete(overrides, trait)
		switch trait {
		case "image":
			overrides["image"] = "a:1"
		case "storage_capacity":
			overrides["storage_capacity"] = "1Gi"
		case "volumes":
			delete(overrides, "volume_mounts")
		}
		assert.NotEqual(t, with, imported(), "%s changes nothing in %s", trait, r[2])
	}
}
