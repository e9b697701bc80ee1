package spawner

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestDeadline(t *testing.T) {
	const unsaid = -1 << 40
	t0 := time.Unix(10000, 0)
	at := func(seconds int) *metav1.Time {
		return &metav1.Time{Time: t0.Add(time.Duration(seconds) * time.Second)}
	}
	kernel := func(phase v1alpha1.KernelPhase, spec, run int64, end *metav1.Time) []v1alpha1.JupyterKernel {
		return []v1alpha1.JupyterKernel{{
			Spec: v1alpha1.JupyterKernelCRDSpec{Run: spec}, Status: v1alpha1.JupyterKernelStatus{Phase: phase, Run: run, CompletionTime: end},
		}}
	}
	for _, row := range []struct {
		name      string
		idle, max int64
		phase     v1alpha1.NotebookPhase
		last      *metav1.Time
		kernels   []v1alpha1.JupyterKernel
		want      *metav1.Time
		cause     v1alpha1.StopCause
	}{
		{"no limits", 0, 0, v1alpha1.NotebookReady, nil, nil, nil, ""},
		{"negative disables", -5, 0, v1alpha1.NotebookReady, nil, nil, nil, ""},
		{"from when it was ready", 60, 0, v1alpha1.NotebookReady, nil, nil, at(70), v1alpha1.StopIdle},
		{"from its last activity", 60, 0, v1alpha1.NotebookReady, at(30), nil, at(90), v1alpha1.StopIdle},
		{"activity of a former start", 60, 0, v1alpha1.NotebookReady, at(-500), nil, at(70), v1alpha1.StopIdle},
		{"not while it starts", 60, 0, v1alpha1.NotebookStarting, nil, nil, nil, ""},
		{"a kernel that runs", 60, 0, v1alpha1.NotebookReady, nil, kernel(v1alpha1.KernelReady, 1, 1, nil), nil, ""},
		{"a kernel that waits", 60, 0, v1alpha1.NotebookReady, nil, kernel(v1alpha1.KernelQueued, 1, 1, nil), nil, ""},
		{"a kernel nobody has seen", 60, 0, v1alpha1.NotebookReady, nil, kernel("", 0, 0, nil), nil, ""},
		{"a parked kernel that is wanted back", 60, 0, v1alpha1.NotebookReady, nil, kernel(v1alpha1.KernelParked, 3, 2, at(5)), nil, ""},
		{"a parked kernel", 60, 0, v1alpha1.NotebookReady, nil, kernel(v1alpha1.KernelParked, 2, 2, at(40)), at(100), v1alpha1.StopIdle},
		{"a dead kernel", 60, 0, v1alpha1.NotebookReady, nil, kernel(v1alpha1.KernelDead, 2, 2, nil), at(70), v1alpha1.StopIdle},
		{"half an hour where nobody says it", unsaid, 0, v1alpha1.NotebookReady, nil, nil, at(1810), v1alpha1.StopIdle},
		{"the longest run", 0, 100, v1alpha1.NotebookReady, at(90), nil, at(100), v1alpha1.StopMaxRun},
		{"the longest run counts while it starts", 0, 100, v1alpha1.NotebookStarting, nil, nil, at(100), v1alpha1.StopMaxRun},
		{"the longest run, a kernel running", 60, 100, v1alpha1.NotebookReady, nil, kernel(v1alpha1.KernelReady, 1, 1, nil), at(100), v1alpha1.StopMaxRun},
		{"idle first", 60, 100, v1alpha1.NotebookReady, nil, nil, at(70), v1alpha1.StopIdle},
		{"the longest run first", 60, 100, v1alpha1.NotebookReady, at(80), nil, at(100), v1alpha1.StopMaxRun},
	} {
		t.Run(row.name, func(t *testing.T) {
			nb := &v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{MaxRunSeconds: row.max}}
			switch row.idle {
			case 0:
			case unsaid:
				nb.Spec.IdleStop = &v1alpha1.IdleStop{}
			default:
				nb.Spec.IdleStop = &v1alpha1.IdleStop{Seconds: &row.idle}
			}
			status := v1alpha1.JupyterNotebookStatus{Phase: row.phase, StartTime: at(0)}
			status.Conditions = []metav1.Condition{{Type: ConditionReady, LastTransitionTime: *at(10)}}
			if row.last != nil {
				status.LastActivity = &metav1.MicroTime{Time: row.last.Time}
			}
			d := deadlineOf(nb, status, row.kernels)
			want := time.Time{}
			if row.want != nil {
				want = row.want.Time
			}
			assert.Equal(t, want, d.at)
			assert.Equal(t, row.cause, d.cause)
		})
	}
}

