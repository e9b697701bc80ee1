package admission

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const gpu = "nvidia.com/gpu"

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pool(n int64) *int64 { return &n }

func research() Policy {
	return Policy{Name: "research", Allowed: []string{"gpu", "cpu"}, GPUResource: gpu, GPUsPerKernel: 2, GPUsPerUser: 2}
}

// ask is a request for n GPUs, made at second at.
func ask(id, user string, at, n int64, policies ...string) Request {
	r := Request{ID: id, User: user, Policies: policies, KernelSpec: "cpu", Since: t0.Add(time.Duration(at) * time.Second)}
	if n > 0 {
		r.KernelSpec, r.Wants = "gpu", Resources{gpu: n}
	}
	return r
}

func moved(r Request, priority int32) Request {
	r.Priority = priority
	return r
}

func held(id, user, node string, n int64, policies ...string) Holder {
	return Holder{ID: id, User: user, Policies: policies, Node: node, Holds: Resources{gpu: n}}
}

func gpuNode(name string, total, free int64) Node {
	return Node{Name: name, Total: Resources{gpu: total}, Free: Resources{gpu: free}}
}

func byName(all ...Policy) map[string]Policy {
	m := map[string]Policy{}
	for _, p := range all {
		m[p.Name] = p
	}
	return m
}

// position is a QueuePosition as its user reads it.
type position struct {
	position, length int32
	reason           string
}

func positionOf(p QueuePosition) position { return position{p.Position, p.Length, p.Reason.String()} }

// inWords maps the values of a map; an empty one is nil.
func inWords[V, W any](all map[string]V, say func(V) W) map[string]W {
	var said map[string]W
	for id, v := range all {
		if said == nil {
			said = map[string]W{}
		}
		said[id] = say(v)
	}
	return said
}

