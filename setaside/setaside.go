// Package setaside tells of objects that cannot be read and whose status the API
// server refuses: it checks rules on the spec at a write of the status, too, and
// some of them fail where they meet another type.
package setaside

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Object is one of our kinds.
type Object interface {
	client.Object
	Malformed() error
}

// maxName is the length of an object's name in that of an Event, which may have 253 characters.
const maxName = 200

// Tell takes what came of writing an object's status. If the object cannot be
// read and the API server has refused the write, it makes an Event of the object
// and returns nil: nothing is left to do until the object is mended. There is one
// Event for each generation, however often it is told. Other errors are returned.
func Tell(ctx context.Context, c client.Client, o Object, written error) error {
	why := o.Malformed()
	if why == nil || !apierrors.IsInvalid(written) {
		return written
	}
	kind, err := c.GroupVersionKindFor(o)
	if err != nil {
		return fmt.Errorf("setaside: %w", err)
	}
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: eventName(o)},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(),
		},
		Type: corev1.EventTypeWarning, Reason: string(v1alpha1.ReasonMalformed),
		Message:        why.Error() + ". Its status cannot say so, since the API server checks its spec first.",
		FirstTimestamp: now, LastTimestamp: now, Count: 1, Source: corev1.EventSource{Component: v1alpha1.ManagedBy},
	}
	if err := c.Create(ctx, event); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("setaside: tell of %s %s: %w", kind.Kind, o.GetName(), err)
	}
	return nil
}

// eventName is the same for the same state of an object.
func eventName(o client.Object) string {
	name := strings.TrimRight(o.GetName()[:min(len(o.GetName()), maxName)], ".-")
	state := sha256.Sum256(fmt.Appendf(nil, "%s/%d", o.GetUID(), o.GetGeneration()))
	return name + "." + hex.EncodeToString(state[:8])
}
