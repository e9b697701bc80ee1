package v1alpha1

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestGrantOfASnooze(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	begin := now.Truncate(time.Second)
	in := func(d time.Duration) string { return begin.Add(d).Format(time.RFC3339) }
	snooze := func(d time.Duration, seconds int64) Snooze {
		return Snooze{&metav1.Time{Time: begin.Add(d)}, seconds}
	}
	for name, row := range map[string]struct {
		former Snooze
		asked  string
		want   Snooze
	}{
		"nobody asks":             {Snooze{}, "", Snooze{}},
		"no time":                 {Snooze{}, "an hour", Snooze{}},
		"a time that is over":     {Snooze{}, in(-time.Second), Snooze{}},
		"an hour":                 {Snooze{}, in(time.Hour), snooze(time.Hour, 3600)},
		"in another zone":         {Snooze{}, begin.Add(time.Hour).In(time.FixedZone("x", 7200)).Format(time.RFC3339), snooze(time.Hour, 3600)},
		"the same again":          {snooze(time.Hour, 3600), in(time.Hour), snooze(time.Hour, 3600)},
		"another hour":            {snooze(time.Hour, 3600), in(2 * time.Hour), snooze(2*time.Hour, 7200)},
		"after the former":        {snooze(-time.Hour, 3600), in(time.Hour), snooze(time.Hour, 7200)},
		"more than the bound":     {Snooze{}, in(5 * time.Hour), snooze(4*time.Hour, 14400)},
		"as much again":           {snooze(4*time.Hour, 14400), in(5 * time.Hour), snooze(4*time.Hour, 14400)},
		"the rest":                {snooze(time.Hour, 10800), in(3 * time.Hour), snooze(2*time.Hour, 14400)},
		"nothing is left":         {snooze(-time.Second, 14400), in(time.Hour), Snooze{Seconds: 14400}},
		"less than there was":     {snooze(2*time.Hour, 7200), in(time.Hour), snooze(time.Hour, 7200)},
		"taken back":              {snooze(2*time.Hour, 7200), "", Snooze{Seconds: 7200}},
		"over, and asked no more": {snooze(-time.Second, 3600), in(-time.Second), Snooze{Seconds: 3600}},
	} {
		t.Run(name, func(t *testing.T) {
			got := row.former.Grant(row.asked, now, SnoozeBound(nil))
			assert.Equal(t, row.want.Seconds, got.Seconds)
			assert.True(t, row.want.Until.Equal(got.Until), "%v", got.Until)
			again := got.Grant(row.asked, now, SnoozeBound(nil))
			assert.Equal(t, got.Seconds, again.Seconds, "asked twice")
			assert.True(t, got.Until.Equal(again.Until), "asked twice")
		})
	}
	assert.Equal(t, Snooze{}, Snooze{}.Grant(in(time.Hour), now, SnoozeBound(ptr.To[int64](0))), "a bound of none")
	minute, long := GroupPolicy{Spec: GroupPolicySpec{SnoozeMaxSeconds: ptr.To[int64](60)}}, GroupPolicy{Spec: GroupPolicySpec{SnoozeMaxSeconds: ptr.To[int64](90)}}
	assert.Equal(t, 90*time.Second, SnoozeBoundOf([]GroupPolicy{minute, long, minute}), "the longest")
	assert.Equal(t, 4*time.Hour, SnoozeBoundOf([]GroupPolicy{minute, {}}), "one that says nothing")
	assert.Equal(t, 4*time.Hour, SnoozeBoundOf(nil))
}
