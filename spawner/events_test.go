package spawner

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// known is a Service whose snapshot holds a server with this log.
func known(log ...v1alpha1.NotebookProgress) (*Service, *v1alpha1.JupyterNotebook) {
	nb := requested(testRequest("alice", "", "s1"))
	nb.ResourceVersion = "10"
	nb.Status.Start, nb.Status.Progress = "s1", log
	s := &Service{cfg: testConfig(), snapshot: newSnapshot("hub"), now: func() time.Time { return noon }}
	s.snapshot.put(nb)
	return s, nb
}

func TestEventsFollowTheLog(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	requested := v1alpha1.NotebookProgress{ID: 1, Percent: 2, Message: "Request accepted", Time: metav1.NewMicroTime(noon)}
	s, nb := known(requested)
	stream, err := s.Events(t.Context(), keyOf(nb), "s1", "")
	require.NoError(t, err)
	assert.Equal(t, Event{ID: "1", Progress: 2, Message: "Request accepted", Time: noon}, <-stream)
	next := nb.DeepCopy()
	next.ResourceVersion = "11"
	next.Status.Progress = append(next.Status.Progress,
		v1alpha1.NotebookProgress{ID: 2, Percent: 2, Message: "no", Time: metav1.NewMicroTime(noon), Outcome: v1alpha1.OutcomeFailed})
	s.snapshot.put(next)
	s.snapshot.put(nb) // a cache that lags behind does not take it back
	assert.Equal(t, Event{ID: "2", Progress: 2, Message: "no", Time: noon, Final: true, Failed: true}, <-stream)
	_, open := <-stream
	assert.False(t, open)
}

func TestEventsEndWithTheirReader(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, nb := known(v1alpha1.NotebookProgress{ID: 1, Message: "a"}, v1alpha1.NotebookProgress{ID: 2, Message: "b"})
	ctx, cancel := context.WithCancel(t.Context())
	unread, err := s.Events(ctx, keyOf(nb), "s1", "")
	require.NoError(t, err)
	idle, err := s.Events(ctx, keyOf(nb), "s1", "2")
	require.NoError(t, err)
	cancel()
	for range idle {
		assert.Fail(t, "nothing follows 2")
	}
	for range unread { // at most the one that was on offer
	}
}

func TestEventsEndWithTheirServer(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, nb := known(v1alpha1.NotebookProgress{ID: 1, Message: "a"})
	stream, err := s.Events(t.Context(), keyOf(nb), "s1", "1")
	require.NoError(t, err)
	s.snapshot.drop(nb)
	assert.Equal(t, Event{ID: "2147483647", Progress: 100, Message: "The server was removed", Time: noon, Final: true}, <-stream)
	_, open := <-stream
	assert.False(t, open)
	_, err = s.Events(t.Context(), keyOf(nb), "s1", "x")
	assert.ErrorIs(t, err, ErrInvalid)
}
