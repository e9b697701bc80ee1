package spawner

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/elastichub/elastichub/namespaces"
)

const byInvolved = "involved"

// eventInformer watches the Kubernetes events of a namespace, on the leader
// only. Events are many and large (35,000 of them took a Hub 1.5 GB): all but
// what progress needs is dropped before they are stored.
func eventInformer(clientset kubernetes.Interface, namespace string) (cache.SharedIndexInformer, error) {
	watch := cache.NewListWatchFromClient(clientset.CoreV1().RESTClient(), "events", namespace, fields.Everything())
	informer := cache.NewSharedIndexInformer(watch, &corev1.Event{}, 0, cache.Indexers{byInvolved: func(object any) ([]string, error) {
		event, ok := object.(*corev1.Event)
		if !ok || event.InvolvedObject.UID == "" {
			return nil, nil
		}
		return []string{string(event.InvolvedObject.UID)}, nil
	}})
	if err := informer.SetTransform(slim); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	return informer, nil
}

// slim keeps identity alone of events that are not about Pods or claims.
func slim(object any) (any, error) {
	event, ok := object.(*corev1.Event)
	if !ok {
		return object, nil
	}
	small := &corev1.Event{ObjectMeta: metav1.ObjectMeta{
		Namespace: event.Namespace, Name: event.Name, UID: event.UID,
		ResourceVersion: event.ResourceVersion, CreationTimestamp: event.CreationTimestamp,
	}}
	about := event.InvolvedObject
	if about.Kind != "Pod" && about.Kind != "PersistentVolumeClaim" {
		return small, nil
	}
	small.InvolvedObject = corev1.ObjectReference{Kind: about.Kind, Namespace: about.Namespace, Name: about.Name, UID: about.UID, FieldPath: about.FieldPath}
	small.Type, small.Reason, small.Message = event.Type, event.Reason, shorten(event.Message)
	small.EventTime, small.FirstTimestamp = event.EventTime, event.FirstTimestamp
	return small, nil
}

// eventInformers are one for each namespace of a scope, or one for all of the cluster.
func eventInformers(clientset kubernetes.Interface, scope *namespaces.Scope) ([]cache.SharedIndexInformer, error) {
	watched := scope.Named()
	if scope.All() {
		watched = []string{metav1.NamespaceAll}
	}
	informers := make([]cache.SharedIndexInformer, len(watched))
	for i, namespace := range watched {
		var err error
		if informers[i], err = eventInformer(clientset, namespace); err != nil {
			return nil, err
		}
	}
	return informers, nil
}

// eventsAbout looks up informers' indexes.
func eventsAbout(informers ...cache.SharedIndexInformer) func(about ...types.UID) []corev1.Event {
	return func(about ...types.UID) []corev1.Event {
		var events []corev1.Event
		for _, informer := range informers {
			for _, uid := range about {
				objects, err := informer.GetIndexer().ByIndex(byInvolved, string(uid))
				if err != nil {
					panic(err) // the index is declared above
				}
				for _, object := range objects {
					events = append(events, *object.(*corev1.Event))
				}
			}
		}
		return events
	}
}

// leaderInformer runs an informer for as long as this process leads.
type leaderInformer struct{ informer cache.SharedIndexInformer }

func (l leaderInformer) Start(ctx context.Context) error {
	l.informer.RunWithContext(ctx)
	return nil
}

func (leaderInformer) NeedLeaderElection() bool { return true }
