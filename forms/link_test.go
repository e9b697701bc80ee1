package forms

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestWhatALinkChoosesStandsInTheForm(t *testing.T) {
	t.Parallel()
	a := allowance()
	a.Presets = []v1alpha1.Preset{{Name: "Large", CPU: resource.MustParse("4"), Memory: resource.MustParse("5Gi")}, {Name: "Last", CPU: resource.MustParse("2"), Memory: resource.MustParse("5Gi")}}
	last := json.RawMessage(`{"cpu":"2","memory":"5Gi","image":"dev"}`)
	for name, row := range map[string]struct {
		link  map[string][]string
		want  Values
		fault string
	}{
		"nothing":             {nil, Values{CPU: "2", Memory: "5", Image: "dev", Preset: "Last"}, ""},
		"nobody's choice":     {map[string][]string{"lang": {"ru"}, "_xsrf": {"x"}, "utm": {"1"}}, Values{CPU: "2", Memory: "5", Image: "dev", Preset: "Last"}, ""},
		"one number":          {map[string][]string{"cpu": {"4"}}, Values{CPU: "4", Memory: "5", Image: "dev"}, ""},
		"a preset":            {map[string][]string{"preset": {"Large"}}, Values{CPU: "4", Memory: "5", Image: "dev", Preset: "Large"}, ""},
		"beyond the bounds":   {map[string][]string{"cpu": {"99"}, "image": {"stable"}}, Values{CPU: "99", Memory: "5", Image: "stable"}, "cpu:above_max"},
		"no preset":           {map[string][]string{"preset": {"Huge"}}, Values{CPU: "2", Memory: "5", Image: "dev", Preset: "Huge"}, "preset:not_offered"},
		"twice":               {map[string][]string{"memory": {"1", "3"}}, Values{CPU: "2", Memory: "1", Image: "dev"}, "memory:repeated"},
		"hidden, not chosen":  {map[string][]string{"image": {"old"}}, Values{CPU: "2", Memory: "5", Image: "old", Preset: "Last"}, "image:not_offered"},
		"markup, for example": {map[string][]string{"cpu": {`"><script>`}}, Values{CPU: `"><script>`, Memory: "5", Image: "dev"}, "cpu:malformed"},
	} {
		v, _, faults := Linked(a, last, row.link)
		assert.Equal(t, row.want, v, name)
		fault := ""
		if len(faults) > 0 {
			fault = codes(t, &Invalid{Fields: faults})
		}
		assert.Equal(t, row.fault, fault, name)
	}
}

func TestAHiddenChannelIsForWhoChoseIt(t *testing.T) {
	t.Parallel()
	for last, want := range map[string][]string{
		``: {"stable", "dev"}, `{}`: {"stable", "dev"}, `{"image":"stable"}`: {"stable", "dev"}, `[]`: {"stable", "dev"}, `{"image":""}`: {"stable", "dev"},
		`{"image":"old"}`: {"old", "stable", "dev"},
	} {
		var ids []string
		for _, c := range Offered(allowance(), json.RawMessage(last)).Images {
			ids = append(ids, c.ID)
		}
		assert.Equal(t, want, ids, last)
	}
}
