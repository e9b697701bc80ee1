package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Wanted is what is to be in an archive.
type Wanted struct {
	// Namespaces are those of the release, its own first.
	Namespaces []string
	// Secrets: those of the chart and those that objects name, too; More names others in the
	// first namespace.
	Secrets bool
	More    []string
}

// Contents are what an archive has.
type Contents struct {
	Manifest Manifest
	// Objects are in the order in which they are restored; Secrets are not among them.
	Objects []*unstructured.Unstructured
	// Secrets are nil if there are none, or if they cannot be opened.
	Secrets []*unstructured.Unstructured
}

// pageSize is how many objects are read at a time.
const pageSize = 250

// Collect reads a release's objects. Its manifest is not complete before Write.
func Collect(ctx context.Context, c client.Reader, want Wanted) (*Contents, error) {
	if len(want.Namespaces) == 0 {
		return nil, errors.New("backup: no namespace is named")
	}
	found := &Contents{Manifest: Manifest{Namespaces: want.Namespaces}}
	for _, namespace := range want.Namespaces {
		if err := c.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{}); apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("backup: there is no namespace %s", namespace)
		} else if err != nil && !apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("backup: read namespace %s: %w", namespace, err)
		}
	}
	for _, kind := range kinds {
		if kind.sealed {
			continue
		}
		for _, namespace := range want.Namespaces {
			objects, err := list(ctx, c, kind, namespace)
			if err != nil {
				return nil, err
			}
			for _, o := range objects {
				if o.GetDeletionTimestamp() == nil && !ends(o) {
					found.Objects = append(found.Objects, copyOf(o))
				}
			}
		}
	}
	if !want.Secrets {
		return found, nil
	}
	var err error
	found.Secrets, err = collectSecrets(ctx, c, want, found.Objects)
	return found, err
}

