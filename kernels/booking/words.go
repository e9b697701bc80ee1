package booking

import (
	"maps"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/usage"
)

const (
	// wordsKept is how long last words are kept at least.
	wordsKept = time.Hour
)

// word is what the agent of a kernel's run has counted at its end.
type word struct {
	run   int64
	meter *usage.Meter
	heard time.Time
}

// words are the last ones of agents. Every replica listens, since the Pod may be gone
// before a new leader asks.
type words struct {
	mu    sync.Mutex
	of    map[types.UID]word
	swept time.Time
}

func (w *words) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    w.hear,
		UpdateFunc: func(_, o any) { w.hear(o) },
		DeleteFunc: func(o any) {
			if unknown, is := o.(toolscache.DeletedFinalStateUnknown); is {
				o = unknown.Obj
			}
			w.hear(o)
		},
	}
}

func (w *words) hear(o any) {
	pod, is := o.(*corev1.Pod)
	if !is || !podspec.IsKernelPod(pod) {
		return
	}
	owner := metav1.GetControllerOf(pod)
	run, err := strconv.ParseInt(pod.Labels[v1alpha1.LabelRun], 10, 64)
	counted := podstate.MeterOf(pod)
	if owner == nil || err != nil || counted == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if now.Sub(w.swept) > wordsKept {
		maps.DeleteFunc(w.of, func(_ types.UID, word word) bool { return now.Sub(word.heard) > wordsKept })
		w.swept = now
	}
	meter := meterOf(*counted)
	w.of[owner.UID] = word{run: run, meter: &meter, heard: now}
}

// last is the last word of a kernel, empty if there is none.
func (w *words) last(k *v1alpha1.JupyterKernel) word {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.of[k.UID]
}

func meterOf(m protocol.Meter) usage.Meter {
	return usage.Meter{Held: int64(m.HeldSeconds * 1000), Busy: int64(m.BusySeconds * 1000)}
}
