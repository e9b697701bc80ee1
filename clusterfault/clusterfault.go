// Package clusterfault tells what the Kubernetes API server cannot do at the moment from what it
// will not do: the one is worth another attempt, and nobody's fault; the other is an answer.
package clusterfault

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Passes reports whether a request to the API server failed for a reason that passes by itself: it
// is overloaded, starting or out of reach, its store or a webhook did not answer, or the
// connection broke. Whether it was carried out is not known then. The caller's own deadline is not
// among them, nor is a race for an object (Lost).
func Passes(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	if apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) {
		return true
	}
	var request *url.Error // what net/http makes of whatever happens on the way
	var way net.Error
	return errors.As(err, &request) || errors.As(err, &way) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Lost reports whether somebody else was faster: the object is of another version by now, or is there
// already. Whoever reads again can decide anew.
func Lost(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }
