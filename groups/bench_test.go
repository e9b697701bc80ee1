package groups

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// benchmarkMembers is a user of a large company: 200 groups with DNs.
func benchmarkMembers(b *testing.B) *Cache {
	b.Helper()
	m := Membership{Source: "bench"}
	for i := range 200 {
		m.Groups = append(m.Groups, Group{Name: fmt.Sprintf("group-%d", i), DN: fmt.Sprintf("cn=group-%d,ou=groups,dc=example,dc=org", i)})
	}
	source := sourceFunc(func(_ context.Context, user string) (Membership, error) {
		m := m
		m.User, m.AsOf = user, time.Now()
		return m, nil
	})
	cache, err := NewCache(source, CacheConfig{TTL: time.Hour, Timeout: time.Second, Size: 10_000}, time.Now, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	return cache
}

func BenchmarkCachedLookup(b *testing.B) {
	cache := benchmarkMembers(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cache.Lookup(b.Context(), "alice"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCachedLookupOfManyAtOnce(b *testing.B) {
	cache := benchmarkMembers(b)
	users := make([]string, 5000)
	for i := range users {
		users[i] = fmt.Sprintf("user-%d", i)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := cache.Lookup(b.Context(), users[i%len(users)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkUnionOfTwoCached(b *testing.B) {
	union, err := NewCombination(CombineUnion, Part{"ldap", benchmarkMembers(b)}, Part{"oidc", benchmarkMembers(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := union.Lookup(b.Context(), "alice"); err != nil {
			b.Fatal(err)
		}
	}
}

// What a form costs here: 200 groups against 20 policies.
func BenchmarkAllowance(b *testing.B) {
	var policies []v1alpha1.GroupPolicy
	for i := range 20 {
		policies = append(policies, policy(fmt.Sprintf("policy-%d", i), int32(i), fmt.Sprintf("cn=group-%d,ou=groups,dc=example,dc=org", i)))
	}
	s := NewService(benchmarkMembers(b), lister(func() ([]v1alpha1.GroupPolicy, error) { return policies, nil }), MatchPriority)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Allowance(b.Context(), "alice"); err != nil {
			b.Fatal(err)
		}
	}
}
