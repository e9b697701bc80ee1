package spawner

import (
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/podtrouble"
)

// refusedRetryMost bounds how long nobody tries again what the cluster has not taken: a quota
// may have become free.
const refusedRetryMost = 2 * time.Minute

// serverError is the least status code with which a server says that the fault is its own.
const serverError = 500

// writeFault turns what the API server answers to a write into a state that says it. What
// another pass cures, and what does not come from the API server, stays an error. what is the
// object in words.
func writeFault(err error, what string) error {
	var stop *stopError
	var answer apierrors.APIStatus
	switch {
	case err == nil, errors.As(err, &stop):
		return err
	case errors.As(err, &answer) && podtrouble.Denied(err.Error()): // with whatever status code
		return failed(ReasonRefused, "The cluster refuses the server's %s: %s.", what, inSentence(err))
	case !errors.As(err, &answer), passes(err):
		return fmt.Errorf("write %s: %w", what, err)
	case answer.Status().Code >= serverError:
		return pending(ReasonClusterError, "The cluster could not make the server's %s, and is asked again: %s.", what, inSentence(err))
	default:
		return failed(ReasonRefused, "The cluster refuses the server's %s: %s.", what, inSentence(err))
	}
}

// passes reports whether the same write may do when it comes again at once.
func passes(err error) bool {
	return lostRace(err) ||
		apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err)
}

// inSentence is why the API server did not take something, for the end of a sentence.
func inSentence(err error) string {
	return strings.TrimRight(translated(podtrouble.Unmade(strings.TrimSpace(err.Error()))), ".")
}

// retryAfter is when to try again what keeps a server from being made or repaired, zero if
// something that is watched will tell. What the cluster does not take is tried again after as
// long as the server has not been ready for: many that wait for a quota cost little.
func retryAfter(o observed) time.Duration {
	switch why := o.blocked.reason; {
	case why == ReasonQuotaExceeded && !built(o.deployment, o.notebook):
		return min(max(notReadyFor(o), roomRetry), roomRetryMost)
	case why == ReasonRefused, why == ReasonClusterError, why == ReasonPodRefused:
		return min(max(notReadyFor(o), secretRetry), refusedRetryMost)
	case why == ReasonWaitingForEnvironment, why == ReasonWaitingForCredentials, why == ReasonWaitingForRemoval:
		return secretRetry
	case built(o.deployment, o.notebook):
		return repairRetry
	default:
		return 0
	}
}

// notReadyFor is how long a server has not been ready for.
func notReadyFor(o observed) time.Duration {
	ready := apimeta.FindStatusCondition(o.notebook.Status.Conditions, ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionFalse {
		return 0
	}
	return o.now.Sub(ready.LastTransitionTime.Time)
}

// whileRunning is what stands in the way of a server that runs: told, but it takes no Pod away.
func whileRunning(err error) error {
	var stop *stopError
	if errors.As(err, &stop) {
		return pending(stop.reason, "%s", stop.message)
	}
	return err
}
