package podspec

import (
	"context"
	"testing"

	"reflect"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
)

// counting counts what is read.
type counting struct {
	client.Reader
	reads int
}

func (c *counting) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	c.reads++
	return c.Reader.Get(ctx, key, into, opts...)
}

// TestAPodIsBuiltOnce until something changes that it is made from, whichever
// that is.
func TestAPodIsBuiltOnce(t *testing.T) {
	t.Parallel()
	b := NewBuilder(testPods)
	build := func(in Parts) *Built {
		built, err := b.BuildFrom(in)
		require.NoError(t, err)
		return built
	}
	fresh := func() Parts {
		in := sample()
		in.Template = &v1alpha1.JupyterKernelTemplate{}
		return in
	}
	in := fresh()
	first := build(in)
	assert.Same(t, first, build(in))
	for name, change := range map[string]func(*Parts){
		"kernel":     func(in *Parts) { in.Kernel.Generation++ },
		"run":        func(in *Parts) { in.Kernel.Status.Run = 7 },
		"gateway":    func(in *Parts) { in.Gateway.Generation++ },
		"kernelspec": func(in *Parts) { in.Spec.Generation++ },
		"template":   func(in *Parts) { in.Template.Generation++ },
		"notebook":   func(in *Parts) { in.Notebook.Generation++ },
		"policy":     func(in *Parts) { in.Policies[0].Generation++ },
		"account":    func(in *Parts) { in.Account = "bucket" },
		"its tokens": func(in *Parts) { in.AccountTokens = []v1alpha1.ServiceAccountToken{{Audience: "a", Path: "a"}} },
		"no policy":  func(in *Parts) { in.Policies = nil },
		"another":    func(in *Parts) { in.Spec.UID = "another" },
	} {
		before, changed := build(fresh()), fresh()
		change(&changed)
		assert.NotSame(t, before, build(changed), name)
	}
	assert.Equal(t, 11, reflect.TypeFor[Parts]().NumField(), "a new part needs a row above, and a line in version, unless it is of the configuration")
	last := build(in)
	b.Keep(func(types.UID) bool { return true })
	assert.Same(t, last, build(in))
	b.Forget(in.Kernel.UID)
	assert.NotSame(t, last, build(in))
	last = build(in)
	b.Keep(func(types.UID) bool { return false })
	assert.NotSame(t, last, build(in))
}

// TestOnePassReadsOnce what exists and what does not.
func TestOnePassReadsOnce(t *testing.T) {
	t.Parallel()
	gw := &v1alpha1.JupyterGateway{}
	gw.Name, gw.Namespace, gw.Spec.Replicas = "gw", "ns", ptr.To[int32](3)
	c := &counting{Reader: fake.NewClientBuilder().WithScheme(kerneltest.Scheme).WithObjects(gw).Build()}
	pass := OnePass(c)
	for range 3 {
		var got v1alpha1.JupyterGateway
		require.NoError(t, pass.Get(t.Context(), client.ObjectKeyFromObject(gw), &got))
		assert.Equal(t, int32(3), *got.Spec.Replicas)
		assert.Error(t, pass.Get(t.Context(), client.ObjectKey{Namespace: "other", Name: "gw"}, &got))
		var ks v1alpha1.JupyterKernelSpec
		assert.Error(t, pass.Get(t.Context(), client.ObjectKeyFromObject(gw), &ks), "another kind")
	}
	assert.Equal(t, 3, c.reads)
}
