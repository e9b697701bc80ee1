package portal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/policyedit"
	"github.com/elastichub/elastichub/web"
)

const (
	actionPolicyMade    action = "PolicyCreated"
	actionPolicyChanged action = "PolicyChanged"
	actionPolicyDeleted action = "PolicyDeleted"

	policyKind = "GroupPolicy"
	// Bounds of what is asked of the directory for one page.
	mostListed = 200
	mostPicked = 20
	mostSought = 20
	// tries: the controllers write into the status of policies all the time, so that a
	// write may have to be made again though nobody has changed anything.
	tries = 5
)

// PolicySettings say what may be done with policies.
type PolicySettings struct {
	// Edit: administrators make, change and delete them. The service's account needs
	// the rights for it.
	Edit bool
}

// policy is one as it is now, whatever is in it that this release does not know.
type policy struct {
	*unstructured.Unstructured
	spec policyedit.Spec
}

func newPolicy(namespace, name string, spec policyedit.Spec) policy {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(policyKind))
	o.SetNamespace(namespace)
	o.SetName(name)
	return policy{o, spec}
}

// readPolicy reads one from the API server. Error: errNotFound.
func (p *Portal) readPolicy(ctx context.Context, name string) (policy, error) {
	if !isObjectName(name) {
		return policy{}, errNotFound
	}
	o := newPolicy(p.config.Namespace, name, nil)
	err := p.deps.Live.Get(ctx, client.ObjectKey{Namespace: p.config.Namespace, Name: name}, o.Unstructured)
	if apierrors.IsNotFound(err) {
		err = errNotFound
	}
	o.spec, _ = o.Object["spec"].(policyedit.Spec)
	if o.spec == nil {
		o.spec = policyedit.Spec{}
	}
	return o, err
}

// version is another when somebody has changed the spec, or made the object anew; what the
// controllers write into the status changes nothing.
func (o policy) version() string { return holdings.Version(o) }

func (o policy) yaml() string {
	return policyedit.YAML(v1alpha1.GroupVersion.String(), policyKind, o, o.spec)
}

// typed is the policy as this release knows it; what cannot be read is told by it.
func (o policy) typed() (v1alpha1.GroupPolicy, error) {
	var known v1alpha1.GroupPolicy
	text, err := json.Marshal(o.Object)
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	return known, err
}

// try has a policy of that spec validated, by the API server without writing, and by the
// rules of groups. made is what it would be; o is a new one if it has no version.
func (p *Portal) try(ctx context.Context, o policy, spec policyedit.Spec) (made policy, faults []policyedit.Fault, err error) {
	changed := policy{o.DeepCopy(), spec}
	changed.Object["spec"] = runtime.DeepCopyJSONValue(spec)
	known, err := changed.typed()
	if err != nil {
		return policy{}, nil, err
	}
	faults = policyedit.FaultsOf(groups.ValidatePolicy(known))
	made, err = p.write(ctx, o, spec, client.DryRunAll)
	if told := faultsOf(err); told != nil {
		return changed, policyedit.Merge(faults, told), nil
	}
	return made, faults, err
}

// write makes or changes a policy, of which nothing else is touched. Errors: errConflict
// if somebody else was faster, errNotFound, or one that faultsOf knows.
func (p *Portal) write(ctx context.Context, o policy, spec policyedit.Spec, options ...writeOption) (made policy, err error) {
	if o.GetUID() == "" {
		made = newPolicy(o.GetNamespace(), o.GetName(), runtime.DeepCopyJSONValue(spec).(policyedit.Spec))
		all := []client.CreateOption{client.FieldOwner(fieldOwner), client.FieldValidation(metav1.FieldValidationStrict)}
		for _, option := range options {
			all = append(all, option)
		}
		err = p.deps.Client.Create(ctx, made.Unstructured, all...)
	} else {
		all := []client.PatchOption{client.FieldOwner(fieldOwner), client.FieldValidation(metav1.FieldValidationStrict)}
		for _, option := range options {
			all = append(all, option)
		}
		err = p.retried(ctx, o, func(o policy) error {
			body, err := json.Marshal(map[string]any{
				"metadata": map[string]any{"uid": o.GetUID(), "resourceVersion": o.GetResourceVersion()},
				"spec":     policyedit.Patch(o.spec, spec),
			})
			if err != nil {
				return err
			}
			made = policy{Unstructured: o.DeepCopy()}
			return p.deps.Client.Patch(ctx, made.Unstructured, client.RawPatch(types.MergePatchType, body), all...)
		})
	}
	made.spec, _ = made.Object["spec"].(policyedit.Spec)
	return made, err
}

