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

// poolOf is a survey of warm Pods of one class, of which count are wanted.
func poolOf(count int64, pods ...*corev1.Pod) *survey {
	s := &survey{warm: warmSurvey{stocks: []*stock{{class: "c", count: count, sample: &corev1.Pod{}}}, pods: map[string]*corev1.Pod{}, claimed: map[string]bool{}}}
	for _, pod := range pods {
		if podstate.Alive(pod) {
			s.warm.pods[pod.Name] = pod
		} else {
			s.warm.ended = append(s.warm.ended, pod)
		}
	}
	return s
}

func warmPod(name string, made time.Time, change func(*corev1.PodStatus)) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.UID, pod.CreationTimestamp = name, "uid-of-it", metav1.Time{Time: made}
	pod.Annotations = map[string]string{v1alpha1.AnnotationWarm: "c"}
	change(&pod.Status)
	return pod
}

func names(pods []*corev1.Pod) []string {
	list := []string{}
	for _, pod := range pods {
		list = append(list, pod.Name)
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
		survey *survey
		decide admission.Decision
		end    []string
		failed bool
	}{
		"nothing to do":                 {survey: poolOf(2, warmPod("a", old, up), warmPod("b", young, starting))},
		"too many, those that start go": {survey: poolOf(1, warmPod("a", young, starting), warmPod("b", old, up)), end: []string{"a"}},
		"taken ones are let be":         {survey: poolOf(0, warmPod("a", old, up)), decide: admission.Decision{Take: map[string]string{"k": "a"}}},
		"given up":                      {survey: poolOf(2, warmPod("a", old, up), warmPod("b", old, up)), decide: admission.Decision{GiveUp: []string{"b"}}, end: []string{"b"}},
		"no place for somebody's kernel": {survey: func() *survey {
			s := poolOf(2, warmPod("a", old, up), warmPod("b", young, starting))
			s.warm.unschedulable = true
			return s
		}(), end: []string{"a", "b"}},
		"ended at once":       {survey: poolOf(1, warmPod("a", young, kerneltest.Exited(1, "Error", ""))), end: []string{"a"}, failed: true},
		"ended after a while": {survey: poolOf(1, warmPod("a", old, kerneltest.Exited(1, "Error", `{"reason":"orphaned"}`))), end: []string{"a"}},
		"no image":            {survey: poolOf(1, warmPod("a", now.Add(-podstate.ImageGrace-podstate.ContainerGrace), noImage)), end: []string{"a"}, failed: true},
		"no image yet":        {survey: poolOf(1, warmPod("a", young, noImage))},
		"no place":            {survey: poolOf(1, warmPod("a", now.Add(-warmPlaced), unschedulable)), end: []string{"a"}, failed: true},
		"never ready":         {survey: poolOf(1, warmPod("a", now.Add(-lifecycle.StartLimit), starting)), end: []string{"a"}, failed: true},
		"an image takes time": {survey: poolOf(1, warmPod("a", old, starting))},
	} {
		t.Run(name, func(t *testing.T) {
			a := &admitter{now: func() time.Time { return now }}
			a.shelve(tc.survey, nil)
			taken := map[string]bool{}
			for _, pod := range tc.decide.Take {
				taken[pod] = true
			}
			if tc.end == nil {
				tc.end = []string{}
			}
			assert.ElementsMatch(t, tc.end, names(a.superfluous(tc.survey, tc.decide, taken)))
			assert.Equal(t, tc.failed, a.pool.wait("c", now) > 0)
			again := names(a.superfluous(tc.survey, tc.decide, taken))
			assert.ElementsMatch(t, tc.end, again)
			assert.LessOrEqual(t, a.pool.wait("c", now), firstWarmPause, "a Pod fails once")
		})
	}
}

func TestPoolMakesWhatIsMissing(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	a := &admitter{now: func() time.Time { return now }}
	missing := func(s *survey) int64 {
		a.shelve(s, nil)
		if len(s.input.Stocks) == 0 {
			return 0
		}
		require.Len(t, s.input.Stocks, 1)
		return s.input.Stocks[0].Missing
	}
	up := kerneltest.Running("10.0.0.1", true)
	assert.Equal(t, int64(3), missing(poolOf(3)))
	assert.Equal(t, int64(madeAtOnce), missing(poolOf(100)), "not all at once")
	assert.Equal(t, int64(2), missing(poolOf(3, warmPod("a", now, up))))
	claimed := poolOf(3, warmPod("a", now, up))
	claimed.warm.claimed["a"] = true
	assert.Equal(t, int64(3), missing(claimed))
	assert.Empty(t, claimed.input.Spares)
	a.pool.leave("a", now.Add(time.Minute))
	going := poolOf(3, warmPod("a", now, up))
	assert.Equal(t, int64(3), missing(going))
	assert.True(t, going.input.Spares[0].Going)

	// after failures there is a pause, which doubles
	for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
		a.pool.fail("c", fmt.Sprintf("p%d", i), now)
		s := poolOf(3)
		assert.Zero(t, missing(s))
		assert.Equal(t, want, s.again)
		now = now.Add(want)
		assert.Equal(t, int64(3), missing(poolOf(3)))
	}
	missing(poolOf(3, warmPod("b", now, up))) // one that is ready
	a.pool.fail("c", "p9", now)
	assert.Equal(t, firstWarmPause, a.pool.wait("c", now))
	for i := range 30 {
		a.pool.fail("c", fmt.Sprintf("q%d", i), now)
	}
	assert.Equal(t, mostWarmPause, a.pool.wait("c", now))
}

func TestWarmWanted(t *testing.T) {
	gw := &v1alpha1.JupyterGateway{}
	assert.Empty(t, warmWanted(gw))
	gw.Spec.Warm = 2
	assert.Equal(t, []v1alpha1.WarmKernel{{KernelSpec: v1alpha1.DefaultKernelName, Count: 2}}, warmWanted(gw))
	gw.Spec.Kernels = []string{"a", "b"}
	gw.Spec.WarmKernels = []v1alpha1.WarmKernel{{KernelSpec: "b", Count: 1}}
	assert.Equal(t, []v1alpha1.WarmKernel{{KernelSpec: "a", Count: 2}, {KernelSpec: "b", Count: 1}}, warmWanted(gw))
	gw.Spec.DefaultKernel = new("b")
	assert.Equal(t, "b", warmWanted(gw)[0].KernelSpec)
}
