package upgrade

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestAgainst: what is too far apart is named with both releases, and nothing else stands in the way.
func TestAgainst(t *testing.T) {
	t.Parallel()
	good := func() *Picture {
		return &Picture{
			Running: "0.1.4", Service: Workload{Namespace: ns, Name: "elastichub", Image: "registry/elastichub:0.1.4"},
			Gateways: []Workload{{Namespace: ns, Name: "default", Image: "registry:5000/elastichub:0.1.4@sha256:00"}},
			Agents:   map[string]string{"lab/a": "registry:5000/elastichub", "lab/b": "registry/elastichub:763712175c55", "lab/c": "", "lab/d": "registry/elastichub:0.2.0"},
			Plan:     &Plan{Version: "0.2.0"},
			Refused:  []Refused{{Kind: "JupyterNotebook", Namespace: ns, Name: "old", Why: "spec: wrong", Already: true}},
		}
	}
	for name, row := range map[string]struct {
		change func(*Picture)
		want   []string
	}{
		"neighbours": {func(*Picture) {}, nil},
		"the same":   {func(p *Picture) { p.Running = "0.2.0" }, nil},
		"a later patch runs": {func(p *Picture) { p.Running = "0.2.9" }, []string{
			"the release that runs is 0.2.9, and this is the older 0.2.0: helm rollback goes back (docs/upgrade.md)"}},
		"nobody says what runs": {func(p *Picture) { p.Running = "" }, []string{
			"the release that runs says no version in the label app.kubernetes.io/version of its Deployment"}},
		"another major": {func(p *Picture) { p.Running = "1.1.0" }, []string{
			"the release that runs is 1.1.0, and this is the older 0.2.0: helm rollback goes back (docs/upgrade.md)"}},
		"a gateway of long ago": {func(p *Picture) { p.Gateways[0].Image = "registry:5000/elastichub:0.0.3" }, []string{
			"the gateway lab/default is of 0.0.3, too far from 0.2.0: a release works with the same and with the former minor one, so upgrade by way of those between"}},
		"a newer agent": {func(p *Picture) { p.Agents["lab/e"] = "elastichub:0.4.0" }, []string{
			"the agent in the kernel's Pod lab/e is of 0.4.0, too far from 0.2.0 and newer: take the binary and the chart of its release"}},
		"an object": {func(p *Picture) { p.Refused[0].Already = false }, []string{
			"the new kind would refuse JupyterNotebook lab/old: spec: wrong"}},
		"another chart": {func(p *Picture) { p.Plan.Version = "0.1.0" }, []string{
			"Helm was given a chart of 0.1.0, and this is elastichub 0.2.0: take both of one release"}},
		"no chart of ours": {func(p *Picture) { p.Plan.Version = "" }, []string{
			"Helm was given a chart of something else, and this is elastichub 0.2.0: take both of one release"}},
		"Helm": {func(p *Picture) { p.Plan.Refused = "no" }, []string{"Helm refuses: no"}},
	} {
		p := good()
		row.change(p)
		assert.Equal(t, row.want, p.against("0.2.0"), name)
	}
}

func TestTell(t *testing.T) {
	t.Parallel()
	p := &Picture{
		Running: "0.1.0", Chart: "elastichub-0.1.0", Service: Workload{Image: "a:0.1.0"}, Objects: 3, Warm: 2, Notebooks: 5,
		Agents: map[string]string{"lab/a": "a:0.1.0", "lab/b": "a:0.0.9"}, Plan: &Plan{Command: "helm upgrade"},
		Refused: []Refused{{Kind: "JupyterNotebook", Namespace: ns, Name: "old", Why: "spec: wrong", Already: true}},
	}
	assert.Equal(t, []string{
		"elastichub 0.1.0 runs (elastichub-0.1.0), and this is 0.2.0.",
		"Of the 3 objects that are stored 1 are not taken.",
		"Refused before and after: JupyterNotebook lab/old: spec: wrong",
		"Helm rolls nothing: helm upgrade",
		"Kernels that nobody has, 2, are made anew then.",
		"Not touched: 2 kernels that run, which keep their agent until they are parked (1 have an older one already), and 5 notebook servers.",
	}, p.tell("0.2.0"))
}

// TestDeploymentsThatChange: templates are compared, and nothing else.
func TestDeploymentsThatChange(t *testing.T) {
	t.Parallel()
	const former = "---\nkind: Deployment\nmetadata: {name: a, labels: {x: one}}\nspec: {replicas: 1, template: {spec: {image: one}}}\n" +
		"---\nkind: Deployment\nmetadata: {name: b}\nspec: {template: {spec: {image: one}}}\n---\nkind: DaemonSet\nmetadata: {name: c}\nspec: {template: {}}\n---\nkind: Service\n"
	next := `{"manifest": "---\nkind: Deployment\nmetadata: {name: a, labels: {x: two, app.kubernetes.io/name: elastichub, app.kubernetes.io/component: service, app.kubernetes.io/version: 0.2.0}}\nspec: {replicas: 2, template: {spec: {image: one}}}\n` +
		`---\nkind: Deployment\nmetadata: {name: b}\nspec: {template: {spec: {image: two}}}\n---\nkind: StatefulSet\nmetadata: {name: d}\nspec: {template: {}}\n"}`
	p := &Plan{}
	assert.NoError(t, p.compare([]byte(former), []byte(next)))
	assert.Equal(t, []string{"DaemonSet c", "Deployment b", "StatefulSet d"}, p.Rolls)
	assert.Equal(t, "0.2.0", p.Version)
	assert.Error(t, p.compare([]byte(former), []byte("no JSON")))
}