// TestSnoozedServer: what is asked for by hand puts off the stop for idleness alone.
func TestSnoozedServer(t *testing.T) {
	t0 := time.Unix(10000, 0).UTC()
	for name, row := range map[string]struct {
		idle, max, bound int64
		asked            time.Duration
		at               time.Duration
		cause            v1alpha1.StopCause
		seconds          int64
	}{
		"put off":                     {60, 0, 14400, time.Hour, time.Hour, v1alpha1.StopIdle, 3600},
		"as far as the bound":         {60, 0, 1800, time.Hour, 30 * time.Minute, v1alpha1.StopIdle, 1800},
		"less than it is idle anyway": {7200, 0, 14400, time.Hour, 2 * time.Hour, v1alpha1.StopIdle, 3600},
		"not the longest run":         {60, 600, 14400, time.Hour, 10 * time.Minute, v1alpha1.StopMaxRun, 3600},
		"a bound of none":             {60, 0, 0, time.Hour, time.Minute, v1alpha1.StopIdle, 0},
		"one that is not stopped":     {0, 600, 14400, time.Hour, 10 * time.Minute, v1alpha1.StopMaxRun, 0},
		"one whose time is over":      {60, 0, 14400, -time.Second, time.Minute, v1alpha1.StopIdle, 0},
	} {
		t.Run(name, func(t *testing.T) {
			nb := &v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{MaxRunSeconds: row.max, IdleStop: &v1alpha1.IdleStop{Seconds: &row.idle, SnoozeMaxSeconds: &row.bound}}}
			nb.Annotations = map[string]string{v1alpha1.AnnotationSnoozeUntil: t0.Add(row.asked).Format(time.RFC3339)}
			status := v1alpha1.JupyterNotebookStatus{Phase: v1alpha1.NotebookReady, StartTime: &metav1.Time{Time: t0}}
			status.Conditions = []metav1.Condition{{Type: ConditionReady, LastTransitionTime: metav1.Time{Time: t0}}}
			c := &controller{now: func() time.Time { return t0 }}
			c.snooze(nb, &status)
			assert.Equal(t, row.seconds, status.SnoozedSeconds)
			d := deadlineOf(nb, status, nil)
			assert.Equal(t, t0.Add(row.at), d.at.UTC())
			assert.Equal(t, row.cause, d.cause)
			nb.Spec.Stopped = true
			c.snooze(nb, &status)
			assert.Nil(t, status.SnoozedUntil, "a server that is stopped is not kept")
			assert.Equal(t, row.seconds, status.SnoozedSeconds)
		})
	}
}

func TestInWords(t *testing.T) {
	for seconds, want := range map[int64]string{1: "1 seconds", 90: "90 seconds", 60: "1 minute", 1800: "30 minutes", 3600: "1 hour", 5400: "90 minutes", 86400: "1 day", 7 * 86400: "7 days"} {
		assert.Equal(t, want, inWords(seconds))
	}
}

