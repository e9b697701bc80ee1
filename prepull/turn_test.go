package prepull

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/prepull/imagestate"
)

var turnNow = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// puller is a Pod of a placement on a node, made for a revision, with one image.
func puller(placement, node, revision string, change ...func(*corev1.Pod)) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: placement + "-" + node, UID: types.UID(placement + node + revision), CreationTimestamp: metav1.NewTime(turnNow.Add(-time.Minute)),
		Labels: map[string]string{imagestate.LabelPlacement: placement, labelImages: revision},
	}}
	pod.Spec.Containers = []corev1.Container{{Name: "image", Image: "lab:4"}}
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: on(nil, []string{node})}}
	pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: imagestate.Gate}}
	for _, f := range change {
		f(&pod)
	}
	return pod
}

func opened(pod *corev1.Pod) {
	pod.Spec.SchedulingGates, pod.Spec.NodeName = nil, imagestate.NodeOf(pod)
}

func running(pod *corev1.Pod) {
	opened(pod)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "image", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
}

func refused(pod *corev1.Pod) {
	opened(pod)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "image", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
}

func homeless(pod *corev1.Pod) {
	pod.Spec.SchedulingGates = nil
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "Too many pods"}}
}

func slow(pod *corev1.Pod) {
	opened(pod)
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(turnNow.Add(-patience))}}
}

func going(pod *corev1.Pod) {
	running(pod)
	pod.DeletionTimestamp = &metav1.Time{Time: turnNow}
}

func TestNextTurn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pods            []corev1.Pod
		done            []types.UID
		opened, removed []string
	}{
		"two at a time, by the names of nodes": {[]corev1.Pod{puller("p", "c", "1"), puller("p", "b", "1"), puller("p", "a", "1")}, nil, []string{"p-a", "p-b"}, nil},
		"one pulls":                            {[]corev1.Pod{puller("p", "a", "1", opened), puller("p", "b", "1"), puller("p", "c", "1")}, nil, []string{"p-b"}, nil},
		"two pull":                             {[]corev1.Pod{puller("p", "a", "1", opened), puller("p", "b", "1", opened), puller("p", "c", "1")}, nil, nil, nil},
		"what is there, fails, has no room or takes for ever keeps nobody waiting": {
			[]corev1.Pod{puller("p", "a", "1", running), puller("p", "b", "1", refused), puller("p", "c", "1", homeless), puller("p", "d", "1", slow), puller("p", "e", "1"), puller("p", "f", "1"), puller("p", "g", "1")},
			nil, []string{"p-e", "p-f"}, nil},
		"several on one node are one turn":          {[]corev1.Pod{puller("p", "a", "1"), puller("q", "a", "2"), puller("p", "b", "1"), puller("p", "c", "1")}, nil, []string{"p-a", "q-a", "p-b"}, nil},
		"those of before are replaced":              {[]corev1.Pod{puller("p", "a", "0", running), puller("p", "b", "0", running), puller("p", "c", "0")}, nil, nil, []string{"p-a", "p-b"}},
		"new nodes come before replacements":        {[]corev1.Pod{puller("p", "a", "0", running), puller("p", "b", "1"), puller("p", "c", "0", running)}, nil, []string{"p-b"}, []string{"p-a"}},
		"one that goes is a turn":                   {[]corev1.Pod{puller("p", "a", "0", going), puller("p", "b", "0", running), puller("p", "c", "0", running)}, nil, nil, []string{"p-b"}},
		"the cache does not show what was done":     {[]corev1.Pod{puller("p", "a", "1"), puller("p", "b", "1"), puller("p", "c", "1")}, []types.UID{"pa1"}, []string{"p-b"}, nil},
		"Pods of a placement that nobody wants":     {[]corev1.Pod{puller("gone", "a", "1"), puller("gone", "b", "0", running)}, nil, nil, nil},
		"one that pulls for what was wanted before": {[]corev1.Pod{puller("p", "a", "0", opened), puller("p", "b", "1"), puller("p", "c", "1")}, nil, []string{"p-b"}, []string{"p-a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := map[types.UID]bool{}
			for _, uid := range tc.done {
				done[uid] = true
			}
			turn := NextTurn(tc.pods, map[string]string{"p": "1", "q": "2"}, done, 2, turnNow)
			assert.Equal(t, tc.opened, names(turn.Open))
			assert.Equal(t, tc.removed, names(turn.Replace))
		})
	}
}

func names(pods []*corev1.Pod) (all []string) {
	for _, pod := range pods {
		all = append(all, pod.Name)
	}
	return all
}

// TestTurnsEnd rolls out to random nodes, on some of which the image never comes: never do
// more than so many pull at a time, and each of them has its turn.
func TestTurnsEnd(t *testing.T) {
	t.Parallel()
	const nodes, atOnce = 40, 3
	most := 0
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		var pods []corev1.Pod
		for i := range nodes {
			node := fmt.Sprintf("n%02d", i)
			pods = append(pods, puller("p", node, "0", running))
			if random.IntN(2) == 0 {
				pods = append(pods, puller("q", node, "1"))
			}
		}
		revisions := map[string]string{"p": "1", "q": "1"}
		for step := 0; ; step++ {
			require.Less(t, step, 40*nodes, "it does not end")
			turn := NextTurn(pods, revisions, nil, atOnce, turnNow)
			for _, pod := range turn.Open {
				opened(pod)
			}
			for _, pod := range turn.Replace {
				*pod = puller("p", imagestate.NodeOf(pod), "1")
			}
			pulling, left := map[string]bool{}, 0
			for i := range pods {
				pod := &pods[i]
				if isPulling(pod, turnNow) {
					pulling[imagestate.NodeOf(pod)] = true
				}
				if pod.Labels[labelImages] != "1" || !imagestate.Settled(pod) {
					left++
				}
			}
			require.LessOrEqual(t, len(pulling), atOnce)
			most = max(most, len(pulling))
			if left == 0 {
				break
			}
			for i := range pods {
				if pod := &pods[i]; isPulling(pod, turnNow) && random.IntN(3) == 0 {
					[]func(*corev1.Pod){running, refused}[random.IntN(2)](pod)
				}
			}
		}
	}
	assert.Equal(t, atOnce, most, "nothing was tested")
}
