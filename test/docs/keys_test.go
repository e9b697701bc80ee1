package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	strict "sigs.k8s.io/yaml"
)

// foreign are dotted words in the pages that are nobody's key, by their beginning.
var foreign = []string{
	"tls.key",             // of Secrets
	"keep.R",              // a file
	"c.",                  // python/tests/test_pages.py looks these up
	"device.",             // of CEL in a DeviceClass
	"elastichub.notebook", // a module
	"elastichub-VERSION",  // files of a release
	"elastichub-demo-VERSION",
	"requirements.txt",                    // a file
	"groups.ValidatePolicy",               // a function
	"header.session",                      // of a Jupyter message
	"memory.events", "memory.oom_control", // files of cgroups
	"metadata.",          // of every kind
	"python-gpu.env.",    // kernels in environments
	"pyvenv.cfg",         // a file
	"realm_access.roles", // a claim of Keycloak's
	"samba.provision",
	"sts.amazonaws.com",                                       // an audience
	"submarine.",                                              // of Submarine's server
	"singleuser.", "cull.enabled", "scheduling.userScheduler", // values of zero-to-jupyterhub
	"v1.", // subprotocols
}

// schema is the part of a JSON schema that names keys.
type schema struct {
	Properties           map[string]schema `json:"properties"`
	Items                *schema           `json:"items"`
	AdditionalProperties any               `json:"additionalProperties"`
	Open                 bool              `json:"x-kubernetes-preserve-unknown-fields"`
	Type                 string            `json:"type"`
	IntOrString          bool              `json:"x-kubernetes-int-or-string"`
	Enum                 []any             `json:"enum"`
	Required             []string          `json:"required"`
}

// faults are where a value is not of the schema's types, words and fields.
func (s schema) faults(at string, value any) []string {
	if s.Open || s.IntOrString {
		return nil
	}
	var faults []string
	if s.Enum != nil && !slices.Contains(s.Enum, value) {
		faults = append(faults, fmt.Sprintf("%s: %v is none of %v", at, value, s.Enum))
	}
	is := ""
	switch value := value.(type) {
	case map[string]any:
		is = "object"
		for _, name := range s.Required {
			if _, there := value[name]; !there {
				faults = append(faults, at+": without "+name)
			}
		}
		for name, inner := range value {
			field, known := s.Properties[name]
			switch {
			case known:
				faults = append(faults, field.faults(at+"."+name, inner)...)
			case s.AdditionalProperties == nil:
				faults = append(faults, at+": has no field "+name)
			}
		}
	case []any:
		is = "array"
		for i := range value {
			faults = append(faults, s.Items.faults(fmt.Sprintf("%s[%d]", at, i), value[i])...)
		}
	case string:
		is = "string"
	case bool:
		is = "boolean"
	case float64:
		is = "integer"
	}
	if is != s.Type {
		faults = append(faults, fmt.Sprintf("%s: is %s, not %s", at, is, s.Type))
	}
	return faults
}

// has tells that a path of keys leads somewhere.
func (s schema) has(path []string) bool {
	if len(path) == 0 || s.Open || s.AdditionalProperties != nil && s.AdditionalProperties != false {
		return true
	}
	if s.Items != nil {
		return s.Items.has(path)
	}
	if path[0] == "*" {
		return len(s.Properties) > 0 && len(path) == 1
	}
	inner, known := s.Properties[path[0]]
	return known && inner.has(path[1:])
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, strict.Unmarshal(raw, into))
}

func valuesSchema(t *testing.T) schema {
	t.Helper()
	var s schema
	readYAML(t, filepath.Join(root, "charts/elastichub/values.schema.json"), &s)
	require.NotEmpty(t, s.Properties)
	return s
}

