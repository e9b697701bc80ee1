package policyimport

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
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
	// The list alone, which says nothing of homes, and as JSON.
	alone, err := yamlv3.Marshal(under(written(text), "singleuser", "profileList"))
	require.NoError(t, err)
	again, err := Import(alone, Options{})
	require.NoError(t, err)
	require.Len(t, again.Policies, len(r.Policies))
	for i := range r.Policies {
		want := r.Policies[i].Spec
		want.Storage.Home = nil
		if len(want.Storage.Shared) == 0 {
			want.Storage = nil
		}
		assert.Equal(t, want, again.Policies[i].Spec)
	}
	asJSON, err := yaml.YAMLToJSON(alone)
	require.NoError(t, err)
	_, err = Import(asJSON, Options{})
	require.NoError(t, err)
}

// TestPodsOfZeroToJupyterHub: what has a field is in it, and what would be refused is listed.
func TestPodsOfZeroToJupyterHub(t *testing.T) {
	text, err := os.ReadFile("testdata/pods.yaml")
	require.NoError(t, err)
	r, err := Import(text, options())
	require.NoError(t, err)
	golden(t, "pods.golden.yaml", r)
}

// TestPodsOfProfiles: what all profiles agree on, of a home's claim, too.
func TestPodsOfProfiles(t *testing.T) {
	r, err := Import([]byte(`
- display_name: Small
  kubespawner_override:
    image: a:1
    cpu_limit: 1
    mem_limit: 1G
    storage_capacity: 1Gi
    storage_class: fast
    storage_access_modes: [ReadWriteMany]
    storage_selector: {matchLabels: {tier: ssd}}
    storage_extra_labels: {team: ml}
    pod_anti_affinity_preferred: [{weight: 1, podAffinityTerm: {topologyKey: zone}}]
    container_security_context: {readOnlyRootFilesystem: true}
    pod_security_context: {supplementalGroups: [3000]}
    privileged: false
    allow_privilege_escalation: true
    modify_pod_hook: x
`), Options{})
	require.NoError(t, err)
	require.Len(t, r.Policies, 1)
	spec := r.Policies[0].Spec
	home := spec.Storage.Home
	assert.Equal(t, "fast", *home.StorageClassName)
	assert.Equal(t, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, home.AccessModes)
	assert.Equal(t, map[string]string{"tier": "ssd"}, home.Selector.MatchLabels)
	assert.Equal(t, map[string]string{"team": "ml"}, home.Labels)
	assert.Equal(t, "zone", spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.TopologyKey)
	assert.Nil(t, spec.Affinity.NodeAffinity)
	assert.True(t, *spec.Pod.SecurityContext.ReadOnlyRootFilesystem)
	assert.Equal(t, []int64{3000}, spec.Pod.PodSecurityContext.SupplementalGroups)
	assert.Equal(t, []string{
		"profile_list[0].kubespawner_override.allow_privilege_escalation: Pod Security \"restricted\" allows it to nobody",
		"profile_list[0].kubespawner_override.modify_pod_hook: no field of a policy holds it",
	}, r.Lost)
}

