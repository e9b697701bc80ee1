package groups

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// randomPolicy has no faults.
func randomPolicy(rng *rand.Rand, name string) v1alpha1.GroupPolicy {
	p := policy(name, rng.Int32N(3), "g")
	s := &p.Spec
	milli := func(n int64) resource.Quantity { return *resource.NewMilliQuantity(n, resource.DecimalSI) }
	minimum, step := 100*(1+rng.Int64N(10)), 100*(1+rng.Int64N(6))
	maximum := minimum + rng.Int64N(4000)
	s.CPU = v1alpha1.ResourceRange{Min: milli(minimum), Max: milli(maximum), Step: new(milli(step)), Default: new(milli(minimum + step*((maximum-minimum)/step)))}
	s.CPU.RequestRatio = []string{"", "0.5", "1", "0.25"}[rng.IntN(4)]
	bytes := func(n int64) resource.Quantity { return *resource.NewQuantity(n<<20, resource.BinarySI) }
	minimum, step = 256*(1+rng.Int64N(4)), 256*(1+rng.Int64N(4))
	s.Memory = v1alpha1.ResourceRange{Min: bytes(minimum), Max: bytes(minimum + 256*rng.Int64N(40)), Step: new(bytes(step))}
	s.Images = nil
	for i := range 1 + rng.IntN(3) {
		c := v1alpha1.ImageChannel{ID: fmt.Sprintf("c%d", i), Image: fmt.Sprintf("image:%s-%d", name, i), Hidden: i > 0 && rng.IntN(2) == 0}
		if i > 0 && rng.IntN(3) == 0 {
			c.Redirect = &v1alpha1.ChannelRedirect{To: "c0"}
		}
		s.Images = append(s.Images, c)
	}
	if rng.IntN(2) == 0 {
		s.Presets = []v1alpha1.Preset{{Name: fmt.Sprintf("size%d", rng.IntN(2)), CPU: s.CPU.Max, Memory: s.Memory.Min}}
	}
	s.NodeSelector = map[string]string{"pool": name}
	s.Tolerations = []corev1.Toleration{{Key: name, Operator: corev1.TolerationOpExists}}
	for i := range rng.IntN(3) {
		s.Env = append(s.Env, v1alpha1.PolicyEnv{Name: fmt.Sprintf("E%d", i), Value: name})
		s.ImagePullSecrets = append(s.ImagePullSecrets, v1alpha1.PullSecret{Name: fmt.Sprintf("secret%d", i)})
	}
	if rng.IntN(2) == 0 {
		s.Storage = &v1alpha1.NotebookStorage{}
		if rng.IntN(2) == 0 {
			s.Storage.Home = &v1alpha1.HomeVolume{Size: bytes(1024), MountPath: []string{"", "/data1"}[rng.IntN(2)]}
		}
		for i := range 1 + rng.IntN(3) {
			mount := fmt.Sprintf("/data%d", (i+rng.IntN(2)*3)%4+2)
			v := v1alpha1.SharedVolume{Name: fmt.Sprintf("v%d", i), Claim: "claim" + mount[1:], MountPath: mount, ReadOnly: rng.IntN(2) == 0}
			if !slices.ContainsFunc(s.Storage.Shared, func(o v1alpha1.SharedVolume) bool { return o.MountPath == mount }) {
				s.Storage.Shared = append(s.Storage.Shared, v)
			}
		}
	}
	if rng.IntN(3) > 0 {
		perKernel := rng.Int32N(3)
		s.Kernels = v1alpha1.PolicyKernels{
			Allowed:     []string{"python", fmt.Sprintf("kernel%d", rng.IntN(3))},
			GPUResource: []string{"nvidia.com/gpu", "amd.com/gpu", ""}[rng.IntN(3)], GPUsPerKernel: perKernel, GPUsPerUser: perKernel + rng.Int32N(3),
			PerUser: rng.Int32N(4), AtLimit: []v1alpha1.AtLimit{"", v1alpha1.AtLimitQueue, v1alpha1.AtLimitRefuse}[rng.IntN(3)],
			IdleSeconds: rng.Int64N(3) * 600, Weight: rng.Int32N(4),
		}
		if rng.IntN(3) > 0 {
			s.Kernels.MaxRunSeconds = new(rng.Int64N(3) * 3600)
		}
		if rng.IntN(2) == 0 {
			s.Kernels.GPUPool = new(s.Kernels.GPUsPerUser + rng.Int32N(4))
		}
	}
	s.ServersPerUser, s.ServerIdleSeconds, s.MaxRunSeconds = rng.Int32N(4), rng.Int64N(3)*3600, rng.Int64N(3)*86400
	return p
}

// values are everything that a range offers.
func values(r Range) []resource.Quantity {
	var all []resource.Quantity
	for q := r.Min.DeepCopy(); q.Cmp(r.Max) < 0; q.Add(r.Step) {
		all = append(all, q.DeepCopy())
	}
	return append(all, r.Max)
}

// noLess tells that a number is as generous as another, 0 being no limit.
func noLess[N int32 | int64](t *testing.T, more, less N, what string) {
	t.Helper()
	assert.True(t, more == 0 || less != 0 && more >= less, "%s: %d is stricter than %d", what, more, less)
}

// permitsAll checks that u forbids nothing that a permits.
func permitsAll(t *testing.T, u, a Allowance) {
	t.Helper()
	for name, both := range map[string][2]Range{"cpu": {u.CPU, a.CPU}, "memory": {u.Memory, a.Memory}} {
		for _, q := range values(both[1]) {
			assert.True(t, both[0].Includes(q), "%s %s", name, q.String())
		}
		assert.GreaterOrEqual(t, both[0].RequestRatio, both[1].RequestRatio, name)
	}
	for _, c := range a.Images {
		i := slices.IndexFunc(u.Images, func(x v1alpha1.ImageChannel) bool { return x.ID == c.ID })
		if assert.GreaterOrEqual(t, i, 0, c.ID) && !c.Hidden {
			assert.False(t, u.Images[i].Hidden, c.ID)
		}
	}
	assert.Subset(t, u.Kernels.Allowed, a.Kernels.Allowed)
	assert.GreaterOrEqual(t, u.ServersPerUser, a.ServersPerUser)
	noLess(t, u.ServerIdleSeconds, a.ServerIdleSeconds, "serverIdleSeconds")
	noLess(t, u.MaxRunSeconds, a.MaxRunSeconds, "maxRunSeconds")
	if len(a.Kernels.Allowed) > 0 {
		noLess(t, u.Kernels.PerUser, a.Kernels.PerUser, "perUser")
		if a.Kernels.MaxRunSeconds != nil && assert.NotNil(t, u.Kernels.MaxRunSeconds) {
			noLess(t, *u.Kernels.MaxRunSeconds, *a.Kernels.MaxRunSeconds, "kernels.maxRunSeconds")
		}
		assert.GreaterOrEqual(t, u.Kernels.IdleSeconds, a.Kernels.IdleSeconds)
		for _, g := range a.GPUs {
			i := slices.IndexFunc(u.GPUs, func(x GPUQuota) bool { return x.Resource == g.Resource })
			if assert.GreaterOrEqual(t, i, 0, g.Resource) {
				assert.GreaterOrEqual(t, u.GPUs[i].PerKernel, g.PerKernel)
				assert.GreaterOrEqual(t, u.GPUs[i].PerUser, g.PerUser)
			}
		}
		if a.Kernels.AtLimit == v1alpha1.AtLimitQueue {
			assert.Equal(t, v1alpha1.AtLimitQueue, u.Kernels.AtLimit)
		}
	}
	for _, list := range [][2][]string{
		{namesOf(u.Env, func(e v1alpha1.PolicyEnv) string { return e.Name }), namesOf(a.Env, func(e v1alpha1.PolicyEnv) string { return e.Name })},
		{namesOf(u.ImagePullSecrets, func(s v1alpha1.PullSecret) string { return s.Name }), namesOf(a.ImagePullSecrets, func(s v1alpha1.PullSecret) string { return s.Name })},
		{namesOf(u.Presets, func(p v1alpha1.Preset) string { return p.Name }), namesOf(a.Presets, func(p v1alpha1.Preset) string { return p.Name })},
	} {
		assert.Subset(t, list[0], list[1])
	}
	if a.Storage != nil {
		require.NotNil(t, u.Storage)
		assert.False(t, a.Storage.Home != nil && u.Storage.Home == nil, "no home")
		for _, v := range a.Storage.Shared {
			at := slices.IndexFunc(u.Storage.Shared, func(x v1alpha1.SharedVolume) bool { return x.MountPath == v.MountPath })
			if assert.GreaterOrEqual(t, at, 0, v.MountPath) && !v.ReadOnly {
				assert.False(t, u.Storage.Shared[at].ReadOnly, v.MountPath)
			}
		}
	}
}

func namesOf[T any](all []T, name func(T) string) []string {
	var names []string
	for _, t := range all {
		names = append(names, name(t))
	}
	return names
}