func TestIdleServerIsStoppedAfterItWasAsked(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	c.asker.set(func(string) (Activity, error) { return Activity{}, errors.New("connection refused") })
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	req.ServerIdleSeconds, req.MaxRunSeconds = 1, 0
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	pod := c.pod(c.deployment("jupyter-alice", "s1", 1))
	c.ready(pod)

	// One that does not answer is left alone, and says so.
	var nb v1alpha1.JupyterNotebook
	c.eventually("asked in vain", func() bool {
		require.NoError(t, c.get("jupyter-alice", &nb))
		return apimeta.IsStatusConditionFalse(nb.Status.Conditions, ConditionAnswers)
	})
	assert.Contains(t, apimeta.FindStatusCondition(nb.Status.Conditions, ConditionAnswers).Message, "connection refused")
	assert.False(t, nb.Spec.Stopped)
	assert.Equal(t, []string{"http://jupyter-alice." + c.namespace + ".svc:8888/user/alice/ secret-of-s1"}, c.asker.all()[:1])

	assert.Nil(t, nb.Status.StopEligibleAt)

	// Its kernel holds it up, whatever the server says.
	k := &v1alpha1.JupyterKernel{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "k1", Labels: map[string]string{v1alpha1.LabelNotebook: "jupyter-alice"}},
		Spec:       v1alpha1.JupyterKernelCRDSpec{Notebook: "jupyter-alice", Run: 1},
	}
	require.NoError(t, c.client.Create(t.Context(), k))
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1}
	require.NoError(t, c.client.Status().Update(t.Context(), k))
	c.eventually("no stop in sight", func() bool {
		require.NoError(t, c.get("jupyter-alice", &nb))
		return nb.Status.StopEligibleAt == nil && len(nb.Status.Busy) == 1
	})
	assert.Equal(t, "kernel k1", nb.Status.Busy[0].Kind+" "+nb.Status.Busy[0].Name)
	c.asker.set(func(string) (Activity, error) { return Activity{Last: time.Now().Add(-time.Hour)}, nil })
	time.Sleep(1500 * time.Millisecond)
	require.NoError(t, c.get("jupyter-alice", &nb))
	assert.False(t, nb.Spec.Stopped)
	assert.Empty(t, c.asker.all(), "no need to ask")

	// Once the kernel is parked, time runs.
	k.Status.Phase, k.Status.CompletionTime = v1alpha1.KernelParked, &metav1.Time{Time: time.Now().Truncate(time.Second)}
	require.NoError(t, c.client.Status().Update(t.Context(), k))
	c.deployment("jupyter-alice", "s1", 0)
	c.end(pod)
	state := c.phase(s, req.Key, v1alpha1.NotebookStopped)
	assert.Equal(t, "StoppedIdle", state.Reason)
	assert.Equal(t, "The server was stopped: nobody used it for 1 seconds. Files are kept.", state.Message)
	assert.Zero(t, state.StopEligibleAt)
	require.NotNil(t, state.AutoStop)
	assert.Equal(t, AutoStop{Cause: v1alpha1.StopIdle, After: time.Second, At: state.AutoStop.At, KeepsFiles: true}, *state.AutoStop)
	assert.WithinDuration(t, time.Now(), state.AutoStop.At, 10*time.Second)
	assert.NotEmpty(t, c.asker.all(), "never without asking")
	require.NoError(t, c.get("jupyter-alice", &nb))
	assert.Equal(t, "Idle", nb.Annotations[v1alpha1.AnnotationStopCause])
	events := c.all(s, req.Key, "s1", "")
	require.NotEmpty(t, events)

	// It starts again as any stopped one, and a stop by hand is just that.
	req.Start, req.ServerIdleSeconds = "s2", 3600
	_, err = s.Start(t.Context(), req)
	require.NoError(t, err)
	pod = c.pod(c.deployment("jupyter-alice", "s2", 1))
	c.ready(pod)
	state = c.phase(s, req.Key, v1alpha1.NotebookReady)
	assert.Nil(t, state.AutoStop)
	require.NoError(t, c.get("jupyter-alice", &nb))
	assert.NotContains(t, nb.Annotations, v1alpha1.AnnotationStopCause)
	assert.NotContains(t, nb.Annotations, v1alpha1.AnnotationStopTime)
	require.NoError(t, s.Stop(t.Context(), req.Key))
	c.deployment("jupyter-alice", "s2", 0)
	c.end(pod)
	state = c.phase(s, req.Key, v1alpha1.NotebookStopped)
	assert.Equal(t, "Stopped", state.Reason)
	assert.Equal(t, "The server is stopped.", state.Message)
	assert.Nil(t, state.AutoStop)
}

