package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podstate"
)

// poolOf is a snapshot of warm Pods of one class, of which count are wanted.
func poolOf(now time.Time, count int64, pods ...*corev1.Pod) *pool {
	p := &pool{now: now, targets: []*target{{class: "c", count: count, sample: &corev1.Pod{}}}, pods: map[string]*corev1.Pod{}, claimed: map[string]bool{}}
	for _, pod := range pods {
		if podstate.Alive(pod) {
			p.pods[podID(pod)] = pod
		} else {
			p.ended = append(p.ended, pod)
		}
	}
	return p
}

func warmPod(name string, made time.Time, change func(*corev1.PodStatus)) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name, pod.UID, pod.CreationTimestamp = "ns", name, "uid-of-it", metav1.Time{Time: made}
	pod.Annotations = map[string]string{v1alpha1.AnnotationWarm: "c"}
	change(&pod.Status)
	return pod
}

// pods are the names of those that have something done to them.
func pods(actions []action, verb verb) []string {
	list := []string{}
	for _, a := range actions {
		if a.verb == verb {
			list = append(list, a.pod.Name)
		}
	}
	return list
}

func TestPoolEndsWhatIsOfNoUse(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	up := kerneltest.Running("10.0.0.1", true)
	starting := func(s *corev1.PodStatus) { s.Phase = corev1.PodPending }
	unschedulable := func(s *corev1.PodStatus) {
		s.Phase = corev1.PodPending
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", LastTransitionTime: metav1.Time{Time: now.Add(-warmPlaced)}}}
	}
	noImage := func(s *corev1.PodStatus) {
		s.Phase = corev1.PodPending
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: "kernel", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
	}
	old, young := now.Add(-10*time.Minute), now.Add(-time.Second)
	for name, tc := range map[string]struct {
		pool   *pool
		decide admission.Decision
		end    []string
		failed bool
	}{
		"nothing to do":                 {pool: poolOf(now, 2, warmPod("a", old, up), warmPod("b", young, starting))},
		"too many, those that start go": {pool: poolOf(now, 1, warmPod("a", young, starting), warmPod("b", old, up)), end: []string{"a"}},
		"taken ones are let be":         {pool: poolOf(now, 0, warmPod("a", old, up)), decide: admission.Decision{AssignWarm: map[string]string{"k": "ns/a"}}},
		"given up":                      {pool: poolOf(now, 2, warmPod("a", old, up), warmPod("b", old, up)), decide: admission.Decision{EndWarm: []string{"ns/b"}}, end: []string{"b"}},
		"no place for somebody's kernel": {pool: func() *pool {
			p := poolOf(now, 2, warmPod("a", old, up), warmPod("b", young, starting))
			p.unschedulable = true
			return p
		}(), end: []string{"a", "b"}},
		"ended at once":       {pool: poolOf(now, 1, warmPod("a", young, kerneltest.Exited(1, "Error", ""))), end: []string{"a"}, failed: true},
		"ended after a while": {pool: poolOf(now, 1, warmPod("a", old, kerneltest.Exited(1, "Error", `{"reason":"orphaned"}`))), end: []string{"a"}},
		"no image":            {pool: poolOf(now, 1, warmPod("a", now.Add(-podstate.ImageGrace-podstate.ContainerGrace), noImage)), end: []string{"a"}, failed: true},
		"no image yet":        {pool: poolOf(now, 1, warmPod("a", young, noImage))},
		"no place":            {pool: poolOf(now, 1, warmPod("a", now.Add(-warmPlaced), unschedulable)), end: []string{"a"}, failed: true},
		"never ready":         {pool: poolOf(now, 1, warmPod("a", now.Add(-lifecycle.StartLimit), starting)), end: []string{"a"}, failed: true},
		"an image takes time": {pool: poolOf(now, 1, warmPod("a", old, starting))},
	} {
		t.Run(name, func(t *testing.T) {
			warmPods, _, _ := tc.pool.supply(nil)
			actions, _ := tc.pool.plan(warmPods, tc.decide)
			if tc.end == nil {
				tc.end = []string{}
			}
			assert.ElementsMatch(t, tc.end, pods(actions, endPod))
			if tc.failed {
				assert.Equal(t, tc.end, pods(actions, countFailure))
			} else {
				assert.Empty(t, pods(actions, countFailure))
			}
		})
	}
}

func TestPoolMakesWhatIsMissing(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var memory poolMemory
	supply := func(p *pool) (int64, []admission.WarmPod, time.Duration) {
		memory.recall(p)
		warmPods, targets, again := p.supply(nil)
		if len(targets) == 0 {
			return 0, warmPods, again
		}
		require.Len(t, targets, 1)
		return targets[0].Missing, warmPods, again
	}
	missing := func(p *pool) int64 {
		n, _, _ := supply(p)
		return n
	}
	up := kerneltest.Running("10.0.0.1", true)
	assert.Equal(t, int64(3), missing(poolOf(now, 3)))
	assert.Equal(t, int64(madeAtOnce), missing(poolOf(now, 100)), "not all at once")
	a := warmPod("a", now, up)
	assert.Equal(t, int64(2), missing(poolOf(now, 3, a)))
	claimed := poolOf(now, 3, a)
	claimed.claimed["ns/a"] = true
	n, warmPods, _ := supply(claimed)
	assert.Equal(t, int64(3), n)
	assert.Empty(t, warmPods)
	memory.leave(a, now.Add(time.Minute))
	n, warmPods, _ = supply(poolOf(now, 3, a))
	assert.Equal(t, int64(3), n)
	assert.True(t, warmPods[0].Going)
	assert.Equal(t, int64(2), missing(poolOf(now.Add(time.Minute), 3, a)), "it did not go")

	// what there is room for is made
	actions, _ := poolOf(now, 3).plan(nil, admission.Decision{MakeWarm: map[string]int64{"c": 2}})
	require.Len(t, actions, 2)
	assert.Equal(t, makePod, actions[0].verb)
	assert.Equal(t, "c", actions[1].target.class)

	// after failures there is a pause, which doubles
	for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		for range 2 {
			memory.fail("c", fmt.Sprintf("p%d", i), now) // a Pod fails once
		}
		n, _, again := supply(poolOf(now, 3))
		assert.Zero(t, n)
		assert.Equal(t, want, again)
		now = now.Add(want)
		assert.Equal(t, int64(3), missing(poolOf(now, 3)))
	}
	memory.fail("c", "p8", now)
	ready := poolOf(now, 3, warmPod("b", now, up))
	n, warmPods, _ = supply(ready)
	assert.Equal(t, int64(2), n, "one that is ready ends the pause at once")
	actions, _ = ready.plan(warmPods, admission.Decision{})
	assert.Contains(t, actions, action{verb: forgetFailures, class: "c"})
	memory.succeed("c")
	memory.fail("c", "p9", now)
	_, _, again := supply(poolOf(now, 3))
	assert.Equal(t, firstWarmPause, again)
	for i := range 30 {
		memory.fail("c", fmt.Sprintf("q%d", i), now)
	}
	_, _, again = supply(poolOf(now, 3))
	assert.Equal(t, mostWarmPause, again)
}
