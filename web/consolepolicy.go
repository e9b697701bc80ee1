package web

import (
	_ "embed"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/policyedit"
)

//go:embed consolepick.js
var consolePickJS []byte

// Assets of single pages.
var (
	previewAsset = newAsset("spawnform", "css", "text/css; charset=utf-8", []byte(spawnFormCSS))
	pickAsset    = newAsset("consolepick", "js", "text/javascript; charset=utf-8", consolePickJS)
)

// policyURL is a policy's page, or one below it.
func (c Console) policyURL(name, below string) templ.SafeURL {
	address := c.Base + "policies/" + url.PathEscape(name)
	if below != "" {
		address += "/" + below
	}
	return templ.SafeURL(address)
}

func (c Console) copyURL(name string) templ.SafeURL {
	return templ.SafeURL(c.Base + "newpolicy?copy=" + url.QueryEscape(name))
}

// PolicyView is one policy's page.
type PolicyView struct {
	Policy   holdings.Policy
	Budgets  []Budget
	Manager  policyedit.Manager
	Affected policyedit.Affected
	YAML     string
	// Version is what a deletion sends back.
	Version string
	// NoReason: one was left out.
	NoReason bool
}

// DirectoryGroups are some groups of the directory.
type DirectoryGroups struct {
	// Listed: a source can list them. Down: it does not answer. More: there are others.
	Listed, Down, More bool
	Search             string
	// Unnamed: those that a policy names are left out.
	Unnamed bool
	All     []DirectoryGroup
}

// DirectoryGroup is one of them, with the policies that name it.
type DirectoryGroup struct {
	groups.ListedGroup
	// Entry is how a policy may name it.
	Entry    string
	Policies []string
}

func (m *Messages) groupMembers(g DirectoryGroup) string {
	n := strconv.Itoa(g.Members)
	text := m.count(m.Members, n)
	if g.More {
		text = m.say(m.MembersMore, "n", text)
	}
	return text
}

// PolicyForm is the form of a policy.
type PolicyForm struct {
	// Name is the object's, empty while a new one has none.
	Name string
	New  bool
	policyedit.Form
	Faults []policyedit.Fault
	// Version and Base are what was read when the form was opened.
	Version, Base string
	Manager       policyedit.Manager
	Groups        DirectoryGroups
}

// action is where the form goes.
func (f PolicyForm) action(c Console) templ.SafeURL {
	if f.New {
		return templ.SafeURL(c.Base + "newpolicy")
	}
	return c.policyURL(f.Name, "edit")
}

func (f PolicyForm) title(m *Messages) string {
	if f.New {
		return m.PolicyNew.plain()
	}
	return m.say(m.PolicyEditOf, "name", f.Name)
}

// picked reports whether a group is in the form already.
func (f PolicyForm) picked(g DirectoryGroup) bool {
	return slices.Contains(strings.Split(f.Form["groups"], "\n"), g.Entry)
}

// hidden are the fields of the form for a page that does not show them.
func (f PolicyForm) hidden() [][2]string {
	all := [][2]string{{"version", f.Version}, {"base", f.Base}}
	if f.New {
		all = append(all, [2]string{policyedit.FieldName, f.Name})
	}
	for _, each := range policyedit.Fields {
		if f.Form[each.Path] != "" {
			all = append(all, [2]string{each.Path, f.Form[each.Path]})
		}
	}
	return append(all, [2]string{policyedit.FieldRest, f.Form[policyedit.FieldRest]})
}

// PolicyReview shows what would be saved.
type PolicyReview struct {
	PolicyForm
	Changes []policyedit.Change
	// Theirs is what somebody else has saved meanwhile.
	Theirs   []policyedit.Change
	YAML     string
	Affected policyedit.Affected
	Reason   string
	NoReason bool
}

// mayBeSaved: there is something to save, and it would stay.
func (r PolicyReview) mayBeSaved() bool { return len(r.Changes) > 0 && r.Manager.Name == "" }

// input is one of the form's.
type input struct {
	name, label, hint, value string
	kind                     policyedit.Kind
	required                 bool
	faults                   []string
}

func (i input) id() string { return "p-" + strings.ReplaceAll(i.name, ".", "-") }

