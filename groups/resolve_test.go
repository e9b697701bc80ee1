package groups

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups/internal/policytest"
	"github.com/elastichub/elastichub/groups/naming"
)

func policy(name string, priority int32, groups ...string) v1alpha1.GroupPolicy {
	return policytest.Policy(name, priority, groups...)
}

func quantity(s string) *resource.Quantity {
	q := resource.MustParse(s)
	return &q
}

func fallback(name string, priority int32) v1alpha1.GroupPolicy {
	p := policy(name, priority)
	p.Spec.Default = true
	return p
}

func broken(p v1alpha1.GroupPolicy) v1alpha1.GroupPolicy {
	p.Spec.CPU.Max = resource.MustParse("0")
	return p
}

func member(names ...string) Membership {
	m := Membership{User: "alice", Source: "ldap", AsOf: time.Unix(1000, 0)}
	for _, name := range names {
		g := Group{Name: name}
		if naming.LooksLikeDN(name) {
			g.DN = name
			g.Name, _ = naming.GroupName(name)
		}
		m.Groups = append(m.Groups, g)
	}
	return m
}

func TestResolveChoosesOnePolicy(t *testing.T) {
	const researchers = "cn=researchers,ou=groups,dc=example,dc=org"
	for _, row := range []struct {
		name     string
		groups   []string
		policies []v1alpha1.GroupPolicy
		want     string
		err      error
	}{
		{"by name", []string{"a"}, []v1alpha1.GroupPolicy{policy("one", 0, "a")}, "one", nil},
		{"highest priority", []string{"a", "b"}, []v1alpha1.GroupPolicy{policy("low", 1, "a"), policy("high", 2, "b")}, "high", nil},
		{"negative priority", []string{"a", "b"}, []v1alpha1.GroupPolicy{policy("low", -1, "a"), policy("high", 0, "b")}, "high", nil},
		{"the name breaks ties", []string{"a", "b"}, []v1alpha1.GroupPolicy{policy("z", 1, "a"), policy("y", 1, "b")}, "y", nil},
		{"default when none matches", []string{"x"}, []v1alpha1.GroupPolicy{policy("one", 0, "a"), fallback("rest", -5)}, "rest", nil},
		{"default for no group at all", nil, []v1alpha1.GroupPolicy{fallback("rest", 0)}, "rest", nil},
		{"default gives way whatever its priority", []string{"a"}, []v1alpha1.GroupPolicy{policy("one", 0, "a"), fallback("rest", 99)}, "one", nil},
		{"no default declared", []string{"x"}, []v1alpha1.GroupPolicy{policy("one", 0, "a")}, "", ErrNoPolicy},
		{"no policy at all", []string{"a"}, nil, "", ErrNoPolicy},
		{"case of the name", []string{"Researchers"}, []v1alpha1.GroupPolicy{policy("one", 0, "researchers")}, "one", nil},
		{"name finds the CN", []string{researchers}, []v1alpha1.GroupPolicy{policy("one", 0, "researchers")}, "one", nil},
		{"DN spelt otherwise", []string{researchers}, []v1alpha1.GroupPolicy{policy("one", 0, `CN=\72esearchers , OU=Groups,DC=example,dc=ORG`)}, "one", nil},
		{"another DN of the same CN", []string{"cn=researchers,ou=evil,dc=example,dc=org"}, []v1alpha1.GroupPolicy{policy("one", 0, researchers)}, "", ErrNoPolicy},
		{"a longer DN", []string{"cn=x," + researchers}, []v1alpha1.GroupPolicy{policy("one", 0, researchers)}, "", ErrNoPolicy},
		{"Kelvin sign", []string{"\u212aube"}, []v1alpha1.GroupPolicy{policy("one", 0, "kube")}, "", ErrNoPolicy},
		{"long s", []string{"admin\u017f"}, []v1alpha1.GroupPolicy{policy("one", 0, "admins")}, "", ErrNoPolicy},
		{"Cyrillic case", []string{"Аналитики"}, []v1alpha1.GroupPolicy{policy("one", 0, "аналитики")}, "one", nil},
		{"the deciding policy has faults", []string{"a", "b"}, []v1alpha1.GroupPolicy{policy("low", 1, "a"), broken(policy("high", 2, "b")), fallback("rest", 0)}, "", ErrInvalidPolicy},
		{"the default has faults", []string{"x"}, []v1alpha1.GroupPolicy{broken(fallback("rest", 0))}, "", ErrInvalidPolicy},
		{"a lower policy has faults", []string{"a", "b"}, []v1alpha1.GroupPolicy{broken(policy("low", 1, "a")), policy("high", 2, "b")}, "high", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, err := Resolve(member(row.groups...), row.policies, MatchPriority)
			if row.err != nil {
				assert.ErrorIs(t, err, row.err)
				assert.Equal(t, Allowance{}, a)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{row.want}, a.Policies)
		})
	}
}

// A group may be called like another's DN; that does not make it that group.
func TestResolveNameIsNoDN(t *testing.T) {
	m := Membership{Groups: []Group{{Name: "cn=admins,dc=org", DN: `cn=cn\3Dadmins\2Cdc\3Dorg,ou=self-service,dc=org`}}}
	_, err := Resolve(m, []v1alpha1.GroupPolicy{policy("admins", 0, "cn=admins,dc=org")}, MatchPriority)
	assert.ErrorIs(t, err, ErrNoPolicy)
}