// givesNothingNew checks that every number and every thing of u is one that
// some policy states: no sums, no mixtures.
func givesNothingNew(t *testing.T, u Allowance, parts []Allowance) {
	t.Helper()
	some := func(what string, is func(Allowance) bool) {
		t.Helper()
		assert.True(t, slices.ContainsFunc(parts, is), what)
	}
	some("cpu.min", func(a Allowance) bool { return a.CPU.Min.Cmp(u.CPU.Min) == 0 })
	some("cpu.max", func(a Allowance) bool { return a.CPU.Max.Cmp(u.CPU.Max) == 0 })
	some("cpu.default", func(a Allowance) bool { return a.CPU.Default.Cmp(u.CPU.Default) == 0 })
	some("cpu.requestRatio", func(a Allowance) bool { return a.CPU.RequestRatio == u.CPU.RequestRatio })
	some("memory.min", func(a Allowance) bool { return a.Memory.Min.Cmp(u.Memory.Min) == 0 })
	some("memory.max", func(a Allowance) bool { return a.Memory.Max.Cmp(u.Memory.Max) == 0 })
	some("serversPerUser", func(a Allowance) bool { return a.ServersPerUser == u.ServersPerUser })
	some("serverIdleSeconds", func(a Allowance) bool { return a.ServerIdleSeconds == u.ServerIdleSeconds })
	some("maxRunSeconds", func(a Allowance) bool { return a.MaxRunSeconds == u.MaxRunSeconds })
	some("perUser", func(a Allowance) bool { return a.Kernels.PerUser == u.Kernels.PerUser })
	some("placement", func(a Allowance) bool {
		return assert.ObjectsAreEqual(a.NodeSelector, u.NodeSelector) && assert.ObjectsAreEqual(a.Tolerations, u.Tolerations)
	})
	for _, c := range u.Images {
		some("image "+c.ID, func(a Allowance) bool {
			return slices.ContainsFunc(a.Images, func(x v1alpha1.ImageChannel) bool { return assert.ObjectsAreEqual(x, c) })
		})
		if c.Redirect != nil {
			i := slices.IndexFunc(u.Images, func(x v1alpha1.ImageChannel) bool { return x.ID == c.Redirect.To })
			if assert.GreaterOrEqual(t, i, 0) {
				assert.False(t, u.Images[i].Hidden, "a redirect leads somewhere")
			}
		}
	}
	for _, k := range u.Kernels.Allowed {
		some("kernel "+k, func(a Allowance) bool { return slices.Contains(a.Kernels.Allowed, k) })
	}
	for _, g := range u.GPUs {
		some("gpu "+g.Resource, func(a Allowance) bool {
			return len(a.GPUs) == 1 && a.GPUs[0].Resource == g.Resource && a.GPUs[0].PerUser == g.PerUser
		})
		some("pool of "+g.Resource, func(a Allowance) bool {
			return len(a.GPUs) == 1 && a.Policies[0] == g.Policy && assert.ObjectsAreEqual(a.GPUs[0].Pool, g.Pool)
		})
	}
	if u.Storage != nil {
		mounts, volumes := map[string]bool{}, map[string]bool{}
		if u.Storage.Home != nil {
			mounts[u.Storage.Home.Path()] = true
		}
		for _, v := range u.Storage.Shared {
			assert.False(t, mounts[v.MountPath], "two volumes at %s", v.MountPath)
			assert.False(t, volumes[v.Name], "two volumes called %s", v.Name)
			mounts[v.MountPath], volumes[v.Name] = true, true
			some("volume "+v.MountPath, func(a Allowance) bool {
				return a.Storage != nil && slices.ContainsFunc(a.Storage.Shared, func(x v1alpha1.SharedVolume) bool {
					return x.MountPath == v.MountPath && x.Claim == v.Claim && x.ReadOnly == v.ReadOnly
				})
			})
		}
	}
	for _, p := range u.Presets {
		assert.True(t, u.CPU.Includes(p.CPU) && u.Memory.Includes(p.Memory), p.Name)
	}
	assert.True(t, u.CPU.Includes(u.CPU.Default) && u.Memory.Includes(u.Memory.Default))
}

