package admission

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// comingNode is one that an autoscaler can add, with n GPUs.
func comingNode(name string, n int64) Node {
	node := gpuNode(name, n, n)
	node.Coming = true
	return node
}

func TestNodesThatCanBeAddedAreUsedLastAndNeverTwice(t *testing.T) {
	in := Input{
		Policies: byName(research()),
		Nodes:    []Node{comingNode("coming 1", 2), comingNode("coming 2", 2), gpuNode("there", 4, 1)},
		Requests: []Request{
			ask("a", "a", 0, 1, "research"), ask("b", "b", 1, 2, "research"), ask("c", "c", 2, 2, "research"), ask("d", "d", 3, 1, "research"),
		},
	}
	d := Decide(in)
	assert.Equal(t, []string{"a", "b", "c"}, d.Admit, "one fits what is there, two have a node added each, and no third may be")
	assert.Equal(t, NodesInUse, d.Wait["d"].Reason.Code)

	// Those that were admitted wait for their nodes now, and the scheduler has given up on one.
	in.Holders = []Holder{held("a", "a", "there", 1, "research"), held("b", "b", "", 2, "research"), held("c", "c", "", 2, "research")}
	in.Nodes[2].Free = Resources{gpu: 1} // as others leave it
	in.Holders[1].Unschedulable = true
	in.Requests = in.Requests[3:]
	assert.Empty(t, Decide(in).Admit, "the nodes that are to come are promised")

	// One of the nodes is there, and the scheduler has not placed anything yet.
	in.Nodes[0].Coming, in.Nodes[0].Grown = false, true
	in.Holders[2].Unschedulable = true
	assert.Empty(t, Decide(in).Admit, "what has come was promised")
	in.Holders = in.Holders[:2]
	assert.Equal(t, []string{"d"}, Decide(in).Admit)
}

func TestWarmPodsEndBeforeANodeIsAskedFor(t *testing.T) {
	in := Input{
		Policies: byName(research()),
		Nodes:    []Node{comingNode("coming", 2), gpuNode("there", 1, 1)},
		WarmPods: []WarmPod{{ID: "warm", Class: "other", Ready: true, Holds: Resources{gpu: 1}, Node: "there"}},
		Requests: []Request{ask("a", "a", 0, 1, "research"), ask("large", "b", 1, 2, "research")},
	}
	d := Decide(in)
	assert.Equal(t, []string{"warm"}, d.EndWarm)
	assert.Equal(t, WarmPodEnds, d.Wait["a"].Reason.Code)
	assert.Equal(t, []string{"large"}, d.Admit, "no warm Pod that ends would do for it")
}

func TestNoNodeIsAskedForToKeepWarmPods(t *testing.T) {
	in := Input{
		Policies: byName(research()), Nodes: []Node{comingNode("coming", 2), gpuNode("there", 1, 1)},
		Targets: []WarmTarget{{ID: "t", Missing: 3, Wants: Resources{gpu: 1}}},
	}
	assert.Equal(t, map[string]int64{"t": 1}, Decide(in).MakeWarm)
}
