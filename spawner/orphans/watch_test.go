package orphans

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
)

// listing is a Hub that says what it is told to say; hubservers asks a real one.
type listing struct {
	people []Person
	fault  error
	tokens map[string]bool
	asked  int
}

func (l *listing) People(context.Context) ([]Person, error) {
	l.asked++
	return l.people, l.fault
}

func (l *listing) TokenWorks(_ context.Context, token string) (bool, error) {
	return l.tokens[token], l.fault
}

// scene is a leader beside a Hub that knows kim and kai, and not ann, whose server runs.
type scene struct {
	t    *testing.T
	w    *watch
	hub  *listing
	at   time.Time
	told *events.FakeRecorder
}

func newScene(t *testing.T, mode Mode) *scene {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	ann := notebook("ann", "ann", "", hubUser(1, 0))
	ann.Spec.EnvSecret, ann.Status.Phase, ann.UID = "ann-env", v1alpha1.NotebookReady, "ann"
	kim, kai := notebook("kim", "kim", "", hubUser(2, time.Hour)), notebook("kai", "kai", "", hubUser(3, 2*time.Hour))
	kim.UID, kai.UID = "kim", "kai"
	env := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "hub", Name: "ann-env"}, Data: map[string][]byte{envToken: []byte("t0")}}
	api := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.JupyterNotebook{}).WithObjects(&ann, &kim, &kai, env).Build()
	met, err := newMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	s := &scene{t: t, hub: &listing{people: []Person{person("kim", time.Hour), person("kai", 2*time.Hour)}}, at: noon, told: events.NewFakeRecorder(100)}
	s.w = &watch{
		cfg: Config{Namespace: "hub", Mode: mode, Grace: 24 * time.Hour}, client: api, live: api, hub: s.hub, met: met,
		recorder: health.RecorderTo(s.told, scheme), now: func() time.Time { return s.at }, seen: map[types.UID]sighting{},
	}
	return s
}

// pass is one, so long after noon.
func (s *scene) pass(after time.Duration) (again bool, err error) {
	s.t.Helper()
	s.at = noon.Add(after)
	again, err = s.w.pass(s.t.Context())
	s.w.say(s.t.Context(), err)
	return again, err
}

// ann is nil when her notebook is gone.
func (s *scene) ann() *v1alpha1.JupyterNotebook {
	s.t.Helper()
	var nb v1alpha1.JupyterNotebook
	err := s.w.client.Get(s.t.Context(), client.ObjectKey{Namespace: "hub", Name: "ann"}, &nb)
	if apierrors.IsNotFound(err) {
		return nil
	}
	require.NoError(s.t, err)
	return &nb
}

func (s *scene) condition() *metav1.Condition {
	s.t.Helper()
	return apimeta.FindStatusCondition(s.ann().Status.Conditions, v1alpha1.ConditionOrphan)
}

func (s *scene) stopped() {
	s.t.Helper()
	nb := s.ann()
	nb.Status.Phase = v1alpha1.NotebookStopped
	require.NoError(s.t, s.w.client.Status().Update(s.t.Context(), nb))
}

func TestAnOrphanIsStoppedAndRemovedAfterItsGrace(t *testing.T) {
	t.Parallel()
	s := newScene(t, Remove)
	_, err := s.pass(0)
	require.NoError(t, err)
	assert.Nil(t, s.condition(), "missed once")
	_, err = s.pass(time.Hour)
	require.NoError(t, err)
	is := s.condition()
	require.NotNil(t, is)
	assert.Equal(t, string(UserGone), is.Reason)
	assert.Equal(t, noon, is.LastTransitionTime.UTC(), "since it was first missed")
	assert.Equal(t, "The Hub does not know the server's user ann any more. It is stopped and removed after 2026-01-03T12:00:00Z, if that stays so. Its home volume stays.", is.Message)
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.orphans.WithLabelValues(stateWaiting)), 0)
	version := s.ann().ResourceVersion
	_, err = s.pass(23 * time.Hour)
	require.NoError(t, err)
	assert.Equal(t, version, s.ann().ResourceVersion, "nothing more is written")
	asked := s.hub.asked

	again, err := s.pass(24 * time.Hour)
	require.NoError(t, err)
	assert.True(t, again)
	assert.Equal(t, asked+2, s.hub.asked, "the Hub is asked once more before anything is done")
	assert.True(t, s.ann().Spec.Stopped)
	assert.Equal(t, string(v1alpha1.StopOrphan), s.ann().Annotations[v1alpha1.AnnotationStopCause])
	again, err = s.pass(24*time.Hour + time.Minute)
	require.NoError(t, err)
	assert.True(t, again, "its Pod goes first")
	s.stopped()
	_, err = s.pass(24*time.Hour + 2*time.Minute)
	require.NoError(t, err)
	assert.Nil(t, s.ann())
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.removed), 0)
	var left v1alpha1.JupyterNotebookList
	require.NoError(t, s.w.client.List(t.Context(), &left))
	assert.Len(t, left.Items, 2)
	_, err = s.pass(25 * time.Hour)
	require.NoError(t, err)
	assert.Empty(t, s.w.seen)
}

