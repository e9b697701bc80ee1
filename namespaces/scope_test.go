package namespaces

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func configMaps(namespaces ...string) client.Client {
	b := fake.NewClientBuilder()
	for _, namespace := range namespaces {
		b = b.WithObjects(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "of-" + namespace}})
	}
	return b.Build()
}

func TestAScopeReadsItsNamespaces(t *testing.T) {
	t.Parallel()
	api := configMaps("own", "a", "b", "c")
	for name, row := range map[string]struct{ others, want []string }{
		"own":        {nil, []string{"of-own"}},
		"a list":     {[]string{"a", "own", "b", "a"}, []string{"of-own", "of-a", "of-b"}},
		"everywhere": {[]string{Everywhere}, []string{"of-a", "of-b", "of-c", "of-own"}},
	} {
		s, err := New("own", row.others)
		require.NoError(t, err, name)
		read := func() (names []string) {
			var list corev1.ConfigMapList
			require.NoError(t, s.List(t.Context(), api, &list))
			for _, item := range list.Items {
				names = append(names, item.Name)
			}
			return names
		}
		assert.Equal(t, row.want, read(), name)
		s.refuse("a", "elsewhere")
		assert.NotContains(t, read(), "of-a", name)
		assert.False(t, s.Has("a"), name)
		assert.Equal(t, name == "everywhere", s.Has("c"), name)
		s.refuse("a", "")
		assert.Equal(t, row.want, read(), name)
	}
	for _, others := range [][]string{{"*", "a"}, {"A"}, {""}} {
		_, err := New("own", others)
		assert.Error(t, err, others)
	}
}

// TestALeaseIsHeldByOneRelease until that has been gone for the time of the Lease.
func TestALeaseIsHeldByOneRelease(t *testing.T) {
	t.Parallel()
	api := fake.NewClientBuilder().Build()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	release := func(own string) *Owner {
		s, err := New(own, []string{"team"})
		require.NoError(t, err)
		return NewOwner(s, api, api, clock)
	}
	first, second := release("first"), release("second")
	passes := 0
	guarded := second.Guard(reconcile.Func(func(context.Context, reconcile.Request) (reconcile.Result, error) {
		passes++
		return reconcile.Result{}, nil
	}))
	look := func(o *Owner, want bool) {
		t.Helper()
		holds, err := o.Holds(t.Context(), "team")
		require.NoError(t, err)
		assert.Equal(t, want, holds)
	}
	request := reconcile.Request{}
	request.Namespace = "team"
	look(first, true)
	look(second, false)
	assert.Equal(t, map[string]string{"team": "first"}, second.scope.Refused())
	result, err := guarded.Reconcile(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, renewAfter, result.RequeueAfter)
	for range 10 { // the first renews
		now = now.Add(renewAfter)
		look(first, true)
		look(second, false)
	}
	now = now.Add(leaseTime)
	look(second, true)
	assert.Empty(t, second.scope.Refused())
	_, err = guarded.Reconcile(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, 1, passes)
	look(first, false)
	var lease coordinationv1.Lease
	require.NoError(t, api.Get(t.Context(), client.ObjectKey{Namespace: "team", Name: LeaseName}, &lease))
	assert.Equal(t, int32(1), *lease.Spec.LeaseTransitions)
	holds, err := first.Holds(t.Context(), "nobodys")
	require.NoError(t, err)
	assert.False(t, holds, "it is not watched")
}
