package admission

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func randomInput(rng *rand.Rand) Input {
	in := Input{Policies: map[string]Policy{}}
	resources := []string{gpu, "nvidia.com/mig-1g.5gb"}
	for i := range 1 + rng.IntN(3) {
		p := Policy{
			Name: fmt.Sprintf("p%d", i), Allowed: []string{"gpu"}, GPUResource: resources[rng.IntN(2)],
			GPUsPerKernel: rng.Int64N(4), GPUsPerUser: rng.Int64N(5), PerUser: rng.Int64N(4), Refuse: rng.IntN(4) == 0, Weight: rng.Int64N(4),
		}
		if rng.IntN(2) == 0 {
			p.GPUPool = pool(rng.Int64N(6))
		}
		in.Policies[p.Name] = p
	}
	if rng.IntN(4) > 0 {
		in.Nodes = []Node{}
		for i := range rng.IntN(4) {
			n := Node{Name: fmt.Sprintf("n%d", i), Total: Resources{}, Free: Resources{}, Coming: rng.IntN(4) == 0}
			for _, name := range resources {
				n.Total[name] = rng.Int64N(5)
				n.Free[name] = rng.Int64N(n.Total[name] + 1)
				if n.Coming {
					n.Free[name] = n.Total[name]
				}
			}
			in.Nodes = append(in.Nodes, n)
		}
	}
	policies := func() []string {
		if rng.IntN(8) == 0 {
			return nil
		}
		names := slices.Sorted(maps.Keys(in.Policies))
		rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		return names[:1+rng.IntN(len(names))]
	}
	for i := range rng.IntN(12) {
		r := Request{ID: fmt.Sprintf("k%02d", i), User: fmt.Sprintf("u%d", rng.IntN(4)), Policies: policies(), KernelSpec: "gpu",
			Since: t0.Add(time.Duration(rng.IntN(6)) * time.Second), Returning: rng.IntN(3) == 0}
		if rng.IntN(5) > 0 {
			r.Wants = Resources{resources[rng.IntN(2)]: 1 + rng.Int64N(3)}
		}
		if rng.IntN(2) == 0 {
			r.Class = classOf(r.Wants)
		}
		if rng.IntN(4) == 0 {
			r.Priority = rng.Int32N(3) - 1
		}
		in.Requests = append(in.Requests, r)
	}
	for i := range rng.IntN(5) {
		s := WarmPod{ID: fmt.Sprintf("s%d", i), Holds: Resources{resources[rng.IntN(2)]: 1 + rng.Int64N(3)}, Ready: rng.IntN(2) == 0, Going: rng.IntN(4) == 0}
		s.Class = classOf(s.Holds)
		if in.Nodes != nil && !slices.ContainsFunc(in.Nodes, func(n Node) bool { return !n.Coming }) {
			break // it could be nowhere
		}
		if len(in.Nodes) > 0 { // where there is room for it
			n := in.Nodes[rng.IntN(len(in.Nodes))]
			if n.Coming {
				continue
			}
			free := maps.Clone(n.Free)
			for _, other := range in.WarmPods {
				if other.Node == n.Name {
					for name, v := range other.Holds {
						free[name] -= v
					}
				}
			}
			if !free.covers(s.Holds) {
				continue
			}
			s.Node = n.Name
		}
		in.WarmPods = append(in.WarmPods, s)
		in.Targets = append(in.Targets, WarmTarget{ID: fmt.Sprintf("t%d", i), Missing: rng.Int64N(3), Wants: s.Holds})
	}
	return in
}

// classOf makes requests and warm Pods meet that hold the same.
func classOf(holds Resources) string {
	if len(holds) == 0 {
		return ""
	}
	return fmt.Sprint(holds)
}

