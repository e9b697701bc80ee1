package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// DefaultSnoozeMaxSeconds is how long in all an automatic stop may be put off by hand in one
// run where nobody says more or less.
const DefaultSnoozeMaxSeconds = 4 * 60 * 60

// SnoozeBound is a SnoozeMaxSeconds, or what holds where it is absent.
func SnoozeBound(seconds *int64) time.Duration {
	return time.Duration(ptr.Deref(seconds, DefaultSnoozeMaxSeconds)) * time.Second
}

// SnoozeBoundOf is the longest of those of somebody's policies.
func SnoozeBoundOf(policies []GroupPolicy) time.Duration {
	if len(policies) == 0 {
		return SnoozeBound(nil)
	}
	longest := time.Duration(0)
	for i := range policies {
		longest = max(longest, SnoozeBound(policies[i].Spec.SnoozeMaxSeconds))
	}
	return longest
}

// Snooze is for how long an automatic stop of a run is put off by hand.
type Snooze struct {
	// Until is when that ends; nil: it is not put off.
	Until *metav1.Time
	// Seconds is for how long in all it was put off in this run.
	Seconds int64
}

// End is when a snooze ends, or now, without the parts of a second, if it has ended.
func (s Snooze) End(now time.Time) time.Time {
	if s.Until != nil && s.Until.After(now) {
		return s.Until.Time
	}
	return now.Truncate(time.Second)
}

// Grant is what becomes of a snooze when an object's annotation is asked, which may be
// absent or anything, as far as bound allows. What was granted once counts, also if it was
// taken back. The same question has the same answer.
func (s Snooze) Grant(asked string, now time.Time, bound time.Duration) Snooze {
	until, err := time.Parse(time.RFC3339, asked)
	until = until.Truncate(time.Second) // as the API server keeps it
	if err != nil || !until.After(now) {
		return Snooze{Seconds: s.Seconds}
	}
	from := s.End(now)
	if !until.After(from) {
		return Snooze{&metav1.Time{Time: until}, s.Seconds}
	}
	left := max(bound-time.Duration(s.Seconds)*time.Second, 0)
	granted := min(until.Sub(from), left)
	if end := from.Add(granted); end.After(now) {
		return Snooze{&metav1.Time{Time: end}, s.Seconds + int64(granted/time.Second)}
	}
	return Snooze{Seconds: s.Seconds}
}
