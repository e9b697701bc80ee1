package podrulestest

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Effect is when an edit of a field counts, in the words of docs/kinds.md.
type Effect string

// When an edit of a field counts.
const (
	AtOnce    Effect = "at once"    // and replaces no Pod
	NewPod    Effect = "new Pod"    // the Pod is replaced
	NextRun   Effect = "next run"   // when a kernel has its next Pod
	NextStart Effect = "next start" // when a server is started next
	NewVolume Effect = "new volume" // when the volume is made anew
	Never     Effect = "never"      // it cannot be edited, or says nothing
)

// Fields are the paths of the fields of a kind's spec, down to those whose types are not
// the kinds' own: gateway, storage.home.size, auth.clients[].name.
func Fields(spec any) []string { return fieldsOf(reflect.TypeOf(spec), "") }

func fieldsOf(t reflect.Type, prefix string) []string {
	var paths []string
	for field := range fieldSeq(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		path, of := prefix+name, field.Type
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			if of.Kind() == reflect.Slice {
				path += "[]"
			}
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct && of.PkgPath() == t.PkgPath() && of.Name() != "PodTemplate" {
			paths = append(paths, fieldsOf(of, path+".")...)
			continue
		}
		paths = append(paths, strings.TrimSuffix(path, "[]"))
	}
	return paths
}

func fieldSeq(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

var (
	kindsRow = regexp.MustCompile("(?m)^\\| (`[^|]*`) \\| ([^|]+) \\|")
	quoted   = regexp.MustCompile("`([^`]+)`")
	choices  = regexp.MustCompile(`\{([^}]+)\}`)
)

// Documented is what docs/kinds.md says of each field of a kind, which are those of its
// spec and no others. root is the way from the package to the root of the module. A row
// may name several fields: storage.home.{claim,size}, or all below one: cpu.*
func Documented(t *testing.T, root, kind string, spec any) map[string]Effect {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "kinds.md"))
	require.NoError(t, err)
	_, part, found := strings.Cut(string(page), "\n## "+kind+"\n")
	require.True(t, found, "docs/kinds.md has no part %s", kind)
	part, _, _ = strings.Cut(part, "\n## ")
	fields, said := Fields(spec), map[string]Effect{}
	for _, row := range kindsRow.FindAllStringSubmatch(part, -1) {
		for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
			for _, path := range apart(name[1]) {
				below, all := strings.CutSuffix(path, "*")
				known := false
				for _, field := range fields {
					if field == path || all && strings.HasPrefix(field, below) {
						assert.NotContains(t, said, field, "docs/kinds.md says it twice")
						said[field], known = Effect(row[2]), true
					}
				}
				assert.True(t, known, "docs/kinds.md: %s has no field %s", kind, path)
			}
		}
	}
	for _, field := range fields {
		assert.Contains(t, said, field, "docs/kinds.md does not say when an edit of %s of a %s counts", field, kind)
	}
	return said
}

// EachField calls check for the row of each field, and fails for fields that have none.
func EachField[Row any](t *testing.T, documented map[string]Effect, rows map[string]Row, check func(t *testing.T, field string, effect Effect, row Row)) {
	t.Helper()
	for field := range rows {
		assert.Contains(t, documented, field, "there is no such field")
	}
	for _, field := range slices.Sorted(maps.Keys(documented)) {
		row, has := rows[field]
		if !assert.True(t, has, "no row for the field %s: when does an edit of it count?", field) {
			continue
		}
		t.Run(field, func(t *testing.T) { check(t, field, documented[field], row) })
	}
}

func apart(path string) []string {
	at := choices.FindStringSubmatchIndex(path)
	if at == nil {
		return []string{path}
	}
	var all []string
	for choice := range strings.SplitSeq(path[at[2]:at[3]], ",") {
		all = append(all, apart(path[:at[0]]+choice+path[at[1]:])...)
	}
	return all
}
