package docs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/helm"
)

func everyBlock(t *testing.T) []Block {
	t.Helper()
	pages, err := Pages()
	require.NoError(t, err)
	var all []Block
	for _, page := range pages {
		blocks, _, err := ReadPage(page)
		require.NoError(t, err)
		all = append(all, blocks...)
	}
	return all
}

// TestEveryBlockHasAUse fails for a new block, and for a row without a block.
func TestEveryBlockHasAUse(t *testing.T) {
	t.Parallel()
	seen := map[use]int{}
	rows := map[[2]string]bool{}
	for _, u := range uses {
		assert.False(t, rows[[2]string{u.page, u.first}], "uses has two rows for %s: %s", u.page, u.first)
		rows[[2]string{u.page, u.first}] = true
	}
	for _, block := range everyBlock(t) {
		_, err := UseOf(block)
		assert.NoError(t, err)
		for _, u := range uses {
			if u.page == block.Page && u.first == block.First() {
				seen[u]++
			}
		}
	}
	for _, u := range uses {
		assert.NotZero(t, seen[u], "uses has a row for %s that no block begins with: %s", u.page, u.first)
		assert.Equal(t, u.use == Shown || u.use == Elsewhere, u.why != "", "%s: %s: only what is not done here is excused", u.page, u.first)
		if u.use != Values {
			assert.LessOrEqual(t, seen[u], 1, "%s has several blocks that begin with: %s", u.page, u.first)
		}
	}
}

func TestLanguagesAreThoseOfTheUses(t *testing.T) {
	t.Parallel()
	for _, block := range everyBlock(t) {
		use, err := UseOf(block)
		if err != nil {
			continue // said above
		}
		switch use {
		case Typed, Served:
			assert.Equal(t, "sh", block.Language, "%s", block)
		case Values, Objects:
			assert.Equal(t, "yaml", block.Language, "%s", block)
		case HubConfig, ServerConfig:
			assert.Contains(t, []string{"python", "yaml"}, block.Language, "%s", block)
		case Elsewhere, Shown:
		}
	}
}

func render(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return helm.Run(t, append([]string{
		"template", "elastichub", filepath.Join(root, "charts/elastichub"), "--kube-version", "1.34",
		"--set", "image.name=service", "--set", "notebooks.image=notebook", "--set", "kernels.image=kernel",
	}, args...)...)
}

func TestValuesAreTheCharts(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, block := range everyBlock(t) {
		if use, _ := UseOf(block); use != Values {
			continue
		}
		file := filepath.Join(t.TempDir(), "values.yaml")
		require.NoError(t, os.WriteFile(file, []byte(block.Text), 0o600))
		out, err := render(t, "-f", file)
		assert.NoError(t, err, "%s: %s", block, out)
		var values map[string]any
		require.NoError(t, strict.UnmarshalStrict([]byte(block.Text), &values), "%s", block)
		checked++
	}
	assert.Greater(t, checked, 5)
}

// An empty or absent name must not become the service's default.
func TestEmptyGatewayStaysEmpty(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"notebooks.gateway=": `gateway: ""`, "notebooks.gateway=null": `gateway: ""`, "notebooks.gateway=gpus": `gateway: "gpus"`, "replicas=1": `gateway: "default"`,
	} {
		out, err := render(t, "--set", set)
		require.NoError(t, err, out)
		assert.Contains(t, out, want, set)
	}
}