// checkWarmPods recomputes what a decision says about warm Pods.
func checkWarmPods(t *testing.T, in Input, d Decision) {
	t.Helper()
	left := map[string]Resources{}
	for _, n := range in.Nodes {
		left[n.Name] = maps.Clone(n.Free)
	}
	use := map[string]string{}
	byID := map[string]WarmPod{}
	for _, s := range in.WarmPods {
		byID[s.ID] = s
		for name, v := range s.Holds {
			if in.Nodes != nil && s.Node != "" {
				left[s.Node][name] -= v
			}
		}
	}
	for id, warmPod := range d.AssignWarm {
		require.Contains(t, d.Admit, id)
		require.Empty(t, use[warmPod], "two requests take %s", warmPod)
		use[warmPod] = id
		s := byID[warmPod]
		r := in.Requests[slices.IndexFunc(in.Requests, func(r Request) bool { return r.ID == id })]
		require.Equal(t, r.Class, s.Class)
		require.NotEmpty(t, s.Class)
		require.False(t, s.Going)
		require.Equal(t, r.Wants, s.Holds)
	}
	waiting := false
	for _, p := range d.Wait {
		waiting = waiting || p.Reason.Code == WarmPodEnds
	}
	for _, warmPod := range d.EndWarm {
		require.Empty(t, use[warmPod], "%s is taken and given up", warmPod)
		use[warmPod] = "given up"
		require.False(t, byID[warmPod].Going)
		require.True(t, waiting, "given up for nobody")
	}
	// whoever else is admitted, and what is to be made, fits beside the warm Pods
	// that are there, those going and given up included: they are not gone yet
	total := Resources{}
	for _, l := range left {
		for name, v := range l {
			total[name] += v
		}
	}
	for _, r := range in.Requests {
		if slices.Contains(d.Admit, r.ID) && d.AssignWarm[r.ID] == "" {
			for name, v := range r.Wants {
				total[name] -= v
			}
		}
	}
	for _, s := range in.Targets {
		require.LessOrEqual(t, d.MakeWarm[s.ID], s.Missing)
		for name, v := range s.Wants {
			total[name] -= v * d.MakeWarm[s.ID]
		}
	}
	if in.Nodes != nil {
		for name, v := range total {
			require.GreaterOrEqual(t, v, int64(0), "room for %s", name)
		}
	}
}

// withinLimits recomputes, independently of the code under test, whether what
// is held is within every limit that binds its holder.
func withinLimits(t *testing.T, in Input, holders []Holder) {
	t.Helper()
	type userRes struct{ user, name string }
	users, kernels, pools := map[userRes]int64{}, map[string]int64{}, map[string]int64{}
	for _, h := range holders {
		kernels[h.User]++
		for name, n := range h.Holds {
			users[userRes{h.User, name}] += n
			for _, giver := range h.Policies {
				if p := in.Policies[giver]; p.GPUResource == name && p.GPUsPerKernel > 0 {
					pools[giver] += n
					break
				}
			}
		}
	}
	// a user's holders may name different policies; the most generous of all bounds the sum
	bound, bounded := map[userRes]int64{}, map[string]bool{}
	kernelBound := map[string]int64{}
	for _, h := range holders {
		if _, ok := bounded[h.User]; !ok {
			bounded[h.User] = true
		}
		if len(h.Policies) == 0 {
			bounded[h.User] = false
		}
		for _, name := range h.Policies {
			p := in.Policies[name]
			key := userRes{h.User, p.GPUResource}
			bound[key] = max(bound[key], p.GPUsPerUser)
			if p.PerUser == 0 {
				kernelBound[h.User] = 1 << 30
			}
			kernelBound[h.User] = max(kernelBound[h.User], p.PerUser)
			for r, n := range h.Holds {
				if r == p.GPUResource && len(h.Policies) == 1 {
					require.LessOrEqual(t, n, p.GPUsPerKernel, "gpusPerKernel of %s", h.ID)
				}
			}
		}
	}
	for key, n := range users {
		if bounded[key.user] {
			require.LessOrEqual(t, n, bound[key], "gpusPerUser of %v", key)
		}
	}
	for user, n := range kernels {
		if bounded[user] {
			require.LessOrEqual(t, n, kernelBound[user], "perUser of %s", user)
		}
	}
	for name, n := range pools {
		if p := in.Policies[name].GPUPool; p != nil {
			require.LessOrEqual(t, n, *p, "gpuPool of %s", name)
		}
	}
	if in.Nodes != nil {
		total := Resources{}
		for _, n := range in.Nodes {
			for name, v := range n.Free {
				total[name] += v
			}
		}
		for _, h := range holders {
			for name, v := range h.Holds {
				total[name] -= v
			}
		}
		for name, left := range total {
			require.GreaterOrEqual(t, left, int64(0), "capacity of %s", name)
		}
	}
}

func grant(in Input, ids []string) []Holder {
	var holders []Holder
	for _, r := range in.Requests {
		if slices.Contains(ids, r.ID) {
			holders = append(holders, Holder{ID: r.ID, User: r.User, Policies: r.Policies, Holds: r.Wants})
		}
	}
	return holders
}