func (i input) faultID() string {
	if len(i.faults) == 0 {
		return ""
	}
	return i.id() + "-fault"
}

// inputPart is a part of the form.
type inputPart struct {
	title  string
	inputs []input
}

func (f PolicyForm) parts(m *Messages) []inputPart {
	amounts := func(path string, what message, hint message) []input {
		var all []input
		for _, each := range []struct {
			key   string
			which message
		}{{"min", m.EditMin}, {"max", m.EditMax}, {"step", m.EditStep}, {"default", m.EditChosen}, {"requestRatio", m.EditRatio}} {
			i := input{name: path + "." + each.key, label: m.say(m.EditAmount, "what", what.plain(), "which", each.which.plain())}
			if each.key == "min" {
				i.hint = hint.plain()
			}
			i.required = each.key == "min" || each.key == "max"
			all = append(all, i)
		}
		return all
	}
	who := []input{
		{name: "displayName", label: m.EditDisplayName.plain()},
		{name: "groups", label: m.EditGroups.plain()},
		{name: "default", label: m.EditDefault.plain()},
		{name: "priority", label: m.EditPriority.plain(), hint: m.EditPriorityHint.plain()},
	}
	if f.New {
		who = append([]input{{name: policyedit.FieldName, label: m.EditName.plain(), hint: m.EditNameHint.plain(), required: true}}, who...)
	}
	server := slices.Concat(amounts("cpu", m.CPU, m.EditCPUHint), amounts("memory", m.Memory, m.EditMemoryHint), []input{
		{name: "serversPerUser", label: m.EditServers.plain()},
		{name: "serverIdleSeconds", label: m.EditServerIdle.plain()},
		{name: "maxRunSeconds", label: m.EditServerRun.plain()},
		{name: "helpText", label: m.EditHelp.plain()},
	})
	kernels := []input{
		{name: "kernels.allowed", label: m.EditAllowed.plain()},
		{name: "kernels.gpusPerKernel", label: m.EditPerKernel.plain()},
		{name: "kernels.gpusPerUser", label: m.EditPerUser.plain()},
		{name: "kernels.gpuPool", label: m.EditPool.plain()},
		{name: "kernels.gpuResource", label: m.EditResource.plain()},
		{name: "kernels.perUser", label: m.EditKernels.plain()},
		{name: "kernels.atLimit", label: m.EditAtLimit.plain()},
		{name: "kernels.idleSeconds", label: m.EditKernelIdle.plain()},
		{name: "kernels.maxRunSeconds", label: m.EditKernelRun.plain()},
		{name: "kernels.weight", label: m.EditWeight.plain()},
		{name: "kernels.budget", label: m.EditBudget.plain(), hint: m.EditBudgetHint.plain()},
		{name: "kernels.onBudget", label: m.EditOnBudget.plain()},
	}
	rest := []input{{name: policyedit.FieldRest, label: m.EditRest.plain(), hint: m.EditRestHint.plain(), kind: policyedit.Area}}
	parts := []inputPart{{m.PartWho.plain(), who}, {m.PartServer.plain(), server}, {m.PartKernels.plain(), kernels}, {m.PartRest.plain(), rest}}
	for _, part := range parts {
		for i := range part.inputs {
			in := &part.inputs[i]
			in.value = f.Form[in.name]
			if in.name == policyedit.FieldName {
				in.value = f.Name
			}
			for _, field := range policyedit.Fields {
				if field.Path == in.name {
					in.kind = field.Kind
				}
			}
			for _, fault := range f.Faults {
				if fault.Field == in.name {
					in.faults = append(in.faults, m.policyFault(fault))
				}
			}
		}
	}
	return parts
}

// rows of an area for text.
func (i input) rows() string {
	n := strings.Count(i.value, "\n") + 2
	if i.name == policyedit.FieldRest {
		return strconv.Itoa(min(max(n, 10), 30))
	}
	return strconv.Itoa(min(max(n, 3), 12))
}