func TestAutoStop(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		name        string
		stopped     bool
		annotations map[string]string
		idle        *v1alpha1.IdleStop
		want        *AutoStop
	}{
		{"idle", true, map[string]string{v1alpha1.AnnotationStopCause: "Idle", v1alpha1.AnnotationStopTime: "2026-01-02T03:04:05Z"}, &v1alpha1.IdleStop{Seconds: new(int64(90))},
			&AutoStop{Cause: v1alpha1.StopIdle, After: 90 * time.Second, At: at}},
		{"the longest run", true, map[string]string{v1alpha1.AnnotationStopCause: "MaxRun", v1alpha1.AnnotationStopTime: "2026-01-02T03:04:05Z"}, nil,
			&AutoStop{Cause: v1alpha1.StopMaxRun, After: time.Hour, At: at}},
		{"nobody knows when", true, map[string]string{v1alpha1.AnnotationStopCause: "MaxRun", v1alpha1.AnnotationStopTime: "today"}, nil,
			&AutoStop{Cause: v1alpha1.StopMaxRun, After: time.Hour}},
		{"by hand", true, nil, &v1alpha1.IdleStop{Seconds: new(int64(90))}, nil},
		{"a cause that is none", true, map[string]string{v1alpha1.AnnotationStopCause: "Whim"}, &v1alpha1.IdleStop{Seconds: new(int64(90))}, nil},
		{"without an idle time", true, map[string]string{v1alpha1.AnnotationStopCause: "Idle"}, nil, nil},
		{"not stopped", false, map[string]string{v1alpha1.AnnotationStopCause: "MaxRun"}, nil, nil},
	} {
		nb := &v1alpha1.JupyterNotebook{}
		nb.Annotations, nb.Spec.Stopped, nb.Spec.IdleStop, nb.Spec.MaxRunSeconds = row.annotations, row.stopped, row.idle, 3600
		assert.Equal(t, row.want, stateOf(nb).AutoStop, row.name)
	}
}

func TestAnnouncedStops(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		cause, at string
		want      time.Duration
	}{
		{"", "", 0}, {"Admin", "", 0}, {"", "2026-01-02T03:04:00Z", 0}, {"Admin", "soon", 0},
		{"Admin", "2026-01-02T03:04:00Z", 55 * time.Second},
		{"Admin", "2026-01-02T09:00:00Z", time.Minute}, // of a clock that is ahead
		{"Admin", "2026-01-02T03:03:05Z", 0}, {"Idle", "2026-01-01T03:03:05Z", -24 * time.Hour},
	} {
		nb := &v1alpha1.JupyterNotebook{}
		nb.Annotations = map[string]string{v1alpha1.AnnotationStopCause: row.cause, v1alpha1.AnnotationStopTime: row.at}
		assert.Equal(t, row.want, announced(nb, now), "%+v", row)
	}
}

// TestWhoStopsAServer: the kernels of one that its owner did not stop go on.
func TestWhoStopsAServer(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	pod := c.pod(c.deployment("jupyter-alice", "s1", 1))
	nb := &v1alpha1.JupyterNotebook{}
	annotate := func(cause string, at time.Time) {
		t.Helper()
		require.NoError(t, c.get("jupyter-alice", nb))
		patch := `{"metadata":{"annotations":{"elastichub.io/stop-cause":"` + cause + `","elastichub.io/stop-time":"` + at.UTC().Format(time.RFC3339) + `"}}}`
		require.NoError(t, c.client.Patch(t.Context(), nb, client.RawPatch(types.MergePatchType, []byte(patch))))
	}
	annotate("Idle", time.Now().Add(-time.Hour))
	c.eventually("the former stop is forgotten", func() bool {
		return c.get("jupyter-alice", nb) == nil && nb.Annotations[v1alpha1.AnnotationStopCause] == ""
	})
	annotate("Admin", time.Now())
	require.NoError(t, s.Stop(t.Context(), req.Key))
	require.NoError(t, c.get("jupyter-alice", nb))
	assert.True(t, nb.Spec.Stopped)
	assert.Equal(t, "Admin", nb.Annotations[v1alpha1.AnnotationStopCause])
	c.deployment("jupyter-alice", "s1", 0)
	c.end(pod)
	assert.Equal(t, "The server was stopped by an administrator.", c.phase(s, req.Key, v1alpha1.NotebookStopped).Message)
}

