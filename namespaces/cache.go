package namespaces

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// NewCache makes a manager's cache that finds nothing in namespaces which the scope does not
// cover, where the usual one fails: what an object names there does not exist for this release.
func (s *Scope) NewCache(config *rest.Config, options cache.Options) (cache.Cache, error) {
	made, err := cache.New(config, options)
	if err != nil {
		return nil, err
	}
	return coveredCache{made, s}, nil
}

type coveredCache struct {
	cache.Cache
	scope *Scope
}

// Get implements client.Reader.
func (c coveredCache) Get(ctx context.Context, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	if key.Namespace != "" && !c.scope.covers(key.Namespace) {
		return apierrors.NewNotFound(schema.GroupResource{}, key.String())
	}
	return c.Cache.Get(ctx, key, into, options...)
}

// List implements client.Reader.
func (c coveredCache) List(ctx context.Context, into client.ObjectList, options ...client.ListOption) error {
	var asked client.ListOptions
	asked.ApplyOptions(options)
	if asked.Namespace != "" && !c.scope.covers(asked.Namespace) {
		return meta.SetList(into, []runtime.Object{})
	}
	return c.Cache.List(ctx, into, options...)
}
