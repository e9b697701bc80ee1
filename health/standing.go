package health

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// Standing is how an object stands.
type Standing string

// How an object can stand, with what kstatus makes of the conditions that say so.
const (
	Coming  Standing = "coming"  // it is not ready, and may become so: InProgress
	Ready   Standing = "ready"   // it is what it was made for: Current
	Resting Standing = "resting" // nothing runs for it, as it should be: Current
	Stalled Standing = "stalled" // it will not become ready by itself: Failed
)

// Set sets the conditions Ready, Stalled and Resting of an object.
func Set(conditions *[]metav1.Condition, generation int64, now time.Time, is Standing, reason, message string) {
	put := func(kind string, wanted bool) {
		if wanted {
			podrules.SetCondition(conditions, generation, now, kind, true, reason, message)
		} else {
			meta.RemoveStatusCondition(conditions, kind)
		}
	}
	put(v1alpha1.ConditionStalled, is == Stalled)
	put(v1alpha1.ConditionResting, is == Resting)
	if is == Resting {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionReady)
		return
	}
	podrules.SetCondition(conditions, generation, now, v1alpha1.ConditionReady, is == Ready, reason, message)
}

// Of tells how an object stands by its conditions, and why. An object that nobody has
// looked at is coming.
func Of(conditions []metav1.Condition) (is Standing, reason, message string) {
	for _, each := range []struct {
		kind string
		is   Standing
	}{{v1alpha1.ConditionStalled, Stalled}, {v1alpha1.ConditionResting, Resting}, {v1alpha1.ConditionReady, Ready}} {
		if c := meta.FindStatusCondition(conditions, each.kind); c != nil && c.Status == metav1.ConditionTrue {
			return each.is, c.Reason, c.Message
		}
	}
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady); c != nil {
		return Coming, c.Reason, c.Message
	}
	return Coming, "", ""
}