func TestDecide(t *testing.T) {
	type want struct {
		admit  []string
		wait   map[string]position
		refuse map[string]string
	}
	poolOf := func(n int64) Policy { p := research(); p.GPUPool = pool(n); return p }
	perUser := func(n int64) Policy { p := research(); p.PerUser = n; return p }
	refuse := func() Policy { p := research(); p.Refuse, p.GPUsPerUser = true, 1; p.GPUsPerKernel = 1; return p }
	inUse := "All 2 nvidia.com/gpu of the cluster are in use."

	for name, tc := range map[string]struct {
		in   Input
		want want
	}{
		"oldest first, positions in words": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 2, 2)}, Requests: []Request{
				ask("k3", "c", 3, 1, "research"), ask("k1", "a", 1, 1, "research"), ask("k4", "d", 4, 1, "research"), ask("k2", "b", 2, 1, "research"),
			}},
			want{admit: []string{"k1", "k2"}, wait: map[string]position{"k3": {1, 2, inUse}, "k4": {2, 2, inUse}}},
		},
		"what other Pods use counts": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 2, 0)}, Requests: []Request{ask("k1", "a", 1, 1, "research")}},
			want{wait: map[string]position{"k1": {1, 1, inUse}}},
		},
		"a full quota blocks nobody else": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 4, 4)},
				Holders:  []Holder{held("h", "a", "a", 2, "research")},
				Requests: []Request{ask("k1", "a", 1, 1, "research"), ask("k2", "b", 2, 1, "research")}},
			want{admit: []string{"k2"}, wait: map[string]position{"k1": {1, 1, "You use 2 of the 2 nvidia.com/gpu that policy research allows you (gpusPerUser)."}}},
		},
		"refuse at the user's limit, but not a kernel that comes back": {
			Input{Policies: byName(refuse()), Holders: []Holder{held("h", "a", "", 1, "research")},
				Requests: []Request{ask("k1", "a", 1, 1, "research"), func() Request { r := ask("k2", "a", 2, 1, "research"); r.Returning = true; return r }()}},
			want{
				wait:   map[string]position{"k2": {1, 1, "You use 1 of the 1 nvidia.com/gpu that policy research allows you (gpusPerUser)."}},
				refuse: map[string]string{"k1": "You use 1 of the 1 nvidia.com/gpu that policy research allows you (gpusPerUser)."},
			},
		},
		"the pool binds the group and nobody else": {
			Input{Policies: byName(poolOf(2), Policy{Name: "other", Allowed: []string{"gpu"}, GPUResource: gpu, GPUsPerKernel: 1, GPUsPerUser: 1}),
				Holders:  []Holder{held("h", "z", "", 2, "research")},
				Requests: []Request{ask("k1", "a", 1, 1, "research"), ask("k2", "b", 2, 1, "other")}},
			want{admit: []string{"k2"}, wait: map[string]position{"k1": {1, 1, "2 of the 2 nvidia.com/gpu of policy research are in use (gpuPool)."}}},
		},
		"a large request is not starved by small ones": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 2, 2)}, Holders: []Holder{held("h", "z", "a", 1, "research")},
				Requests: []Request{ask("big", "a", 1, 2, "research"), ask("small", "b", 2, 1, "research")}},
			want{wait: map[string]position{
				"big":   {1, 2, "1 of the 2 nvidia.com/gpu of the cluster are in use, and 2 are needed."},
				"small": {2, 2, "Others are ahead in the queue for nvidia.com/gpu, or no single node has enough of it free."},
			}},
		},
		"one that no node can hold blocks nobody": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 1, 1), gpuNode("b", 1, 1)},
				Requests: []Request{ask("big", "a", 1, 2, "research"), ask("small", "b", 2, 1, "research")}},
			want{admit: []string{"small"}, wait: map[string]position{"big": {1, 1, "No node has 2 nvidia.com/gpu; the largest has 1."}}},
		},
		"free halves on two nodes do not make a whole": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 2, 1), gpuNode("b", 2, 1)}, Requests: []Request{ask("big", "a", 1, 2, "research")}},
			want{wait: map[string]position{"big": {1, 1, "Others are ahead in the queue for nvidia.com/gpu, or no single node has enough of it free."}}},
		},
		"kernels without extended resources pass a full cluster": {
			Input{Policies: byName(research()), Nodes: []Node{}, Requests: []Request{ask("k1", "a", 1, 0, "research"), ask("k2", "a", 2, 1, "research")}},
			want{admit: []string{"k1"}, wait: map[string]position{"k2": {1, 1, "No node offers nvidia.com/gpu."}}},
		},
		"what only cordoned nodes offer is waited for, and they are named": {
			Input{Policies: byName(research()), Nodes: []Node{
				{Name: "b", Cordoned: true, Total: Resources{gpu: 2}}, {Name: "a", Cordoned: true, Total: Resources{gpu: 1}},
				{Name: "c", Cordoned: true, Total: Resources{"other": 1}},
			}, Holders: []Holder{held("h", "z", "a", 1, "research")}, Requests: []Request{ask("k1", "a", 1, 0, "research"), ask("k2", "a", 2, 1, "research")}},
			want{admit: []string{"k1"}, wait: map[string]position{"k2": {1, 1, "No node with nvidia.com/gpu takes Pods now: cordoned (a, b)."}}},
		},
		"what is cordoned counts for nothing beside what is not": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 1, 0), {Name: "b", Cordoned: true, Total: Resources{gpu: 2}}},
				Requests: []Request{ask("k1", "a", 1, 1, "research")}},
			want{wait: map[string]position{"k1": {1, 1, "The only nvidia.com/gpu of the cluster is in use."}}},
		},
		"perUser counts kernels of any kind": {
			Input{Policies: byName(perUser(2)), Holders: []Holder{held("h", "a", "", 0, "research")},
				Requests: []Request{ask("k1", "a", 1, 0, "research"), ask("k2", "a", 2, 0, "research")}},
			want{admit: []string{"k1"}, wait: map[string]position{"k2": {1, 1, "You use 2 of the 2 kernels that policy research allows you at a time (perUser)."}}},
		},
		"refused for good, with field and bound": {
			Input{Policies: byName(research()), Requests: []Request{
				ask("many", "a", 1, 3, "research"),
				func() Request {
					r := ask("amd", "a", 1, 0, "research")
					r.Wants = Resources{"amd.com/gpu": 1}
					return r
				}(),
				func() Request { r := ask("other", "a", 1, 0, "research"); r.KernelSpec = "r"; return r }(),
			}},
			want{refuse: map[string]string{
				"many":  "resources.limits[nvidia.com/gpu] of the kernel is 3, but spec.kernels.gpusPerKernel of policy research allows 2.",
				"amd":   "resources.limits[amd.com/gpu] of the kernel is 1, but spec.kernels.gpusPerKernel of policy research allows 0.",
				"other": `The kernel "r" is not among spec.kernels.allowed of policy research.`,
			}},
		},
		"without policies only the nodes limit": {
			Input{Nodes: []Node{gpuNode("a", 2, 2)}, Requests: []Request{ask("k1", "", 1, 2), ask("k2", "", 2, 1)}},
			want{admit: []string{"k1"}, wait: map[string]position{"k2": {1, 1, inUse}}},
		},
		"a policy that does not exist gives nothing": {
			Input{Requests: []Request{ask("k1", "a", 1, 0, "gone")}},
			want{wait: map[string]position{"k1": {1, 1, "The policy gone does not exist."}}},
		},
		"several policies: the most generous limit per user": {
			Input{Policies: byName(research(), Policy{Name: "small", GPUResource: gpu, GPUsPerKernel: 1, GPUsPerUser: 1, PerUser: 1}),
				Requests: []Request{ask("k1", "a", 1, 2, "small", "research")}},
			want{admit: []string{"k1"}},
		},
		"several policies: the pool is that of the first that gives the resource": {
			Input{Policies: byName(Policy{Name: "staff", Allowed: []string{"cpu"}, GPUResource: gpu}, poolOf(2)),
				Holders:  []Holder{held("h", "z", "", 1, "research"), held("i", "y", "", 1, "staff", "research")},
				Requests: []Request{ask("k1", "a", 1, 1, "staff", "research")}},
			want{wait: map[string]position{"k1": {1, 1, "2 of the 2 nvidia.com/gpu of policy research are in use (gpuPool)."}}},
		},
		"several policies: one without kernels lifts no limit": {
			Input{Policies: byName(Policy{Name: "plain", GPUResource: gpu}, perUser(1)),
				Holders:  []Holder{held("h", "a", "", 0, "plain", "research")},
				Requests: []Request{ask("k1", "a", 1, 0, "plain", "research")}},
			want{wait: map[string]position{"k1": {1, 1, "You use 1 of the 1 kernels that policy research allows you at a time (perUser)."}}},
		},
		"weights share out": {
			Input{Policies: byName(
				Policy{Name: "w1", Allowed: []string{"gpu"}, GPUResource: gpu, GPUsPerKernel: 1, GPUsPerUser: 9, Weight: 1},
				Policy{Name: "w2", Allowed: []string{"gpu"}, GPUResource: gpu, GPUsPerKernel: 1, GPUsPerUser: 9, Weight: 2}),
				Nodes: []Node{gpuNode("a", 3, 3)},
				Requests: []Request{ask("a1", "a", 1, 1, "w1"), ask("a2", "a", 2, 1, "w1"), ask("a3", "a", 3, 1, "w1"),
					ask("b1", "b", 4, 1, "w2"), ask("b2", "b", 5, 1, "w2"), ask("b3", "b", 6, 1, "w2")}},
			want{admit: []string{"a1", "b1", "b2"}, wait: map[string]position{
				"a2": {1, 3, "All 3 nvidia.com/gpu of the cluster are in use."},
				"b3": {2, 3, "All 3 nvidia.com/gpu of the cluster are in use."},
				"a3": {3, 3, "All 3 nvidia.com/gpu of the cluster are in use."},
			}},
		},
		"who was moved is ahead of those who have waited longer, of any group": {
			Input{Policies: byName(
				Policy{Name: "w1", Allowed: []string{"gpu"}, GPUResource: gpu, GPUsPerKernel: 1, GPUsPerUser: 9},
				Policy{Name: "w2", Allowed: []string{"gpu"}, GPUResource: gpu, GPUsPerKernel: 1, GPUsPerUser: 9}),
				Nodes:   []Node{gpuNode("a", 2, 2)},
				Holders: []Holder{held("h", "a", "a", 1, "w1")},
				Requests: []Request{ask("a1", "a", 1, 1, "w1"), moved(ask("a2", "a", 3, 1, "w1"), 1),
					moved(ask("b1", "b", 1, 1, "w2"), -1), ask("b2", "b", 2, 1, "w2")}},
			want{admit: []string{"a2"}, wait: map[string]position{"b2": {1, 3, inUse}, "a1": {2, 3, inUse}, "b1": {3, 3, inUse}}},
		},
		"a quota binds who was moved, too, and blocks nobody": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 4, 4)},
				Holders:  []Holder{held("h", "a", "a", 2, "research")},
				Requests: []Request{moved(ask("k1", "a", 1, 1, "research"), 9), ask("k2", "b", 2, 1, "research")}},
			want{admit: []string{"k2"}, wait: map[string]position{"k1": {1, 1, "You use 2 of the 2 nvidia.com/gpu that policy research allows you (gpusPerUser)."}}},
		},
		"a Pod that finds no place takes nothing from the nodes": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 1, 1)},
				Holders:  []Holder{{ID: "h", User: "z", Policies: []string{"research"}, Holds: Resources{gpu: 1}, Unschedulable: true}},
				Requests: []Request{ask("k1", "a", 1, 1, "research")}},
			want{admit: []string{"k1"}},
		},
		"only eligible nodes count": {
			Input{Policies: byName(research()), Nodes: []Node{gpuNode("a", 1, 1), gpuNode("b", 1, 1)},
				Holders: []Holder{held("h", "z", "b", 1, "research")},
				Requests: []Request{func() Request {
					r := ask("k1", "a", 1, 1, "research")
					r.Eligible = func(n string) bool { return n == "b" }
					return r
				}()}},
			want{wait: map[string]position{"k1": {1, 1, "The only nvidia.com/gpu of the cluster is in use."}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decide(tc.in)
			assert.Equal(t, tc.want.admit, got.Admit)
			assert.Equal(t, tc.want.wait, inWords(got.Wait, positionOf))
			assert.Equal(t, tc.want.refuse, inWords(got.Refuse, Reason.String))
		})
	}
}

