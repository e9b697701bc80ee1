package web

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/net/html"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/policyedit"
)

// editing is the console of an administrator who may change policies.
func editing(language string) Console {
	c := sampleConsole(language, true)
	c.Edits = true
	return c
}

func sampleAffected() policyedit.Affected {
	return policyedit.Affected{Users: []string{"alice", "bob"}, UsersTotal: 52, Servers: 40, Kernels: 13, Groups: []policyedit.NamedGroup{
		{Group: "ml-research", Members: new(7), Others: []string{"everybody", "gpu-users"}}, {Group: "cn=interns,ou=groups,dc=example"},
	}}
}

func samplePolicyViewOf(tool string) PolicyView {
	v := PolicyView{Policy: samplePolicies()[0], Budgets: sampleBudgets(false), Affected: sampleAffected(), YAML: "kind: GroupPolicy\nspec:\n  priority: 20\n", Version: "uid.3"}
	if tool != "" {
		v.Manager = policyedit.Manager{Name: tool, Sign: "app.kubernetes.io/managed-by=" + tool}
	}
	return v
}

func samplePolicyView() PolicyView { return samplePolicyViewOf("") }

func sampleDirectory() DirectoryGroups {
	return DirectoryGroups{Listed: true, More: true, Search: "re", Unnamed: true, All: []DirectoryGroup{
		{ListedGroup: groups.ListedGroup{Group: groups.Group{Name: "ml-research", DN: "cn=ml-research,ou=groups,dc=example"}, Members: 1}, Entry: "ml-research", Policies: []string{"ml-research", "everybody"}},
		{ListedGroup: groups.ListedGroup{Group: groups.Group{Name: "readers"}, Members: 1500, More: true}, Entry: "readers"},
	}}
}

func samplePolicyForm() PolicyForm {
	return PolicyForm{
		Name: "ml-research", Version: "uid.3", Base: "{}", Groups: sampleDirectory(),
		Form: policyedit.Form{"displayName": "ML", "groups": "ml-research", "default": "true", "priority": "x", "cpu.min": "500m", "cpu.max": "2", "kernels.atLimit": "refuse", "kernels.budget": "nvidia.com/gpu 40 user 168h", "kernels.onBudget": "any", "rest": "images: []\n"},
		Faults: []policyedit.Fault{
			{Field: "priority", Problem: policyedit.ProblemNumber}, {Field: "kernels.budget", Problem: policyedit.ProblemBudget}, {Field: "rest", Path: "images", Text: "Required value"},
			{Field: "rest", Path: "cpu", Problem: policyedit.ProblemTwice}, {Field: "groups", Path: "groups[0]", Text: "Invalid value"}, {Path: "metadata", Text: "of no field"},
		},
	}
}

func samplePolicyReview() PolicyReview {
	f := samplePolicyForm()
	f.Faults = nil
	return PolicyReview{
		PolicyForm: f, YAML: "kind: GroupPolicy\n", Affected: policyedit.Affected{Default: "everybody"}, NoReason: true,
		Changes: []policyedit.Change{{Field: "kernels.gpusPerUser", Old: new("2"), New: new("3")}, {Field: "helpText", Old: new("x")}},
		Theirs:  []policyedit.Change{{Field: "priority", New: new("9")}},
	}
}

func sampleExplanation() ExplainView {
	q := resource.MustParse
	amount := groups.Range{Min: q("1"), Max: q("4"), Step: q("1"), Default: q("1"), RequestRatio: 1}
	memory := groups.Range{Min: q("1Gi"), Max: q("4Gi"), Step: q("1Gi"), Default: q("1Gi"), RequestRatio: 1}
	a := groups.Allowance{
		Policies: []string{"ml-research"}, DisplayName: "ML", CPU: amount, Memory: memory, ServersPerUser: 2,
		Images: []v1alpha1.ImageChannel{{ID: "stable", Image: "lab:1", DisplayName: "Stable"}},
	}
	values, _ := forms.Prefill(a, nil)
	form := NewSpawnFormView(SpawnFormInput{Allowance: a, Values: values}, English())
	return ExplainView{User: "alice", Form: &form, Explanation: groups.Explanation{
		Groups: []groups.Group{{Name: "ml-research", DN: "cn=ml-research"}, {Name: "staff"}}, Allowance: &a, Origins: map[string][]string{"cpu.max": {"ml-research"}},
		Policies: []groups.PolicyExplanation{
			{Name: "ml-research", Priority: 20, Applied: true, Claim: groups.ClaimHighest, MatchedBy: []groups.Group{{Name: "ml-research"}}},
			{Name: "everybody", Claim: groups.ClaimBehind, Other: "ml-research", Faults: []string{"spec.cpu: wrong"}},
		},
	}}
}

func hostileAffected(evil string) policyedit.Affected {
	return policyedit.Affected{Users: []string{evil}, UsersTotal: 2, Default: evil, Groups: []policyedit.NamedGroup{{Group: evil, Others: []string{evil}}}}
}

func hostileForm(evil string) PolicyForm {
	f := PolicyForm{
		Name: evil, Version: evil, Base: evil, Form: policyedit.Form{"rest": evil, "kernels.atLimit": evil}, Manager: policyedit.Manager{Name: evil, Sign: evil},
		Groups: DirectoryGroups{Listed: true, Search: evil, All: []DirectoryGroup{{ListedGroup: groups.ListedGroup{Group: groups.Group{Name: evil, DN: evil}}, Entry: evil, Policies: []string{evil}}}},
		Faults: []policyedit.Fault{{Field: "rest", Path: evil, Text: evil}, {Text: evil}, {Field: evil, Problem: policyedit.ProblemYAML, Text: evil}},
	}
	for _, field := range policyedit.Fields {
		f.Form[field.Path] = evil
	}
	return f
}

func hasChild(node *html.Node, name string) bool {
	for child := range node.ChildNodes() {
		if child.Data == name {
			return true
		}
	}
	return false
}

func hasAttribute(node *html.Node, key string) bool {
	for _, a := range node.Attr {
		if a.Key == key {
			return true
		}
	}
	return false
}

// TestTheFormHasEveryField: one that is in Fields and not in the form would be removed
// from a policy by every change.
func TestTheFormHasEveryField(t *testing.T) {
	inputs := map[string]bool{}
	for _, part := range (PolicyForm{New: true}).parts(English()) {
		for _, in := range part.inputs {
			assert.False(t, inputs[in.name], "%s is there twice", in.name)
			inputs[in.name] = true
			assert.NotEmpty(t, in.label)
		}
	}
	for _, field := range policyedit.Fields {
		assert.True(t, inputs[field.Path], field.Path)
	}
	assert.Len(t, inputs, len(policyedit.Fields)+2, "and the name and the rest")
}

// TestEveryClaimHasWords of its own.
func TestEveryClaimHasWords(t *testing.T) {
	seen := map[string]groups.Claim{}
	for _, claim := range []groups.Claim{groups.ClaimNone, groups.ClaimFaults, groups.ClaimBlocked, groups.ClaimTogether, groups.ClaimHighest, groups.ClaimDefault, groups.ClaimBehind} {
		words := English().claim(groups.PolicyExplanation{Claim: claim, Other: "other"})
		assert.NotContains(t, seen, words)
		seen[words] = claim
	}
}