func TestOnlyAHomeKeepsFiles(t *testing.T) {
	nb := &v1alpha1.JupyterNotebook{}
	nb.Annotations, nb.Spec.Stopped, nb.Spec.MaxRunSeconds = map[string]string{v1alpha1.AnnotationStopCause: "MaxRun"}, true, 3600
	for _, storage := range []*v1alpha1.NotebookStorage{nil, {}} {
		nb.Spec.Storage = storage
		assert.False(t, autoStopOf(nb).KeepsFiles)
		_, text := stopReason(nb)
		assert.Equal(t, "The server was stopped: it had run for 1 hour, the longest that is allowed.", text)
	}
	nb.Spec.Storage.Home = &v1alpha1.HomeVolume{}
	assert.True(t, autoStopOf(nb).KeepsFiles)
}

func TestBusyAndUsedServersStay(t *testing.T) {
	since := metav1.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := newCluster(t)
	c.gateway("default")
	c.asker.set(func(address string) (Activity, error) {
		if address == "http://jupyter-busy."+c.namespace+".svc:8888/user/busy/" {
			return Activity{Last: time.Now().Add(-time.Hour), Busy: []v1alpha1.NotebookBusy{{Kind: v1alpha1.BusyTerminal, Name: "1 (sleep)", Since: &since}}}, nil
		}
		return Activity{Last: time.Now().Add(time.Hour)}, nil // its clock is wrong
	})
	s := c.replica(true)
	for _, user := range []string{"busy", "used"} {
		req := testRequest(user, "", "s1")
		req.ServerIdleSeconds, req.MaxRunSeconds = 2, 0
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
		c.ready(c.pod(c.deployment("jupyter-"+user, "s1", 1)))
		c.phase(s, req.Key, v1alpha1.NotebookReady)
	}
	c.eventually("both asked", func() bool { return len(c.asker.all()) >= 4 })
	for _, user := range []string{"busy", "used"} {
		var nb v1alpha1.JupyterNotebook
		require.NoError(t, c.get("jupyter-"+user, &nb))
		assert.False(t, nb.Spec.Stopped, user)
		require.NotNil(t, nb.Status.LastActivity, user)
		if user == "busy" {
			require.Len(t, nb.Status.Busy, 1)
			assert.True(t, nb.Status.Busy[0].Since.Equal(&since))
			assert.Equal(t, "terminal 1 (sleep)", nb.Status.Busy[0].Kind+" "+nb.Status.Busy[0].Name)
			assert.Nil(t, nb.Status.StopEligibleAt)
			assert.Empty(t, nb.Status.StopCause)
			version := nb.ResourceVersion
			asked := len(c.asker.all())
			c.eventually("both asked again", func() bool { return len(c.asker.all()) > asked+3 })
			require.NoError(t, c.get("jupyter-"+user, &nb))
			assert.Equal(t, version, nb.ResourceVersion, "that writes nothing")
			continue
		}
		assert.WithinDuration(t, time.Now(), nb.Status.LastActivity.Time, 10*time.Second, user)
		require.NotNil(t, nb.Status.StopEligibleAt, user)
		assert.True(t, nb.Status.StopEligibleAt.After(time.Now()))
		assert.Equal(t, v1alpha1.StopIdle, nb.Status.StopCause)
	}
}

