package acts_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/acts"
)

func waiting(uid types.UID, priority int32, run int64) v1alpha1.JupyterKernel {
	k := v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{UID: uid}}
	k.Spec.Run, k.Spec.QueuePriority = run, priority
	k.Status.Run, k.Status.Phase = run, v1alpha1.KernelQueued
	return k
}

func TestMoveKernel(t *testing.T) {
	k := waiting("k", 0, 3)
	ofAnotherRun := waiting("returned", 50, 2)
	ofAnotherRun.Spec.QueueMove = &v1alpha1.KernelQueueMove{Run: 1}
	runs := waiting("runs", 60, 1)
	runs.Status.Phase = v1alpha1.KernelReady
	all := []v1alpha1.JupyterKernel{waiting("k", 99, 3), waiting("a", 4, 1), waiting("b", -2, 1), ofAnotherRun, runs}
	move := func(to acts.Place) (priority, by any) {
		changes, err := acts.MoveKernel(&k, all, to, "root", "a talk")
		require.NoError(t, err)
		spec := changes["spec"].(map[string]any)
		return spec["queuePriority"], spec["queueMove"]
	}
	why := map[string]any{"run": int64(3), "by": "root", "reason": "a talk"}
	priority, because := move(acts.First)
	assert.Equal(t, []any{int32(5), why}, []any{priority, because}, "ahead of those that wait, and of no others")
	priority, because = move(acts.Last)
	assert.Equal(t, []any{int32(-3), why}, []any{priority, because})
	priority, because = move(acts.Turn)
	assert.Equal(t, []any{nil, nil}, []any{priority, because})
	all = []v1alpha1.JupyterKernel{waiting("a", math.MaxInt32, 1), waiting("b", math.MinInt32, 1)}
	priority, _ = move(acts.First)
	assert.Equal(t, int32(math.MaxInt32), priority)
	priority, _ = move(acts.Last)
	assert.Equal(t, int32(math.MinInt32), priority)

	_, err := acts.MoveKernel(&k, nil, "second", "root", "x")
	assert.ErrorIs(t, err, acts.ErrNoPlace)
	_, err = acts.MoveKernel(&runs, nil, acts.First, "root", "x")
	assert.ErrorIs(t, err, acts.ErrNotWaiting)
	parked := waiting("p", 0, 1)
	parked.Status.Phase = v1alpha1.KernelParked
	_, err = acts.MoveKernel(&parked, nil, acts.First, "root", "x")
	assert.ErrorIs(t, err, acts.ErrNotWaiting)
	parked.Spec.Run = 2
	changes, err := acts.MoveKernel(&parked, nil, acts.First, "root", "x")
	require.NoError(t, err, "it is about to wait")
	assert.EqualValues(t, 2, changes["spec"].(map[string]any)["queueMove"].(map[string]any)["run"])
}
