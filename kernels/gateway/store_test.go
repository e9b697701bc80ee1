package gateway

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// laggingCache shows nothing the first time and its kernel from then on. The
// first reader goes on only when second is over, or has had time to be.
type laggingCache struct {
	client.Reader
	kernel v1alpha1.JupyterKernel
	second func()
	reads  atomic.Int32
}

func (c *laggingCache) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if c.reads.Add(1) > 1 {
		list.(*v1alpha1.JupyterKernelList).Items = []v1alpha1.JupyterKernel{c.kernel}
		return nil
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.second()
	}()
	select {
	case <-over:
	case <-time.After(50 * time.Millisecond):
	}
	return nil
}

// TestAnOldListCountsNoKernelAsGone: of two requests the one with the older list
// must not miss the kernel that the other has just seen arrive.
func TestAnOldListCountsNoKernelAsGone(t *testing.T) {
	alice := Identity{User: "alice"}
	c := &laggingCache{kernel: *kernelOf(metav1.ObjectMeta{Name: "first"}, alice.User, "")}
	cfg := Default()
	cfg.Name = testGateway
	cfg.bounds.kernelsPerUser = 1
	s := newStore(cfg, c, nil, time.Now)
	s.unseen[s.key(alice, "first")] = unseen{owner: alice.owner(), at: time.Now()}
	refused := make(chan error, 1)
	c.second = func() { refused <- s.reserve(t.Context(), alice, s.key(alice, "second")) }
	require.ErrorContains(t, s.reserve(t.Context(), alice, s.key(alice, "third")), "too many kernels")
	assert.ErrorContains(t, <-refused, "too many kernels")
}
