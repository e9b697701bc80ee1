package web

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const wholeGPU, slice = "nvidia.com/gpu", "nvidia.com/mig-1g.5gb"

func quantities(lowest, highest, step, initial string, ratio float64) groups.Range {
	return groups.Range{Min: resource.MustParse(lowest), Max: resource.MustParse(highest), Step: resource.MustParse(step),
		Default: resource.MustParse(initial), RequestRatio: ratio}
}

func preset(title, cpu, memory string) v1alpha1.Preset {
	return v1alpha1.Preset{Name: strings.ToLower(title), Title: title, CPU: resource.MustParse(cpu), Memory: resource.MustParse(memory)}
}

func analysts() SpawnFormInput {
	a := groups.Allowance{
		DisplayName: "Analysts",
		CPU:         quantities("1", "2", "1", "1", 1.0/3),
		Memory:      quantities("1Gi", "4Gi", "1Gi", "2Gi", 1),
		Images:      []v1alpha1.ImageChannel{{ID: "stable", DisplayName: "Stable", Description: "JupyterLab, Python 3.12, pandas. Updated monthly."}},
	}
	return SpawnFormInput{Allowance: a, Values: forms.Values{CPU: "1", Memory: "2", Image: "stable"}, Kernels: allKernels()}
}

func researchers() SpawnFormInput {
	a := groups.Allowance{
		DisplayName: "ML research",
		Help: v1alpha1.PolicyHelp{
			CPU:   v1alpha1.LocalizedText{"en": "More than 4 is seldom faster.", "ru": "Больше четырёх редко быстрее."},
			Image: v1alpha1.LocalizedText{"en": "All have pandas."}, Kernels: v1alpha1.LocalizedText{"zh": "请勿空占 GPU。"},
		},
		HelpText:       "Files in your home folder are kept when the server stops.\nLong training runs: use a GPU kernel, it is never stopped while a cell runs.",
		CPU:            quantities("0.5", "8", "0.5", "2", 1.0/3),
		Memory:         quantities("1Gi", "32Gi", "1Gi", "4Gi", 1),
		Presets:        []v1alpha1.Preset{preset("Small", "1", "2Gi"), preset("Medium", "2", "4Gi"), preset("Large", "6", "24Gi"), preset("Gone", "16", "4Gi")},
		ServersPerUser: 2,
		Images: []v1alpha1.ImageChannel{
			{ID: "stable", DisplayName: "Stable", Description: "JupyterLab, Python 3.12. Updated monthly."},
			{ID: "stable-old", DisplayName: "Stable, previous", Description: "Last quarter's packages.",
				Redirect: &v1alpha1.ChannelRedirect{To: "stable", Message: "Goes away in March."}},
			{ID: "dev", DisplayName: "Preview", Description: "What Stable will be next month. May break."},
			{ID: "secret", DisplayName: "Hidden", Hidden: true},
		},
		Kernels: v1alpha1.PolicyKernels{Allowed: []string{"python-gpu", "python-2gpu", "python-cpu"}},
		GPUs:    []groups.GPUQuota{{Resource: wholeGPU, PerKernel: 1, PerUser: 1, Policy: "ml"}},
	}
	return SpawnFormInput{Allowance: a, Values: forms.Values{CPU: "2", Memory: "4", Image: "stable", Preset: "medium"}, Servers: 1,
		GPUs: map[string]GPUs{wholeGPU: {Free: 1, Total: 2}}, Held: map[string]HeldGPUs{}, Kernels: allKernels()}
}

