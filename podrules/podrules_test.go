package podrules_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/podrules/podrulestest"
)

func TestTemplateFault(t *testing.T) {
	for name, row := range podrulestest.Templates() {
		t.Run(name, func(t *testing.T) {
			template := podrulestest.Template(row)
			fault := podrules.TemplateFault(&template)
			if row.Path == "" {
				assert.Nil(t, fault)
				return
			}
			require.NotNil(t, fault)
			assert.Equal(t, row.Path, fault.Path)
			assert.NotEmpty(t, fault.Problem)
		})
	}
}

func TestLabelValues(t *testing.T) {
	for user, label := range podrulestest.Users() {
		assert.Equal(t, label, podrules.LabelValue(user), user)
	}
	long := strings.Repeat("a", 64)
	seen := map[string]string{}
	for _, name := range []string{
		"ann", "Ann", "ANN", "ann@example.org", "ann-example-org", "ann.example.org", "анна", "анни", "-", "--", "a--b", "a-b", "a_b",
		long, long + "y", long[1:], "ann-example-org---d9c6f474", "é", "x",
	} {
		label := podrules.LabelValue(name)
		assert.Empty(t, validation.IsValidLabelValue(label), name)
		assert.NotEmpty(t, label, name)
		assert.NotContains(t, seen, label, name)
		seen[label] = name
	}
	assert.Empty(t, podrules.LabelValue(""), "the default server has no name")
}

func TestObjectLabels(t *testing.T) {
	for name, want := range map[string]string{
		"":                       "",
		"5f0c0f4e-5d0a":          "5f0c0f4e-5d0a",
		"my.kernel":              "my.kernel",
		"jupyter-ann--work":      "jupyter-ann--work",
		"x---25f4b213":           "x---25f4b213",
		strings.Repeat("a", 63):  strings.Repeat("a", 63),
		strings.Repeat("a.", 32): strings.TrimSuffix(strings.Repeat("a-", 26), "-") + "---" + podrules.Digest(8, strings.Repeat("a.", 32)),
	} {
		assert.Equal(t, want, podrules.ObjectLabel(name))
		assert.Empty(t, validation.IsValidLabelValue(podrules.ObjectLabel(name)))
	}
}

func TestLiteral(t *testing.T) {
	for text, want := range map[string]string{"": "", "$HOME": "$$HOME", "$(HOME)": "$$(HOME)", "$$(HOME) 5$": "$$$$(HOME) 5$$"} {
		assert.Equal(t, want, podrules.Literal(text))
		assert.Equal(t, want, podrules.WithoutReferences(want), "what is literal stays")
	}
}

func TestWithoutReferences(t *testing.T) {
	for value, want := range map[string]string{
		"":             "",
		"plain $HOME":  "plain $HOME",
		"$(HOME)":      "$$(HOME)",
		"$$(HOME)":     "$$(HOME)", // already in Kubernetes' notation
		"$$$(HOME)":    "$$$$(HOME)",
		"100$":         "100$",
		"$$":           "$$",
		"a$(b$(c))\n$": "a$$(b$$(c))\n$",
	} {
		assert.Equal(t, want, podrules.WithoutReferences(value), value)
		assert.Equal(t, want, podrules.WithoutReferences(want), "twice: %s", value)
	}
}

func notebook(storage v1alpha1.NotebookStorage) *v1alpha1.JupyterNotebook {
	nb := &v1alpha1.JupyterNotebook{}
	nb.Name, nb.Spec.Storage = "nb", &storage
	return nb
}

func TestClaims(t *testing.T) {
	assert.Empty(t, podrules.Claims(&v1alpha1.JupyterNotebook{}))
	nb := notebook(v1alpha1.NotebookStorage{
		Home: &v1alpha1.HomeVolume{MountPath: "/home//ann/"},
		Shared: []v1alpha1.SharedVolume{
			{Name: "data", Claim: "datasets", MountPath: "/data/", ReadOnly: true},
			{Name: "work", Claim: "team", MountPath: "/work"},
		},
	})
	assert.Equal(t, []podrules.Claim{
		{Volume: "home", Name: "home-nb", Path: "/home/ann"},
		{Volume: "shared-data", Name: "datasets", Path: "/data", ReadOnly: true},
		{Volume: "shared-work", Name: "team", Path: "/work"},
	}, podrules.Claims(nb))
	nb.Spec.Storage.Home = &v1alpha1.HomeVolume{Claim: "mine"}
	assert.Equal(t, podrules.Claim{Volume: "home", Name: "mine", Path: "/home/jovyan"}, podrules.Claims(nb)[0])
}

func TestMount(t *testing.T) {
	pod := podrulestest.Plain().Spec
	pod.Volumes = []corev1.Volume{{Name: "home"}, {Name: "scratch"}}
	main := &pod.Containers[0]
	main.VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/home/jovyan/"}, {Name: "scratch", MountPath: "/scratch"}}
	podrules.Mount(&pod, main, []podrules.Claim{{Volume: "home", Name: "claim", Path: "/home/jovyan", ReadOnly: true}})
	assert.Equal(t, []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}, {Name: "home", MountPath: "/home/jovyan", ReadOnly: true}}, main.VolumeMounts)
	assert.Equal(t, []corev1.Volume{{Name: "scratch"}, {Name: "home", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim", ReadOnly: true}}}}, pod.Volumes)
	assert.Empty(t, pod.Containers[1].VolumeMounts)
}

func TestStorageFault(t *testing.T) {
	assert.Nil(t, podrules.StorageFault(nil))
	for path, change := range map[string]func(*v1alpha1.NotebookStorage){
		"":                    func(*v1alpha1.NotebookStorage) {},
		"home.size":           func(s *v1alpha1.NotebookStorage) { s.Home.Size = resource.Quantity{} },
		"home.mountPath":      func(s *v1alpha1.NotebookStorage) { s.Home.MountPath = "home" },
		"shared[0].mountPath": func(s *v1alpha1.NotebookStorage) { s.Shared[0].MountPath = "/home/jovyan/" },
		"shared[1].mountPath": func(s *v1alpha1.NotebookStorage) { s.Shared[1].MountPath = "/data/../etc" },
		"shared[1].name":      func(s *v1alpha1.NotebookStorage) { s.Shared[1].Name = "a" },
		"shared[0].name":      func(s *v1alpha1.NotebookStorage) { s.Shared[0].Name = strings.Repeat("a", 57) },
	} {
		storage := &v1alpha1.NotebookStorage{
			Home:   &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi")},
			Shared: []v1alpha1.SharedVolume{{Name: "a", Claim: "a", MountPath: "/a"}, {Name: "b", Claim: "b", MountPath: "/b"}},
		}
		change(storage)
		fault := podrules.StorageFault(storage)
		if path == "" {
			assert.Nil(t, fault)
		} else if assert.NotNil(t, fault, path) {
			assert.Equal(t, path, fault.Path)
		}
	}
}

func TestIsPullPolicy(t *testing.T) {
	for policy, known := range map[corev1.PullPolicy]bool{"": true, "Always": true, "IfNotPresent": true, "Never": true, "always": false, "Sometimes": false} {
		assert.Equal(t, known, podrules.IsPullPolicy(policy), policy)
	}
}