func TestResolveFillsDefaults(t *testing.T) {
	m := member("a")
	m.Stale = true
	p := policy("one", 0, "a")
	a, err := Resolve(m, []v1alpha1.GroupPolicy{p}, MatchPriority)
	require.NoError(t, err)
	third := Range{Min: resource.MustParse("1"), Max: resource.MustParse("4"), Step: resource.MustParse("1"), Default: resource.MustParse("1"), RequestRatio: 1.0 / 3}
	assert.True(t, rangesEqual(third, a.CPU), "%+v", a.CPU)
	whole := Range{Min: resource.MustParse("1Gi"), Max: resource.MustParse("8Gi"), Step: resource.MustParse("1Gi"), Default: resource.MustParse("1Gi"), RequestRatio: 1}
	assert.True(t, rangesEqual(whole, a.Memory), "%+v", a.Memory)
	assert.Equal(t, "one", a.DisplayName)
	assert.Equal(t, "stable", a.Images[0].DisplayName)
	assert.Equal(t, int32(1), a.ServersPerUser)
	assert.Equal(t, "nvidia.com/gpu", a.Kernels.GPUResource)
	assert.Equal(t, v1alpha1.AtLimitQueue, a.Kernels.AtLimit)
	assert.Equal(t, int32(1), a.Kernels.Weight)
	assert.Equal(t, m.Groups, a.Groups)
	assert.Equal(t, "ldap", a.Source)
	assert.Equal(t, m.AsOf, a.AsOf)
	assert.True(t, a.Stale)
	assert.Empty(t, p.Spec.Images[0].DisplayName, "the policy itself is left alone")
}

func TestResolveKeepsWhatIsSet(t *testing.T) {
	p := policy("one", 0, "a")
	step, initial := resource.MustParse("500m"), resource.MustParse("2")
	p.Spec.CPU.Step, p.Spec.CPU.Default, p.Spec.CPU.RequestRatio = &step, &initial, "0.5"
	p.Spec.Memory.RequestRatio = "0"
	p.Spec.DisplayName, p.Spec.HelpText, p.Spec.ServersPerUser = "One", "help", 3
	p.Spec.ServerIdleSeconds, p.Spec.MaxRunSeconds = 60, 600
	pool := int32(4)
	p.Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"python_kubernetes"}, GPUResource: "amd.com/gpu", GPUsPerKernel: 1, GPUsPerUser: 2,
		GPUPool: &pool, PerUser: 3, AtLimit: v1alpha1.AtLimitRefuse, IdleSeconds: 30, Weight: 5}
	a, err := Resolve(member("a"), []v1alpha1.GroupPolicy{p}, MatchPriority)
	require.NoError(t, err)
	assert.True(t, rangesEqual(Range{Min: resource.MustParse("1"), Max: resource.MustParse("4"), Step: step, Default: initial, RequestRatio: .5}, a.CPU))
	assert.Zero(t, a.Memory.RequestRatio)
	assert.Equal(t, "One", a.DisplayName)
	assert.Equal(t, "help", a.HelpText)
	assert.Equal(t, int32(3), a.ServersPerUser)
	assert.Equal(t, int64(60), a.ServerIdleSeconds)
	assert.Equal(t, int64(600), a.MaxRunSeconds)
	assert.Equal(t, p.Spec.Kernels, a.Kernels)
}

func rangesEqual(a, b Range) bool {
	return a.Min.Cmp(b.Min) == 0 && a.Max.Cmp(b.Max) == 0 && a.Step.Cmp(b.Step) == 0 && a.Default.Cmp(b.Default) == 0 && a.RequestRatio == b.RequestRatio
}

func TestAPlainNameIsACommonName(t *testing.T) {
	const base = ",ou=groups,dc=example,dc=org"
	for dn, want := range map[string]bool{
		"cn=ml-research" + base: true, "CN=ML-Research" + base: true, "2.5.4.3=ml-research" + base: true, "cn=ml-research+ou=x" + base: true,
		"ou=ml-research" + base: false, "uid=ml-research" + base: false, "name=ml-research" + base: false, "o=ml-research": false,
		"cn=x,cn=ml-research" + base: false, "ou=x+uid=ml-research" + base: false, `cn=ml-research\2cou=x` + base: false,
	} {
		_, err := Resolve(member(dn), []v1alpha1.GroupPolicy{policy("research", 0, "ml-research")}, MatchPriority)
		assert.Equal(t, want, err == nil, dn)
		_, err = Resolve(member(dn), []v1alpha1.GroupPolicy{policy("research", 0, dn)}, MatchPriority)
		assert.NoError(t, err, "%s by its DN", dn)
	}
}

func TestIsIn(t *testing.T) {
	t.Parallel()
	m := Membership{User: "alice", Groups: []Group{{Name: "Admins", DN: "cn=Admins,ou=groups,dc=example"}, {Name: "cn=root"}}}
	for entry, want := range map[string]bool{
		"admins": true, "cn=admins, ou=groups,dc=example": true, "admin": false, "": false,
		"cn=admins,ou=other,dc=example": false, "cn=root": false,
	} {
		assert.Equal(t, want, m.IsIn([]string{"nobody", entry}), entry)
	}
	assert.False(t, m.IsIn(nil))
	assert.False(t, Membership{}.IsIn([]string{"admins"}))
}
