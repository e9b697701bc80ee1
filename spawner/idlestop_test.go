package spawner

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestIdleStopWithoutATime is half an hour, and is changed while the server runs.
func TestIdleStopWithoutATime(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	var silent atomic.Bool
	c.asker.set(func(string) (Activity, error) {
		if silent.Load() {
			return Activity{}, errors.New("no answer")
		}
		return Activity{Last: time.Now()}, nil
	})
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	req.ServerIdleSeconds, req.MaxRunSeconds = 0, 0
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	c.ready(c.pod(c.deployment("jupyter-alice", "s1", 1)))
	c.phase(s, req.Key, v1alpha1.NotebookReady)
	nb := &v1alpha1.JupyterNotebook{}
	change := func(patch string) {
		t.Helper()
		require.NoError(t, c.get("jupyter-alice", nb))
		require.NoError(t, c.client.Patch(t.Context(), nb, client.RawPatch(types.MergePatchType, []byte(`{"spec":`+patch+`}`))))
	}
	require.NoError(t, c.get("jupyter-alice", nb))
	assert.Nil(t, nb.Status.StopEligibleAt, "off where nobody says otherwise")

	change(`{"idleStop":{}}`)
	c.eventually("half an hour", func() bool {
		return c.get("jupyter-alice", nb) == nil && nb.Status.StopEligibleAt != nil
	})
	assert.Nil(t, nb.Spec.IdleStop.Seconds)
	assert.WithinDuration(t, time.Now().Add(30*time.Minute), nb.Status.StopEligibleAt.Time, time.Minute)

	change(`{"idleStop":{"seconds":0}}`)
	c.eventually("off", func() bool { return c.get("jupyter-alice", nb) == nil && nb.Status.StopEligibleAt == nil })

	silent.Store(true)
	change(`{"idleStop":{"seconds":1}}`)
	c.eventually("it does not answer", func() bool {
		return c.get("jupyter-alice", nb) == nil && apimeta.IsStatusConditionFalse(nb.Status.Conditions, ConditionAnswers)
	})
	assert.Nil(t, nb.Status.StopEligibleAt, "nothing is concluded")
	change(`{"idleStop":null}`)
	c.eventually("that is nobody's matter then", func() bool {
		return c.get("jupyter-alice", nb) == nil && apimeta.FindStatusCondition(nb.Status.Conditions, ConditionAnswers) == nil
	})
}
