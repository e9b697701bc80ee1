package gateway

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// TestSecretOfAWarmPod: the agent of a Pod that a kernel took over knows
// nothing of the kernel's UID.
func TestSecretOfAWarmPod(t *testing.T) {
	key := bytes.Repeat([]byte{7}, keys.Size)
	a := &agents{keys: &reread[gatewayKeys]{load: func() (gatewayKeys, error) { return gatewayKeys{counting: keys.GatewayKeys{key}}, nil }, now: time.Now}}
	k := &v1alpha1.JupyterKernel{}
	k.UID, k.Spec.Run = "uid", 3
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 3, PodIP: "10.0.0.1"}
	for warm, derived := range map[string]struct {
		id string
		n  int64
	}{"": {"uid", 3}, "warm-1": {"warm-1", 0}} {
		k.Status.Warm = warm
		target, ok := targetOf(k)
		require.True(t, ok)
		assert.Equal(t, int64(3), target.run, "it is still that run of the kernel")
		secrets, err := a.secrets(target)
		require.NoError(t, err)
		want, err := keys.Derive(key, derived.id, derived.n)
		require.NoError(t, err)
		assert.Equal(t, keys.Secrets{want}, secrets)
	}
}
