package doctor

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/skew"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	said := func(part skew.Part, release string, neighbours map[skew.Part]map[string]int) Speaker {
		return Speaker{Pod: "n/" + string(part) + release, Part: part, Said: skew.Versions{Part: part, Release: release, Protocol: 1, Neighbours: neighbours}}
	}
	type told = map[skew.Part]map[string]int
	for name, row := range map[string]struct {
		speakers []Speaker
		runs     []string
		found    []string // parts of each problem's text, between |
	}{
		"nothing was asked": {},
		"neighbours": {
			[]Speaker{
				said(skew.Service, "0.2.0", told{skew.Hub: {skew.TellsNone: 1}, skew.Agent: {"0.2.0": 3, skew.TellsNone: 2}}),
				said(skew.Gateway, "0.2.0", told{skew.Wheel: {"0.3.0": 2}, skew.Agent: {"0.2.0": 1}}),
				{Pod: "n/old", Part: skew.Gateway},
			},
			[]string{
				"ElasticSpawner in the Hub: 0.1.0 or older (1)", "the notebook service: 0.2.0 (1)", "the kernel gateway: 0.1.0 (1), 0.2.0 (1)",
				"the notebook server: 0.3.0 (2)", "the kernel's agent: 0.1.0 or older (2), 0.2.0 (3)",
			},
			nil,
		},
		"all too far apart": {
			[]Speaker{
				said(skew.Service, "0.4.0", told{skew.Hub: {"0.2.0": 1, "0.3.0": 1}, skew.Agent: {skew.TellsNone: 2}}),
				said(skew.Gateway, "0.4.1", told{skew.Wheel: {"0.2.9": 5, skew.TellsNone: 1}}),
				{Pod: "n/old", Part: skew.Gateway},
			},
			[]string{
				"ElasticSpawner in the Hub: 0.2.0 (1), 0.3.0 (1)", "the notebook service: 0.4.0 (1)", "the kernel gateway: 0.1.0 (1), 0.4.1 (1)",
				"the notebook server: 0.1.0 or older (1), 0.2.9 (5)", "the kernel's agent: 0.1.0 or older (2)",
			},
			[]string{
				"the notebook service is elastichub 0.4.0|ElasticSpawner in the Hub is 0.2.0 (1 of them)", "the notebook service is elastichub 0.4.0|the kernel's agent is 0.1.0 (2 of them)",
				"the notebook service is elastichub 0.4.0|the kernel gateway is 0.1.0", "the kernel gateway is elastichub 0.4.1|the notebook server is 0.2.9 (5 of them)",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sound()
			p.Speakers = row.speakers
			report := Diagnose(p)
			assert.Equal(t, row.runs, report.Versions)
			require.Len(t, report.Problems, len(row.found), "%v", report.Problems)
			for i, want := range row.found {
				assert.Equal(t, "versions", report.Problems[i].Check)
				assert.NotEmpty(t, report.Problems[i].Fix)
				for part := range strings.SplitSeq(want, "|") {
					assert.Contains(t, report.Problems[i].What, part)
				}
			}
			var text strings.Builder
			require.NoError(t, report.WriteText(&text))
			for _, line := range row.runs {
				assert.Contains(t, text.String(), "runs: "+line+"\n")
			}
		})
	}
}
