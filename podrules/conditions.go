package podrules

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// SetCondition sets a condition of an object; Ready stands before all others.
// Its time is that of the last change of its status, not of its reason or message.
func SetCondition(conditions *[]metav1.Condition, generation int64, now time.Time, kind string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message,
		ObservedGeneration: generation, LastTransitionTime: metav1.NewTime(now),
	})
	if i := slices.IndexFunc(*conditions, func(c metav1.Condition) bool { return c.Type == v1alpha1.ConditionReady }); i > 0 {
		ready := (*conditions)[i]
		*conditions = slices.Insert(slices.Delete(*conditions, i, i+1), 0, ready)
	}
}

// PatchOver makes of an object and its former state a patch that writes what
// differs, and nothing if the object has changed since. It leaves alone what this
// version of elastichub does not know, unlike an update of the whole.
func PatchOver(former client.Object) client.Patch {
	return client.MergeFromWithOptions(former, client.MergeFromWithOptimisticLock{})
}