// kindSchemas are the whole objects, by kind.
func kindSchemas(t *testing.T) map[string]schema {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "charts/elastichub/crds/*.yaml"))
	require.NoError(t, err)
	kinds := map[string]schema{}
	for _, file := range files {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct {
						OpenAPIV3Schema schema `json:"openAPIV3Schema"`
					}
				}
			}
		}
		readYAML(t, file, &crd)
		kinds[crd.Spec.Names.Kind] = crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	require.Len(t, kinds, 6)
	delete(kinds["JupyterGateway"].Properties, "status") // has no schema: it would have every field
	return kinds
}

var (
	quoted  = regexp.MustCompile("`([^`\n]+)`")
	dotted  = regexp.MustCompile(`^[A-Za-z][\w-]*(\{[\w,]+\})?(\[\])?(\.(\{[\w,]+\}|[\w-]+|\*)(\[\])?)+$`)
	choices = regexp.MustCompile(`\{([\w,]+)\}`)
	// suffixes of what is a file's or a host's name.
	notKeys = regexp.MustCompile(`\.(ya?ml|json|md|py|sh|crt|org|io|example)$`)
)

// keysIn are the dotted keys that a page's text names in backticks, without
// what is said of their values, and with {a,b} taken apart.
func keysIn(text string) []string {
	var keys []string
	for _, match := range quoted.FindAllStringSubmatch(text, -1) {
		key, _, _ := strings.Cut(match[1], ": ")
		if !dotted.MatchString(key) || notKeys.MatchString(key) || strings.HasPrefix(key, "zz_") ||
			slices.ContainsFunc(foreign, func(p string) bool { return strings.HasPrefix(key, p) }) {
			continue
		}
		keys = append(keys, apart(key)...)
	}
	return keys
}

func apart(key string) []string {
	at := choices.FindStringSubmatchIndex(key)
	if at == nil {
		return []string{key}
	}
	var all []string
	for choice := range strings.SplitSeq(key[at[2]:at[3]], ",") {
		all = append(all, apart(key[:at[0]]+choice+key[at[1]:])...)
	}
	return all
}

// exists tells that a key is one of the chart's values, or a field of one of
// the kinds, with or without its spec or the kind before it.
func exists(key string, values schema, kinds map[string]schema) bool {
	path := strings.Split(strings.ReplaceAll(key, "[]", ""), ".")
	if values.has(path) {
		return true
	}
	for kind, s := range kinds {
		if s.has(path) || s.Properties["spec"].has(path) || path[0] == kind && s.has(path[1:]) {
			return true
		}
	}
	// What each source of groups has.
	for _, source := range values.Properties["groups"].Properties {
		if source.Type == "object" && source.has(path) {
			return true
		}
	}
	return false
}

func TestKeysThatPagesNameExist(t *testing.T) {
	t.Parallel()
	values, kinds := valuesSchema(t), kindSchemas(t)
	pages, err := Pages()
	require.NoError(t, err)
	checked := 0
	for _, page := range pages {
		_, text, err := ReadPage(page)
		require.NoError(t, err)
		for _, key := range keysIn(text) {
			assert.True(t, exists(key, values, kinds), "%s names %s, which is no value of the chart and no field of a kind (or a word for `foreign`)", page, key)
			checked++
		}
	}
	assert.Greater(t, checked, 80)
}

// row is the first cell of a table's row.
var row = regexp.MustCompile("(?m)^\\| *(`[^|]*`)[^|]*\\|")

// tables gives the names in the first column of the tables whose head begins so.
func tables(text, head string) []string {
	var names []string
	for _, part := range strings.Split(text, "\n\n") {
		if !strings.HasPrefix(strings.TrimSpace(part), head) {
			continue
		}
		for _, cell := range row.FindAllStringSubmatch(part, -1) {
			last := ""
			for _, name := range quoted.FindAllStringSubmatch(cell[1], -1) {
				key := name[1]
				if rest, follows := strings.CutPrefix(key, "."); follows { // `memory.min`, `.max`
					key = last[:strings.LastIndex(last, ".")+1] + rest
				}
				last = key
				names = append(names, apart(key)...)
			}
		}
	}
	return names
}