func TestAnOrphanIsOnlyReported(t *testing.T) {
	t.Parallel()
	s := newScene(t, Report)
	for after := range 100 {
		_, err := s.pass(time.Duration(after) * time.Hour)
		require.NoError(t, err)
	}
	assert.False(t, s.ann().Spec.Stopped)
	assert.Contains(t, s.condition().Message, "With orphans.mode: remove it would be stopped and removed after 2026-01-03T12:00:00Z.")
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.orphans.WithLabelValues(stateDue)), 0)
	assert.Len(t, s.told.Events, 1, "told once")
	s.hub.people = append(s.hub.people, person("ann", 0))
	_, err := s.pass(101 * time.Hour)
	require.NoError(t, err)
	assert.Nil(t, s.condition(), "the Hub knows her again")
	assert.InDelta(t, 0, testutil.ToFloat64(s.w.met.orphans.WithLabelValues(stateDue)), 0)
}

// gaveUp has the Hub say that ann's server, which runs, is stopped.
func (s *scene) gaveUp() {
	s.t.Helper()
	nb := s.ann()
	nb.Status.Start, nb.Status.StartTime = nb.Spec.Start, &metav1.Time{Time: noon.Add(-30 * time.Minute)}
	require.NoError(s.t, s.w.client.Status().Update(s.t.Context(), nb))
	s.hub.people = append(s.hub.people, stoppedByHub("ann", 0))
	s.hub.tokens = map[string]bool{"t0": true} // a stop that failed leaves it
}

func TestAServerThatTheHubGaveUpIsStoppedAndStays(t *testing.T) {
	t.Parallel()
	s := newScene(t, Remove)
	s.gaveUp()
	for after := range 24 {
		again, err := s.pass(time.Duration(after) * time.Hour)
		require.NoError(t, err)
		assert.False(t, again)
	}
	assert.False(t, s.ann().Spec.Stopped)
	is := s.condition()
	require.NotNil(t, is)
	assert.Equal(t, string(ServerStopped), is.Reason)
	assert.Equal(t, "The server runs, and the Hub says that it is stopped: nobody comes to it through the Hub. It is stopped after 2026-01-03T12:00:00Z, if that stays so.", is.Message)
	again, err := s.pass(24 * time.Hour)
	require.NoError(t, err)
	assert.False(t, again, "there is nothing more to be done")
	assert.True(t, s.ann().Spec.Stopped)
	assert.Equal(t, string(v1alpha1.StopOrphan), s.ann().Annotations[v1alpha1.AnnotationStopCause])
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.stopped), 0)
	s.stopped()
	for after := range 100 {
		_, err = s.pass(time.Duration(25+after) * time.Hour)
		require.NoError(t, err)
	}
	require.NotNil(t, s.ann(), "it is not removed")
	assert.Nil(t, s.condition())
	assert.InDelta(t, 0, testutil.ToFloat64(s.w.met.removed), 0)
}

func TestAServerThatTheHubGaveUpIsOnlyReported(t *testing.T) {
	t.Parallel()
	s := newScene(t, Report)
	s.gaveUp()
	for after := range 100 {
		_, err := s.pass(time.Duration(after) * time.Hour)
		require.NoError(t, err)
	}
	assert.False(t, s.ann().Spec.Stopped)
	assert.Contains(t, s.condition().Message, " With orphans.mode: remove it would be stopped after 2026-01-03T12:00:00Z.")
	assert.InDelta(t, 1, testutil.ToFloat64(s.w.met.orphans.WithLabelValues(stateDue)), 0)
}

// TestEachStartCountsByItself: one that the Hub may have begun since is not stopped for what was
// seen of the one before, by whichever leader.
func TestEachStartCountsByItself(t *testing.T) {
	t.Parallel()
	s := newScene(t, Remove)
	s.gaveUp()
	for after := range 23 {
		_, err := s.pass(time.Duration(after) * time.Hour)
		require.NoError(t, err)
	}
	nb := s.ann()
	nb.Spec.Start = "s2"
	require.NoError(t, s.w.client.Update(t.Context(), nb))
	nb.Status.Start, nb.Status.StartTime, nb.Status.Conditions = "s2", &metav1.Time{Time: noon.Add(25 * time.Hour)}, nil
	require.NoError(t, s.w.client.Status().Update(t.Context(), nb))
	for after := range 24 {
		_, err := s.pass(time.Duration(26+after) * time.Hour)
		require.NoError(t, err)
	}
	assert.False(t, s.ann().Spec.Stopped, "its own grace is not over")
	s.w.seen = map[types.UID]sighting{}
	_, err := s.pass(50 * time.Hour)
	require.NoError(t, err)
	assert.False(t, s.ann().Spec.Stopped, "a new leader has looked once")
	_, err = s.pass(51 * time.Hour)
	require.NoError(t, err)
	assert.True(t, s.ann().Spec.Stopped)
}

