package policyedit

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func spec(t *testing.T, text string) Spec {
	t.Helper()
	s, err := decodeYAML(text)
	require.NoError(t, err)
	return s
}

const sample = `
displayName: Research
groups: [a, "cn=b,dc=x"]
default: false
priority: -3
cpu: {min: 1, max: "4", unknown: {x: 1.5}}
memory: {min: 1Gi, max: 8Gi, requestRatio: "0.5"}
images: [{id: one, image: i:1}, {id: two, image: i:2, hidden: true}]
kernels: {allowed: [k], gpuPool: 0, keep: {enabled: true}}
storage: {}
ofALaterRelease: [1, 2]
`

// TestAFormThatNobodyTouchesChangesNothing, whatever is in the spec.
func TestAFormThatNobodyTouchesChangesNothing(t *testing.T) {
	for _, text := range []string{sample, "{}", "groups: []\nkernels: {}", "groups: [x]\nkernels: {allowed: []}\ndefault: true\nhelpText: \"two\\nlines\"\nimages: null"} {
		before := spec(t, text)
		form := Fill(before)
		after, faults := form.Spec(before)
		assert.Empty(t, faults)
		assert.Equal(t, before, after, text)
		assert.Empty(t, Patch(before, after))
		assert.Empty(t, Changes(before, after))
		for name, value := range form {
			form[name] = " " + value + "\r\n" // as browsers send it
		}
		form[FieldRest] = Fill(before)[FieldRest]
		after, faults = form.Spec(before)
		assert.Empty(t, faults)
		assert.Equal(t, before, after, text)
	}
}

func TestWhatAFormChanges(t *testing.T) {
	before := spec(t, sample)
	form := Fill(before)
	assert.Equal(t, "a\ncn=b,dc=x", form["groups"])
	assert.Equal(t, "1", form["cpu.min"])
	assert.NotContains(t, form[FieldRest], "gpuPool")
	form.AddLines("groups", []string{"a", " c ", "", "d\ne"})
	form["default"], form["priority"], form["kernels.gpuPool"], form["kernels.gpusPerUser"] = "true", "", "7", "2"
	after, faults := form.Spec(before)
	require.Empty(t, faults)
	assert.Equal(t, Spec{
		"groups": []any{"a", "cn=b,dc=x", "c"}, "default": true, "priority": nil, "kernels": Spec{"gpuPool": int64(7), "gpusPerUser": int64(2)},
	}, Patch(before, after))
	assert.Equal(t, after, Apply(before, Patch(before, after)))
	var fields []string
	for _, c := range Changes(before, after) {
		fields = append(fields, c.Field)
	}
	assert.Equal(t, []string{"default", "groups", "kernels.gpuPool", "kernels.gpusPerUser", "priority"}, fields)
}

func TestChangesOfLists(t *testing.T) {
	before := spec(t, "images: [{id: one, image: i:1}, {id: two, image: i:2}]\nenv: [{name: A, value: x}]\nnodeSelector: {a.b/c: d}")
	after := spec(t, "images: [{id: two, image: i:2}, {id: one, image: i:3}]\nnodeSelector: {a.b/c: e}")
	text := func(s string) *string { return &s }
	assert.Equal(t, []Change{
		{"env", text("A"), nil}, {"env[A].name", text("A"), nil}, {"env[A].value", text("x"), nil},
		{"images", text("one\ntwo"), text("two\none")}, {"images[one].image", text("i:1"), text("i:3")},
		{`nodeSelector."a.b/c"`, text("d"), text("e")},
	}, Changes(before, after))
}

// TestMineOverTheirs: what was not mine to change stays theirs.
func TestMineOverTheirs(t *testing.T) {
	base := spec(t, "priority: 1\nkernels: {gpusPerUser: 1, perUser: 2}\nhelpText: x")
	mine := spec(t, "priority: 1\nkernels: {gpusPerUser: 5, perUser: 2}")
	theirs := spec(t, "priority: 9\nkernels: {gpusPerUser: 3, perUser: 4}\nhelpText: y\ndisplayName: new")
	before := Encode(theirs)
	assert.Equal(t, spec(t, "priority: 9\nkernels: {gpusPerUser: 5, perUser: 4}\ndisplayName: new"), Apply(theirs, Patch(base, mine)))
	assert.Equal(t, before, Encode(theirs), "nothing is changed in place")
}