// TestPolicyUnion: whatever the policies, their union depends on no order, is that
// of one policy for one, takes nothing away when a policy is added, permits
// what each permits, and invents nothing.
func TestPolicyUnion(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var policies []v1alpha1.GroupPolicy
		for i := range 1 + rng.IntN(4) {
			policies = append(policies, randomPolicy(rng, fmt.Sprintf("p%d", i)))
			require.Empty(t, ValidatePolicy(policies[i]), "seed %d", seed)
		}
		m := member("g")
		u, err := Resolve(m, policies, MatchUnion)
		require.NoError(t, err)
		var parts []Allowance
		for _, name := range u.Policies {
			i := slices.IndexFunc(policies, func(p v1alpha1.GroupPolicy) bool { return p.Name == name })
			one, err := Resolve(m, policies[i:i+1], MatchUnion)
			require.NoError(t, err)
			alone, err := Resolve(m, policies[i:i+1], MatchPriority)
			require.NoError(t, err)
			require.Equal(t, alone, one, "of one policy nothing changes")
			parts = append(parts, one)
		}
		require.Len(t, parts, len(policies))
		for _, a := range parts {
			permitsAll(t, u, a)
		}
		givesNothingNew(t, u, parts)
		shuffled := slices.Clone(policies)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again, err := Resolve(m, shuffled, MatchUnion)
		require.NoError(t, err)
		assert.Equal(t, u, again, "no order")
		if len(policies) > 1 {
			fewer, err := Resolve(m, policies[1:], MatchUnion)
			require.NoError(t, err)
			permitsAll(t, u, fewer)
		}
		priority, err := Resolve(m, policies, MatchPriority)
		require.NoError(t, err)
		permitsAll(t, u, priority)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestPolicyUnionInNumbers(t *testing.T) {
	staff, ml := policy("staff", 1, "a"), policy("ml", 2, "a")
	staff.Spec.CPU = v1alpha1.ResourceRange{Min: *quantity("1"), Max: *quantity("4"), Step: quantity("1")}
	ml.Spec.CPU = v1alpha1.ResourceRange{Min: *quantity("2"), Max: *quantity("16"), Step: quantity("2"), Default: quantity("4")}
	staff.Spec.Memory.Step, ml.Spec.Memory.Step = quantity("768Mi"), quantity("1Gi")
	staff.Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"python"}, PerUser: 2}
	ml.Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"gpu"}, GPUResource: "amd.com/gpu", GPUsPerKernel: 1, GPUsPerUser: 2, GPUPool: new(int32(4)), PerUser: 5}
	staff.Spec.ServersPerUser, ml.Spec.ServersPerUser = 3, 2
	staff.Spec.ServerIdleSeconds, ml.Spec.ServerIdleSeconds = 600, 0
	u, err := Resolve(member("a"), []v1alpha1.GroupPolicy{staff, ml, fallback("rest", 99)}, MatchUnion)
	require.NoError(t, err)
	assert.Equal(t, []string{"ml", "staff"}, u.Policies, "a default does not join")
	assert.Equal(t, []string{"1", "16", "1", "4"}, []string{u.CPU.Min.String(), u.CPU.Max.String(), u.CPU.Step.String(), u.CPU.Default.String()})
	assert.Equal(t, "256Mi", u.Memory.Step.String())
	assert.Equal(t, []string{"gpu", "python"}, u.Kernels.Allowed)
	assert.Equal(t, []GPUQuota{{Resource: "amd.com/gpu", PerKernel: 1, PerUser: 2, Pool: new(int32(4)), Policy: "ml"}}, u.GPUs)
	assert.EqualValues(t, 5, u.Kernels.PerUser)
	assert.EqualValues(t, 3, u.ServersPerUser)
	assert.Zero(t, u.ServerIdleSeconds, "one of them never stops idle servers")

	noKernels := policy("plain", 3, "a")
	u, err = Resolve(member("a"), []v1alpha1.GroupPolicy{staff, noKernels}, MatchUnion)
	require.NoError(t, err)
	assert.EqualValues(t, 2, u.Kernels.PerUser, "a policy without kernels lifts no limit on them")

	_, err = Resolve(member("a"), []v1alpha1.GroupPolicy{staff, broken(ml), broken(policy("zz", 0, "a"))}, MatchUnion)
	require.ErrorIs(t, err, ErrInvalidPolicy)
	assert.ErrorContains(t, err, `"ml"`)
	assert.ErrorContains(t, err, `"zz"`, "all of them at once")
	_, err = Resolve(member("a"), []v1alpha1.GroupPolicy{staff, broken(policy("other", 9, "b"))}, MatchUnion)
	assert.NoError(t, err, "one that does not match does no harm")
	u, err = Resolve(member("x"), []v1alpha1.GroupPolicy{fallback("one", 0), fallback("two", 5), staff}, MatchUnion)
	require.NoError(t, err)
	assert.Equal(t, []string{"two", "one"}, u.Policies)
}

