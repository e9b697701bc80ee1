package tracing

import (
	"context"
	"net/http"
	"regexp"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const (
	// HeaderRequest is how a caller names its request, and an answer the one that it is to.
	HeaderRequest = "X-Request-Id"
	// KeyRequest is that name in a line of a log.
	KeyRequest = "request"
)

var harmless = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// RequestID is what a caller calls its request if that is harmless in a log, and a new id
// otherwise.
func RequestID(given string) string {
	if harmless.MatchString(given) {
		return given
	}
	return uuid.NewString()
}

type requestKey struct{}

// WithRequest has what is done under the context be done for a request: what controllers'
// loggers write says so, and RequestOf gives it.
func WithRequest(ctx context.Context, id string) context.Context {
	ctx = context.WithValue(ctx, requestKey{}, id)
	return log.IntoContext(ctx, log.FromContext(ctx).WithValues(KeyRequest, id))
}

// RequestOf is the request for which something is done; empty for none.
func RequestOf(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// Note writes down at an object which request it is that asks for its next start or run, and
// which span that is part of.
func Note(ctx context.Context, o metav1.Object) {
	noteParent(ctx, o)
	annotations := o.GetAnnotations()
	id := RequestOf(ctx)
	if id == "" {
		delete(annotations, v1alpha1.AnnotationRequest)
		return
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationRequest] = id
	o.SetAnnotations(annotations)
}

// Noted is the request that Note wrote, empty for none. Whoever may write the object may
// have written something else there, which is left out unless it is harmless.
func Noted(o metav1.Object) string {
	id := o.GetAnnotations()[v1alpha1.AnnotationRequest]
	if !harmless.MatchString(id) {
		return ""
	}
	return id
}

// WithObject is WithRequest for the request that an object's start or run was asked for by.
func WithObject(ctx context.Context, o metav1.Object) context.Context {
	if id := Noted(o); id != "" {
		return WithRequest(ctx, id)
	}
	return ctx
}

// Send names, in the log of somebody who is called, what the call is made for: a controller's pass,
// whose lines in the log name the request, too, or a request.
func Send(ctx context.Context, header http.Header) {
	id := string(controller.ReconcileIDFromContext(ctx))
	if id == "" {
		id = RequestOf(ctx)
	}
	if id != "" {
		header.Set(HeaderRequest, id)
	}
}