func TestTablesOfKeys(t *testing.T) {
	t.Parallel()
	values, kinds := valuesSchema(t), kindSchemas(t)
	for page, test := range map[string]struct {
		head string
		has  func(path []string) bool
		most int
	}{
		"charts/elastichub/README.md": {"| value |", values.has, 25},
		"docs/policies.md":            {"| field of `spec` |", kinds["GroupPolicy"].Properties["spec"].has, 40},
		"docs/groups.md": {"| key |", func(path []string) bool {
			return slices.ContainsFunc([]string{"ldap", "oidc", "hub"}, func(source string) bool { return values.has(append([]string{"groups", source}, path...)) })
		}, 30},
	} {
		_, text, err := ReadPage(page)
		require.NoError(t, err)
		names := tables(text, test.head)
		assert.Greater(t, len(names), test.most, page)
		for _, name := range names {
			assert.True(t, test.has(strings.Split(strings.ReplaceAll(name, "[]", ""), ".")), "%s lists %s", page, name)
		}
	}
}

// TestWhatSubmarineHadHasACounterpart: each of its keys has a row, and that names a key which exists.
func TestWhatSubmarineHadHasACounterpart(t *testing.T) {
	t.Parallel()
	values, kinds := valuesSchema(t), kindSchemas(t)
	_, text, err := ReadPage("docs/moving-in.md")
	require.NoError(t, err)
	for _, key := range []string{
		"submarine.notebook.prometheus.enable", "submarine.notebook.prometheus.labels",
		"submarine.server.tasks.autostop.enable", "submarine.server.tasks.autostop.duration",
	} {
		_, rest, there := strings.Cut(text, "| `"+key+"` |")
		require.True(t, there, key)
		after, _, _ := strings.Cut(rest, "\n")
		found := 0
		for _, name := range quoted.FindAllStringSubmatch(after, -1) {
			assert.True(t, exists(name[1], values, kinds), "%s: %s", key, name[1])
			found++
		}
		assert.Positive(t, found, key)
	}
}

// Every value is described, as values.yaml says.
func TestTheChartsPageNamesEveryValue(t *testing.T) {
	t.Parallel()
	var defaults map[string]any
	readYAML(t, filepath.Join(root, "charts/elastichub/values.yaml"), &defaults)
	values := valuesSchema(t)
	for name := range defaults {
		assert.Contains(t, values.Properties, name, "values.schema.json")
	}
	_, text, err := ReadPage("charts/elastichub/README.md")
	require.NoError(t, err)
	named := tables(text, "| value |")
	for name := range values.Properties {
		told := slices.ContainsFunc(named, func(key string) bool { return key == name || strings.HasPrefix(key, name+".") })
		assert.True(t, told || name == "global", "charts/elastichub/README.md does not name %s", name)
	}
}

func TestKeysIn(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"a.b", "image.name", "image.tag", "x.y[].z", "n.g"},
		keysIn("`a.b` `image.{name,tag}` `x.y[].z` a.c `values.yaml` `c.Spawner.args` `n.g: \"\"` `plain` `a b.c`"))
	values, kinds := valuesSchema(t), kindSchemas(t)
	for key, want := range map[string]bool{
		"notebooks.gateway": true, "notebooks.gatewy": false, "notebooks.gateway.name": false, "notebok.gateway": false,
		"spec.kernels.allowed": true, "spec.kernels.alowed": false, "status.cause": true, "status.course": false, "kernels.allowed[]": true, "storage.home.size": true, "storage.home.sise": false,
		"JupyterKernel.spec.run": true, "JupyterKernel.spec.walk": false, "groups.ldap.*": true, "groups.ldop.*": false, "limits.staleLimit": true,
	} {
		assert.Equal(t, want, exists(key, values, kinds), key)
	}
}
