package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// traitRow is a row of the table of KubeSpawner's traits.
var traitRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([^|]*) \\| ([^|]*) \\|$")

// TestEveryTraitOfKubeSpawnerHasARow: it names fields of a policy, values of the chart or options
// of JupyterHub's, all of which exist, or says why there is none. The options in Python are
// looked up by python/tests/test_pages.py.
func TestEveryTraitOfKubeSpawnerHasARow(t *testing.T) {
	t.Parallel()
	values, policy := valuesSchema(t), kindSchemas(t)["GroupPolicy"]
	_, text, err := ReadPage("docs/moving-in.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(text, "### Every trait of KubeSpawner\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n**Files.**")

	raw, err := os.ReadFile("testdata/kubespawner-traits.txt")
	require.NoError(t, err)
	_, list, _ := strings.Cut(string(raw), "\n") // after the line that says of which release
	traits := strings.Fields(list)
	require.Len(t, traits, 82)
	rows := map[string][2]string{}
	for _, row := range traitRow.FindAllStringSubmatch(table, -1) {
		assert.NotContains(t, rows, row[1], "twice")
		assert.Contains(t, traits, row[1], "no trait of KubeSpawner")
		rows[row[1]] = [2]string{row[2], row[3]}
	}
	fields := 0
	for _, trait := range traits {
		row, has := rows[trait]
		if !assert.True(t, has, "%s has no row", trait) {
			continue
		}
		if row[0] == "no field" {
			assert.Greater(t, len(row[1]), len("as ``"), "%s: why not?", trait)
			if other, ok := strings.CutPrefix(row[1], "as `"); ok {
				other, _, _ = strings.Cut(other, "`")
				assert.Contains(t, rows, other, trait)
			}
			continue
		}
		for _, key := range quoted.FindAllStringSubmatch(row[0], -1) {
			fields++
			path := strings.Split(strings.ReplaceAll(key[1], "[]", ""), ".")
			switch path[0] {
			case "spec":
				assert.True(t, policy.has(path), "%s: a policy has no %s", trait, key[1])
			case "c":
				assert.Contains(t, []string{"ElasticSpawner", "JupyterHub"}, path[1], trait)
			default:
				assert.True(t, values.has(path), "%s: the chart has no %s", trait, key[1])
			}
		}
	}
	assert.Greater(t, fields, 45)
}