func list(ctx context.Context, c client.Reader, kind kind, namespace string) ([]*unstructured.Unstructured, error) {
	if kind.labels == nil {
		return listWith(ctx, c, kind, client.InNamespace(namespace))
	}
	var all []*unstructured.Unstructured
	for _, label := range kind.labels {
		some, err := listWith(ctx, c, kind, client.InNamespace(namespace), client.HasLabels{label})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func listWith(ctx context.Context, c client.Reader, kind kind, in client.InNamespace, options ...client.ListOption) ([]*unstructured.Unstructured, error) {
	options = append(options, in, client.Limit(pageSize))
	var all []*unstructured.Unstructured
	for next := ""; ; {
		page := &unstructured.UnstructuredList{}
		page.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(ctx, page, append(options, client.Continue(next))...); err != nil {
			return nil, fmt.Errorf("backup: read %s of %s: %w", kind.plural, in, err)
		}
		for i := range page.Items {
			page.Items[i].SetGroupVersionKind(kind.GroupVersionKind)
			all = append(all, &page.Items[i])
		}
		if next = page.GetContinue(); next == "" {
			return all, nil
		}
	}
}

// ends reports whether a kernel is about to end for good.
func ends(o *unstructured.Unstructured) bool {
	_, asked, _ := unstructured.NestedMap(o.Object, "spec", "shutdown")
	return o.GetKind() == "JupyterKernel" && asked
}

// copyOf is an object without what only its cluster knows. The literals of spec.auth, which the
// service moves into Secrets, are left out, and so is what kubectl keeps of a manifest, which may
// have them.
func copyOf(o *unstructured.Unstructured) *unstructured.Unstructured {
	c := &unstructured.Unstructured{Object: map[string]any{}}
	for key, value := range o.DeepCopy().Object {
		if key != "status" && key != "metadata" {
			c.Object[key] = value
		}
	}
	c.SetName(o.GetName())
	c.SetNamespace(o.GetNamespace())
	if labels := o.GetLabels(); len(labels) > 0 {
		c.SetLabels(labels)
	}
	annotations := maps.Clone(o.GetAnnotations())
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	if o.GetKind() == "JupyterKernel" {
		annotations = withRestoreAs(annotations, o)
	}
	if len(annotations) > 0 {
		c.SetAnnotations(annotations)
	}
	for _, literal := range []string{"token", "password"} {
		unstructured.RemoveNestedField(c.Object, "spec", "auth", literal)
	}
	return c
}

// withRestoreAs has a kernel that waited or was starting come back parked, as those do that
// have had a Pod: nobody has asked for it since.
func withRestoreAs(annotations map[string]string, o *unstructured.Unstructured) map[string]string {
	spec, _, _ := unstructured.NestedString(o.Object, "spec", "kernelSpec")
	if _, has := annotations[v1alpha1.AnnotationRestoreAs]; has || spec == "" {
		return annotations
	}
	annotations = maps.Clone(annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationRestoreAs] = "{}"
	return annotations
}

// secretKeys are the fields of specs that name a Secret.
var secretKeys = map[string]string{
	"secretKeyRef": "name", "secretRef": "name", "tokenSecretRef": "name", "passwordSecretRef": "name",
	"imagePullSecrets": "name", "secret": "secretName",
}

const (
	chartName       = "elastichub"
	credentials     = "-credentials" // of a notebook, what stood in its spec.auth
	kindOfNotebooks = "JupyterNotebook"
)

// collectSecrets reads the chart's and those that objects name. Others are made anew.
func collectSecrets(ctx context.Context, c client.Reader, want Wanted, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	names := map[client.ObjectKey]bool{} // true: it has to be there
	for _, name := range want.More {
		names[client.ObjectKey{Namespace: want.Namespaces[0], Name: name}] = true
	}
	add := func(namespace, name string) {
		if key := (client.ObjectKey{Namespace: namespace, Name: name}); name != "" && !names[key] {
			names[key] = false
		}
	}
	for _, o := range objects {
		named(o.Object["spec"], func(name string) { add(o.GetNamespace(), name) })
		if o.GetKind() == kindOfNotebooks {
			env, _, _ := unstructured.NestedString(o.Object, "spec", "envSecret")
			add(o.GetNamespace(), env)
			add(o.GetNamespace(), o.GetName()+credentials)
		}
	}
	var all corev1.SecretList
	if err := c.List(ctx, &all, client.InNamespace(want.Namespaces[0]), client.MatchingLabels{"app.kubernetes.io/name": chartName}); err != nil {
		return nil, fmt.Errorf("backup: read the Secrets of the chart: %w", err)
	}
	for i := range all.Items {
		if owner := metav1.GetControllerOf(&all.Items[i]); owner != nil && owner.Kind == "JupyterGateway" {
			continue // its keys: one that is restored gets another, and one that is there has changed them since
		}
		add(all.Items[i].Namespace, all.Items[i].Name)
	}
	var found []*unstructured.Unstructured
	for _, key := range slices.SortedFunc(maps.Keys(names), func(a, b client.ObjectKey) int { return strings.Compare(a.String(), b.String()) }) {
		secret := &unstructured.Unstructured{}
		secret.SetGroupVersionKind(kinds[0].GroupVersionKind)
		err := c.Get(ctx, key, secret)
		switch {
		case apierrors.IsNotFound(err) && !names[key]:
			continue // it is optional, or missed already
		case err != nil:
			return nil, fmt.Errorf("backup: read Secret %s: %w", key, err)
		}
		if secret.GetDeletionTimestamp() == nil {
			found = append(found, copyOf(secret))
		}
	}
	return found, nil
}

// named tells the names of Secrets in a part of a spec.
func named(part any, tell func(name string)) {
	switch part := part.(type) {
	case []any:
		for _, each := range part {
			named(each, tell)
		}
	case map[string]any:
		for key, value := range part {
			if field, is := secretKeys[key]; is {
				refs, many := value.([]any)
				if !many {
					refs = []any{value}
				}
				for _, ref := range refs {
					if ref, is := ref.(map[string]any); is {
						name, _ := ref[field].(string)
						tell(name)
					}
				}
			}
			named(value, tell)
		}
	}
}

// encode is an object as its file has it.
func encode(o *unstructured.Unstructured) ([]byte, error) {
	text, err := json.MarshalIndent(o.Object, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("backup: %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return append(text, '\n'), nil
}
