package elastichub

import (
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/kindfields"
)

// What the description of a field tells, beside what it is, in a line of its own.
var (
	tellsUnit    = regexp.MustCompile(`(?m)^Unit: \S.*\.$`)
	tellsDefault = regexp.MustCompile(`(?m)^Default: \S.*\.$`)
	tellsExample = regexp.MustCompile(`(?m)^Example: (\S.*)\.$`)
)

// TestKindsExplainThemselves: kubectl explain tells of every field of the kinds what it
// is, its unit if it has one, what holds where it is left out, and an example.
func TestKindsExplainThemselves(t *testing.T) {
	t.Parallel()
	kinds := schemas(t)
	fields := kindfields.All()
	require.Greater(t, len(fields), 250)
	for _, f := range fields {
		schema := at(kinds, f.Path)
		if !assert.NotNil(t, schema, "%s is not in the CRD", f.Path) {
			continue
		}
		said := schema.Description
		assert.NotEmpty(t, strings.TrimSpace(said), "%s has no description", f.Path)
		assert.NotRegexp(t, `TODO|FIXME`, said, f.Path)
		if isMeasured(f.Type) {
			assert.Regexp(t, tellsUnit, said, "%s tells no unit", f.Path)
		}
		if !strings.Contains(f.Path, ".spec.") {
			continue
		}
		if f.Optional && isScalar(f.Type) {
			assert.Regexp(t, tellsDefault, said, "%s does not tell what holds without it", f.Path)
		}
		if wantsExample(f, schema) {
			if example := tellsExample.FindStringSubmatch(said); assert.NotNil(t, example, "%s has no example", f.Path) {
				isOfType(t, f, example[1])
			}
		}
	}
	for name, root := range kinds {
		delete(root.Properties, "metadata") // the API server describes it
		allDescribed(t, name, root)
	}
}

// isOfType: who types an example is not refused for its type.
func isOfType(t *testing.T, f kindfields.Field, example string) {
	t.Helper()
	value := reflect.New(f.Type)
	assert.NoError(t, yaml.UnmarshalStrict([]byte(example), value.Interface()), "the example of %s", f.Path)
	assert.False(t, value.Elem().IsZero(), "the example of %s", f.Path)
}

// isMeasured: a number, a quantity, or a time.
func isMeasured(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[metav1.Duration](), reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		return true
	}
	return t.Kind() == reflect.Int32 || t.Kind() == reflect.Int64
}

func isScalar(t reflect.Type) bool {
	return isMeasured(t) || t.Kind() == reflect.String || t.Kind() == reflect.Bool
}

// wantsExample: what is a value of its own, and neither yes or no nor one of a few words.
func wantsExample(f kindfields.Field, schema *apiextensionsv1.JSONSchemaProps) bool {
	if f.Type.Kind() == reflect.Bool || len(schema.Enum) > 0 {
		return false
	}
	list := f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.String
	return isScalar(f.Type) || list || f.Type.Kind() == reflect.Map || f.Type == reflect.TypeFor[corev1.ResourceList]()
}

// schemas are those of the kinds, by their names.
func schemas(t *testing.T) map[string]*apiextensionsv1.JSONSchemaProps {
	t.Helper()
	all := map[string]*apiextensionsv1.JSONSchemaProps{}
	files, err := CRDs.ReadDir("crds")
	require.NoError(t, err)
	for _, file := range files {
		text, err := CRDs.ReadFile("crds/" + file.Name())
		require.NoError(t, err)
		var crd apiextensionsv1.CustomResourceDefinition
		require.NoError(t, yaml.UnmarshalStrict(text, &crd))
		all[crd.Spec.Names.Kind] = crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	require.Len(t, all, len(kindfields.Kinds))
	return all
}

// at finds the schema of a path.
func at(kinds map[string]*apiextensionsv1.JSONSchemaProps, path string) *apiextensionsv1.JSONSchemaProps {
	names := strings.Split(path, ".")
	schema := kinds[names[0]]
	for _, name := range names[1:] {
		field, isList := strings.CutSuffix(name, "[]")
		next, found := schema.Properties[field]
		if !found {
			return nil
		}
		if schema = &next; isList {
			schema = schema.Items.Schema
		}
	}
	return schema
}

// allDescribed: also what Kubernetes' own types have, inside of templates, is told.
func allDescribed(t *testing.T, path string, schema *apiextensionsv1.JSONSchemaProps) {
	for name, property := range schema.Properties {
		assert.NotEmpty(t, property.Description, "%s.%s has no description", path, name)
		allDescribed(t, path+"."+name, &property)
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		allDescribed(t, path+"[]", schema.Items.Schema)
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
		allDescribed(t, path+"{}", schema.AdditionalProperties.Schema)
	}
}

// kubectlExplains runs the real one against an API server that has the kinds.
func kubectlExplains(t *testing.T, environment *envtest.Environment) {
	user, err := environment.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, nil)
	require.NoError(t, err)
	kubectl, err := user.Kubectl()
	require.NoError(t, err)
	for path, want := range map[string][]string{
		"jupyternotebook.spec.idleStop.seconds":          {"Seconds of idleness", "Unit: seconds.", "Example: 1800."},
		"jupyternotebook.spec.auth":                      {"tokenSecretRef", "Default: enable.", "enum: enable, disable"},
		"jupyternotebook.spec.template.spec.containers":  {"terminationMessagePolicy", "Compute Resources required by this container"},
		"jupytergateway.spec.keep.maxBytes":              {"Unit: bytes.", "Example: 8Gi.", "Default: kernels.keep.maxBytes of the chart."},
		"jupyterkernel.status.parkAt":                    {"Unit: a time of RFC 3339."},
		"jupyterkernelspec.spec.shmSize":                 {"Unit: bytes.", "Default: the container's limit of memory."},
		"jupyterkerneltemplate.spec.template.metadata":   {"labels", "Labels of the Pod."},
		"grouppolicy.spec.kernels.budget.window.rolling": {"Unit: hours, minutes and seconds.", "Example: 168h."},
	} {
		var said string
		require.Eventually(t, func() bool {
			stdout, _, err := kubectl.Run("explain", path)
			text, _ := io.ReadAll(stdout)
			said = string(text)
			return err == nil
		}, time.Minute, 200*time.Millisecond, path)
		said = strings.Join(strings.Fields(said), " ") // kubectl breaks lines
		for _, part := range want {
			assert.Contains(t, said, part, path)
		}
	}
}