// TestAServerThatAPageKeeps is told of its stop before, and what its page asks for is
// granted as far as its policy allows, by the annotation that others write too.
func TestAServerThatAPageKeeps(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	idleSince := time.Now().Add(-time.Hour)
	c.asker.set(func(string) (Activity, error) { return Activity{Last: idleSince}, nil })
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	req.ServerIdleSeconds, req.MaxRunSeconds, req.SnoozeMaxSeconds = 8, 0, new(int64(1800))
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	c.ready(c.pod(c.deployment("jupyter-alice", "s1", 1)))
	address := "http://jupyter-alice." + c.namespace + ".svc:8888/user/alice/"
	c.eventually("told before", func() bool { return !c.asker.lastTold(address).StopAt.IsZero() })
	told := c.asker.lastTold(address)
	assert.Equal(t, 30*time.Minute, told.Keep)
	var nb v1alpha1.JupyterNotebook
	require.NoError(t, c.get("jupyter-alice", &nb))
	require.NotNil(t, nb.Status.StopEligibleAt)
	assert.True(t, told.StopAt.Equal(nb.Status.StopEligibleAt.Time), "%s, not %s", told.StopAt, nb.Status.StopEligibleAt)
	assert.True(t, told.IdleSince.Before(told.StopAt))

	// It asks for longer than is allowed, until the end of its days.
	c.asker.set(func(string) (Activity, error) {
		return Activity{Last: idleSince, KeepUntil: time.Now().Add(1000 * time.Hour)}, nil
	})
	c.eventually("kept", func() bool {
		require.NoError(t, c.get("jupyter-alice", &nb))
		return nb.Status.SnoozedUntil != nil
	})
	assert.False(t, nb.Spec.Stopped)
	assert.Equal(t, int64(1800), nb.Status.SnoozedSeconds)
	assert.WithinDuration(t, time.Now().Add(30*time.Minute), nb.Status.SnoozedUntil.Time, time.Minute)
	assert.True(t, nb.Status.StopEligibleAt.Equal(nb.Status.SnoozedUntil))
	assert.NotEmpty(t, nb.Annotations[v1alpha1.AnnotationSnoozeUntil])
	version := nb.ResourceVersion
	time.Sleep(time.Second)
	require.NoError(t, c.get("jupyter-alice", &nb))
	assert.Equal(t, version, nb.ResourceVersion, "it is at rest")
}

// TestWhatIsGrantedToAPage: no more writes than grants.
func TestWhatIsGrantedToAPage(t *testing.T) {
	now := time.Unix(10000, 0).UTC()
	nb := &v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{IdleStop: &v1alpha1.IdleStop{Seconds: new(int64(60)), SnoozeMaxSeconds: new(int64(3600))}}}
	c := &controller{now: func() time.Time { return now }} // without a client: a write would panic
	for name, status := range map[string]v1alpha1.JupyterNotebookStatus{
		"used up":      {SnoozedSeconds: 3600},
		"as it is":     {SnoozedSeconds: 60, SnoozedUntil: &metav1.Time{Time: now.Add(time.Hour)}},
		"longer as is": {SnoozedSeconds: 60, SnoozedUntil: &metav1.Time{Time: now.Add(2 * time.Hour)}},
	} {
		before := status
		require.NoError(t, c.keepAsServerSays(t.Context(), nb, &status, now.Add(time.Hour)), name)
		assert.Equal(t, before, status, name)
	}
	status := v1alpha1.JupyterNotebookStatus{}
	require.NoError(t, c.keepAsServerSays(t.Context(), nb, &status, now.Add(-time.Second)))
	assert.Empty(t, status)
	assert.Equal(t, 5*time.Minute, forewarningOf(&v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{IdleStop: &v1alpha1.IdleStop{Seconds: new(int64(3600))}}}, v1alpha1.StopIdle))
	assert.Equal(t, 30*time.Second, forewarningOf(nb, v1alpha1.StopIdle))
}

