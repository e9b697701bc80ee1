package holdings

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestEvents(t *testing.T) {
	minute := func(n int) time.Time { return now.Add(time.Duration(n) * time.Minute) }
	told := []corev1.Event{
		{Reason: "Pulled", Message: "m1", LastTimestamp: metav1.NewTime(minute(1))},
		{Reason: "BackOff", Message: "m3", Type: "Warning", Count: 7, LastTimestamp: metav1.NewTime(minute(3)), FirstTimestamp: metav1.NewTime(minute(0))},
		{Reason: "Scheduled", Message: "m0", EventTime: metav1.NewMicroTime(minute(0))},
		{Reason: "Series", Message: "m4", Series: &corev1.EventSeries{LastObservedTime: metav1.NewMicroTime(minute(4))}},
		{Reason: "Old", ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(minute(-9))}},
	}
	start := []v1alpha1.NotebookProgress{{Message: "m2", Time: metav1.NewMicroTime(minute(2)), Outcome: v1alpha1.OutcomeFailed}}
	assert.Equal(t, []Event{
		{Time: minute(4), Reason: "Series", Message: "m4", Count: 1},
		{Time: minute(3), Reason: "BackOff", Message: "m3", Warning: true, Count: 7},
		{Time: minute(2), Message: "m2", Warning: true, Count: 1},
		{Time: minute(1), Reason: "Pulled", Message: "m1", Count: 1},
		{Time: minute(0), Reason: "Scheduled", Message: "m0", Count: 1},
	}, EventsOf(told, start, 5))
	assert.Empty(t, EventsOf(nil, nil, 5))
}
