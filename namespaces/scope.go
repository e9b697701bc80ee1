// Package namespaces says which namespaces a release looks after. Its own holds the
// policies, the ledger, the seeds and the Hub's servers; kernels, their Pods and all that
// is made for them are where their notebook is.
package namespaces

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Everywhere, in place of a list, means all namespaces of the cluster.
const Everywhere = "*"

// Scope is the namespaces of one release. It is safe for concurrent use.
type Scope struct {
	own    string
	others []string
	all    bool

	mu sync.Mutex
	// elsewhere are namespaces that another release looks after, and the one it is in.
	elsewhere map[string]string
}

// New is the release's own namespace and others, or Everywhere.
func New(own string, others []string) (*Scope, error) {
	s := &Scope{own: own, elsewhere: map[string]string{}}
	for _, name := range others {
		switch faults := validation.IsDNS1123Label(name); {
		case name == Everywhere && len(others) > 1:
			return nil, fmt.Errorf("%s is all namespaces, and nothing can stand beside it", Everywhere)
		case name == Everywhere:
			s.all = true
		case len(faults) > 0:
			return nil, fmt.Errorf("%q is no name of a namespace: %s", name, faults[0])
		case name != own && !slices.Contains(s.others, name):
			s.others = append(s.others, name)
		}
	}
	return s, nil
}

// Only is one namespace.
func Only(own string) *Scope { return &Scope{own: own, elsewhere: map[string]string{}} }

// Own is the release's namespace.
func (s *Scope) Own() string { return s.own }

// All reports whether it is the whole cluster.
func (s *Scope) All() bool { return s.all }

// Named are the namespaces that are known by name, the release's own first.
func (s *Scope) Named() []string { return append([]string{s.own}, s.others...) }

// Has reports whether the release looks after a namespace, and no other release does.
func (s *Scope) Has(namespace string) bool {
	if !s.covers(namespace) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.elsewhere[namespace] == ""
}

func (s *Scope) covers(namespace string) bool {
	return s.all || namespace == s.own || slices.Contains(s.others, namespace)
}

// Elsewhere is the namespace of the release that looks after this one in our place;
// empty: none does.
func (s *Scope) Elsewhere(namespace string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.elsewhere[namespace]
}

// Refused are the namespaces that other releases look after.
func (s *Scope) Refused() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.elsewhere)
}

func (s *Scope) refuse(namespace, holder string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if holder == "" {
		delete(s.elsewhere, namespace)
		return
	}
	s.elsewhere[namespace] = holder
}

// Cache is what a manager's cache has to cover. Of what a whole cluster is full of it holds
// what bears our label, and all that is in the release's own namespace.
func (s *Scope) Cache() cache.Options {
	covered := map[string]cache.Config{}
	if !s.all {
		for _, name := range s.Named() {
			covered[name] = cache.Config{}
		}
		return cache.Options{DefaultNamespaces: covered}
	}
	labelled := cache.ByObject{Namespaces: map[string]cache.Config{
		s.own: {}, cache.AllNamespaces: {LabelSelector: labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})},
	}}
	return cache.Options{
		DefaultNamespaces: map[string]cache.Config{cache.AllNamespaces: {}},
		ByObject:          map[client.Object]cache.ByObject{&corev1.Pod{}: labelled, &corev1.ConfigMap{}: labelled},
	}
}

// List reads the objects of all the scope's namespaces, from a cache or from the API
// server: with one question where the whole cluster may be asked, else with one for each.
func (s *Scope) List(ctx context.Context, reader client.Reader, list client.ObjectList, options ...client.ListOption) error {
	if !s.all && len(s.others) == 0 {
		if s.Has(s.own) {
			return reader.List(ctx, list, append(slices.Clone(options), client.InNamespace(s.own))...)
		}
		return nil
	}
	asked := s.Named()
	if s.all {
		asked = []string{""}
	}
	var all []runtime.Object
	for _, name := range asked {
		part := list.DeepCopyObject().(client.ObjectList)
		if err := reader.List(ctx, part, append(slices.Clone(options), client.InNamespace(name))...); err != nil {
			return err
		}
		items, err := meta.ExtractList(part)
		if err != nil {
			return err
		}
		for _, item := range items {
			if o, ok := item.(client.Object); ok && s.Has(o.GetNamespace()) {
				all = append(all, item)
			}
		}
	}
	return meta.SetList(list, all)
}
