package health_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health"
	"github.com/elastichub/elastichub/health/healthtest"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// TestStandings of objects, as those read them who judge health, whatever came before.
func TestStandings(t *testing.T) {
	all := map[health.Standing]string{
		health.Coming: "InProgress Progressing", health.Ready: "Current Healthy", health.Resting: "Current Healthy", health.Stalled: "Failed Degraded",
	}
	judge := func(k *v1alpha1.JupyterKernelSpec) string {
		o := healthtest.Object(t, "JupyterKernelSpec", k)
		return healthtest.Kstatus(t, o) + " " + healthtest.Argo(t, "../docs", o)
	}
	k := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: "k", Generation: 2}}
	k.Status.ObservedGeneration = -1
	assert.Equal(t, "InProgress Progressing", judge(k), "nobody has looked at it")
	k.Status.ObservedGeneration = 2
	for first := range all {
		for then, want := range all {
			health.Set(&k.Status.Conditions, 2, noon, first, "First", "")
			health.Set(&k.Status.Conditions, 2, noon, then, "Then", "Why.")
			assert.Equal(t, want, judge(k), "%s, then %s", first, then)
			is, reason, message := health.Of(k.Status.Conditions)
			assert.Equal(t, []string{string(then), "Then", "Why."}, []string{string(is), reason, message})
			k.Generation = 3
			assert.Equal(t, "InProgress Progressing", judge(k), "the change of a spec was not seen yet")
			k.Generation = 2
		}
	}
}

func TestChanges(t *testing.T) {
	of := func(is health.Standing, reason, message string, more ...metav1.Condition) (c []metav1.Condition) {
		c = more
		health.Set(&c, 1, noon, is, reason, message)
		return c
	}
	missing := func(is metav1.ConditionStatus, message string) metav1.Condition {
		return metav1.Condition{Type: "Missing", Status: is, Reason: "NotFound", Message: message}
	}
	warn := map[string]metav1.ConditionStatus{"Missing": metav1.ConditionTrue}
	for name, row := range map[string]struct {
		before, now []metav1.Condition
		want        []health.Event
	}{
		"it is seen for the first time": {nil, of(health.Coming, "Starting", "a"), []health.Event{health.Normal("Starting", "a")}},
		"it becomes ready":              {of(health.Coming, "Starting", "a"), of(health.Ready, "Serving", ""), []health.Event{health.Normal("Serving", "")}},
		"it is ready no more":           {of(health.Ready, "Serving", ""), of(health.Coming, "NoReplica", "b"), []health.Event{health.Warning("NoReplica", "b")}},
		"it is refused":                 {of(health.Coming, "Starting", "a"), of(health.Stalled, "Refused", "c"), []health.Event{health.Warning("Refused", "c")}},
		"other words for the same":      {of(health.Stalled, "Refused", "c"), of(health.Stalled, "Refused", "d"), nil},
		"it rests":                      {of(health.Ready, "Serving", ""), of(health.Resting, "Stopped", "e"), []health.Event{health.Normal("Stopped", "e")}},
		"a warning":                     {of(health.Ready, "Serving", ""), of(health.Ready, "Serving", "", missing(metav1.ConditionTrue, "x")), []health.Event{health.Warning("Missing", "x")}},
		"the same warning":              {of(health.Ready, "Serving", "", missing(metav1.ConditionTrue, "x")), of(health.Ready, "Serving", "", missing(metav1.ConditionTrue, "x")), nil},
		"the warning is over":           {of(health.Ready, "Serving", "", missing(metav1.ConditionTrue, "x")), of(health.Ready, "Serving", "", missing(metav1.ConditionFalse, "")), nil},
	} {
		assert.Equal(t, row.want, health.Changes(row.before, row.now, warn), name)
	}
}

// TestNoRecorder: what has none writes nothing.
func TestNoRecorder(t *testing.T) {
	assert.NotPanics(t, func() {
		health.Recorder{}.Tell(&v1alpha1.JupyterKernel{}, health.Normal("A", strings.Repeat("ä", 2000)))
	})
}