func TestAssumed(t *testing.T) {
	h := held("k", "a", "", 1, "research")
	never, always := func(string) bool { return false }, func(string) bool { return true }

	var l Assumed
	l.Assume(h)
	assert.Equal(t, []string{"k"}, l.Unconfirmed())
	got, ok := l.Pending("k", always)
	assert.True(t, ok, "nothing the cache shows settles a write that is in doubt")
	assert.Equal(t, Claim{Holder: h}, got)

	l.Confirm("k", "7")
	assert.Empty(t, l.Unconfirmed())
	got, ok = l.Pending("k", never)
	assert.True(t, ok, "the cache is behind")
	assert.Equal(t, Claim{Holder: h, Version: "7"}, got)
	_, ok = l.Pending("k", always)
	assert.False(t, ok, "the cache has caught up")
	assert.Zero(t, l.Len())

	l.Assume(h)
	l.Forget("k")
	assert.Zero(t, l.Len())
	l.Confirm("k", "8")
	assert.Zero(t, l.Len(), "what was withdrawn stays so")

	l.Assume(h)
	l.Keep(always)
	assert.Equal(t, 1, l.Len())
	l.Keep(never)
	assert.Zero(t, l.Len())
}

// TestEachReasonRefusesOrWaits reads the constants, of which none may be forgotten.
func TestEachReasonRefusesOrWaits(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("reason.go")
	require.NoError(t, err)
	only := []ReasonCode{KernelSpecNotAllowed, OverGPUsPerKernel, OverGPUsPerUser, OverGPUPool, UserUnknown, UserWithoutPolicy, BudgetSpent}
	found := 0
	for _, match := range regexp.MustCompile(`ReasonCode = "(\w+)"`).FindAllSubmatch(source, -1) {
		code := ReasonCode(match[1])
		assert.NotEqual(t, slices.Contains(only, code), slices.Contains(WaitingReasons, code), code)
		found++
	}
	assert.Equal(t, len(only)+len(WaitingReasons), found)
}