// admins comes back with faults and entered values.
func admins() SpawnFormInput {
	a := groups.Allowance{
		DisplayName: "Platform admins", Stale: true, AsOf: time.Date(2025, 3, 1, 12, 3, 0, 0, time.UTC),
		CPU:    quantities("1", "12", "1", "6", 0.5),
		Memory: quantities("4Gi", "125Gi", "2Gi", "32Gi", 0.5),
		Images: []v1alpha1.ImageChannel{
			{ID: "stable", DisplayName: "Stable"},
			{ID: "hotfix", DisplayName: "Hotfix", Hidden: true, Redirect: &v1alpha1.ChannelRedirect{To: "stable", Message: "The fix is in Stable now."}},
		},
		Kernels: v1alpha1.PolicyKernels{Allowed: []string{"python-gpu", "python-2gpu"}},
		GPUs:    []groups.GPUQuota{{Resource: wholeGPU, PerKernel: 2, PerUser: 4, Policy: "admins"}},
	}
	return SpawnFormInput{
		Allowance: a, Values: forms.Values{CPU: "64", Memory: "5", Image: "hotfix"}, GPUs: map[string]GPUs{wholeGPU: {Total: 2}}, Kernels: allKernels(),
		Faults: []forms.FieldError{
			{Field: "cpu", Code: forms.AboveMax, Message: "At most 12 CPUs."},
			{Field: "memory", Code: forms.OffStep, Message: "…"},
			{Field: "gpus", Code: forms.Unknown, Message: "There is no such option."},
		},
	}
}

// both are members of two groups, which give GPUs whole and in slices.
func both() SpawnFormInput {
	in := researchers()
	pool := int32(7)
	in.Allowance.DisplayName, in.Allowance.Help.Kernels = "ML research and teaching", nil
	in.Allowance.Kernels.Allowed = []string{"python-gpu", "python-2gpu", "python-slice", "python-pair", "python-cpu"}
	in.Allowance.GPUs = append(in.Allowance.GPUs, groups.GPUQuota{Resource: slice, PerKernel: 2, PerUser: 3, Pool: &pool, Policy: "teaching"})
	in.GPUs = map[string]GPUs{wholeGPU: {Total: 2}, slice: {Free: 5, Total: 14}}
	in.Held = map[string]HeldGPUs{wholeGPU: {User: 1, Pool: 2}, slice: {User: 2, Pool: 6}}
	in.Kernels = append(allKernels(),
		KernelChoice{Name: "python-slice", DisplayName: "Python 3 (GPU slice)", GPUs: map[string]int64{slice: 1}, IdleSeconds: 600, KeepSeconds: 300},
		KernelChoice{Name: "python-pair", DisplayName: "Python 3 (GPU and slices)", GPUs: map[string]int64{slice: 2, wholeGPU: 1}, IdleSeconds: 60})
	return in
}

func allKernels() []KernelChoice {
	return []KernelChoice{
		{Name: "python-gpu", DisplayName: "Python 3 (GPU)", GPUs: map[string]int64{wholeGPU: 1}, IdleSeconds: 60},
		{Name: "python-2gpu", DisplayName: "Python 3 (2 GPUs)", GPUs: map[string]int64{wholeGPU: 2}, IdleSeconds: 600},
		{Name: "python-cpu", DisplayName: "Python 3 (large memory)", IdleSeconds: 3600, KeepSeconds: 300},
		{Name: "not-allowed", DisplayName: "R"},
	}
}

func render(t testing.TB, in SpawnFormInput) string {
	t.Helper()
	return renderIn(t, in, "en")
}

func renderIn(t testing.TB, in SpawnFormInput, lang string) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, SpawnForm(NewSpawnFormView(in, ForLanguages(lang))).Render(context.Background(), &b))
	return b.String()
}

func TestSpawnFormGolden(t *testing.T) {
	for _, row := range []struct {
		name, lang string
		in         SpawnFormInput
	}{
		{"analysts", "en", analysts()}, {"researchers", "en", researchers()}, {"admins", "en", admins()}, {"both", "en", both()},
		{"researchers-ru", "ru", researchers()}, {"admins-zh", "zh", admins()},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := renderIn(t, row.in, row.lang)
			path := filepath.Join("testdata", "spawnform_"+row.name+".html")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

// node finds the element with an attribute of that value.
func node(n *html.Node, key, value string) *html.Node {
	if n.Type == html.ElementNode && attr(n, key) == value {
		return n
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if found := node(c, key, value); found != nil {
			return found
		}
	}
	return nil
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	var s string
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		s += text(c)
	}
	return s
}

func parse(t *testing.T, page string) *html.Node {
	t.Helper()
	root, err := html.Parse(bytes.NewReader([]byte(page)))
	require.NoError(t, err)
	return root
}

func elements(n *html.Node, tag string) []*html.Node {
	var all []*html.Node
	if n.Type == html.ElementNode && n.Data == tag {
		all = append(all, n)
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		all = append(all, elements(c, tag)...)
	}
	return all
}
