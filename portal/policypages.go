package portal

import (
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/a-h/templ"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/policyedit"
	"github.com/elastichub/elastichub/web"
)

// What a button of the form asks for.
const (
	actFind = "find"
	actEdit = "edit"
	actSave = "save"
	// All else asks for the change to be shown.
)

// newPolicyRest is what a new policy has in the YAML: one image is needed.
const newPolicyRest = `images:
- id: stable
  displayName: Stable
  image: registry.example.org/notebook:1
storage:
  home:
    size: 10Gi
`

// viewOf is a policy's page.
func (p *Portal) viewOf(r *request) (web.PolicyView, error) {
	o, err := p.readPolicy(r.Context(), r.PathValue("name"))
	if err != nil {
		return web.PolicyView{}, err
	}
	known, err := o.typed()
	if err != nil {
		return web.PolicyView{}, err
	}
	v := web.PolicyView{Manager: policyedit.ManagerOf(o), YAML: o.yaml(), Version: o.version()}
	v.Policy = holdings.PoliciesOf([]v1alpha1.GroupPolicy{known})[0]
	if v.Budgets, err = p.budgetsOf(r.Context(), known.Name); err != nil { // a page without them is better than none
		p.deps.Log.WarnContext(r.Context(), "budgets are not shown", "request", r.id, "error", err)
	}
	v.Affected, err = p.affectedBy(r, o)
	return v, err
}

func (p *Portal) policyPage(r *request) error {
	v, err := p.viewOf(r)
	if err != nil {
		return err
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.OnePolicy(c, v) })
}

func (p *Portal) deletePolicyPage(r *request) error {
	if err := p.mayEdit(); err != nil {
		return err
	}
	v, err := p.viewOf(r)
	if err != nil {
		return err
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.DeletePolicy(c, v) })
}

func (p *Portal) submitDeletion(r *request) error {
	if err := p.mayEdit(); err != nil {
		return err
	}
	reason, err := r.reason()
	if err != nil {
		return err
	}
	if reason == "" {
		v, err := p.viewOf(r)
		if err != nil {
			return err
		}
		v.NoReason = true
		return p.page(r, http.StatusUnprocessableEntity, func(c web.Console) templ.Component { return web.DeletePolicy(c, v) })
	}
	o, err := p.readPolicy(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if err := p.remove(r, o, r.PostForm.Get("version"), reason); err != nil {
		return err
	}
	http.Redirect(r.w, r.Request, p.config.BasePath+"policies?done="+string(web.DonePolicyDeleted), http.StatusSeeOther)
	return nil
}

// reason is the form's, one line.
func (r *request) reason() (string, error) {
	w, err := r.readWish()
	return w.Reason, err
}

func (p *Portal) editPolicyPage(r *request) error {
	if err := p.mayEdit(); err != nil {
		return err
	}
	o, err := p.readPolicy(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return p.formPage(r, http.StatusOK, web.PolicyForm{
		Name: o.GetName(), Form: policyedit.Fill(o.spec), Version: o.version(), Base: policyedit.Encode(o.spec), Manager: policyedit.ManagerOf(o),
	})
}

func (p *Portal) newPolicyPage(r *request) error {
	if err := p.mayEdit(); err != nil {
		return err
	}
	f := web.PolicyForm{New: true, Base: "{}", Form: policyedit.Form{policyedit.FieldRest: newPolicyRest}}
	if from := r.URL.Query().Get("copy"); from != "" {
		o, err := p.readPolicy(r.Context(), from)
		if err != nil {
			return err
		}
		f.Form = policyedit.Fill(o.spec)
	}
	return p.formPage(r, http.StatusOK, f)
}

// formPage shows the form; search is for groups.
func (p *Portal) formPage(r *request, status int, f web.PolicyForm) error {
	var err error
	if f.Groups.Search != "" {
		f.Groups, err = p.directoryGroups(r, f.Groups.Search, mostPicked)
	} else {
		f.Groups.Listed = p.listsGroups()
	}
	if err != nil {
		return err
	}
	return p.page(r, status, func(c web.Console) templ.Component { return web.EditPolicy(c, f) })
}

// readForm reads what a page of the form has sent.
func (r *request) readForm() (web.PolicyForm, policyedit.Spec, error) {
	f := web.PolicyForm{Name: r.PathValue("name"), Form: policyedit.Form{}, Version: r.PostForm.Get("version"), Base: r.PostForm.Get("base")}
	for _, values := range r.PostForm {
		for _, value := range values {
			if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
				return f, nil, &malformed{"The form is not UTF-8."}
			}
		}
	}
	for _, each := range policyedit.Fields {
		f.Form[each.Path] = r.PostForm.Get(each.Path)
	}
	f.Form[policyedit.FieldRest] = r.PostForm.Get(policyedit.FieldRest)
	f.Form.AddLines("groups", r.PostForm["pick"])
	if f.Name == "" {
		f.New, f.Name = true, strings.TrimSpace(r.PostForm.Get(policyedit.FieldName))
	}
	base, err := policyedit.Decode([]byte(f.Base))
	if err != nil {
		return f, nil, &malformed{"The form lacks what it was made from."}
	}
	return f, base, nil
}

// submitPolicy is every button of the form and of the page that shows the change.
func (p *Portal) submitPolicy(r *request) error {
	if err := p.mayEdit(); err != nil {
		return err
	}
	f, base, err := r.readForm()
	if err != nil {
		return err
	}
	o := newPolicy(p.config.Namespace, f.Name, policyedit.Spec{})
	if !f.New {
		if o, err = p.readPolicy(r.Context(), f.Name); err != nil {
			return err
		}
		f.Manager = policyedit.ManagerOf(o)
	}
	act := r.PostForm.Get("act")
	switch act {
	case actFind:
		f.Groups.Search = r.PostForm.Get("find")
		if utf8.RuneCountInString(f.Groups.Search) > maxValue {
			return &malformed{"The search is too long."}
		}
		return p.formPage(r, http.StatusOK, f)
	case actEdit:
		return p.formPage(r, http.StatusOK, f)
	}
	mine, faults := f.Form.Spec(base)
	if f.New && f.Name == "" {
		faults = append(faults, policyedit.FaultAt("metadata.name", "Required value"))
	}
	if len(faults) > 0 {
		f.Faults = faults
		return p.formPage(r, http.StatusUnprocessableEntity, f)
	}
	review := web.PolicyReview{}
	if !f.New && o.version() != f.Version && !reflect.DeepEqual(o.spec, base) {
		// Somebody was faster: what is theirs stays, where it is not mine.
		review.Theirs = policyedit.Changes(base, o.spec)
		mine = policyedit.Apply(o.spec, policyedit.Patch(base, mine))
		f.Form = policyedit.Fill(mine)
	}
	f.Version, f.Base = o.version(), policyedit.Encode(o.spec)
	if f.New {
		f.Version = ""
	}
	made, faults, err := p.try(r.Context(), o, mine)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		f.Faults = faults
		return p.formPage(r, http.StatusUnprocessableEntity, f)
	}
	review.PolicyForm, review.Changes, review.YAML = f, policyedit.Changes(o.spec, made.spec), made.yaml()
	if review.Reason, err = r.reason(); err != nil {
		return err
	}
	if act != actSave || len(review.Theirs) > 0 {
		return p.reviewPage(r, http.StatusOK, review, made)
	}
	if review.Reason == "" {
		review.NoReason = true
		return p.reviewPage(r, http.StatusUnprocessableEntity, review, made)
	}
	_, err = p.save(r, o, mine, review.Reason)
	if told := faultsOf(err); told != nil {
		f.Faults = told
		return p.formPage(r, http.StatusUnprocessableEntity, f)
	}
	if err != nil {
		return err
	}
	http.Redirect(r.w, r.Request, p.config.BasePath+"policies/"+url.PathEscape(f.Name)+"?done="+string(web.DonePolicySaved), http.StatusSeeOther)
	return nil
}

