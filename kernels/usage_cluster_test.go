package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/usage"
)

// TestHoursAreBooked by the controllers as they are, through a change of leader.
func TestHoursAreBooked(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity, cfg.Ledger = false, "hours" })
	c.gateway("gw")
	c.create(kerneltest.GPUSpec("gpu", 1), kerneltest.Policy("lab", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser = []string{"gpu"}, 1, 1
	}), kerneltest.Kernel("k", "gw", "gpu", kerneltest.Owned("ann", "lab")))
	store := usage.Store{Reader: c.api, Namespace: c.namespace, Name: "hours"}
	booked := func() usage.Line {
		saved, err := store.Read(t.Context())
		require.NoError(t, err)
		lines := usage.Report(saved.All(), usage.Period{Days: 2}, usage.ByGroup, nil, time.Now())
		if len(lines) == 0 {
			return usage.Line{}
		}
		require.Len(t, lines, 1)
		return lines[0]
	}
	pod := c.ready("k", 1, "")
	begin := time.Now()
	c.eventually("it is booked that the run has begun", func() bool { return booked().Runs == 1 })
	time.Sleep(1500 * time.Millisecond)
	c.stop()
	c.report(pod, kerneltest.Exited(0, "Completed", `{"reason": "idle", "message": "Parked.", "exitCode": 0, "meter": {"heldSeconds": 2.5, "busySeconds": 0.75}}`))
	held := time.Since(begin).Seconds()
	c.start()
	c.phase("k", 1, v1alpha1.KernelParked)
	c.eventually("it is booked to its end", func() bool { return booked().Resources["nvidia.com/gpu"].Busy > 0 })
	line := booked()
	assert.EqualValues(t, 1, line.Runs)
	assert.Zero(t, line.Estimated)
	assert.Equal(t, "lab", line.Name)
	assert.InDelta(t, held, line.Resources["nvidia.com/gpu"].Held*3600, 3, "within the seconds of timestamps")
	assert.InDelta(t, 0.75, line.Resources["nvidia.com/gpu"].Busy*3600, 0.01)
}