// TestEachReasonHasASentence: what has a code is said in words, and no two alike.
func TestEachReasonHasASentence(t *testing.T) {
	codes := []ReasonCode{
		KernelSpecNotAllowed, OverGPUsPerKernel, OverGPUsPerUser, OverGPUPool, UserKernelsInUse, UserGPUsInUse, PolicyMissing,
		PoolInUse, PoolAwaited, NoNodeOffers, NodesCordoned, NodesTooSmall, NodesInUse, NodesNotEnough, NodesAwaited, WarmPodEnds,
		UserUnknown, UserWithoutPolicy, PolicyInvalid, GroupsUnknown,
	}
	sentences := map[string]ReasonCode{}
	for _, code := range codes {
		text := Reason{Code: code, Policy: "research", Resource: gpu, KernelSpec: "r", Wants: 2, Used: 3, Limit: 4}.String()
		assert.Regexp(t, `^[A-Z0-9r].* .*\.$`, text, "%s", code)
		assert.Empty(t, sentences[text], "%s says what another does: %s", code, text)
		sentences[text] = code
	}
}

func TestWhoseGroupsAreUnknownWaitsAndWhoseAreGoneIsRefused(t *testing.T) {
	t.Parallel()
	in := Input{Nodes: []Node{{Name: "n", Total: Resources{"gpu": 1}, Free: Resources{"gpu": 1}}}}
	for i, r := range []Request{{ID: "unknown", Unknown: GroupsUnknown}, {ID: "gone", Gone: UserWithoutPolicy}, {ID: "third"}} {
		r.User, r.Since, r.Wants = r.ID, time.Unix(int64(i), 0), Resources{"gpu": 1}
		in.Requests = append(in.Requests, r)
	}
	d := Decide(in)
	assert.Equal(t, []string{"third"}, d.Admit, "nothing is set aside for them")
	assert.Equal(t, map[string]Reason{"gone": {Code: UserWithoutPolicy}}, d.Refuse)
	assert.Equal(t, map[string]QueuePosition{"unknown": {Position: 1, Length: 1, Reason: Reason{Code: GroupsUnknown}}}, d.Wait)
}