// TestObjectsAreWhatTheirKindsSay holds blocks and examples to the types and
// fields of the kinds; decoding alone takes a number for a string, and the API
// server does not.
func TestObjectsAreWhatTheirKindsSay(t *testing.T) {
	t.Parallel()
	kinds := map[string]func() any{
		"GroupPolicy":           func() any { return &v1alpha1.GroupPolicy{} },
		"JupyterGateway":        func() any { return &v1alpha1.JupyterGateway{} },
		"JupyterKernel":         func() any { return &v1alpha1.JupyterKernel{} },
		"JupyterKernelSpec":     func() any { return &v1alpha1.JupyterKernelSpec{} },
		"JupyterKernelTemplate": func() any { return &v1alpha1.JupyterKernelTemplate{} },
		"JupyterNotebook":       func() any { return &v1alpha1.JupyterNotebook{} },
		"ServiceAccount":        func() any { return &corev1.ServiceAccount{} },
	}
	schemas := kindSchemas(t)
	blocks := slices.DeleteFunc(everyBlock(t), func(b Block) bool {
		use, _ := UseOf(b)
		return use != Objects
	})
	examples, err := filepath.Glob(filepath.Join(root, "examples/*/*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, example := range examples {
		raw, err := os.ReadFile(example)
		require.NoError(t, err)
		blocks = append(blocks, Block{Page: example, Line: 1, Text: string(raw)})
	}
	checked := 0
	for _, block := range blocks {
		for _, document := range documents(t, block.Text) {
			var head metav1.PartialObjectMetadata
			require.NoError(t, strict.Unmarshal(document, &head), "%s", block)
			create, known := kinds[head.Kind]
			require.True(t, known, "%s: kind %q", block, head.Kind)
			assert.NoError(t, v1alpha1.UnmarshalStrict(document, create()), "%s: %s %s", block, head.Kind, head.Name)
			var object map[string]any
			require.NoError(t, strict.Unmarshal(document, &object), "%s", block)
			assert.Empty(t, schemas[head.Kind].Properties["spec"].faults("spec", object["spec"]), "%s: %s %s", block, head.Kind, head.Name)
			checked++
		}
	}
	assert.Greater(t, checked, 7)
}

func documents(t *testing.T, text string) [][]byte {
	t.Helper()
	reader := yaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(text)))
	defer reader.Close()
	var found [][]byte
	buffer := make([]byte, 1<<20)
	for {
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		if document := bytes.TrimSpace(buffer[:n]); len(document) > 0 {
			found = append(found, bytes.Clone(document))
		}
	}
}

// TestPlaceholdersAreDeclared: nothing is put in place of what a reader would
// type as it stands. The notes are a template, and Helm puts its own in.
func TestPlaceholdersAreDeclared(t *testing.T) {
	t.Parallel()
	_, text, err := ReadPage("README.md")
	require.NoError(t, err)
	_, declared, found := strings.Cut(text, "In these steps")
	require.True(t, found)
	declared, _, _ = strings.Cut(declared, "\n\n")
	pairs := (&Site{Namespace: "ns"}).placeholders()
	for i := 0; i < len(pairs); i += 2 {
		if strings.Contains(pairs[i], "{{") || strings.HasPrefix(pairs[i], "/etc/") {
			continue // of the notes
		}
		assert.True(t, slices.ContainsFunc([]string{"ldaps://ldap.example.org", "alice", "jupyterhub", "hub.example.org"}, func(name string) bool {
			return strings.Contains(pairs[i], name) && strings.Contains(declared, "`"+name+"`")
		}) || pairs[i] == "http://:8081", "README.md does not say that %s stands for something", pairs[i])
	}
	assert.Contains(t, declared, "`registry.example.org`")
}

// TestReadPage keeps the reader of pages from overlooking blocks.
func TestReadPage(t *testing.T) {
	t.Parallel()
	blocks, text, err := fenced("p.md", "one `a.b`\n\n```sh\n# x.yaml, too\nls\n```\ntwo\n  ```\n  in a list\n  ```\n")
	require.NoError(t, err)
	assert.Equal(t, []Block{{"p.md", 3, "sh", "# x.yaml, too\nls\n"}, {"p.md", 8, "", "in a list\n"}}, blocks)
	assert.Equal(t, "x.yaml", blocks[0].File())
	assert.Empty(t, blocks[1].File())
	assert.Equal(t, "one `a.b`\n\ntwo\n\n", text)
	_, _, err = fenced("p.md", "```sh\n")
	require.Error(t, err)
	blocks, _ = indented("n", "a\n\n  c.X.y = 1\n  c.X.z = 2\n\n  ls\nb\n")
	assert.Equal(t, []Block{{"n", 3, "python", "c.X.y = 1\nc.X.z = 2\n"}, {"n", 6, "sh", "ls\n"}}, blocks)
	pages, err := Pages()
	require.NoError(t, err)
	for _, page := range []string{"README.md", "CONTRIBUTING.md", "docs/policies.md", "python/README.md", "charts/elastichub/README.md", "localcluster/README.md", notes} {
		assert.True(t, slices.Contains(pages, page), page)
	}
}
