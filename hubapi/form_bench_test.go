package hubapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/file"
	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/test/quantiles"
)

type allPolicies []v1alpha1.GroupPolicy

func (p allPolicies) Policies(context.Context) ([]v1alpha1.GroupPolicy, error) { return p, nil }

// contractPolicies are those of the contract, the researchers' first.
func contractPolicies(t testing.TB) allPolicies {
	t.Helper()
	text, err := os.ReadFile(contract + "/policies.yaml")
	require.NoError(t, err)
	var policies allPolicies
	require.NoError(t, yaml.UnmarshalStrict(text, &policies))
	return policies
}

// contractPeople are those of the contract, remembered.
func contractPeople(t testing.TB) *groups.Cache {
	t.Helper()
	directory, err := file.New(file.Config{Path: contract + "/users.yaml"}, time.Now)
	require.NoError(t, err)
	cache, err := groups.NewCache(directory, groups.DefaultCacheConfig(), time.Now, prometheus.NewRegistry())
	require.NoError(t, err)
	return cache
}

// BenchmarkForm is a whole request for a form, from its bytes to the page's:
// groups from the cache, policies resolved anew, the last choice, the servers
// of everybody counted.
func BenchmarkForm(b *testing.B) {
	cache, policies := contractPeople(b), contractPolicies(b)
	for _, servers := range []int{0, 1_000, 10_000} {
		h := newHarness(b, func(_ *hubapi.Config, d *hubapi.Dependencies) {
			d.Allowances = groups.NewService(cache, policies, groups.MatchPriority)
		})
		for i := range servers {
			_, err := h.servers.Start(b.Context(), spawner.Request{Key: spawner.Key{User: fmt.Sprint("user", i)}, Start: "s"})
			require.NoError(b, err)
		}
		for name, c := range map[string][3]string{
			"form":    choices("researcher")["form"],
			"refused": {"POST", researcher + "/options?server=&form=true", `{"form":{"cpu":["9"],"memory":["8"],"image":["next"],"lang":["ru"]}}`},
		} {
			b.Run(fmt.Sprintf("%s/servers=%d", name, servers), func(b *testing.B) {
				want := http.StatusOK
				if name == "refused" {
					want = http.StatusUnprocessableEntity
				}
				b.ReportAllocs()
				var took quantiles.Quantiles
				for b.Loop() {
					var w *httptest.ResponseRecorder
					took.Time(func() { w = h.call(c[0], c[1], c[2]) })
					if w.Code != want {
						b.Fatal(w.Code, w.Body)
					}
				}
				took.Report(b)
			})
		}
	}
}