// TestASpentBudget refuses whoever it bounds, and nobody else; while it is not known how it stands they wait.
func TestASpentBudget(t *testing.T) {
	spent := Reason{Code: BudgetSpent, Policy: "ml", Resource: "nvidia.com/gpu", Hours: "40", Window: "7 days", PerUser: true, Again: "15:04:05 on 2 January 2026 (UTC)"}
	unknown := Reason{Code: BudgetUnknown, Policy: "ml"}
	in := Input{Requests: []Request{{ID: "a", User: "a", Budget: spent}, {ID: "b", User: "b", Budget: unknown}, {ID: "c", User: "c"}}}
	d := Decide(in)
	assert.Equal(t, map[string]Reason{"a": spent}, d.Refuse)
	assert.Equal(t, map[string]QueuePosition{"b": {Position: 1, Length: 1, Reason: unknown}}, d.Wait)
	assert.Equal(t, []string{"c"}, d.Admit)
	assert.Equal(t, "The budget of policy ml is spent: 40 hours of nvidia.com/gpu of each user per 7 days. Kernels are started again from 15:04:05 on 2 January 2026 (UTC).", spent.String())
	assert.Equal(t, []bool{false, false, true}, Unbounded(Input{}, in.Requests), "nothing is kept ready for them")
}
