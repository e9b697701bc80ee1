package lifecycle

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podstate"
)

const (
	// shortLife: a kernel that ends sooner after it was ready has failed at once.
	shortLife = time.Minute
	// mostRetries bounds how often one run is begun anew because its Pod was
	// taken away before it was ready.
	mostRetries = 3
	// The pause before the run after the second failure in a row, and its bound.
	firstRetryPause = 5 * time.Second
	mostRetryPause  = 5 * time.Minute
)

// retryPause is how long a kernel waits after so many failures in a row. The
// first costs nothing: most are not repeated.
func retryPause(failures int32) time.Duration {
	if failures < 2 {
		return 0
	}
	return min(firstRetryPause<<min(failures-2, 10), mostRetryPause)
}

// failedAtOnce tells whether a run came to nothing soon after it began, by no
// decision of anybody's.
func failedAtOnce(s v1alpha1.JupyterKernelStatus) bool {
	switch s.Cause {
	case v1alpha1.CauseKernelExited, v1alpha1.CauseStartFailed, v1alpha1.CauseOutOfMemory, v1alpha1.CauseEvicted, v1alpha1.CauseNodeLost,
		v1alpha1.CauseImage, v1alpha1.CauseRejected, v1alpha1.CauseUnknown:
	case v1alpha1.CauseIdle, v1alpha1.CauseShutdown, v1alpha1.CauseInvalid, v1alpha1.CauseRefused, v1alpha1.CauseOrphaned, v1alpha1.CauseDeadline:
		return false
	default:
		return false // of a newer controller
	}
	return s.ReadyTime == nil || s.CompletionTime != nil && s.CompletionTime.Sub(s.ReadyTime.Time) < shortLife
}

// backOff begins a run later if those before have failed at once.
func (s *plan) backOff(former v1alpha1.JupyterKernelStatus, now time.Time) {
	if former.Phase != v1alpha1.KernelDead || !failedAtOnce(former) {
		return
	}
	s.status.Failures = former.Failures + 1
	if pause := retryPause(s.status.Failures); pause > 0 {
		s.status.NotBefore = &metav1.Time{Time: now.Add(pause)}
		s.status.Message = fmt.Sprintf("The kernel has ended %d times in a row soon after it was started; the next attempt begins in %s.",
			s.status.Failures, pause)
	}
}

// waitOut ends the pause when it is over, or looks again then.
func (s *plan) waitOut(now time.Time) {
	if s.status.NotBefore == nil {
		return
	}
	if left := s.status.NotBefore.Sub(now); left > 0 {
		s.lookAgain = left
		return
	}
	s.status.NotBefore, s.status.Message = nil, ""
}

// startsAnew tells whether a run whose Pod was taken away before it was ready is
// begun anew: nothing is lost by that.
func (s *plan) startsAnew(e podstate.Ending) bool {
	return e.Disrupted && s.status.Phase == v1alpha1.KernelStarting && s.status.ReadyTime == nil && s.status.Failures < mostRetries
}

// startAnew takes the run back to the queue, in its old place.
func (s *plan) startAnew(v observed, e podstate.Ending) {
	s.status.Phase = v1alpha1.KernelQueued
	s.status.Failures++
	s.status.StartTime, s.status.Node = nil, ""
	s.status.Message = e.Message + " It is tried again."
	if pause := retryPause(s.status.Failures); pause > 0 {
		s.status.NotBefore = &metav1.Time{Time: v.now.Add(pause)}
	}
	s.removePods(v, v.pods)
}
