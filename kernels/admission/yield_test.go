package admission

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func minutes(n int64) time.Duration { return time.Duration(n) * time.Minute }

func TestYield(t *testing.T) {
	pooled := func() Policy { p := research(); p.GPUPool = pool(2); return p }
	one := func() Policy { p := research(); p.GPUsPerUser, p.GPUsPerKernel = 1, 1; return p }
	for name, tc := range map[string]struct {
		in   Input
		idle map[string]time.Duration
		want []string
	}{
		"the one idle longest": {
			Input{Nodes: []Node{gpuNode("a", 3, 3)}, Holders: []Holder{held("h1", "x", "a", 1), held("h2", "y", "a", 1), held("h3", "z", "a", 1)},
				Requests: []Request{ask("k1", "a", 1, 1)}},
			map[string]time.Duration{"h1": minutes(5), "h2": minutes(50)}, []string{"h2"},
		},
		"one for each, and no more": {
			Input{Nodes: []Node{gpuNode("a", 3, 3)}, Holders: []Holder{held("h1", "x", "a", 1), held("h2", "y", "a", 1), held("h3", "z", "a", 1)},
				Requests: []Request{ask("k1", "a", 1, 1), ask("k2", "b", 2, 1)}},
			map[string]time.Duration{"h1": minutes(5), "h2": minutes(50), "h3": minutes(7)}, []string{"h2", "h3"},
		},
		"nobody waits": {
			Input{Nodes: []Node{gpuNode("a", 2, 2)}, Holders: []Holder{held("h1", "x", "a", 1)}, Requests: []Request{ask("k1", "a", 1, 1)}},
			map[string]time.Duration{"h1": minutes(5)}, nil,
		},
		"it would not do": {
			Input{Nodes: []Node{gpuNode("a", 2, 2)}, Holders: []Holder{held("h1", "x", "a", 1), held("h2", "y", "a", 1)}, Requests: []Request{ask("k1", "a", 1, 2)}},
			map[string]time.Duration{"h1": minutes(5)}, nil,
		},
		"two of one node rather than of two": {
			Input{Nodes: []Node{gpuNode("a", 2, 2), gpuNode("b", 2, 2)},
				Holders:  []Holder{held("a1", "x", "a", 1), held("a2", "y", "a", 1), held("b1", "z", "b", 1), held("b2", "z", "b", 1)},
				Requests: []Request{ask("k1", "a", 1, 2)}},
			map[string]time.Duration{"a1": minutes(90), "b1": minutes(60), "b2": minutes(50)}, []string{"b1", "b2"},
		},
		"a full pool": {
			Input{Policies: byName(pooled()), Nodes: []Node{gpuNode("a", 9, 9)},
				Holders:  []Holder{held("h1", "x", "a", 1, "research"), held("h2", "y", "a", 1, "research"), held("h3", "z", "a", 1)},
				Requests: []Request{ask("k1", "a", 1, 1, "research")}},
			map[string]time.Duration{"h1": minutes(5), "h2": minutes(50), "h3": minutes(500)}, []string{"h2"},
		},
		"the user's own quota is no shortage": {
			Input{Policies: byName(one()), Nodes: []Node{gpuNode("a", 9, 9)}, Holders: []Holder{held("h1", "a", "a", 1, "research")},
				Requests: []Request{ask("k1", "a", 1, 1, "research")}},
			map[string]time.Duration{"h1": minutes(5)}, nil,
		},
		"a warm one goes first": {
			Input{Nodes: []Node{gpuNode("a", 2, 2)}, Holders: []Holder{held("h1", "x", "a", 1)}, WarmPods: []WarmPod{warm("s", "a", 1)},
				Requests: []Request{ask("k1", "a", 1, 1)}},
			map[string]time.Duration{"h1": minutes(5)}, nil,
		},
		"no node would ever do": {
			Input{Nodes: []Node{gpuNode("a", 2, 2)}, Holders: []Holder{held("h1", "x", "a", 1)}, Requests: []Request{ask("k1", "a", 1, 3)}},
			map[string]time.Duration{"h1": minutes(5)}, nil,
		},
		"other nodes do not help": {
			Input{Nodes: []Node{gpuNode("a", 1, 1), gpuNode("b", 1, 1)}, Holders: []Holder{held("h1", "x", "a", 1), held("h2", "y", "b", 1)},
				Requests: []Request{func() Request {
					r := ask("k1", "a", 1, 1)
					r.Eligible = func(n string) bool { return n == "b" }
					return r
				}()}},
			map[string]time.Duration{"h1": minutes(50), "h2": minutes(5)}, []string{"h2"},
		},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, Yield(tc.in, tc.idle)) })
	}
}

// TestYieldHelps: only those that may are chosen, nobody twice, and with them
// gone somebody is admitted who was starved.
func TestYieldHelps(t *testing.T) {
	helped := 0
	for seed := range uint64(4000) {
		rng := rand.New(rand.NewPCG(seed, 5))
		in := randomInput(rng)
		first := Decide(in)
		in.Holders = grant(in, first.Admit)
		for i := range in.Holders {
			if len(in.Nodes) > 0 && len(in.Holders[i].Holds) > 0 {
				in.Holders[i].Node = in.Nodes[rng.IntN(len(in.Nodes))].Name
			}
		}
		in.Requests = slices.DeleteFunc(in.Requests, func(r Request) bool { return slices.Contains(first.Admit, r.ID) })
		in.WarmPods = nil
		idle := map[string]time.Duration{}
		for _, h := range in.Holders {
			if rng.IntN(2) == 0 {
				idle[h.ID] = time.Duration(rng.IntN(100)) * time.Second
			}
		}
		before := Decide(in).Starved
		chosen := Yield(in, idle)
		for _, id := range chosen {
			require.Contains(t, idle, id, "seed %d", seed)
		}
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(chosen))), len(chosen), "seed %d", seed)
		if len(chosen) == 0 {
			continue
		}
		helped++
		served := 0
		for _, id := range Decide(without(in, chosen)).Admit {
			served += b2i(slices.Contains(before, id))
		}
		require.Positive(t, served, "seed %d", seed)
	}
	assert.Greater(t, helped, 50)
}
