package portal

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/policyedit"
)

// fault is one of a policy or a notebook, for clients of the API.
type fault struct {
	// Field is the path in the object, empty where it is about the whole.
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
}

// invalidPolicy is the error for a policy that would have faults.
type invalidPolicy struct{ faults []fault }

func (e *invalidPolicy) Error() string { return "portal: the policy would have faults" }

func newInvalidPolicy(found []policyedit.Fault) error {
	e := &invalidPolicy{}
	for _, f := range found {
		one := fault{Field: f.Path, Detail: f.Text}
		switch {
		case f.Field == policyedit.FieldName:
			one.Field = "metadata.name"
		case f.Path == "" && f.Field != "" && f.Field != policyedit.FieldRest:
			one.Field = "spec." + f.Field
		case f.Field != "" && f.Path != "":
			one.Field = "spec." + f.Path
		}
		if f.Problem == policyedit.ProblemTaken {
			one.Detail = "there is a policy of this name"
		}
		e.faults = append(e.faults, one)
	}
	return e
}

// policyAnswer is a policy with its spec.
type policyAnswer struct {
	Name    string              `json:"name"`
	Version string              `json:"version"`
	Manager *policyedit.Manager `json:"manager,omitempty"`
	Spec    policyedit.Spec     `json:"spec"`
}

func answerOf(o policy) policyAnswer {
	a := policyAnswer{Name: o.GetName(), Version: o.version(), Spec: o.spec}
	if m := policyedit.ManagerOf(o); m.Name != "" {
		a.Manager = &m
	}
	return a
}

