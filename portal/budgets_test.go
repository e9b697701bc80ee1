package portal_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestBudgetsAreShown to whom they bound, and all of them to administrators.
func TestBudgetsAreShown(t *testing.T) {
	h := withHours(t)
	p := h.policy("research", "research")
	p.Spec.Kernels.Budget = []v1alpha1.Budget{
		{Resource: "nvidia.com/gpu", Hours: resource.MustParse("0.5"), Per: v1alpha1.BudgetPerUser, Window: v1alpha1.BudgetWindow{Rolling: &metav1.Duration{Duration: 24 * time.Hour}, TimeZone: "Asia/Tokyo"}},
		{Resource: "cpu", Hours: resource.MustParse("10"), Per: v1alpha1.BudgetPerGroup, Window: v1alpha1.BudgetWindow{Rolling: &metav1.Duration{Duration: 48 * time.Hour}}},
	}
	require.NoError(t, h.api.Update(t.Context(), p))
	var mine []any
	require.Eventually(t, func() bool {
		mine = decode(t, h.call("alice", http.MethodGet, "api/v1/me/budgets", ""))["items"].([]any)
		return len(mine) > 0
	}, 10*time.Second, 50*time.Millisecond)
	require.Len(t, mine, 1, "of the group's she is told where she has a server")
	gpu := mine[0].(map[string]any)
	assert.InDelta(t, 1, gpu["used_hours"], 1e-9)
	assert.InDelta(t, 0.5, gpu["limit_hours"], 1e-9)
	assert.Equal(t, "24h", gpu["window"])
	assert.Equal(t, "Asia/Tokyo", gpu["time_zone"])
	assert.Equal(t, true, gpu["spent"])
	again, err := time.Parse(time.RFC3339, gpu["again"].(string))
	require.NoError(t, err)
	// It was held from two hours ago to one hour ago: half an hour of it is left to count after another.
	assert.WithinDuration(t, h.now.Add(-2*time.Hour+30*time.Minute+24*time.Hour), again, 2*time.Second)
	assert.Empty(t, decode(t, h.call("bob", http.MethodGet, "api/v1/me/budgets", ""))["items"])

	all := decode(t, h.call("root", http.MethodGet, "api/v1/budgets", ""))["items"].([]any)
	require.Len(t, all, 2)
	assert.InDelta(t, 0.5, all[1].(map[string]any)["used_hours"], 1e-9, "half a core for an hour")
	assert.Equal(t, http.StatusForbidden, h.call("alice", http.MethodGet, "api/v1/budgets", "").Code)

	assert.Contains(t, h.signIn("alice").open("").Body.String(), "200 % used: 1 of 0.5 hours")
	page := h.signIn("root").open("policies/research").Body.String()
	assert.Contains(t, page, "The member who used most: 200 %, 1 of 0.5 hours")
	assert.Contains(t, page, "Spent. Kernels are started again from ")
}
