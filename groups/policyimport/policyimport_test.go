package policyimport

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

var update = flag.Bool("update", false, "write the golden files anew")

func options() Options {
	return Options{Images: []v1alpha1.ImageChannel{{ID: "stable", Image: "registry.example/lab:1"}}, Kernels: []string{"python"}}
}

// golden holds the policies and, as comments, what was lost.
func golden(t *testing.T, name string, r Result) {
	t.Helper()
	text, err := YAML(r.Policies)
	require.NoError(t, err)
	for _, document := range strings.Split(string(text), "---\n") {
		var p v1alpha1.GroupPolicy
		require.NoError(t, v1alpha1.UnmarshalStrict([]byte(document), &p))
		assert.Empty(t, groups.ValidatePolicy(p))
	}
	for _, lost := range r.Lost {
		text = append(text, "# "+lost+"\n"...)
	}
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, text, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(text))
}

func TestFormConf(t *testing.T) {
	text, err := os.ReadFile("testdata/formConf.yaml")
	require.NoError(t, err)
	r, err := Import(text, options())
	require.NoError(t, err)
	golden(t, "formConf.golden.yaml", r)
	_, err = Import(text, Options{})
	require.ErrorIs(t, err, ErrInput)
	assert.ErrorContains(t, err, "--image")
}

func TestProfileList(t *testing.T) {
	text, err := os.ReadFile("testdata/profiles.yaml")
	require.NoError(t, err)
	r, err := Import(text, Options{})
	require.NoError(t, err)
	golden(t, "profiles.golden.yaml", r)
	// The list alone, as JSON.
	var values map[string]map[string]any
	require.NoError(t, yaml.Unmarshal(text, &values))
	list, err := yaml.Marshal(values["singleuser"]["profileList"])
	require.NoError(t, err)
	asJSON, err := yaml.YAMLToJSON(list)
	require.NoError(t, err)
	again, err := Import(asJSON, Options{})
	require.NoError(t, err)
	assert.Equal(t, r, again)
}

func TestInputThatCannotBeImported(t *testing.T) {
	const profile = `[{display_name: a, kubespawner_override: {image: i, cpu_limit: 1, mem_limit: 1G, `
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"nothing":            {"", []string{"neither groups"}},
		"not YAML":           {"{", nil},
		"something else":     {"a: b", []string{"neither groups"}},
		"an empty list":      {"[]", []string{"no profiles"}},
		"not profiles":       {"[1, a]", []string{"profile_list[0]: not a profile", "profile_list[1]: not a profile"}},
		"a group of nothing": {"groups: {a: , b: {cpu: 3}}", []string{"groups.a: not a group", "groups.b.cpu: not a map", "groups.b.mem: missing"}},
		"no numbers":         {"groups: {a: {cpu: {min: x, max: -1}, mem: {min: 1e3, max: 0x10}}}", []string{`groups.a.cpu.min: "x"`, `groups.a.cpu.max: "-1"`}},
		"min over max":       {"groups: {a: {cpu: {min: 4, max: 2}, mem: {min: 1, max: 2}}}", []string{"a: spec.cpu.max"}},
		"off step":           {"groups: {a: {cpu: {min: 1, max: 4, step: 2, default: 2}, mem: {min: 1, max: 2}}}", []string{"spec.cpu.default"}},
		"huge":               {"groups: {a: {cpu: {min: 1, max: 99999999}, mem: {min: 1, max: 99999999}}}", []string{"spec.cpu.max", "spec.memory.max"}},
		"too fine":           {"groups: {a: {cpu: {min: 0.0001, max: 2}, mem: {min: 1, max: 2}}}", []string{"groups.a.cpu.min: 0.000100000 is not a whole number of thousandths of a core"}},
		"an unknown unit":    {"[{display_name: a, kubespawner_override: {image: i, mem_limit: 1KiG}}]", []string{"kubespawner_override.mem_limit"}},
		"override a list":    {"[{display_name: a, kubespawner_override: [1]}]", []string{"kubespawner_override: not a map"}},
		"options a list":     {"[{display_name: a, profile_options: [1]}]", []string{"profile_options: not a map"}},
		"half a GPU":         {profile + `extra_resource_limits: {nvidia.com/gpu: 0.5}}}]`, []string{"extra_resource_limits[nvidia.com/gpu]"}},
		"bad tolerations":    {profile + `tolerations: [{operator: Maybe, key: k}]}}]`, []string{"spec.tolerations[0].operator"}},
		"no image at all":    {"[{display_name: a, kubespawner_override: {cpu_limit: 1, mem_limit: 1G}}]", []string{"--image"}},
		"groups no list":     {"[{display_name: a, allowed_groups: 5, kubespawner_override: {image: i}}]", []string{"allowed_groups"}},
		"too long":           {strings.Repeat("#", MaxBytes+1), []string{"longer than"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			if strings.HasPrefix(row.text, "[") {
				o.Images = nil
			}
			r, err := Import([]byte(row.text), o)
			require.ErrorIs(t, err, ErrInput)
			assert.Empty(t, r)
			for _, part := range row.want {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}

func TestAmounts(t *testing.T) {
	for v, want := range map[any]string{"2G": "2Gi", "512M": "512Mi", "1.5G": "1536Mi", 1073741824: "1Gi", "4Gi": "4Gi", 3: "3", float64(2): "2"} {
		q, err := bytes(v, "")
		require.NoError(t, err, v)
		assert.Equal(t, want, q.String(), v)
	}
	for v, want := range map[any]string{"0.5": "500m", 2: "2", 1.25: "1250m", "750m": "750m"} {
		q, err := cores(v)
		require.NoError(t, err, v)
		assert.Equal(t, want, q.String(), v)
	}
	for _, v := range []any{"", "-1", "1e3", "NaN", "٣", "1 000", true, nil, "0x1", "1Gi2", "9999999999999999"} {
		_, err := bytes(v, "")
		assert.Error(t, err, v)
	}
}

// FuzzImport: whatever comes in, what comes out is valid, or it is an error.
func FuzzImport(f *testing.F) {
	for _, name := range []string{"formConf.yaml", "profiles.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(`[{display_name: "", kubespawner_override: {image: i, cpu_limit: 1, mem_limit: 1}}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Import(text, options())
		if err != nil {
			require.ErrorIs(t, err, ErrInput)
			return
		}
		require.NotEmpty(t, r.Policies)
		for _, p := range r.Policies {
			require.Empty(t, groups.ValidatePolicy(p))
		}
	})
}