// TestAServerThatIsGivenUpAndThenForgotten waits the whole grace before it is removed.
func TestAServerThatIsGivenUpAndThenForgotten(t *testing.T) {
	t.Parallel()
	s := newScene(t, Remove)
	s.gaveUp()
	for after := range 23 {
		_, err := s.pass(time.Duration(after) * time.Hour)
		require.NoError(t, err)
	}
	s.hub.people, s.hub.tokens = s.hub.people[:2], nil
	for after := range 24 {
		_, err := s.pass(time.Duration(23+after) * time.Hour)
		require.NoError(t, err)
	}
	assert.False(t, s.ann().Spec.Stopped)
	assert.Equal(t, string(UserGone), s.condition().Reason)
	_, err := s.pass(47 * time.Hour)
	require.NoError(t, err)
	assert.True(t, s.ann().Spec.Stopped)
}

// TestNothingIsConcluded from a Hub that is not sure, however long.
func TestNothingIsConcluded(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*listing){
		"it does not answer":         func(l *listing) { l.fault = errors.New("connection refused") },
		"it names nobody":            func(l *listing) { l.people = nil },
		"it knows one of three":      func(l *listing) { l.people = l.people[:1] },
		"its database was made anew": func(l *listing) { l.people[0].Created++; l.people[0].Created += 60; l.people[1].Created += 60 },
	} {
		s := newScene(t, Remove)
		for after := range 3 {
			_, err := s.pass(time.Duration(after) * time.Hour)
			require.NoError(t, err, name)
		}
		spoil(s.hub)
		for after := range 200 {
			_, err := s.pass(time.Duration(after+3) * time.Hour)
			require.Error(t, err, name)
		}
		assert.False(t, s.ann().Spec.Stopped, name)
	}
}

// TestWhatIsSureAtTheLastMoment: the listing before a removal counts, and so does a token.
func TestWhatIsSureAtTheLastMoment(t *testing.T) {
	t.Parallel()
	s := newScene(t, Remove)
	for after := range 20 {
		_, err := s.pass(time.Duration(after) * time.Hour)
		require.NoError(t, err)
	}
	s.hub.tokens = map[string]bool{"t0": true}
	_, err := s.pass(30 * time.Hour)
	require.NoError(t, err)
	assert.False(t, s.ann().Spec.Stopped, "the Hub takes its token")
	s.hub.tokens = nil
	s.w.hub = &turning{listing: s.hub}
	_, err = s.pass(31 * time.Hour)
	require.NoError(t, err)
	assert.False(t, s.ann().Spec.Stopped, "it is there in the second listing")
}

// TestTheHubStartsItAtTheLastMoment: the same for a server that was given up.
func TestTheHubStartsItAtTheLastMoment(t *testing.T) {
	t.Parallel()
	s := newScene(t, Remove)
	s.gaveUp()
	for after := range 20 {
		_, err := s.pass(time.Duration(after) * time.Hour)
		require.NoError(t, err)
	}
	s.w.hub = &turning{listing: s.hub}
	_, err := s.pass(30 * time.Hour)
	require.NoError(t, err)
	assert.False(t, s.ann().Spec.Stopped)
}

// turning is a Hub that knows ann in every second listing.
type turning struct {
	*listing
	n int
}

func (h *turning) People(ctx context.Context) ([]Person, error) {
	people, err := h.listing.People(ctx)
	if h.n++; h.n%2 == 0 {
		people = append(slices.Clone(people), person("ann", 0)) // a later one of a name counts
	}
	return people, err
}

// TestANewLeaderGoesOn with the time that the condition tells, and looks twice itself.
func TestANewLeaderGoesOn(t *testing.T) {
	t.Parallel()
	s := newScene(t, Remove)
	for after := range 2 {
		_, err := s.pass(time.Duration(after) * time.Hour)
		require.NoError(t, err)
	}
	s.w.seen = map[types.UID]sighting{}
	_, err := s.pass(30 * time.Hour)
	require.NoError(t, err)
	assert.False(t, s.ann().Spec.Stopped, "it has looked once")
	_, err = s.pass(31 * time.Hour)
	require.NoError(t, err)
	assert.True(t, s.ann().Spec.Stopped)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	err := Config{Mode: "delete", Grace: time.Second}.Validate()
	assert.ErrorContains(t, err, `mode: "delete" is none of off, report, remove`)
	assert.ErrorContains(t, err, "grace: 1s is less than 10s")
	assert.Equal(t, time.Hour, Config{Grace: 24 * time.Hour}.interval())
	assert.Equal(t, 5*time.Second, Config{Grace: 20 * time.Second}.interval())
}
