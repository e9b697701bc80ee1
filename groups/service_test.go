package groups

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

type lister func() ([]v1alpha1.GroupPolicy, error)

func (l lister) Policies(context.Context) ([]v1alpha1.GroupPolicy, error) { return l() }

func service(t *testing.T, policies ...v1alpha1.GroupPolicy) (*Service, *script) {
	t.Helper()
	s := newScript(&clock{})
	cache, err := NewCache(s, DefaultCacheConfig(), time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	return NewService(cache, lister(func() ([]v1alpha1.GroupPolicy, error) { return policies, nil }), MatchPriority), s
}

func TestService(t *testing.T) {
	s, source := service(t, policy("one", 0, "g"))
	a, err := s.Allowance(t.Context(), "alice")
	require.NoError(t, err)
	assert.Equal(t, []string{"one"}, a.Policies)
	source.answer = down
	_, err = s.AllowanceNow(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable)

	s.policies = lister(func() ([]v1alpha1.GroupPolicy, error) { return nil, errors.New("not synced") })
	source.answer = newScript(&clock{}).answer
	_, err = s.Allowance(t.Context(), "alice")
	assert.ErrorIs(t, err, ErrUnavailable, "no policies known is not the same as no policies")
}

func TestExplain(t *testing.T) {
	s, _ := service(t, policy("high", 9, "g"), broken(policy("low", 1, "g")), fallback("rest", 50), policy("other", 99, "x"))
	e := s.Explain(t.Context(), "alice")
	require.NotNil(t, e.Allowance)
	assert.Equal(t, []string{"high"}, e.Allowance.Policies)
	assert.Equal(t, "script", e.Source)
	assert.Empty(t, e.Fault)
	g := []Group{{Name: "g"}}
	require.Len(t, e.Policies, 4)
	assert.Equal(t, PolicyExplanation{Name: "high", Priority: 9, Applied: true, Because: "names g and has the highest priority", Claim: ClaimHighest, MatchedBy: g}, e.Policies[0])
	assert.Equal(t, "low", e.Policies[1].Name)
	assert.Equal(t, "names g, but high comes first", e.Policies[1].Because)
	assert.Len(t, e.Policies[1].Faults, 1)
	assert.Equal(t, PolicyExplanation{Name: "rest", Priority: 50, Because: "is a default; high comes first", Claim: ClaimBehind, Other: "high"}, e.Policies[2])
	assert.Equal(t, PolicyExplanation{Name: "other", Priority: 99, Because: "names none of the user's groups", Claim: ClaimNone}, e.Policies[3])

	assert.Contains(t, e.Values(), Value{"cpu.max", "4", []string{"high"}})
	assert.Contains(t, e.Values(), Value{"images.stable", "example/notebook:1", []string{"high"}})
	for _, v := range e.Values() {
		assert.Equal(t, []string{"high"}, v.From, "%s is a key of origins", v.Field)
	}

	var text strings.Builder
	require.NoError(t, e.WriteText(&text))
	for _, part := range []string{`user      "alice"`, "group     g", "applies   high, priority 9", "fault: spec.cpu.max", "cpu       1 to 4, step 1, default 1, request 0.33 of the limit", "image     stable: example/notebook:1", "kernels   none"} {
		assert.Contains(t, text.String(), part)
	}
}

func TestExplainFaults(t *testing.T) {
	s, source := service(t, broken(policy("one", 0, "g")), policy("two", -1, "g"))
	e := s.Explain(t.Context(), "alice")
	assert.Nil(t, e.Allowance)
	assert.Contains(t, e.Fault, `invalid policy "one"`)
	assert.False(t, e.Policies[0].Applied)
	assert.Equal(t, "names g, but has faults, and no other policy is used instead", e.Policies[0].Because)
	assert.Equal(t, ClaimFaults, e.Policies[0].Claim)
	require.ErrorIs(t, e.Err, ErrInvalidPolicy)
	assert.Empty(t, e.Values())
	source.answer = down
	e = s.Explain(t.Context(), "bob")
	assert.Contains(t, e.Fault, ErrUnavailable.Error())
	assert.Empty(t, e.Policies)
}