func TestLongestRun(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	req.ServerIdleSeconds, req.MaxRunSeconds = 0, 4
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	pod := c.pod(c.deployment("jupyter-alice", "s1", 1))
	c.ready(pod)
	address := "http://jupyter-alice." + c.namespace + ".svc:8888/user/alice/"
	c.eventually("its pages are told", func() bool { return c.asker.lastTold(address).Cause == v1alpha1.StopMaxRun })
	assert.Zero(t, c.asker.lastTold(address).Keep)
	state := c.phase(s, req.Key, v1alpha1.NotebookReady)
	assert.Equal(t, v1alpha1.StopMaxRun, state.StopCause, "told beforehand")
	assert.WithinDuration(t, time.Now(), state.StopEligibleAt, 5*time.Second)
	c.deployment("jupyter-alice", "s1", 0)
	c.end(pod)
	state = c.phase(s, req.Key, v1alpha1.NotebookStopped)
	assert.Equal(t, "StoppedMaxRun", state.Reason)
	assert.Equal(t, "The server was stopped: it had run for 4 seconds, the longest that is allowed. Files are kept.", state.Message)
}

// TestSilentServersHoldUpNobody: while as many servers as are asked at a time
// do not answer, others are started, and are asked later.
func TestSilentServersHoldUpNobody(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	silence := make(chan struct{})
	t.Cleanup(func() { close(silence) })
	c.asker.hold = func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-silence:
		}
	}
	c.asker.set(func(string) (Activity, error) { return Activity{}, errors.New("no answer") })
	s := c.replica(true)
	for i := range 3 * workers {
		req := testRequest(fmt.Sprintf("u%d", i), "", "s1")
		req.ServerIdleSeconds = 1
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
		c.ready(c.pod(c.deployment(Name(req.Key), "s1", 1)))
	}
	assert.LessOrEqual(t, c.asker.most(), questions)
	assert.Positive(t, c.asker.most())
}

// TestAServerThatNobodyHasTold is stopped only so long after it was told, if it is idle still: its leader was
// away, or it did not answer.
func TestAServerThatNobodyHasTold(t *testing.T) {
	now := time.Unix(100000, 0).UTC()
	c := &controller{now: func() time.Time { return now }}
	nb := &v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{MaxRunSeconds: 7200, IdleStop: &v1alpha1.IdleStop{}}}
	over := deadline{at: now.Add(-time.Hour), cause: v1alpha1.StopIdle, idleSince: now.Add(-90 * time.Minute)}
	d := c.withNotice(nb, over)
	assert.Equal(t, now.Add(5*time.Minute), d.at)
	assert.True(t, c.isNear(nb, d), "it is asked, and told")
	c.watched.note(nb, func(w *watchedServer) {
		w.told = Forewarning{StopAt: d.at, Cause: d.cause, IdleSince: d.idleSince.Add(300 * time.Millisecond)}
	})
	for range 5 {
		now = now.Add(time.Minute)
		assert.Equal(t, d.at, c.withNotice(nb, over).at, "it does not move")
	}
	assert.True(t, c.isNear(nb, c.withNotice(nb, over)), "due")

	used := deadline{at: now.Add(4 * time.Minute), cause: v1alpha1.StopIdle, idleSince: now.Add(-26 * time.Minute)}
	assert.Equal(t, used, c.withNotice(nb, used), "most of the time is left")
	used.at = now.Add(time.Minute)
	assert.Equal(t, now.Add(5*time.Minute), c.withNotice(nb, used).at)
	run := deadline{at: now, cause: v1alpha1.StopMaxRun}
	assert.Equal(t, run, c.withNotice(nb, run), "it ran as long as is allowed")
	assert.Equal(t, 15*time.Minute, forewarningOf(nb, v1alpha1.StopMaxRun))
}

