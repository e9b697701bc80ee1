package admission

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func warm(id, node string, n int64) WarmPod {
	return WarmPod{ID: id, Class: "c", Ready: true, Node: node, Holds: Resources{gpu: n}}
}

func fits(r Request) Request { r.Class = "c"; return r }

func TestWarmPods(t *testing.T) {
	const room = "A kernel that was kept warm ends to make room."
	inUse := "All 2 nvidia.com/gpu of the cluster are in use."
	quota := func() Policy { p := research(); p.GPUsPerUser, p.GPUsPerKernel = 1, 1; return p }
	unready := func(s WarmPod) WarmPod { s.Ready = false; return s }
	going := func(s WarmPod) WarmPod { s.Going = true; return s }
	for name, tc := range map[string]struct {
		in     Input
		admit  []string
		take   map[string]string
		giveUp []string
		make   map[string]int64
		wait   map[string]position
	}{
		"the oldest of its class takes it; the next makes do without": {
			in: Input{Nodes: []Node{gpuNode("a", 2, 2)}, WarmPods: []WarmPod{warm("s", "a", 1)},
				Requests: []Request{fits(ask("k2", "b", 2, 1)), fits(ask("k1", "a", 1, 1)), fits(ask("k3", "c", 3, 1))}},
			admit: []string{"k1", "k2"}, take: map[string]string{"k1": "s"}, wait: map[string]position{"k3": {1, 1, inUse}},
		},
		"a ready one is taken before one that starts": {
			in: Input{Nodes: []Node{gpuNode("a", 2, 2)}, WarmPods: []WarmPod{unready(warm("a", "a", 1)), warm("b", "a", 1)},
				Requests: []Request{fits(ask("k1", "a", 1, 1))}},
			admit: []string{"k1"}, take: map[string]string{"k1": "b"},
		},
		"one that starts is better than none": {
			in: Input{Nodes: []Node{gpuNode("a", 1, 1)}, WarmPods: []WarmPod{unready(warm("s", "a", 1))},
				Requests: []Request{fits(ask("k1", "a", 1, 1))}},
			admit: []string{"k1"}, take: map[string]string{"k1": "s"},
		},
		"without GPU and without nodes": {
			in: Input{WarmPods: []WarmPod{{ID: "s", Class: "c", Holds: Resources{}}}, Requests: []Request{fits(ask("k1", "a", 1, 0))},
				Targets: []WarmTarget{{ID: "t", Missing: 2}}},
			admit: []string{"k1"}, take: map[string]string{"k1": "s"}, make: map[string]int64{"t": 2},
		},
		"a quota counts at the taking": {
			in: Input{Policies: byName(quota()), Nodes: []Node{gpuNode("a", 3, 3)}, WarmPods: []WarmPod{warm("s", "a", 1), warm("t", "a", 1)},
				Requests: []Request{fits(ask("k1", "a", 1, 1, "research")), fits(ask("k2", "a", 2, 1, "research"))}},
			admit: []string{"k1"}, take: map[string]string{"k1": "s"},
			wait: map[string]position{"k2": {1, 1, "You use 1 of the 1 nvidia.com/gpu that policy research allows you (gpusPerUser)."}},
		},
		"another class makes it go": {
			in: Input{Nodes: []Node{gpuNode("a", 2, 2)}, Holders: []Holder{held("h", "x", "a", 1)}, WarmPods: []WarmPod{warm("s", "a", 1)},
				Requests: []Request{ask("k1", "a", 1, 1)}, Targets: []WarmTarget{{ID: "t", Missing: 1, Wants: Resources{gpu: 1}}}},
			giveUp: []string{"s"}, wait: map[string]position{"k1": {1, 1, room}},
		},
		"as few as needed, and nobody younger gets them": {
			in: Input{Nodes: []Node{gpuNode("a", 3, 3), gpuNode("b", 2, 2)},
				WarmPods: []WarmPod{warm("a1", "a", 1), warm("a2", "a", 1), warm("a3", "a", 1), warm("b1", "b", 1), warm("b2", "b", 1)},
				Requests: []Request{ask("k1", "a", 1, 2), fits(ask("k2", "b", 2, 1))}},
			admit: []string{"k2"}, take: map[string]string{"k2": "a1"}, giveUp: []string{"a2", "a3"}, wait: map[string]position{"k1": {1, 1, room}},
		},
		"what goes anyway is waited for": {
			in: Input{Nodes: []Node{gpuNode("a", 2, 2)}, WarmPods: []WarmPod{warm("s", "a", 1), going(warm("t", "a", 1))},
				Requests: []Request{ask("k1", "a", 1, 1)}},
			wait: map[string]position{"k1": {1, 1, room}},
		},
		"one that goes is not taken": {
			in:   Input{Nodes: []Node{gpuNode("a", 1, 1)}, WarmPods: []WarmPod{going(warm("s", "a", 1))}, Requests: []Request{fits(ask("k1", "a", 1, 1))}},
			wait: map[string]position{"k1": {1, 1, room}},
		},
		"nothing is given up if that would not do": {
			in: Input{Nodes: []Node{gpuNode("a", 2, 2)}, Holders: []Holder{held("h", "x", "a", 1)}, WarmPods: []WarmPod{warm("s", "a", 1)},
				Requests: []Request{ask("k1", "a", 1, 2)}},
			wait: map[string]position{"k1": {1, 1, inUse}},
		},
		"targets take what is left": {
			in: Input{Nodes: []Node{gpuNode("a", 3, 3)}, Requests: []Request{ask("k1", "a", 1, 1)},
				Targets: []WarmTarget{{ID: "t", Missing: 3, Wants: Resources{gpu: 1}}}},
			admit: []string{"k1"}, make: map[string]int64{"t": 2},
		},
		"targets leave alone what somebody waits for": {
			in: Input{Nodes: []Node{gpuNode("a", 2, 2)}, Holders: []Holder{held("h", "x", "a", 1)}, Requests: []Request{ask("k1", "a", 1, 2)},
				Targets: []WarmTarget{{ID: "t", Missing: 1, Wants: Resources{gpu: 1}}}},
			wait: map[string]position{"k1": {1, 1, "1 of the 2 nvidia.com/gpu of the cluster are in use, and 2 are needed."}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.take == nil {
				tc.take = map[string]string{}
			}
			if tc.make == nil {
				tc.make = map[string]int64{}
			}
			d := Decide(tc.in)
			assert.Equal(t, tc.admit, d.Admit)
			assert.Equal(t, tc.take, d.AssignWarm)
			assert.Equal(t, tc.giveUp, d.EndWarm)
			assert.Equal(t, tc.make, d.MakeWarm)
			assert.Equal(t, tc.wait, inWords(d.Wait, positionOf))
			assert.Empty(t, d.Refuse)
		})
	}
}