func TestDecideProperties(t *testing.T) {
	ahead := 0
	for seed := range uint64(20_000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		in := randomInput(rng)
		d := Decide(in)
		for _, place := range d.Wait {
			require.Contains(t, WaitingReasons, place.Reason.Code)
		}
		ok := t.Run("", func(t *testing.T) {
			// every request has exactly one outcome
			require.Len(t, in.Requests, len(d.Admit)+len(d.Wait)+len(d.Refuse))
			for _, r := range in.Requests {
				_, waiting := d.Wait[r.ID]
				_, refused := d.Refuse[r.ID]
				require.Equal(t, 1, b2i(waiting)+b2i(refused)+b2i(slices.Contains(d.Admit, r.ID)), r.ID)
			}
			// never above a limit
			withinLimits(t, in, grant(in, d.Admit))
			checkWarmPods(t, in, d)
			// places are 1..length within their reasons' queue, and say why
			for id, p := range d.Wait {
				require.NotEmpty(t, p.Reason, id)
				require.GreaterOrEqual(t, p.Position, int32(1), id)
				require.LessOrEqual(t, p.Position, p.Length, id)
			}
			// the order of the input means nothing
			shuffled := in
			shuffled.Requests = slices.Clone(in.Requests)
			rng.Shuffle(len(shuffled.Requests), func(i, j int) {
				shuffled.Requests[i], shuffled.Requests[j] = shuffled.Requests[j], shuffled.Requests[i]
			})
			shuffled.WarmPods, shuffled.Targets = slices.Clone(in.WarmPods), slices.Clone(in.Targets)
			slices.Reverse(shuffled.WarmPods)
			slices.Reverse(shuffled.Targets)
			require.Equal(t, d, Decide(shuffled))
			// who was moved ahead of all others gets what there is for him alone
			if first, is := aheadOfAll(in); is {
				alone := in
				alone.Requests = []Request{first}
				require.Equal(t, slices.Contains(Decide(alone).Admit, first.ID), slices.Contains(d.Admit, first.ID), "ahead of all")
				ahead++
			}
			// nothing idles: when nobody at all was admitted and there is one
			// request alone that could be, it would have been
			if len(in.Requests) == 1 && len(d.Wait) == 1 && in.Nodes == nil {
				require.NotContains(t, d.Wait[in.Requests[0].ID].Reason, "cluster")
			}
		})
		if !ok {
			t.Fatalf("seed %d", seed)
		}
	}
	assert.Greater(t, ahead, 100, "so often was somebody ahead of all")
}

// aheadOfAll is the request of the highest priority, if it is the only one of it.
func aheadOfAll(in Input) (first Request, is bool) {
	for _, r := range in.Requests {
		switch {
		case first.ID == "" || r.Priority > first.Priority:
			first, is = r, true
		case r.Priority == first.Priority:
			is = false
		}
	}
	return first, is
}

// TestNobodyStarves lets kernels end at random and more small requests arrive
// than end; the first large one must be admitted after a bounded time.
func TestNobodyStarves(t *testing.T) {
	p := Policy{Name: "p", Allowed: []string{"gpu"}, GPUResource: gpu, GPUsPerKernel: 4, GPUsPerUser: 4}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 2))
		in := Input{Policies: byName(p), Nodes: []Node{gpuNode("a", 4, 4), gpuNode("b", 4, 4)}}
		for i := range 8 {
			in.Holders = append(in.Holders, held(fmt.Sprintf("h%d", i), fmt.Sprintf("h%d", i), []string{"a", "b"}[i/4], 1, "p"))
		}
		in.Requests = []Request{ask("big", "big", 0, 4, "p")}
		rounds := 0
		for ; rounds < 200; rounds++ {
			id := fmt.Sprintf("s%d", rounds)
			in.Requests = append(in.Requests, ask(id, id, int64(rounds)+1, 1, "p"))
			gone := rng.IntN(len(in.Holders))
			in.Holders = slices.Delete(in.Holders, gone, gone+1)
			d := Decide(in)
			if slices.Contains(d.Admit, "big") {
				break
			}
			for _, h := range grant(in, d.Admit) {
				h.Node = in.freeNode(h.Holds)
				require.NotEmpty(t, h.Node)
				in.Holders = append(in.Holders, h)
				in.Requests = slices.DeleteFunc(in.Requests, func(r Request) bool { return r.ID == h.ID })
			}
			if len(in.Holders) == 0 {
				break
			}
		}
		assert.Less(t, rounds, 60, "seed %d", seed)
	}
}

func (in Input) freeNode(want Resources) string {
	u := newUsage(in)
	if n := u.bestFit(want, nil, there); n != nil {
		return n.Name
	}
	return ""
}

func BenchmarkDecideThousand(b *testing.B) {
	in := Input{Policies: byName(research())}
	for i := range 50 {
		in.Nodes = append(in.Nodes, gpuNode(fmt.Sprintf("n%d", i), 8, 8))
	}
	for i := range 1000 {
		id := fmt.Sprintf("k%d", i)
		in.Requests = append(in.Requests, ask(id, id, int64(i), 1, "research"))
	}
	b.ReportAllocs()
	for b.Loop() {
		Decide(in)
	}
}