// retried does something with a policy, and again while nothing but its status has
// changed meanwhile.
func (p *Portal) retried(ctx context.Context, o policy, do func(policy) error) error {
	version := o.version()
	for attempt := 1; ; attempt++ {
		err := do(o)
		switch {
		case apierrors.IsNotFound(err):
			return errNotFound
		case !apierrors.IsConflict(err):
			return err
		case attempt == tries:
			return fmt.Errorf("%w: %w", errConflict, err)
		}
		if o, err = p.readPolicy(ctx, o.GetName()); err != nil {
			return err
		}
		if o.version() != version {
			return errConflict
		}
	}
}

type writeOption interface {
	client.CreateOption
	client.PatchOption
}

// faultsOf are those that the API server tells of, nil if the error is another one.
func faultsOf(err error) []policyedit.Fault {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return nil
	}
	told := status.Status()
	switch {
	case apierrors.IsAlreadyExists(err):
		return []policyedit.Fault{{Field: policyedit.FieldName, Problem: policyedit.ProblemTaken}}
	case apierrors.IsBadRequest(err): // unknown fields of a new one, and values of another type
		return []policyedit.Fault{{Field: policyedit.FieldRest, Text: strictly(told.Message)}}
	case apierrors.IsForbidden(err):
		return []policyedit.Fault{{Text: told.Message}}
	case !apierrors.IsInvalid(err):
		return nil
	}
	var faults []policyedit.Fault
	if told.Details != nil {
		for _, cause := range told.Details.Causes {
			if cause.Field == "patch" { // unknown fields of a changed one
				faults = append(faults, policyedit.Fault{Field: policyedit.FieldRest, Text: strictly(cause.Message)})
				continue
			}
			faults = append(faults, policyedit.FaultAt(cause.Field, cause.Message))
		}
	}
	if len(faults) == 0 {
		faults = []policyedit.Fault{{Text: told.Message}}
	}
	return faults
}

// strictly leaves out the whole object, which stands before what the API server says of
// unknown fields; it says it in no other way.
func strictly(message string) string {
	if i := strings.LastIndex(message, "strict decoding error"); i >= 0 {
		return message[i:]
	}
	return message
}

// mayEdit refuses where policies are not changed here.
func (p *Portal) mayEdit() error {
	if !p.config.Policies.Edit {
		return errReadOnly
	}
	return nil
}

// save writes a change, or a new policy, and tells of it. Errors: errManaged, and those
// of write.
func (p *Portal) save(r *request, o policy, spec policyedit.Spec, reason string) (made policy, err error) {
	if policyedit.ManagerOf(o).Name != "" {
		return policy{}, errManaged
	}
	what := actionPolicyChanged
	if o.GetUID() == "" {
		what = actionPolicyMade
	}
	made, err = p.write(r.Context(), o, spec)
	told := o
	if err == nil {
		told = made
	}
	p.audit(r, told, what, wish{Reason: reason}, err, "changes", fieldsOf(policyedit.Changes(o.spec, spec)))
	return made, err
}

