// Package acts says how what people ask for is written into objects, without any I/O:
// the console, its API and kubectl's plugin write the same. What is written is carried out
// by the leader.
package acts

import (
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Act names what somebody asked for, in the audit log and as an Event's reason.
type Act string

// The acts that more than one room writes.
const (
	Release  Act = "ReleaseRequested"
	ShutDown Act = "ShutdownRequested"
	Stop     Act = "StopRequested"
	Start    Act = "StartRequested"
)

// KubernetesMark keeps a Kubernetes user's name apart from those of the Hub's users.
const KubernetesMark = "kubernetes:"

const (
	// MaxReason is the most characters of a reason.
	MaxReason = 500
	// maxName is what the kinds take as a name of who asks.
	maxName = 253
	// maxPrefix of an Event's name leaves room for what the API server adds.
	maxPrefix = 200
)

// Errors of what cannot be asked for.
var (
	// ErrNotRunning: a kernel has no Pod and waits for none, or a server is stopped.
	ErrNotRunning = errors.New("acts: it does not run")
	// ErrRunning: a server is not stopped.
	ErrRunning = errors.New("acts: it is not stopped")
	// ErrOfHub: only the Hub makes and deletes its servers.
	ErrOfHub = errors.New("acts: the Hub has it")
)

// Changes are fields of an object, as a JSON merge patch has them.
type Changes map[string]any

// ReleaseKernel asks to park a kernel's run, or to let it give up its place. Error: ErrNotRunning.
func ReleaseKernel(k *v1alpha1.JupyterKernel, by, reason string, force bool) (Changes, error) {
	if !k.HasPodOrWaits() {
		return nil, ErrNotRunning
	}
	return Changes{"spec": map[string]any{"park": map[string]any{
		"run": k.PresentRun(), "force": force, "by": Clip(by), "reason": reason,
	}}}, nil
}

// ShutDownKernel asks to end a kernel for good.
func ShutDownKernel(by string, now time.Time) Changes {
	return Changes{"spec": map[string]any{"shutdown": map[string]any{"by": Clip(by), "at": now.UTC().Format(time.RFC3339)}}}
}

// StopServer asks to stop a server: as its owner, whose stop ends its kernels, or as an
// administrator, whose does not. Error: ErrNotRunning.
func StopServer(nb *v1alpha1.JupyterNotebook, asOwner bool, now time.Time) (Changes, error) {
	if nb.Spec.Stopped {
		return nil, ErrNotRunning
	}
	notes := map[string]any{v1alpha1.AnnotationStopCause: nil, v1alpha1.AnnotationStopTime: nil}
	if !asOwner {
		notes = map[string]any{
			v1alpha1.AnnotationStopCause: string(v1alpha1.StopAdmin), v1alpha1.AnnotationStopTime: now.UTC().Format(time.RFC3339),
		}
	}
	return Changes{"metadata": map[string]any{"annotations": notes}, "spec": map[string]any{"stopped": true}}, nil
}

// StartServer asks to start a stopped server. One that only the Hub starts is asked of it by the
// leader, or the condition HubInStep tells why it is not started. Error: ErrRunning.
func StartServer(nb *v1alpha1.JupyterNotebook, now time.Time) (Changes, error) {
	switch {
	case !nb.Spec.Stopped:
		return nil, ErrRunning
	case nb.IsOfHub():
		return Changes{"metadata": map[string]any{"annotations": map[string]any{
			v1alpha1.AnnotationStartAsked: now.UTC().Format(time.RFC3339),
		}}}, nil
	}
	return Changes{
		"metadata": map[string]any{"annotations": map[string]any{v1alpha1.AnnotationStopCause: nil, v1alpha1.AnnotationStopTime: nil}},
		"spec":     map[string]any{"stopped": false},
	}, nil
}

// Over makes the changes those of one version of the object, by its resourceVersion: written over
// another, the API server refuses them as a conflict.
func (c Changes) Over(version string) {
	metadata, _ := c["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		c["metadata"] = metadata
	}
	metadata["resourceVersion"] = version
}

// PatchOf writes changes into an object, and into no other of its name: the API server
// refuses that as a conflict.
func PatchOf(o client.Object, changes Changes) (client.Patch, error) {
	metadata, _ := changes["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["uid"] = o.GetUID()
	changes["metadata"] = metadata
	body, err := json.Marshal(changes)
	if err != nil {
		return nil, err
	}
	return client.RawPatch(types.MergePatchType, body), nil
}

// EventOf tells people at an object of the kind what somebody asked for. component is what
// they asked.
func EventOf(o client.Object, kind string, what Act, by, reason, component string, now time.Time) *corev1.Event {
	message := "Asked for by " + Clip(by)
	if reason != "" {
		message += ": " + reason
	}
	at, name := metav1.NewTime(now), o.GetName()
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), GenerateName: name[:min(len(name), maxPrefix)] + "."},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Namespace: o.GetNamespace(), Name: name, UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
		},
		Reason: string(what), Message: message, Type: corev1.EventTypeNormal, Count: 1, FirstTimestamp: at, LastTimestamp: at,
		Source: corev1.EventSource{Component: component}, ReportingController: component,
	}
}

// Clip makes a name fit where the kinds take one.
func Clip(name string) string {
	if len(name) <= maxName {
		return name
	}
	return strings.ToValidUTF8(name[:maxName], "")
}

// Line makes one line of what somebody wrote: others read it, in a terminal or a
// notebook, too, where what is no letter can do harm.
func Line(text string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, text))
}
