package groups

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestBudgetsAreValidated(t *testing.T) {
	rolling := func(d time.Duration) v1alpha1.BudgetWindow {
		return v1alpha1.BudgetWindow{Rolling: &metav1.Duration{Duration: d}}
	}
	for name, c := range map[string]struct {
		change func(*v1alpha1.Budget)
		fault  string
	}{
		"as it is":       {func(*v1alpha1.Budget) {}, ""},
		"cores":          {func(b *v1alpha1.Budget) { b.Resource = "cpu" }, ""},
		"no device":      {func(b *v1alpha1.Budget) { b.Resource = "gpu" }, "spec.kernels.budget[0].resource"},
		"odd device":     {func(b *v1alpha1.Budget) { b.Resource = "a/b/c" }, "spec.kernels.budget[0].resource"},
		"no hours":       {func(b *v1alpha1.Budget) { b.Hours = resource.Quantity{} }, "spec.kernels.budget[0].hours"},
		"negative hours": {func(b *v1alpha1.Budget) { b.Hours = resource.MustParse("-1") }, "spec.kernels.budget[0].hours"},
		"too many hours": {func(b *v1alpha1.Budget) { b.Hours = resource.MustParse("2G") }, "spec.kernels.budget[0].hours"},
		"too few hours":  {func(b *v1alpha1.Budget) { b.Hours = resource.MustParse("1n") }, "spec.kernels.budget[0].hours"},
		"few hours":      {func(b *v1alpha1.Budget) { b.Hours = resource.MustParse("0.005") }, ""},
		"per nobody":     {func(b *v1alpha1.Budget) { b.Per = "" }, "spec.kernels.budget[0].per"},
		"no window":      {func(b *v1alpha1.Budget) { b.Window = v1alpha1.BudgetWindow{} }, "spec.kernels.budget[0].window"},
		"two windows":    {func(b *v1alpha1.Budget) { b.Window.Calendar = v1alpha1.BudgetDay }, "spec.kernels.budget[0].window"},
		"short window":   {func(b *v1alpha1.Budget) { b.Window = rolling(time.Second) }, "spec.kernels.budget[0].window.rolling"},
		"long window":    {func(b *v1alpha1.Budget) { b.Window = rolling(841 * time.Hour) }, "spec.kernels.budget[0].window.rolling"},
		"longest window": {func(b *v1alpha1.Budget) { b.Window = rolling(840 * time.Hour) }, ""},
		"a year":         {func(b *v1alpha1.Budget) { b.Window = v1alpha1.BudgetWindow{Calendar: "year"} }, "spec.kernels.budget[0].window.calendar"},
		"a zone":         {func(b *v1alpha1.Budget) { b.Window.TimeZone = "Asia/Kolkata" }, ""},
		"no zone":        {func(b *v1alpha1.Budget) { b.Window.TimeZone = "Mars/Olympus" }, "spec.kernels.budget[0].window.timeZone"},
		"a machine's":    {func(b *v1alpha1.Budget) { b.Window.TimeZone = "Local" }, "spec.kernels.budget[0].window.timeZone"},
	} {
		p := policy("p", 0, "g")
		b := v1alpha1.Budget{Resource: "nvidia.com/gpu", Hours: resource.MustParse("40"), Per: v1alpha1.BudgetPerUser, Window: rolling(168 * time.Hour)}
		c.change(&b)
		p.Spec.Kernels.Budget = []v1alpha1.Budget{b}
		var found []string
		for _, fault := range ValidatePolicy(p) {
			found = append(found, fault.Field)
		}
		if c.fault == "" {
			assert.Empty(t, found, name)
			continue
		}
		assert.Equal(t, []string{c.fault}, found, name)
	}
	p := policy("p", 0, "g")
	twice := v1alpha1.Budget{Resource: "cpu", Hours: resource.MustParse("40"), Per: v1alpha1.BudgetPerUser, Window: rolling(time.Hour)}
	p.Spec.Kernels.Budget, p.Spec.Kernels.OnBudget, p.Spec.Budget = []v1alpha1.Budget{twice, twice}, "some", []v1alpha1.Budget{twice}
	var found []string
	for _, fault := range ValidatePolicy(p) {
		found = append(found, fault.Field)
	}
	assert.ElementsMatch(t, []string{"spec.kernels.budget[1]", "spec.kernels.onBudget", "spec.budget"}, found)
}