// fieldsOf are the names of the fields that change.
func fieldsOf(changes []policyedit.Change) []string {
	fields := make([]string, 0, len(changes))
	for _, c := range changes {
		fields = append(fields, c.Field)
	}
	return fields
}

// remove deletes a policy of a version, and tells of it. Errors as those of save.
func (p *Portal) remove(r *request, o policy, version, reason string) error {
	switch {
	case o.version() != version:
		return errConflict
	case policyedit.ManagerOf(o).Name != "":
		return errManaged
	}
	err := p.retried(r.Context(), o, func(o policy) error {
		uid, of := o.GetUID(), o.GetResourceVersion()
		return p.deps.Client.Delete(r.Context(), o.Unstructured, client.Preconditions{UID: &uid, ResourceVersion: &of})
	})
	p.audit(r, o, actionPolicyDeleted, wish{Reason: reason}, err)
	return err
}

// groupPolicies are all, as they are in the cache.
func (p *Portal) groupPolicies(ctx context.Context) ([]v1alpha1.GroupPolicy, error) {
	var all v1alpha1.GroupPolicyList
	err := p.deps.Client.List(ctx, &all, client.InNamespace(p.config.Namespace), client.UnsafeDisableDeepCopy)
	return all.Items, err
}

// affectedBy says who has something by a policy.
func (p *Portal) affectedBy(r *request, o policy) (policyedit.Affected, error) {
	known, err := o.typed()
	if err != nil {
		return policyedit.Affected{}, err
	}
	all, err := p.groupPolicies(r.Context())
	if err != nil {
		return policyedit.Affected{}, err
	}
	h, err := p.lists.get(r.Context())
	if err != nil {
		return policyedit.Affected{}, err
	}
	sought := 0
	return policyedit.AffectedBy(known, all, h.Servers, h.Kernels, func(entry string) *int {
		if sought++; !p.listsGroups() || sought > mostSought {
			return nil
		}
		return p.membersOf(r, entry)
	}), nil
}

func (p *Portal) listsGroups() bool { return p.deps.Directory != nil && p.deps.Directory.Lists() }

// membersOf counts those of the groups that an entry of a policy names; nil if nobody
// can tell.
func (p *Portal) membersOf(r *request, entry string) *int {
	found, more, err := p.deps.Directory.ListGroups(r.Context(), groups.EntryName(entry), mostListed)
	if err != nil || more {
		if err != nil {
			p.deps.Log.WarnContext(r.Context(), "members are not counted", "request", r.id, "error", err)
		}
		return nil
	}
	n, known := 0, false
	for _, g := range found {
		if !g.IsNamedBy([]string{entry}) {
			continue
		}
		if g.More {
			return nil
		}
		n, known = n+g.Members, true
	}
	if !known {
		return nil
	}
	return &n
}

// directoryGroups finds groups, with the policies that name them.
func (p *Portal) directoryGroups(r *request, part string, limit int) (web.DirectoryGroups, error) {
	d := web.DirectoryGroups{Search: part, Listed: p.listsGroups()}
	if !d.Listed {
		return d, nil
	}
	policies, err := p.groupPolicies(r.Context())
	if err != nil {
		return d, err
	}
	found, more, err := p.deps.Directory.ListGroups(r.Context(), part, limit)
	if err != nil {
		if !errors.Is(err, groups.ErrUnavailable) {
			return d, err
		}
		p.deps.Log.WarnContext(r.Context(), "groups are not listed", "request", r.id, "error", err)
		d.Down = true
		return d, nil
	}
	d.More = more
	ranked := holdings.PoliciesOf(policies)
	for _, g := range found {
		row := web.DirectoryGroup{ListedGroup: g, Entry: groups.EntryFor(g.Group, found, more), Policies: []string{}}
		for _, policy := range ranked {
			if g.IsNamedBy(policy.Groups) {
				row.Policies = append(row.Policies, policy.Name)
			}
		}
		d.All = append(d.All, row)
	}
	return d, nil
}