func TestValuesOfZeroToJupyterHub(t *testing.T) {
	text, err := os.ReadFile("testdata/values.yaml")
	require.NoError(t, err)
	r, err := Import(text, Options{})
	require.NoError(t, err)
	golden(t, "values.golden.yaml", r)

	policies := map[string]v1alpha1.GroupPolicySpec{}
	for _, p := range r.Policies {
		policies[strings.Join(p.Spec.Groups, ",")] = p.Spec
	}
	for who, spec := range policies {
		images := map[string]bool{}
		for _, c := range spec.Images {
			images[c.Image] = true
		}
		assert.Equal(t, who == "staff", images["registry.example/secret:1"], who)
		assert.Equal(t, who == "big", images["registry.example/extra:1"], "the profile is for big and gpu, the choice for big and staff: %s", who)
		assert.False(t, images["registry.example/team:1"] || images["registry.example/root:1"] || images["registry.example/never:1"], who)
		assert.Equal(t, who == "big" || who == "big,org:large", spec.Memory.Max.Value() > 100<<30, who)
	}
	everybody := policies[""]
	assert.Equal(t, "14769Mi", everybody.Memory.Default.String(), "the choice's own default, and not more than 15487126732 bytes")
	assert.Equal(t, "registry.example/zed:1", everybody.Images[0].Image)

	// What every server gets is a policy by itself where there are no profiles.
	r, err = Import([]byte("singleuser: {image: {name: registry.example/lab, tag: 5}, cpu: {limit: 1}, memory: {limit: 1G}, storage: {type: none}, profileList: []}"), Options{})
	require.NoError(t, err)
	require.Len(t, r.Policies, 1)
	assert.True(t, r.Policies[0].Spec.Default)
	assert.Equal(t, "registry.example/lab:5", r.Policies[0].Spec.Images[0].Image)
	assert.Nil(t, r.Policies[0].Spec.Storage)
	assert.Empty(t, r.Lost)
}

// TestStaticHomesOfZeroToJupyterHub: a directory of one claim, as KubeSpawner has named it.
func TestStaticHomesOfZeroToJupyterHub(t *testing.T) {
	const values = `
singleuser:
  image: {name: lab}
  cpu: {limit: 1}
  memory: {limit: 1G}
  storage: {type: static, homeMountPath: /home/x, static: {pvcName: homes, subPath: %s}}
  initContainers:
    - {name: own, image: a, volumeMounts: [{name: home, mountPath: /h, subPath: "homes/{username}"}]}
hub: {config: {KubeSpawner: {%s}}}
scheduling: {userScheduler: {enabled: %v}}
`
	for _, row := range []struct {
		subPath, traits string
		scheduler       bool
		want, placed    string
		lost            []string
	}{
		{`"homes/{username}"`, "", false, "homes/{safe_username}", "", []string{"write {escaped_username}"}},
		{`"homes/{username}/"`, "slug_scheme: escape", true, "homes/{escaped_username}", "user-scheduler", []string{"user-scheduler is zero-to-jupyterhub's own"}},
		{`"homes/{escaped_username}"`, "scheduler_name: packing", true, "homes/{escaped_username}", "packing", []string{"mounts the user's directory of the claim at /h"}},
		{`homes`, "", false, "", "", []string{"static.subPath"}},
		{`"{unescaped_username}"`, "", false, "", "", []string{"static.subPath"}},
	} {
		r, err := Import(fmt.Appendf(nil, values, row.subPath, row.traits, row.scheduler), Options{})
		require.NoError(t, err, row)
		require.Len(t, r.Policies, 1)
		spec := r.Policies[0].Spec
		assert.Equal(t, row.placed, spec.SchedulerName)
		for _, part := range row.lost {
			assert.Contains(t, strings.Join(r.Lost, "\n"), part)
		}
		if row.want == "" {
			assert.Nil(t, spec.Storage, row)
			continue
		}
		assert.Equal(t, &v1alpha1.HomeVolume{MountPath: "/home/x", Static: &v1alpha1.StaticHome{Claim: "homes", SubPath: row.want}}, spec.Storage.Home)
		require.Len(t, spec.Pod.InitContainers, 1)
		if !strings.Contains(strings.Join(r.Lost, "\n"), "mounts the user's") {
			assert.Empty(t, spec.Pod.InitContainers[0].VolumeMounts[0].SubPath, "the volume home is that directory")
		}
		text, err := YAML(r.Policies)
		require.NoError(t, err)
		assert.Contains(t, string(text), "subPath: "+row.want)
		assert.NotContains(t, string(text), "size:")
	}
}

