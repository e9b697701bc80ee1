package groups

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestSeveralGroupsOfOneNameAreTold(t *testing.T) {
	var logged bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(before)
	one, two := "cn=ml-research,ou=groups,dc=x", "cn=ML-Research,ou=clubs,dc=x"
	policies := []v1alpha1.GroupPolicy{policy("research", 0, "ml-research"), policy("chess", 0, "cn=ml-research,ou=clubs,dc=x")}

	ranked := rank(member(one, two), policies)
	said := explainPolicies(ranked, MatchPriority)
	assert.Contains(t, said[1].Because, `"ml-research" is the name of 2 groups: cn=ML-Research,ou=clubs,dc=x and cn=ml-research,ou=groups,dc=x`)
	assert.NotContains(t, said[0].Because, "is the name of", "it names a DN")
	assert.NotContains(t, explainPolicies(rank(member(one), policies), MatchPriority)[0].Because, "is the name of")

	var w ambiguousNames // users are in one of them each
	w.check(member(one, "cn=ml-research,ou=unnamed,dc=x2"), policies[1:])
	w.check(member(one), policies)
	assert.Empty(t, logged.String())
	for range 2 {
		w.check(member(two), policies)
	}
	assert.Equal(t, 1, strings.Count(logged.String(), "several groups"))
	assert.Contains(t, logged.String(), "ou=clubs")
}