func TestWhenAServerIsAsked(t *testing.T) {
	now := time.Unix(100000, 0).UTC()
	c := &controller{now: func() time.Time { return now }}
	nb := &v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{IdleStop: &v1alpha1.IdleStop{}}}
	nb.UID, nb.Name = "u", "n"
	status := &v1alpha1.JupyterNotebookStatus{}
	far := deadline{at: now.Add(time.Hour), cause: v1alpha1.StopIdle}
	assert.Equal(t, 10*time.Minute, askEvery(nb))
	assert.False(t, c.isToBeAsked(nb, status, far), "one of many that a new leader sees")
	assert.WithinRange(t, c.watched.of(nb).askAt, now.Add(5*time.Minute), now.Add(10*time.Minute))
	now = c.watched.of(nb).askAt
	assert.True(t, c.isToBeAsked(nb, status, far))

	c.watched.forget(client.ObjectKeyFromObject(nb))
	assert.True(t, c.isToBeAsked(nb, &v1alpha1.JupyterNotebookStatus{Busy: []v1alpha1.NotebookBusy{{Kind: "kernel"}}}, far), "what it was at may be over")
	assert.False(t, c.isToBeAsked(nb, status, far))
	assert.True(t, c.isToBeAsked(nb, status, deadline{at: now.Add(4 * time.Minute), cause: v1alpha1.StopIdle}), "to be told")
	assert.False(t, c.isToBeAsked(nb, status, deadline{at: now, cause: v1alpha1.StopMaxRun}))
	other := nb.DeepCopy()
	other.UID = "v"
	assert.NotEqual(t, spread(nb, time.Hour), spread(other, time.Hour))
}

func TestKernelsThatKeepAServer(t *testing.T) {
	now := time.Unix(100000, 5e8).UTC()
	kernel := func(name string, phase v1alpha1.KernelPhase, start *metav1.Time) v1alpha1.JupyterKernel {
		return v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.JupyterKernelStatus{Phase: phase, Run: 1, StartTime: start}}
	}
	began := metav1.Time{Time: now.Add(-time.Hour)}
	kernels := []v1alpha1.JupyterKernel{kernel("b", v1alpha1.KernelReady, &began), kernel("p", v1alpha1.KernelParked, &began), kernel("a", v1alpha1.KernelQueued, nil)}
	first := holding(kernels, nil, now)
	assert.Equal(t, []v1alpha1.NotebookBusy{
		{Kind: v1alpha1.BusyKernel, Name: "a", Since: &metav1.Time{Time: now.Truncate(time.Second)}}, {Kind: v1alpha1.BusyKernel, Name: "b", Since: &began},
	}, first)
	kernels[2].Status.StartTime = &metav1.Time{Time: now}
	assert.Equal(t, first, holding(kernels, first, now.Add(time.Minute)), "written once")
	assert.Empty(t, holding(kernels[1:2], first, now))
	many := make([]v1alpha1.JupyterKernel, 99)
	assert.Len(t, holding(many, nil, now), v1alpha1.MaxBusy)
}

// TestServersWhoseTimeDoesNotRun: only the longest run ends what is at something, or does not answer.
func TestServersWhoseTimeDoesNotRun(t *testing.T) {
	now := metav1.Time{Time: time.Unix(100000, 0)}
	nb := &v1alpha1.JupyterNotebook{Spec: v1alpha1.JupyterNotebookSpec{IdleStop: &v1alpha1.IdleStop{}}}
	ready := metav1.Condition{Type: ConditionReady, LastTransitionTime: now}
	for name, status := range map[string]v1alpha1.JupyterNotebookStatus{
		"busy":   {Busy: []v1alpha1.NotebookBusy{{Kind: v1alpha1.BusyTerminal}}, Conditions: []metav1.Condition{ready}},
		"silent": {Conditions: []metav1.Condition{ready, {Type: ConditionAnswers, Status: metav1.ConditionFalse}}},
	} {
		status.Phase, status.StartTime, nb.Spec.MaxRunSeconds = v1alpha1.NotebookReady, &now, 0
		assert.Equal(t, deadline{}, deadlineOf(nb, status, nil), name)
		nb.Spec.MaxRunSeconds = 60
		assert.Equal(t, deadline{at: now.Add(time.Minute), cause: v1alpha1.StopMaxRun}, deadlineOf(nb, status, nil), name)
	}
}