func (p *Portal) wholePolicy(r *request) error {
	o, err := p.readPolicy(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return r.json(answerOf(o))
}

// policyWish is what a client of the API asks for.
type policyWish struct {
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Spec    json.RawMessage `json:"spec"`
	Reason  string          `json:"reason"`
	DryRun  bool            `json:"dry_run"`

	spec policyedit.Spec
}

func (r *request) readPolicyWish(withSpec bool) (policyWish, error) {
	var sent *policyWish
	if err := r.readJSON(&sent); err != nil {
		return policyWish{}, err
	}
	if sent == nil {
		return policyWish{}, &malformed{"The body is not the JSON object that this route takes."}
	}
	w := *sent
	if withSpec {
		var err error
		if w.spec, err = policyedit.Decode(w.Spec); err != nil {
			return w, &malformed{"The spec is not a JSON object."}
		}
	}
	if utf8.RuneCountInString(w.Reason) > acts.MaxReason || !utf8.ValidString(w.Reason) {
		return w, &malformed{"The reason must be at most 500 characters of UTF-8."}
	}
	if w.Reason = acts.Line(w.Reason); w.Reason == "" && !w.DryRun {
		return w, errNoReason
	}
	return w, nil
}

// written is what a write has changed, or would.
type written struct {
	policyAnswer
	Changes []policyedit.Change `json:"changes"`
	DryRun  bool                `json:"dry_run,omitempty"`
}

func (p *Portal) makePolicy(r *request) error {
	if err := p.mayEdit(); err != nil {
		return err
	}
	w, err := r.readPolicyWish(true)
	if err != nil {
		return err
	}
	if strings.TrimSpace(w.Name) == "" {
		return newInvalidPolicy([]policyedit.Fault{policyedit.FaultAt("metadata.name", "Required value")})
	}
	return p.carryOut(r, newPolicy(p.config.Namespace, w.Name, policyedit.Spec{}), w.spec, w)
}

func (p *Portal) changePolicy(r *request) error {
	if err := p.mayEdit(); err != nil {
		return err
	}
	w, err := r.readPolicyWish(true)
	if err != nil {
		return err
	}
	o, err := p.readPolicy(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if o.version() != w.Version {
		return errConflict
	}
	return p.carryOut(r, o, policyedit.Apply(o.spec, w.spec), w)
}

// carryOut validates, and writes unless it is to be tried only.
func (p *Portal) carryOut(r *request, o policy, spec policyedit.Spec, w policyWish) error {
	made, faults, err := p.try(r.Context(), o, spec)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return newInvalidPolicy(faults)
	}
	if !w.DryRun {
		made, err = p.save(r, o, spec, w.Reason)
		if told := faultsOf(err); told != nil {
			return newInvalidPolicy(told)
		}
		if err != nil {
			return err
		}
	}
	answer := written{answerOf(made), policyedit.Changes(o.spec, made.spec), w.DryRun}
	if answer.Changes == nil {
		answer.Changes = []policyedit.Change{}
	}
	return r.json(answer)
}

func (p *Portal) deletePolicy(r *request) error {
	if err := p.mayEdit(); err != nil {
		return err
	}
	w, err := r.readPolicyWish(false)
	if err != nil {
		return err
	}
	o, err := p.readPolicy(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if err := p.remove(r, o, w.Version, w.Reason); err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (p *Portal) affected(r *request) error {
	o, err := p.readPolicy(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	a, err := p.affectedBy(r, o)
	if err != nil {
		return err
	}
	return r.json(a)
}

// listedGroups are groups of the directory.
type listedGroups struct {
	// Listed: a source can list them.
	Listed bool `json:"listed"`
	// More: there are others.
	More  bool          `json:"more"`
	Items []listedGroup `json:"items"`
}

type listedGroup struct {
	Name    string `json:"name"`
	DN      string `json:"dn,omitempty"`
	Source  string `json:"source,omitempty"`
	Members int    `json:"members"`
	// MoreMembers than were counted are there.
	MoreMembers bool     `json:"more_members,omitempty"`
	Entry       string   `json:"entry"`
	Policies    []string `json:"policies"`
}

func (p *Portal) listGroups(r *request) error {
	if len(r.URL.RawQuery) > maxQuery {
		return &malformed{"The query string is too long."}
	}
	for name, got := range r.URL.Query() {
		if name != "q" || len(got) != 1 {
			return &malformed{"There is no query parameter of that name, or it is repeated."}
		}
	}
	part, err := r.sought("q")
	if err != nil {
		return err
	}
	found, err := p.directoryGroups(r, part, mostListed)
	if err != nil {
		return err
	}
	if found.Down {
		return groups.ErrUnavailable
	}
	answer := listedGroups{Listed: found.Listed, More: found.More, Items: []listedGroup{}}
	for _, g := range found.All {
		answer.Items = append(answer.Items, listedGroup{g.Name, g.DN, g.Source, g.Members, g.ListedGroup.More, g.Entry, g.Policies})
	}
	return r.json(answer)
}

// explained is what somebody may have, and why.
type explained struct {
	User     string            `json:"user"`
	Fault    string            `json:"fault,omitempty"`
	AsOf     *time.Time        `json:"as_of,omitempty"`
	Stale    bool              `json:"stale,omitempty"`
	Groups   []memberOf        `json:"groups"`
	Matching groups.Matching   `json:"matching"`
	Policies []explainedPolicy `json:"policies"`
	Values   []groups.Value    `json:"values"`
}

type memberOf struct {
	Name   string `json:"name"`
	DN     string `json:"dn,omitempty"`
	Source string `json:"source,omitempty"`
}

type explainedPolicy struct {
	Name      string       `json:"name"`
	Priority  int32        `json:"priority"`
	Applied   bool         `json:"applied"`
	Claim     groups.Claim `json:"claim"`
	Other     string       `json:"other,omitempty"`
	Because   string       `json:"because"`
	MatchedBy []string     `json:"matched_by"`
	Faults    []string     `json:"faults"`
}

func (p *Portal) explanation(r *request) error {
	user := r.PathValue("name")
	if utf8.RuneCountInString(user) > maxValue || !utf8.ValidString(user) {
		return errNotFound
	}
	e := p.deps.Explain(r.Context(), user)
	p.noteFault(r, e)
	answer := explained{User: user, Fault: faultWord(e.Err), Stale: e.Stale, Matching: e.Matching, Groups: []memberOf{}, Policies: []explainedPolicy{}, Values: e.Values()}
	if !e.AsOf.IsZero() {
		answer.AsOf = &e.AsOf
	}
	for _, g := range e.Groups {
		answer.Groups = append(answer.Groups, memberOf(g))
	}
	for _, each := range e.Policies {
		v := explainedPolicy{each.Name, each.Priority, each.Applied, each.Claim, each.Other, each.Because, []string{}, each.Faults}
		for _, g := range each.MatchedBy {
			v.MatchedBy = append(v.MatchedBy, g.Name)
		}
		if v.Faults == nil {
			v.Faults = []string{}
		}
		answer.Policies = append(answer.Policies, v)
	}
	if answer.Values == nil {
		answer.Values = []groups.Value{}
	}
	return r.json(answer)
}

// faultWord is why somebody gets nothing, in a word; an error's own text stays in the log.
func faultWord(err error) string {
	for _, each := range []struct {
		err  error
		word string
	}{
		{groups.ErrUnknownUser, "unknown-user"}, {groups.ErrNoPolicy, "no-policy"}, {groups.ErrInvalidPolicy, "invalid-policy"},
		{groups.ErrSignInAgain, "sign-in-again"}, {groups.ErrUnavailable, "directory-unavailable"},
	} {
		if errors.Is(err, each.err) {
			return each.word
		}
	}
	if err != nil {
		return "internal"
	}
	return ""
}
