package upgrade

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/skew"
)

const (
	// crdManager owns the definitions, whoever has made them.
	crdManager = "elastichub-crds"
	crdPoll    = 200 * time.Millisecond
)

var crdKind = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition")

// Definition is that of a kind, as this release has it and as the cluster has it.
type Definition struct {
	Name        string
	Ours, There *apiextensionsv1.CustomResourceDefinition // There is nil where the cluster has none
	// Changes: applying ours would change it.
	Changes bool

	file *unstructured.Unstructured
}

// Of is the release that the cluster's is of; empty: of 0.1.0, which said none, or of another operator.
func (d Definition) Of() string {
	if d.There == nil {
		return ""
	}
	return d.There.Annotations[v1alpha1.AnnotationRelease]
}

// Fields are those that ours has and the cluster's has not, and the other way around.
func (d Definition) Fields() (added, removed []string) {
	if d.There == nil {
		return nil, nil
	}
	ours, theirs := fields(d.Ours), fields(d.There)
	for _, path := range slices.Sorted(maps.Keys(ours)) {
		if !theirs[path] {
			added = append(added, path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(theirs)) {
		if !ours[path] {
			removed = append(removed, path)
		}
	}
	return added, removed
}

// fields are the paths of all that a definition's schema knows, such as status.keptAs.
func fields(crd *apiextensionsv1.CustomResourceDefinition) map[string]bool {
	all := map[string]bool{}
	var walk func(path string, at *apiextensionsv1.JSONSchemaProps)
	walk = func(path string, at *apiextensionsv1.JSONSchemaProps) {
		for name, property := range at.Properties {
			below := name
			if path != "" {
				below = path + "." + name
			}
			all[below] = true
			walk(below, &property)
		}
		if at.Items != nil && at.Items.Schema != nil {
			walk(path+"[]", at.Items.Schema)
		}
		if at.AdditionalProperties != nil && at.AdditionalProperties.Schema != nil {
			walk(path+"{}", at.AdditionalProperties.Schema)
		}
	}
	for _, v := range crd.Spec.Versions {
		if v.Name == v1alpha1.GroupVersion.Version && v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			walk("", v.Schema.OpenAPIV3Schema)
		}
	}
	return all
}

// kindFiles are the names of the definitions' files.
func kindFiles(files fs.FS) ([]string, error) { return fs.Glob(files, "crds/*.yaml") }

func readKind(files fs.FS, name string) (*unstructured.Unstructured, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	kind := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &kind.Object); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return kind, nil
}

// readDefinitions reads crds/ of files and what the cluster has of them.
func readDefinitions(ctx context.Context, c client.Reader, files fs.FS) ([]Definition, error) {
	names, err := kindFiles(files)
	if err != nil {
		return nil, err
	}
	var all []Definition
	for _, name := range names {
		file, err := readKind(files, name)
		if err != nil {
			return nil, err
		}
		d := Definition{Name: file.GetName(), file: file, Ours: &apiextensionsv1.CustomResourceDefinition{}}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(file.Object, d.Ours); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		there := &apiextensionsv1.CustomResourceDefinition{}
		switch err := c.Get(ctx, client.ObjectKey{Name: d.Name}, there); {
		case err == nil:
			d.There = there
		case !apierrors.IsNotFound(err):
			return nil, fmt.Errorf("read %s: %w", d.Name, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// foresee asks the API server what applying would change, and changes nothing.
func (d *Definition) foresee(ctx context.Context, c client.Client) error {
	if d.There == nil {
		d.Changes = true
		return nil
	}
	would := d.file.DeepCopy()
	if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(would), client.FieldOwner(crdManager), client.ForceOwnership, client.DryRunAll); err != nil {
		return fmt.Errorf("try to apply %s: %w", d.Name, err)
	}
	d.Changes = would.GetGeneration() != d.There.Generation || !maps.Equal(would.GetAnnotations(), d.There.Annotations)
	return nil
}

// Newer keeps a release from bringing the kinds back to what it knows of them.
type Newer string

const (
	// RefuseNewer: a definition of a newer release is an error, and none is written.
	RefuseNewer Newer = "refuse"
	// KeepNewer: it stays as it is. An older service reads what it knows.
	KeepNewer Newer = "keep"
)

// ApplyKinds writes all definitions in files by server-side apply, and waits until each of
// them holds. It says the name of each. One is in memory at a time: a Job has little.
func ApplyKinds(ctx context.Context, c client.Client, files fs.FS, newer Newer, out io.Writer) error {
	names, err := kindFiles(files)
	if err != nil {
		return fmt.Errorf("crds: %w", err)
	}
	releases := map[string]string{}
	for _, name := range names {
		kind, err := readKind(files, name)
		if err != nil {
			return fmt.Errorf("crds: %w", err)
		}
		there := &metav1.PartialObjectMetadata{}
		there.SetGroupVersionKind(crdKind)
		if err := client.IgnoreNotFound(c.Get(ctx, client.ObjectKey{Name: kind.GetName()}, there)); err != nil {
			return fmt.Errorf("crds: read %s: %w", kind.GetName(), err)
		}
		releases[name] = there.Annotations[v1alpha1.AnnotationRelease]
		if fault := newerKind(kind.GetName(), releases[name], skew.Release()); fault != "" && newer == RefuseNewer {
			return fmt.Errorf("crds: %s", fault)
		}
	}
	for _, name := range names {
		kind, err := readKind(files, name)
		if err != nil {
			return fmt.Errorf("crds: %w", err)
		}
		called := kind.GetName()
		if later(releases[name], skew.Release()) {
			fmt.Fprintf(out, "%s stays as %s has it, which is newer\n", called, releases[name])
			continue
		}
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(kind), client.FieldOwner(crdManager), client.ForceOwnership); err != nil {
			return fmt.Errorf("crds: apply %s: %w", called, err)
		}
		if err := established(ctx, c, called); err != nil {
			return fmt.Errorf("crds: wait for %s: %w", called, err)
		}
		fmt.Fprintln(out, called)
	}
	return nil
}

// newerKind says why a definition of a release is not to be replaced by ours; empty: it may be.
func newerKind(name, is, ours string) string {
	if !later(is, ours) {
		return ""
	}
	return fmt.Sprintf("the definition %s is of %s, and this is %s: an older one would drop what the newer one has", name, is, ours)
}

func established(ctx context.Context, c client.Reader, name string) error {
	return wait.PollUntilContextCancel(ctx, crdPoll, true, func(ctx context.Context) (bool, error) {
		crd := &unstructured.Unstructured{}
		crd.SetGroupVersionKind(crdKind)
		if err := c.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
			return false, err
		}
		status, _ := crd.Object["status"].(map[string]any)
		conditions, _ := status["conditions"].([]any) // null at first
		for _, condition := range conditions {
			if c, ok := condition.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return true, nil
			}
		}
		return false, nil
	})
}
