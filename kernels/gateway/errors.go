package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/elastichub/elastichub/clusterfault"
)

// kind is what went wrong, as far as a client is told.
type kind string

const (
	kindInvalid         kind = "Invalid"
	kindUnauthenticated kind = "Unauthenticated"
	kindForbidden       kind = "Forbidden"
	kindNotFound        kind = "NotFound" // absent or hidden
	kindMethod          kind = "MethodNotAllowed"
	kindConflict        kind = "Conflict"
	kindTooLarge        kind = "TooLarge"
	kindUnavailable     kind = "Unavailable" // a dependency is down
	kindTimeout         kind = "Timeout"
	kindNothing         kind = "NothingListens" // in the kernel, or nothing that answers
	kindApart           kind = "TooFarApart"    // of another release than works with this one
	kindInternal        kind = "Internal"
)

// statusOf is the HTTP status of every kind.
var statusOf = map[kind]int{
	kindInvalid:         http.StatusBadRequest,
	kindUnauthenticated: http.StatusUnauthorized,
	kindForbidden:       http.StatusForbidden,
	kindNotFound:        http.StatusNotFound,
	kindMethod:          http.StatusMethodNotAllowed,
	kindConflict:        http.StatusConflict,
	kindTooLarge:        http.StatusRequestEntityTooLarge,
	kindUnavailable:     http.StatusServiceUnavailable,
	kindTimeout:         http.StatusGatewayTimeout,
	kindNothing:         http.StatusBadGateway,
	kindApart:           http.StatusConflict,
	kindInternal:        http.StatusInternalServerError,
}

// failure is an error that says what a client may know of it.
type failure struct {
	kind    kind
	message string // a sentence for people, without internals
	cause   error  // for the log only
}

func (f *failure) Error() string {
	if f.cause != nil {
		return "gateway: " + f.message + ": " + f.cause.Error()
	}
	return "gateway: " + f.message
}

func (f *failure) Unwrap() error { return f.cause }

func fail(k kind, message string) error { return &failure{kind: k, message: message} }

func failBecause(k kind, message string, cause error) error {
	return &failure{kind: k, message: message, cause: cause}
}

var errNoKernel = fail(kindNotFound, "There is no such kernel.")

// explain turns any error into what the client is told. The text of an error
// that is not ours never reaches a client.
func explain(err error) *failure {
	var f *failure
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &tooLarge):
		return &failure{kindTooLarge, "The request is too large.", err}
	case errors.Is(err, errNoRoom):
		return &failure{kindUnavailable, "The gateway has no memory for this request at the moment. Please try again.", err}
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return &failure{kindTimeout, "The cluster did not answer in time.", err}
	case clusterfault.Passes(err), clusterfault.Lost(err):
		return &failure{kindUnavailable, "The cluster is not available.", err}
	default:
		return &failure{kindInternal, "Something went wrong.", err}
	}
}

// problem is the body that jupyter_server shows: "Error from Gateway: [message] reason".
type problem struct {
	Reason    string `json:"reason"`
	Message   string `json:"message"`
	RequestID string `json:"requestId,omitempty"`
}

// writeError renders an error and logs it, once, here.
func writeError(w http.ResponseWriter, log *slog.Logger, requestID string, err error) {
	f := explain(err)
	body := problem{Reason: string(f.kind), Message: f.message}
	switch f.kind {
	case kindUnauthenticated:
		w.Header().Set("WWW-Authenticate", `Bearer realm="elastichub"`)
		log.Info("request refused", "error", err)
	case kindInternal:
		body.RequestID = requestID
		body.Message += " The request id is " + requestID + "."
		log.Error("request failed", "error", err)
	case kindUnavailable, kindTimeout:
		w.Header().Set("Retry-After", "1")
		log.Warn("request failed", "error", err)
	default:
		log.Debug("request refused", "error", err)
	}
	writeJSON(w, statusOf[f.kind], body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"reason":"Internal","message":"Something went wrong."}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}
