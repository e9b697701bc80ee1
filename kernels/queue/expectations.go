package queue

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// expectFor is how long a created Pod may take to appear in the cache.
const expectFor = time.Minute

// expectations are the Pods that were created and that the cache may not show
// yet. Should its kernel be deleted before that, a Pod is counted all the same.
type expectations struct {
	now func() time.Time

	mu   sync.Mutex
	pods map[types.NamespacedName]expectedPod
}

type expectedPod struct {
	pod   *corev1.Pod
	until time.Time
}

// add is called before a Pod is created.
func (e *expectations) add(pod *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pods == nil {
		e.pods = map[types.NamespacedName]expectedPod{}
	}
	e.pods[client.ObjectKeyFromObject(pod)] = expectedPod{pod: pod.DeepCopy(), until: e.now().Add(expectFor)}
}

// remove forgets a Pod that was not created after all.
func (e *expectations) remove(pod *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.pods, client.ObjectKeyFromObject(pod))
}

// unseen lists the Pods that were created lately and are not among seen.
func (e *expectations) unseen(seen map[types.NamespacedName]bool) []*corev1.Pod {
	e.mu.Lock()
	defer e.mu.Unlock()
	var pods []*corev1.Pod
	for name, x := range e.pods {
		if seen[name] || e.now().After(x.until) {
			delete(e.pods, name)
			continue
		}
		pods = append(pods, x.pod)
	}
	return pods
}
