package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/usage"
)

// manager is whom the API server books restored objects to.
const manager = "elastichub-restore"

// Outcome is what became of an object.
type Outcome string

// Outcomes.
const (
	Created     Outcome = "created"
	There       Outcome = "is there"       // an object of its name, which is left as it is
	Overwritten Outcome = "overwritten"    // as was asked, or an empty ledger
	Refused     Outcome = "cannot be made" // by the API server
)

// Options are how to restore.
type Options struct {
	// DryRun asks the API server for everything and has it store nothing.
	DryRun bool
	// Overwrite objects that are there with those of the archive.
	Overwrite bool
}

// Restored is what became of one object.
type Restored struct {
	Kind, Namespace, Name string
	Outcome               Outcome
	// Why an object is left or refused.
	Why string
}

// Report is what became of an archive.
type Report struct {
	Objects []Restored
	// Lost are sentences on what does not come back, or not by itself.
	Lost []string
}

// ErrNoKind: the cluster does not know a kind of the archive.
var ErrNoKind = errors.New("backup: the cluster has no such kind")

// Restore makes the objects of an archive, in the order in which they refer to each other. It
// may be repeated. An error means that it came no further than the report says.
func Restore(ctx context.Context, c client.Client, contents *Contents, options Options) (Report, error) {
	objects := slices.Concat(contents.Secrets, contents.Objects)
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return place(a.GroupVersionKind()) - place(b.GroupVersionKind())
	})
	r := &restorer{client: client.WithFieldValidation(c, metav1.FieldValidationStrict), options: options, absent: map[string]bool{}}
	if err := r.checkKinds(objects); err != nil {
		return Report{}, err
	}
	for _, o := range objects {
		if !slices.Contains(contents.Manifest.Namespaces, o.GetNamespace()) {
			return Report{}, fmt.Errorf("%w: %s %s is of the namespace %q, which its manifest does not name", ErrDamaged, o.GetKind(), o.GetName(), o.GetNamespace())
		}
	}
	for _, namespace := range contents.Manifest.Namespaces {
		if err := r.namespace(ctx, namespace); err != nil {
			return Report{}, err
		}
	}
	for _, o := range objects {
		if err := r.restore(ctx, o); err != nil {
			return r.report, err
		}
	}
	lost, err := lostOf(ctx, c, contents, r.absent)
	r.report.Lost = lost
	return r.report, err
}

type restorer struct {
	client  client.Client
	options Options
	// absent are namespaces that a dry run does not make.
	absent map[string]bool
	report Report
}

func (r *restorer) checkKinds(objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		of := o.GroupVersionKind()
		_, err := r.client.RESTMapper().RESTMapping(of.GroupKind(), of.Version)
		switch {
		case meta.IsNoMatchError(err):
			return fmt.Errorf("%w: %s of %s; elastichub crds apply makes the kinds known", ErrNoKind, of.Kind, of.GroupVersion())
		case err != nil:
			return fmt.Errorf("backup: look the kinds up: %w", err)
		}
	}
	return nil
}

func (r *restorer) namespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	err := r.client.Get(ctx, client.ObjectKeyFromObject(namespace), &corev1.Namespace{})
	switch {
	case err == nil, apierrors.IsForbidden(err): // then what is made in it tells
		return nil
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("backup: read namespace %s: %w", name, err)
	case r.options.DryRun:
		r.absent[name] = true
		r.tell(namespace, "Namespace", Created, "")
		return nil
	}
	if err := r.client.Create(ctx, namespace, client.FieldOwner(manager)); err != nil {
		return fmt.Errorf("backup: make namespace %s: %w", name, err)
	}
	r.tell(namespace, "Namespace", Created, "")
	return nil
}

func (r *restorer) tell(o client.Object, kind string, outcome Outcome, why string) {
	r.report.Objects = append(r.report.Objects, Restored{kind, o.GetNamespace(), o.GetName(), outcome, why})
}

// restore brings one object.
func (r *restorer) restore(ctx context.Context, o *unstructured.Unstructured) error {
	if r.absent[o.GetNamespace()] {
		r.tell(o, o.GetKind(), Created, "")
		return nil
	}
	create := []client.CreateOption{client.FieldOwner(manager)}
	if r.options.DryRun {
		create = append(create, client.DryRunAll)
	}
	err := r.client.Create(ctx, o.DeepCopy(), create...)
	if apierrors.IsAlreadyExists(err) {
		return r.meet(ctx, o)
	}
	return r.note(o, Created, "", err)
}

// note takes note of an object that was written, or refused. Other errors end it.
func (r *restorer) note(o *unstructured.Unstructured, outcome Outcome, why string, err error) error {
	switch {
	case err == nil:
		r.tell(o, o.GetKind(), outcome, why)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsRequestEntityTooLargeError(err):
		r.tell(o, o.GetKind(), Refused, err.Error())
	default:
		return fmt.Errorf("backup: restore %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

// meet decides about an object of which there is one.
func (r *restorer) meet(ctx context.Context, o *unstructured.Unstructured) error {
	outcome, why := There, ""
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		there := &unstructured.Unstructured{}
		there.SetGroupVersionKind(o.GroupVersionKind())
		if err := r.client.Get(ctx, client.ObjectKeyFromObject(o), there); err != nil {
			return err
		}
		changed := over(there, o)
		if equality.Semantic.DeepEqual(changed.Object, there.Object) {
			outcome, why = There, "the same as in the archive"
			return nil
		}
		outcome, why = There, "another than in the archive"
		overwrites := r.options.Overwrite
		if _, ledger := o.GetLabels()[usage.Label]; ledger && !overwrites {
			empty, err := isEmptyLedger(there)
			if err != nil {
				return err
			}
			nothing, err := isEmptyLedger(o)
			if err != nil {
				return err
			}
			overwrites, why = empty && !nothing, "it has hours already"
			if empty {
				why = "neither has hours"
			}
		}
		if !overwrites {
			return nil
		}
		outcome, why = Overwritten, ""
		update := []client.UpdateOption{client.FieldOwner(manager)}
		if r.options.DryRun {
			update = append(update, client.DryRunAll)
		}
		return r.client.Update(ctx, changed, update...)
	})
	return r.note(o, outcome, why, err)
}

// over is an object of the cluster with the content of one of the archive. Its owners and what
// others have labelled it with stay.
func over(there, o *unstructured.Unstructured) *unstructured.Unstructured {
	changed := there.DeepCopy()
	for key := range there.Object {
		if key != "metadata" && key != "status" {
			delete(changed.Object, key)
		}
	}
	for key, value := range o.DeepCopy().Object {
		if key != "metadata" && key != "status" {
			changed.Object[key] = value
		}
	}
	if all := o.GetLabels(); len(all) > 0 {
		changed.SetLabels(merged(there.GetLabels(), all))
	}
	if all := o.GetAnnotations(); len(all) > 0 {
		changed.SetAnnotations(merged(there.GetAnnotations(), all))
	}
	return changed
}

func merged(have, want map[string]string) map[string]string {
	all := maps.Clone(have)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, want)
	return all
}

// isEmptyLedger tells a part of the ledger that a service has just begun.
func isEmptyLedger(o *unstructured.Unstructured) (bool, error) {
	m := &corev1.ConfigMap{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, m); err != nil {
		return false, fmt.Errorf("backup: ConfigMap %s: %w", o.GetName(), err)
	}
	return usage.IsEmpty(m)
}
