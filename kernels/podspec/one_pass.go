package podspec

import (
	"context"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// OnePass reads each object once and remembers it, or that it does not exist:
// what many kernels share is read for the first of them. It is for one pass of
// one goroutine, and what it returns is shared: it is not to be changed.
func OnePass(reader client.Reader) client.Reader {
	return &onePass{Reader: reader, read: map[objectID]rememberedObject{}}
}

type onePass struct {
	client.Reader
	read map[objectID]rememberedObject
}

type objectID struct {
	kind reflect.Type
	key  client.ObjectKey
}

type rememberedObject struct {
	object  client.Object
	missing error
}

// Get implements client.Reader.
func (r *onePass) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	id := objectID{kind: reflect.TypeOf(into), key: key}
	if known, ok := r.read[id]; ok {
		if known.missing == nil {
			reflect.ValueOf(into).Elem().Set(reflect.ValueOf(known.object).Elem())
		}
		return known.missing
	}
	err := r.Reader.Get(ctx, key, into, opts...)
	switch {
	case err == nil:
		copied := reflect.New(id.kind.Elem())
		copied.Elem().Set(reflect.ValueOf(into).Elem())
		r.read[id] = rememberedObject{object: copied.Interface().(client.Object)}
	case apierrors.IsNotFound(err):
		r.read[id] = rememberedObject{missing: err}
	}
	return err
}
