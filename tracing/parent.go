package tracing

import (
	"context"
	"encoding/hex"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// HeaderTraceparent is where W3C Trace Context has a span's name.
const HeaderTraceparent = "traceparent"

// Parent names a span, here or in another process. The zero value is none.
type Parent struct {
	trace   [16]byte
	span    [8]byte
	sampled bool
}

// IsNone reports whether it names no span.
func (p Parent) IsNone() bool { return p.trace == [16]byte{} || p.span == [8]byte{} }

// String is the traceparent of version 00; empty for none.
func (p Parent) String() string {
	if p.IsNone() {
		return ""
	}
	flags := "-00"
	if p.sampled {
		flags = "-01"
	}
	return "00-" + hex.EncodeToString(p.trace[:]) + "-" + hex.EncodeToString(p.span[:]) + flags
}

// traceparentBytes is the length of version 00. Later ones may only add to it.
const traceparentBytes = 2 + 1 + 32 + 1 + 16 + 1 + 2

// ParseParent reads a traceparent; what is none of a version that can be read is none.
func ParseParent(text string) (p Parent) {
	if len(text) < traceparentBytes || text[2] != '-' || text[35] != '-' || text[52] != '-' || text[:2] == "ff" {
		return Parent{}
	}
	if len(text) > traceparentBytes && (text[:2] == "00" || text[traceparentBytes] != '-') {
		return Parent{}
	}
	var version, flags [1]byte
	for _, part := range []struct {
		to   []byte
		text string
	}{{version[:], text[:2]}, {p.trace[:], text[3:35]}, {p.span[:], text[36:52]}, {flags[:], text[53:55]}} {
		if !isLowerHex(part.text) {
			return Parent{}
		}
		if _, err := hex.Decode(part.to, []byte(part.text)); err != nil {
			return Parent{}
		}
	}
	p.sampled = flags[0]&1 == 1
	if p.IsNone() {
		return Parent{}
	}
	return p
}

func isLowerHex(text string) bool {
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

type parentKey struct{}

// Under has spans that begin in the context be parts of another one.
func Under(ctx context.Context, p Parent) context.Context {
	if p.IsNone() {
		return ctx
	}
	return context.WithValue(ctx, parentKey{}, p)
}

// ParentOf is the span that the context is in.
func ParentOf(ctx context.Context) Parent {
	p, _ := ctx.Value(parentKey{}).(Parent)
	return p
}

// parentIn is what a request says that it is part of.
func parentIn(header http.Header) Parent { return ParseParent(header.Get(HeaderTraceparent)) }

// noteParent writes down at an object which span its start or run is part of, if that span
// is recorded.
func noteParent(ctx context.Context, o metav1.Object) {
	annotations := o.GetAnnotations()
	p := ParentOf(ctx)
	if !p.sampled {
		delete(annotations, v1alpha1.AnnotationTraceparent)
		return
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationTraceparent] = p.String()
	o.SetAnnotations(annotations)
}

// NotedParent is the span that an object's start or run is part of; none if it is not
// recorded.
func NotedParent(o metav1.Object) Parent {
	text, noted := o.GetAnnotations()[v1alpha1.AnnotationTraceparent]
	if !noted {
		return Parent{}
	}
	return ParseParent(text)
}
