package web

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/usage"
)

const sampleHour = int64(1000 * time.Hour / time.Millisecond)

func sampleBudgets(own bool) []Budget {
	berlin := usage.Window{Calendar: usage.Month, Zone: "Europe/Berlin"}.Location()
	return []Budget{
		{Own: own, Standing: usage.Standing{Budget: usage.Budget{Policy: "ml-research", Resource: "nvidia.com/gpu", Limit: 40 * sampleHour, PerUser: true, Window: usage.Window{Rolling: 168 * time.Hour}}, Used: 33 * sampleHour}},
		{Own: own, Standing: usage.Standing{
			Budget: usage.Budget{Policy: "ml-research", Resource: usage.CPU, Limit: 2000 * sampleHour, Window: usage.Window{Calendar: usage.Month, Zone: "Europe/Berlin"}},
			Used:   2001 * sampleHour, Again: time.Date(2026, 12, 1, 0, 0, 0, 0, berlin),
		}},
		{Own: own, Standing: usage.Standing{Budget: usage.Budget{Policy: "ml-research", Resource: usage.Memory, Limit: sampleHour / 2, Window: usage.Window{Calendar: usage.Day}}, Used: sampleHour / 100}},
	}
}

// TestTheFormSaysHowBudgetsStand from 80 % on, in the language of its reader.
func TestTheFormSaysHowBudgetsStand(t *testing.T) {
	in := researchers()
	in.Budgets = sampleBudgets(true)
	notices := NewSpawnFormView(in, English()).notices
	assert.Equal(t, []string{
		"82 % of a budget is used (nvidia.com/gpu, your own, the last 7 days): 33.0 of 40 hours. Once it is spent no kernels are started that it bounds.",
		"A budget is spent (CPU cores, of all members together, per month, 2000 hours). Kernels that it bounds are started again from 2026-12-01 00:00:00 (Europe/Berlin).",
	}, notices)
	assert.Contains(t, NewSpawnFormView(in, ForLanguages("ru")).notices[1], "Бюджет исчерпан")
	assert.Contains(t, NewSpawnFormView(in, ForLanguages("zh-CN")).notices[0], "已用 82%")
	in.Budgets = in.Budgets[2:]
	assert.Empty(t, NewSpawnFormView(in, English()).notices, "there is enough")
}