func TestTextThatIsNothing(t *testing.T) {
	for name, row := range map[string]struct {
		form Form
		want Fault
	}{
		"number": {Form{"priority": "1.5"}, Fault{Field: "priority", Problem: ProblemNumber}},
		"huge":   {Form{"priority": "99999999999999999999"}, Fault{Field: "priority", Problem: ProblemNumber}},
		"twice":  {Form{FieldRest: "cpu: {min: 1}"}, Fault{Field: FieldRest, Path: "cpu.min", Problem: ProblemTwice}},
	} {
		_, faults := row.form.Spec(Spec{})
		assert.Equal(t, []Fault{row.want}, faults, name)
	}
	for _, text := range []string{"a: [", "- a", "text", "a: 1\na: 2", "1", "!!binary x"} {
		_, faults := Form{FieldRest: text}.Spec(Spec{})
		require.Len(t, faults, 1, text)
		assert.Equal(t, ProblemYAML, faults[0].Problem)
	}
}

func TestFaultsAtTheirInputs(t *testing.T) {
	for path, want := range map[string]Fault{
		"spec.cpu.max":           {Field: "cpu.max", Text: "w"},
		"spec.groups[1]":         {Field: "groups", Path: "groups[1]", Text: "w"},
		"spec.cpu":               {Field: "cpu.min", Path: "cpu", Text: "w"},
		"spec.images[0].id":      {Field: FieldRest, Path: "images[0].id", Text: "w"},
		"spec.kernels.keep":      {Field: FieldRest, Path: "kernels.keep", Text: "w"},
		"metadata.name":          {Field: FieldName, Text: "w"},
		"metadata.labels":        {Path: "metadata.labels", Text: "w"},
		"spec":                   {Path: "spec", Text: "w"},
		"spec.kernels.allowed[]": {Field: "kernels.allowed", Path: "kernels.allowed[]", Text: "w"},
	} {
		assert.Equal(t, want, FaultAt(path, "w"), path)
	}
	one := FaultsOf(field.ErrorList{field.Required(field.NewPath("spec", "cpu", "max"), "say it")})
	assert.Equal(t, []Fault{{Field: "cpu.max", Text: "Required value: say it"}}, one)
	assert.Len(t, Merge(one, []Fault{{Field: "cpu.max", Text: "the API server's words"}, {Field: "cpu.min"}}), 2)
}

func TestBudgetsAreLines(t *testing.T) {
	before := spec(t, `kernels: {budget: [{resource: nvidia.com/gpu, hours: 40, per: user, window: {rolling: 168h}}, {resource: cpu, hours: "0.5", per: group, window: {calendar: month, timeZone: Europe/Berlin}}], onBudget: any}`)
	form := Fill(before)
	assert.Equal(t, "nvidia.com/gpu 40 user 168h\ncpu 0.5 group month Europe/Berlin", form["kernels.budget"])
	assert.Empty(t, form[FieldRest])
	after, faults := form.Spec(before)
	require.Empty(t, faults)
	assert.Equal(t, before, after)
	form["kernels.budget"] = " memory  8 user day \n\n"
	after, faults = form.Spec(before)
	require.Empty(t, faults)
	assert.Equal(t, []any{Spec{"resource": "memory", "hours": "8", "per": "user", "window": Spec{"calendar": "day"}}}, after["kernels"].(Spec)["budget"])
	form["kernels.budget"] = ""
	after, _ = form.Spec(before)
	assert.NotContains(t, after["kernels"], "budget")
	form["kernels.budget"] = "nvidia.com/gpu 40"
	_, faults = form.Spec(before)
	assert.Equal(t, []Fault{{Field: "kernels.budget", Problem: ProblemBudget}}, faults)

	// what no line can say stays in the YAML
	odd := spec(t, `kernels: {budget: [{resource: nvidia.com/gpu, hours: 40, per: user, window: {rolling: 168h, calendar: week}}]}`)
	form = Fill(odd)
	assert.Empty(t, form["kernels.budget"])
	after, faults = form.Spec(odd)
	assert.Empty(t, faults)
	assert.Equal(t, odd, after)
	assert.Equal(t, "kernels.budget", FaultAt("spec.kernels.budget[1].window.timeZone", "Invalid").Field)
}