func TestExplainUnion(t *testing.T) {
	staff, ml := policy("staff", 1, "a"), policy("ml", 2, "b")
	ml.Spec.CPU.Max = *quantity("16")
	ml.Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"gpu"}, GPUsPerKernel: 1, GPUsPerUser: 2, GPUPool: new(int32(4))}
	ml.Spec.NodeSelector = map[string]string{"pool": "gpu"}
	staff.Spec.Env = []v1alpha1.PolicyEnv{{Name: "A", Value: "secret"}}
	staff.Spec.Images[0].Redirect = nil
	ranked := rank(member("a", "b"), []v1alpha1.GroupPolicy{staff, ml, policy("other", 0, "c")})
	v := explainPolicies(ranked, MatchUnion)
	assert.Equal(t, []PolicyExplanation{
		{Name: "ml", Priority: 2, Applied: true, Because: "names b; one of 2 that count together", Claim: ClaimTogether, MatchedBy: []Group{{Name: "b"}}},
		{Name: "staff", Priority: 1, Applied: true, Because: "names a; one of 2 that count together", Claim: ClaimTogether, MatchedBy: []Group{{Name: "a"}}},
		{Name: "other", Claim: ClaimNone, Because: "names none of the user's groups"},
	}, v)
	u, err := Resolve(member("a", "b"), []v1alpha1.GroupPolicy{staff, ml}, MatchUnion)
	require.NoError(t, err)
	e := Explanation{User: "alice", Matching: MatchUnion, Policies: v, Allowance: &u,
		Origins: origins(u, []Allowance{allow(member("a", "b"), ml), allow(member("a", "b"), staff)})}
	assert.Contains(t, e.Values(), Value{"gpus.nvidia.com/gpu", "perKernel 1, perUser 2, pool 4 (ml)", []string{"ml"}})
	assert.Contains(t, e.Values(), Value{"env.A", "A", []string{"staff"}}, "not what it holds")
	var b strings.Builder
	require.NoError(t, e.WriteText(&b))
	assert.Equal(t, `user      "alice"
matching  union
policy    applies   ml, priority 2: names b; one of 2 that count together
policy    applies   staff, priority 1: names a; one of 2 that count together
policy              other, priority 0: names none of the user's groups
cpu       1 to 16, step 1, default 1, request 0.33 of the limit
            min: ml, staff
            max: ml
            step: ml, staff
            default: ml
            requestRatio: ml, staff
memory    1Gi to 8Gi, step 1Gi, default 1Gi, request 1.00 of the limit
            min: ml, staff
            max: ml, staff
            step: ml, staff
            default: ml
            requestRatio: ml, staff
image     stable: example/notebook:1  [ml, staff]
kernel    gpu  [ml]
kernels   any number at once  [ml]
gpus      nvidia.com/gpu: 1 per kernel, 2 per user, pool of 4 shared by the members of ml  [ml]
at limit  kernels wait in the queue  [ml]
idle      kernels are parked as the gateway has it  [ml]
run time  kernels are ended after what the chart says (kernels.maxRunSeconds), busy or not  [ml]
weight    1, where capacity is shared out  [ml]
servers   1 at once  [ml, staff]
idle      servers are never stopped for idleness  [ml, staff]
run time  servers may run for ever  [ml, staff]
snooze    automatic stops are put off by hand for 4h0m0s of a run at most  [ml, staff]
placement node pool=gpu  [ml]
env       A  [staff]
`, b.String())

	for _, p := range []*v1alpha1.GroupPolicy{&staff, &ml} {
		p.Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"gpu"}, GPUsPerKernel: 1, GPUsPerUser: 2}
	}
	staff.Spec.Kernels.GPUsPerKernel = 2
	ml.Spec.Kernels.GPUsPerUser = 4
	parts := []Allowance{allow(member("a", "b"), ml), allow(member("a", "b"), staff)}
	assert.Equal(t, []string{"ml", "staff"}, origins(union(parts), parts)["gpus."+v1alpha1.DefaultGPUResource], "one number of each")

	v = explainPolicies(rank(member("a", "b"), []v1alpha1.GroupPolicy{staff, broken(ml)}), MatchUnion)
	assert.Equal(t, "names b, but has faults, and no other policy is used instead", v[0].Because)
	assert.Equal(t, "names a, but gives nothing while ml has faults", v[1].Because)
	assert.False(t, v[0].Applied || v[1].Applied)
}