func (p *Portal) reviewPage(r *request, status int, review web.PolicyReview, made policy) error {
	if len(review.Theirs) > 0 {
		status = http.StatusConflict
	}
	var err error
	if review.Affected, err = p.affectedBy(r, made); err != nil {
		return err
	}
	return p.page(r, status, func(c web.Console) templ.Component { return web.ReviewPolicy(c, review) })
}

// sought is a query parameter for people to search by.
func (r *request) sought(name string) (string, error) {
	text := r.URL.Query().Get(name)
	if utf8.RuneCountInString(text) > maxValue || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", &malformed{"A query parameter is too long, or not UTF-8."}
	}
	return text, nil
}

func (p *Portal) directoryPage(r *request) error {
	part, err := r.sought("q")
	if err != nil {
		return err
	}
	found, err := p.directoryGroups(r, part, mostListed)
	if err != nil {
		return err
	}
	if found.Unnamed = r.URL.Query().Get("of") == "unnamed"; found.Unnamed {
		found.All = unnamed(found.All)
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.Directory(c, found) })
}

// unnamed are the groups that no policy names.
func unnamed(all []web.DirectoryGroup) []web.DirectoryGroup {
	some := []web.DirectoryGroup{}
	for _, g := range all {
		if len(g.Policies) == 0 {
			some = append(some, g)
		}
	}
	return some
}

func (p *Portal) pickPage(r *request) error {
	part, err := r.sought("q")
	if err != nil {
		return err
	}
	found := web.DirectoryGroups{Listed: p.listsGroups()}
	if part != "" {
		if found, err = p.directoryGroups(r, part, mostPicked); err != nil {
			return err
		}
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.PickGroups(c, found) })
}

// explainedUser says what somebody may have; nobody is asked for without a name.
func (p *Portal) explainPage(r *request) error {
	user, err := r.sought("user")
	if err != nil {
		return err
	}
	v := web.ExplainView{User: strings.TrimSpace(user)}
	if v.User == "" {
		return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.Explain(c, v) })
	}
	v.Explanation = p.deps.Explain(r.Context(), v.User)
	p.noteFault(r, v.Explanation)
	if a := v.Allowance; a != nil {
		input := web.SpawnFormInput{Allowance: forms.Offered(*a, nil)}
		input.Values, input.Reset = forms.Prefill(input.Allowance, nil)
		h, err := p.lists.get(r.Context())
		if err != nil {
			return err
		}
		for _, s := range own(h.Servers, ownerOfServer, v.User) {
			if !s.Stopped {
				input.Servers++
			}
		}
		if p.deps.Lender != nil {
			if err := input.AddLent(r.Context(), p.deps.Lender, v.User); err != nil {
				p.deps.Log.WarnContext(r.Context(), "preview without what there is to lend", "request", r.id, "error", err)
			}
		}
		form := web.NewSpawnFormView(input, p.console(r).Msg)
		v.Form = &form
	}
	return p.page(r, http.StatusOK, func(c web.Console) templ.Component { return web.Explain(c, v) })
}

// noteFault keeps in the log what nobody is shown.
func (p *Portal) noteFault(r *request, e groups.Explanation) {
	if errors.Is(e.Err, groups.ErrUnavailable) {
		p.deps.Log.WarnContext(r.Context(), "explanation without groups", "request", r.id, "error", e.Err)
	}
}