// Whoever is in one policy's groups could have all of it before: of all subsets of
// allowed_groups, no policy has what one of its groups may not.
func TestNobodyGetsMoreThanTheProfilesGave(t *testing.T) {
	names := []string{"a", "b", "c"}
	subsets := [][]string{nil, {"a"}, {"b"}, {"c"}, {"a", "b"}, {"b", "c"}, {"a", "b", "c"}}
	list := func(names []string) string {
		if names == nil {
			return "null"
		}
		return "[" + strings.Join(names, ", ") + "]"
	}
	for _, profile := range subsets {
		for _, choice := range subsets {
			for _, other := range subsets {
				text := fmt.Sprintf(`[{display_name: p, allowed_groups: %s, kubespawner_override: {cpu_limit: 1, mem_limit: 1G}, profile_options: {image: {choices: {
  u: {allowed_groups: %s, kubespawner_override: {image: u}}, v: {kubespawner_override: {image: v}}}}}},
  {display_name: q, allowed_groups: %s, kubespawner_override: {image: w, cpu_limit: 2, mem_limit: 2G}}]`, list(profile), list(choice), list(other))
				r, err := Import([]byte(text), Options{})
				require.NoError(t, err, text)
				may := func(image, group string) bool { // as KubeSpawner decides it for a user of one group
					in := func(allowed []string) bool { return allowed == nil || slices.Contains(allowed, group) }
					return map[string]bool{"u": in(profile) && in(choice), "v": in(profile), "w": in(other)}[image]
				}
				for _, p := range r.Policies {
					for _, channel := range p.Spec.Images {
						for _, group := range append([]string{"nobody's"}, names...) {
							if p.Spec.Default || slices.Contains(p.Spec.Groups, group) {
								assert.True(t, may(channel.Image, group), "%s for %s in %s: %s", channel.Image, group, p.Name, text)
							}
						}
					}
				}
				for _, group := range names { // nor less, of all of one's policies
					for _, image := range []string{"u", "v", "w"} {
						if may(image, group) {
							assert.True(t, anyHas(r.Policies, group, image), "%s is lost to %s: %s", image, group, text)
						}
					}
				}
			}
		}
	}
}

func anyHas(policies []v1alpha1.GroupPolicy, group, image string) bool {
	return slices.ContainsFunc(policies, func(p v1alpha1.GroupPolicy) bool {
		return (p.Spec.Default || slices.Contains(p.Spec.Groups, group)) &&
			slices.ContainsFunc(p.Spec.Images, func(c v1alpha1.ImageChannel) bool { return c.Image == image })
	})
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
		"too fine":           {"groups: {a: {cpu: {min: 0.0001, max: 2}, mem: {min: 1, max: 2}}}", []string{"groups.a.cpu.min: 0.000100000 cannot be counted in thousandths of a core"}},
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
	for v, want := range map[any]string{"7.222G": "7395Mi", "1025K": "1Mi", "0.5K": "512", 3620925866: "3453Mi", "2G": "2Gi", "512M": "512Mi", "1.5G": "1536Mi", 1073741824: "1Gi", "4Gi": "4Gi", 3: "3", float64(2): "2"} {
		q, _, err := bytes(v, "")
		require.NoError(t, err, v)
		assert.Equal(t, want, q.String(), v)
	}
	for v, want := range map[any]string{0.43125: "431m", "15.3811": "15381m", "0.5": "500m", 2: "2", 1.25: "1250m", "750m": "750m"} {
		q, _, err := cores(v)
		require.NoError(t, err, v)
		assert.Equal(t, want, q.String(), v)
	}
	for _, v := range []any{"", "-1", "1e3", "NaN", "٣", "1 000", true, nil, "0x1", "1Gi2", "9999999999999999"} {
		_, _, err := bytes(v, "")
		assert.Error(t, err, v)
	}
}

// FuzzImport: whatever comes in, what comes out is valid, or it is an error.
func FuzzImport(f *testing.F) {
	for _, name := range []string{"formConf.yaml", "profiles.yaml", "values.yaml"} {
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
