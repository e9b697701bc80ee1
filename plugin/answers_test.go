package plugin_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/plugin"
)

const explained = `{"user": "alice", "stale": true, "as_of": "2026-01-01T12:00:00Z", "groups": [{"name": "researchers", "dn": "cn=researchers,dc=example"}, {"name": "staff"}],
"matching": "union", "policies": [
 {"name": "research", "priority": 10, "applied": true, "claim": "together", "because": "names researchers; one of 2 that count together", "matched_by": ["researchers"], "faults": []},
 {"name": "broken", "priority": 1, "applied": false, "claim": "faults", "because": "names staff, but has faults", "matched_by": ["staff"], "faults": ["spec.limits: \u001b[2J bad"]}],
"values": [{"field": "kernels.max", "value": "4", "from": ["research", "more"]}, {"field": "gpus", "value": "2"}]}`

func TestExplanation(t *testing.T) {
	write := func(format plugin.Format, answer string) string {
		var out bytes.Buffer
		p := plugin.Printer{Out: &out, Format: format, Now: time.Date(2026, 1, 1, 12, 5, 0, 0, time.UTC)}
		require.NoError(t, p.Explanation([]byte(answer)))
		return out.String()
	}
	assert.Equal(t, `alice is in researchers (cn=researchers,dc=example), staff. The directory said so 5m ago, and does not answer now.

POLICY     PRIORITY   COUNTS   BECAUSE
research   10         yes      names researchers; one of 2 that count together
broken     1          no       names staff, but has faults; spec.limits:  [2J bad

VALUE         IS   FROM
kernels.max   4    research, more
gpus          2    -
`, write("", explained))
	assert.JSONEq(t, explained, write(plugin.JSON, explained))
	assert.Contains(t, write(plugin.YAML, explained), "matching: union\n")
	nobody := write("", `{"user": "eve\u001b[2J", "fault": "unknown-user", "groups": [], "policies": [], "values": []}`)
	assert.Equal(t, "eve [2J is in no group that is known.\nThe directory knows no user of that name.\n", nobody)
	assert.Contains(t, write("", `{"user": "eve", "fault": "new-word", "groups": [], "policies": [], "values": []}`), "cannot be told: new-word.")
	assert.Error(t, plugin.Printer{Out: &bytes.Buffer{}}.Explanation([]byte("[]")))
}

const lines = `{"by": "user", "days": 7, "currency": "EUR", "prices": {"nvidia.com/gpu": 2}, "items": [
 {"name": "alice", "runs": 3, "estimated": 0, "resources": {"nvidia.com/gpu": {"held": 1.5, "busy": 0.25, "saved": 2}, "cpu": {"held": 3, "busy": 1, "saved": 0}}, "cost": 3},
 {"name": "alice", "client": true, "runs": 1, "estimated": 0, "resources": {}, "cost": 0}],
"total": {"name": "", "runs": 4, "estimated": 0, "resources": {"nvidia.com/gpu": {"held": 1.5, "busy": 0.25, "saved": 2}}, "cost": 3}}`

func TestHours(t *testing.T) {
	write := func(format plugin.Format, answer string) string {
		var out bytes.Buffer
		require.NoError(t, plugin.Printer{Out: &out, Format: format}.Hours([]byte(answer)))
		return out.String()
	}
	assert.Equal(t, `USER             RESOURCE         HELD   BUSY   SAVED   RUNS   COST
alice            cpu              3.00   1.00   0.00    3      3.00 EUR
alice            nvidia.com/gpu   1.50   0.25   2.00    -      -
alice (client)   -                -      -      -       1      0.00 EUR
total            nvidia.com/gpu   1.50   0.25   2.00    4      3.00 EUR
`, write("", lines))
	assert.JSONEq(t, lines, write(plugin.JSON, lines))
	assert.NotContains(t, write("", `{"by": "date", "prices": {}, "items": [], "total": {"name": "", "runs": 0, "estimated": 0, "resources": {}}}`), "COST")
	assert.Error(t, plugin.Printer{Out: &bytes.Buffer{}}.Hours([]byte("no")))
}