// policyFault is what is wrong, in words.
func (m *Messages) policyFault(f policyedit.Fault) string {
	switch f.Problem {
	case policyedit.ProblemNumber:
		return m.ProblemNumber.plain()
	case policyedit.ProblemBudget:
		return m.ProblemBudget.plain()
	case policyedit.ProblemYAML:
		return m.say(m.ProblemYAML, "text", f.Text)
	case policyedit.ProblemTwice:
		return m.say(m.ProblemTwice, "path", f.Path)
	case policyedit.ProblemTaken:
		return m.ProblemTaken.plain()
	}
	if f.Path != "" {
		return f.Path + ": " + f.Text
	}
	return f.Text
}

// faultLink is one of the list above the form.
type faultLink struct{ href, label, text string }

func (f PolicyForm) faultLinks(m *Messages) []faultLink {
	labels := map[string]input{}
	for _, part := range f.parts(m) {
		for _, in := range part.inputs {
			labels[in.name] = in
		}
	}
	var all []faultLink
	for _, fault := range f.Faults {
		link := faultLink{text: m.policyFault(fault)}
		if in, has := labels[fault.Field]; has {
			link.href, link.label = "#"+in.id(), in.label
		}
		all = append(all, link)
	}
	return all
}

// affectedText says in a sentence who has something by a policy.
func (m *Messages) affectedText(a policyedit.Affected) string {
	if a.UsersTotal == 0 {
		return m.AffectedNobody.plain()
	}
	users := m.list(a.Users)
	if more := a.UsersTotal - len(a.Users); more > 0 {
		users = m.say(m.AffectedMore, "users", users, "n", strconv.Itoa(more))
	}
	return m.say(m.AffectedSome, "servers", strconv.Itoa(a.Servers), "kernels", strconv.Itoa(a.Kernels), "users", users)
}

func (m *Messages) affectedElse(a policyedit.Affected) string {
	if a.Default == "" {
		return m.AffectedNothing.plain()
	}
	return m.say(m.AffectedDefault, "policy", a.Default)
}

func (m *Messages) managedText(manager policyedit.Manager) string {
	return m.say(m.PolicyManaged, "tool", manager.Name, "sign", manager.Sign)
}

// was is a value of a change; what there is none of is a dash.
func was(value *string) string {
	if value == nil || *value == "" {
		return "—"
	}
	return *value
}

// ExplainView says what somebody may have.
type ExplainView struct {
	// User is empty while nobody is asked for.
	User string
	groups.Explanation
	// Form is what they see, nil where they get none.
	Form *SpawnFormView
}

// why is why there is no form.
func (v ExplainView) why(m *Messages) string {
	if sentence, ok := m.Refusal(v.Err); ok {
		return sentence
	}
	return m.FaultInternal.plain()
}

// claim is why a policy counts, or does not.
func (m *Messages) claim(p groups.PolicyExplanation) string {
	text := m.ClaimNone
	switch p.Claim {
	case groups.ClaimFaults:
		text = m.ClaimFaults
	case groups.ClaimBlocked:
		text = m.ClaimBlocked
	case groups.ClaimTogether:
		text = m.ClaimTogether
	case groups.ClaimHighest:
		text = m.ClaimHighest
	case groups.ClaimDefault:
		text = m.ClaimDefault
	case groups.ClaimBehind:
		text = m.ClaimBehind
	case groups.ClaimNone:
	}
	return m.say(text, "other", p.Other)
}

func (v ExplainView) groupNames(m *Messages) string {
	var names []string
	for _, g := range v.Groups {
		name := g.Name
		if g.DN != "" {
			name += " (" + g.DN + ")"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return m.ExplainNoGroups.plain()
	}
	return m.list(names)
}

func (v ExplainView) title(m *Messages) string {
	if v.User == "" {
		return m.ExplainTitle.plain()
	}
	return m.say(m.ExplainOf, "user", v.User)
}

func (m *Messages) policyTiles(p holdings.Policy) []tile {
	n := func(n int32) string { return strconv.Itoa(int(n)) }
	return []tile{
		{m.RunningServers.plain(), n(p.Servers)}, {m.RunningKernels.plain(), n(p.Kernels)}, {m.WaitingKernels.plain(), n(p.Waiting)},
		{m.ColSize.plain(), m.size(p.CPU, p.Memory)},
	}
}
