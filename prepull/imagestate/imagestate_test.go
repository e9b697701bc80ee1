package imagestate

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pod is one of the placement p on a node, with containers a, b and c of images of these names.
func pod(node string, change func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{LabelPlacement: "p"}}, Spec: corev1.PodSpec{NodeName: node}}
	for _, name := range []string{"a", "b", "c"} {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: name})
	}
	change(&p)
	return p
}

func is(states ...corev1.ContainerStatus) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = states }
}

func running(name string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
}

func waiting(name, reason, message string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
}

func gated(p *corev1.Pod) {
	p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: Gate}}
	p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{p.Spec.NodeName}}}}},
	}}}
	p.Spec.NodeName = ""
}

func TestStatesOnANode(t *testing.T) {
	t.Parallel()
	creating := func(name string) corev1.ContainerStatus { return waiting(name, "ContainerCreating", "") }
	for name, tc := range map[string]struct {
		pod     corev1.Pod
		states  [3]State
		why     string // of a
		settled bool
	}{
		"its turn has not come":   {pod("n", gated), [3]State{Waiting, Waiting, Waiting}, "", false},
		"just scheduled":          {pod("n", is()), [3]State{Pulling, Waiting, Waiting}, "", false},
		"one after the other":     {pod("n", is(running("a"), creating("b"), creating("c"))), [3]State{Present, Pulling, Waiting}, "", false},
		"all there":               {pod("n", is(running("a"), running("b"), running("c"))), [3]State{Present, Present, Present}, "", true},
		"one fails, others go on": {pod("n", is(waiting("a", "ImagePullBackOff", "Back-off pulling"), running("b"), creating("c"))), [3]State{Failing, Present, Pulling}, "It cannot be pulled (ImagePullBackOff): Back-off pulling.", false},
		"one fails, others there": {pod("n", is(waiting("a", "ErrImagePull", " not\nfound. "), running("b"), running("c"))), [3]State{Failing, Present, Present}, "It cannot be pulled (ErrImagePull): not found.", true},
		"for another machine":     {pod("n", is(waiting("a", "RunContainerError", ""), running("b"), running("c"))), [3]State{Failing, Present, Present}, "It is there, but nothing can be started in it (RunContainerError): nobody says why.", true},
		"a mirror's, and a sidecar before": {pod("n", func(p *corev1.Pod) {
			is(running("mesh"), running(ContainerOf("a")), running(ContainerOf("b")), waiting(ContainerOf("c"), "ErrImagePull", "no"))(p)
			for i := range p.Spec.Containers {
				c := &p.Spec.Containers[i]
				c.Name, c.Image = ContainerOf(c.Image), "mirror.example.org/"+c.Image
			}
			p.Spec.Containers = append([]corev1.Container{{Name: "mesh", Image: "mesh"}}, p.Spec.Containers...)
		}), [3]State{Present, Present, Failing}, "", true},
		"begins again": {pod("n", is(corev1.ContainerStatus{Name: "a", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}, running("b"), running("c"))), [3]State{Present, Present, Present}, "", true},
		"no room": {pod("", func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes: Too many pods."}}
		}), [3]State{Waiting, Waiting, Waiting}, "There is no room for the Pod that pulls it: 0/1 nodes: Too many pods.", false},
		"without the service's image": {pod("n", func(p *corev1.Pod) {
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{waiting("binary", "ErrImagePull", "401")}
		}), [3]State{Failing, Failing, Failing}, "The image of the service, which the Pod that pulls begins with, cannot be pulled (ErrImagePull): 401.", true},
		"evicted": {pod("n", func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted" }), [3]State{Failing, Failing, Failing}, "The Pod that pulls it has failed: Evicted.", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i, image := range []string{"a", "b", "c"} {
				assert.Equal(t, tc.states[i], stateOf(&tc.pod, image).state, image)
			}
			assert.Equal(t, tc.why, stateOf(&tc.pod, "a").why)
			assert.Equal(t, tc.settled, Settled(&tc.pod))
		})
	}
}

// TestAPodOfBefore: it is its node's turn later.
func TestAPodOfBefore(t *testing.T) {
	t.Parallel()
	former := pod("n", is(running("a"), running("b"), running("c")))
	assert.Equal(t, onNode{state: Waiting}, stateOf(&former, "new"))
	assert.Equal(t, onNode{state: Present}, stateOf(&former, "b"))
}

func TestSums(t *testing.T) {
	t.Parallel()
	broken := is(waiting("a", "ErrImagePull", "not found"), running("b"), running("c"))
	pods := []corev1.Pod{
		pod("n1", is(running("a"), running("b"))), pod("n2", broken), pod("n3", broken), pod("n4", gated),
		pod("n5", is(waiting("a", "ErrImagePull", strings.Repeat("é", 400)), running("b"))),
		// A second Pod on a node, in which the image is there.
		pod("n2", is(running("a"))),
		pod("n6", func(p *corev1.Pod) { p.Labels = nil }),
	}
	uses := []Use{{KernelSpec: "py"}}
	got := Of([]Wanted{{Image: "a", UsedBy: uses}, {Image: "nowhere", Why: []string{"No node."}}}, map[string][]string{"p": {"a", "b"}}, pods)
	assert.Equal(t, []Image{
		{Image: "a", UsedBy: uses, Nodes: Nodes{Total: 5, Present: 2, Waiting: 1, Failing: 2}, On: "n1", Why: []string{
			"Node n3: It cannot be pulled (ErrImagePull): not found.",
			"Node n5: It cannot be pulled (ErrImagePull): " + strings.Repeat("é", 300) + "…",
		}},
		{Image: "nowhere", Why: []string{"No node."}},
	}, got)
	for _, state := range States {
		assert.Equal(t, map[State]int{Present: 2, Waiting: 1, Failing: 2}[state], got[0].Nodes.In(state), state)
	}
	assert.Equal(t, []string{"2 nodes, a among them: y", "Node c: x"}, sentences(map[string][]string{"x": {"c"}, "y": {"b", "a"}}))
}
