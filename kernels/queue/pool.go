package queue

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/recheck"
)

const (
	// madeAtOnce bounds the warm Pods of a class that one pass makes.
	madeAtOnce = 8
	// warmPlaced is how long the scheduler may look for a node for a warm Pod.
	warmPlaced = time.Minute
	// warmLives: a warm Pod that ends sooner has failed.
	warmLives = 2 * time.Minute
)

// pool is a snapshot of the warm Pods: what there is, what is wanted, and what is
// remembered of it. Nothing here reads or writes anything else.
//
//	pool.supply ─▶ warmPods, targets ─▶ admission.Decide ─▶ pool.plan ─▶ actions
type pool struct {
	now     time.Time
	targets []*target
	// pods are the warm Pods that live and are not joined to a kernel, by ID.
	pods map[string]*corev1.Pod
	// claimed are those, by ID, that a kernel has been promised.
	claimed map[string]bool
	ended   []*corev1.Pod
	// unschedulable: the scheduler finds no node for the Pod of some kernel, or of
	// some notebook.
	unschedulable bool

	// leaving are those, by ID, that were told to go.
	leaving map[string]bool
	// pausedUntil is until when no Pod of a class is made, for its failures.
	pausedUntil map[string]time.Time
	// restingUntil is the same, for what its Pods did.
	restingUntil map[string]time.Time
}

// podID is that of a Pod, and of the warm Pod that it may be.
func podID(pod *corev1.Pod) string { return client.ObjectKeyFromObject(pod).String() }

// supply lists the warm Pods that are free, and what is missing; nodes is nil
// where they are not known. again is when
// time alone will change something; zero means never.
func (p *pool) supply(nodes []Node) (warmPods []admission.WarmPod, targets []admission.WarmTarget, again time.Duration) {
	missing := map[string]int64{}
	for _, st := range p.targets {
		missing[st.class] = st.count
	}
	for id, pod := range p.pods {
		if p.claimed[id] {
			continue
		}
		at, left := locate(p.now, pod, nodes)
		again = recheck.Sooner(again, left)
		warmPod := admission.WarmPod{
			ID: id, Class: pod.Annotations[v1alpha1.AnnotationWarm], Ready: podstate.Ready(pod), Going: p.leaving[id] || pod.DeletionTimestamp != nil,
			Holds: podspec.Extended(&pod.Spec), Node: at.node, Eligible: at.eligible, Unschedulable: at.unschedulable || podstate.Unschedulable(pod),
		}
		warmPods = append(warmPods, warmPod)
		if warmPod.Ready {
			delete(p.pausedUntil, warmPod.Class)
		}
		if !warmPod.Going && !p.misplaced(pod) {
			missing[warmPod.Class]--
		}
	}
	for i, st := range p.targets {
		n := missing[st.class]
		if n <= 0 || p.unschedulable {
			continue
		}
		if pause := max(p.pausedUntil[st.class].Sub(p.now), p.restingUntil[st.class].Sub(p.now)); pause > 0 {
			again = recheck.Sooner(again, pause)
			continue
		}
		target := admission.WarmTarget{ID: st.class, Order: i, Missing: min(n, madeAtOnce), Wants: podspec.Extended(&st.sample.Spec)}
		if nodes != nil {
			target.Eligible = eligible(nodes, &st.sample.Spec)
		}
		targets = append(targets, target)
	}
	return warmPods, targets, again
}

type verb int

// What is done about the warm pool.
const (
	endPod         verb = iota // delete pod
	makePod                    // make one more of target
	countFailure               // pod, of class, came to nothing
	forgetFailures             // a Pod of class is ready
)

type action struct {
	verb   verb
	pod    *corev1.Pod
	target *target
	class  string
}

// plan says what is to be done once a decision is carried out: it ends warm Pods
// that are in the way, too many, outdated or broken, and makes new ones. warmPods
// are those of supply; again is as there.
func (p *pool) plan(warmPods []admission.WarmPod, d admission.Decision) (actions []action, again time.Duration) {
	assigned, left := map[string]bool{}, map[string]int64{}
	for _, id := range d.AssignWarm {
		assigned[id] = true
	}
	for _, st := range p.targets {
		left[st.class] = st.count
	}
	for _, warmPod := range warmPods {
		if warmPod.Ready {
			actions = append(actions, action{verb: forgetFailures, class: warmPod.Class})
		}
	}
	for _, pod := range p.ended {
		if p.now.Sub(pod.CreationTimestamp.Time) < warmLives {
			actions = append(actions, action{verb: countFailure, pod: pod, class: pod.Annotations[v1alpha1.AnnotationWarm]})
		}
		actions = append(actions, action{verb: endPod, pod: pod})
	}
	for _, warmPod := range readyFirst(warmPods) {
		pod := p.pods[warmPod.ID]
		if warmPod.Going || assigned[warmPod.ID] || pod.UID == "" { // the last: not seen yet
			continue
		}
		broken, wait := p.broken(pod)
		switch {
		case p.unschedulable, slices.Contains(d.EndWarm, warmPod.ID):
			actions = append(actions, action{verb: endPod, pod: pod})
		case broken:
			actions = append(actions, action{verb: countFailure, pod: pod, class: warmPod.Class}, action{verb: endPod, pod: pod})
		case left[warmPod.Class] <= 0, p.misplaced(pod):
			actions = append(actions, action{verb: endPod, pod: pod})
		default:
			left[warmPod.Class]--
			again = recheck.Sooner(again, wait)
		}
	}
	for _, st := range p.targets {
		for range d.MakeWarm[st.class] {
			actions = append(actions, action{verb: makePod, target: st})
		}
	}
	return actions, again
}

// readyFirst is the order in which warm Pods are kept.
func readyFirst(warmPods []admission.WarmPod) []admission.WarmPod {
	sorted := slices.Clone(warmPods)
	slices.SortFunc(sorted, func(x, y admission.WarmPod) int {
		if x.Ready != y.Ready {
			if x.Ready {
				return -1
			}
			return 1
		}
		return strings.Compare(x.ID, y.ID)
	})
	return sorted
}

// misplaced reports whether a warm Pod was made for another node than the volumes of
// its notebook are on now. There it would keep them.
func (p *pool) misplaced(pod *corev1.Pod) bool {
	return slices.ContainsFunc(p.targets, func(st *target) bool {
		return st.class == pod.Annotations[v1alpha1.AnnotationWarm] && podspec.PinnedTo(&st.sample.Spec) != podspec.PinnedTo(&pod.Spec)
	})
}

// broken reports whether a warm Pod has had its time to become ready, or how much
// is left of it.
func (p *pool) broken(pod *corev1.Pod) (broken bool, left time.Duration) {
	if podstate.Ready(pod) {
		return false, 0
	}
	limit := lifecycle.StartLimit
	switch t := podstate.TroubleOf(pod); {
	case t == nil:
	case t.Cause == "":
		limit = warmPlaced
	default:
		limit = t.Grace + podstate.ContainerGrace
	}
	left = limit - p.now.Sub(pod.CreationTimestamp.Time)
	return left <= 0, left
}
