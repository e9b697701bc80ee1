package upgrade

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// pageSize is how many objects are read at a time.
const pageSize = 500

// Refused is a stored object that the new schema of its kind would refuse.
type Refused struct {
	Kind, Namespace, Name string
	Why                   string
	// Already: the schema of now refuses it, too, so that the new one makes nothing worse.
	Already bool
}

func (r Refused) String() string {
	return fmt.Sprintf("%s %s/%s: %s", r.Kind, r.Namespace, r.Name, r.Why)
}

// judge says what the API server would of an object that is made with a schema.
type judge struct {
	structural *schema.Structural
	fields     validation.SchemaValidator
	rules      *cel.Validator
}

func newJudge(crd *apiextensionsv1.CustomResourceDefinition) (*judge, error) {
	for _, v := range crd.Spec.Versions {
		if v.Name != v1alpha1.GroupVersion.Version || v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		var props apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &props, nil); err != nil {
			return nil, fmt.Errorf("the schema of %s: %w", crd.Name, err)
		}
		structural, err := schema.NewStructural(&props)
		if err != nil {
			return nil, fmt.Errorf("the schema of %s: %w", crd.Name, err)
		}
		fields, _, err := validation.NewSchemaValidator(&props)
		if err != nil {
			return nil, fmt.Errorf("the schema of %s: %w", crd.Name, err)
		}
		return &judge{structural, fields, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
	}
	return nil, fmt.Errorf("%s has no schema for %s", crd.Name, v1alpha1.GroupVersion.Version)
}

// fault is what is wrong with an object; empty: it is taken. As in the API server, fields that
// the schema does not know are left out, and defaults are filled in.
func (j *judge) fault(ctx context.Context, object map[string]any) string {
	object = runtime.DeepCopyJSON(object)
	pruning.Prune(object, j.structural, true)
	defaulting.Default(object, j.structural)
	faults := validation.ValidateCustomResource(nil, object, j.fields)
	faults = append(faults, listtype.ValidateListSetsAndMaps(nil, j.structural, object)...)
	if len(faults) == 0 { // rules may take it for granted that types are right
		faults, _ = j.rules.Validate(ctx, nil, j.structural, object, nil, celconfig.RuntimeCELCostBudget)
	}
	if len(faults) == 0 {
		return ""
	}
	return faults.ToAggregate().Error()
}

// stored judges every object of a kind, in all namespaces: a kind is the whole cluster's.
func stored(ctx context.Context, c client.Reader, d Definition) (count int, refused []Refused, err error) {
	if d.There == nil {
		return 0, nil, nil
	}
	next := sync.OnceValues(func() (*judge, error) { return newJudge(d.Ours) })
	now := sync.OnceValues(func() (*judge, error) { return newJudge(d.There) })
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(d.Ours.Spec.Names.ListKind))
	for {
		if err := c.List(ctx, list, client.Limit(pageSize), client.Continue(list.GetContinue())); err != nil {
			return 0, nil, fmt.Errorf("list %s in all namespaces: %w", d.Ours.Spec.Names.Plural, err)
		}
		count += len(list.Items)
		for i := range list.Items {
			o := &list.Items[i]
			by, err := next()
			if err != nil {
				return 0, nil, err
			}
			why := by.fault(ctx, o.Object)
			if why == "" {
				continue
			}
			r := Refused{Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName(), Why: why}
			if by, err := now(); err == nil { // a definition of long ago may have no schema: it refuses nothing
				r.Already = by.fault(ctx, o.Object) != ""
			}
			refused = append(refused, r)
		}
		if list.GetContinue() == "" {
			return count, refused, nil
		}
	}
}
