package web

import (
	"math"
	"strconv"
	"time"

	"github.com/elastichub/elastichub/usage"
)

// Budget is how one stands: that of a person, of a group, or of whom of a group has used most.
type Budget struct {
	usage.Standing
	// Own: it is the reader's, if it is a user's at all.
	Own bool
}

// budgetName says what a budget is of.
func (m *Messages) budgetName(b Budget) string {
	whose := m.BudgetGroup.plain()
	switch {
	case b.PerUser && b.Own:
		whose = m.BudgetMine.plain()
	case b.PerUser:
		whose = m.BudgetUser.plain()
	}
	window := m.say(m.BudgetRolling, "time", m.duration(b.Window.Rolling))
	switch b.Window.Calendar {
	case usage.Day:
		window = m.BudgetDay.plain()
	case usage.Week:
		window = m.BudgetWeek.plain()
	case usage.Month:
		window = m.BudgetMonth.plain()
	}
	return m.say(m.BudgetName, "resource", m.resourceName(b.Resource), "whose", whose, "window", window)
}

// resourceName is a resource's for people.
func (m *Messages) resourceName(resource string) string {
	switch resource {
	case usage.CPU:
		return m.CPUHours.plain()
	case usage.Memory:
		return m.MemoryHours.plain()
	}
	return resource
}

// percent of a budget that is used. It is 100 only if all is.
func percent(s usage.Standing) string { return strconv.Itoa(int(math.Floor(100 * s.Share()))) }

// barWidth is percent, as far as a bar goes.
func barWidth(s usage.Standing) string {
	return strconv.Itoa(int(math.Min(100, math.Floor(100*s.Share()))))
}

// budgetHours are hours of a budget, which may be small.
func (m *Messages) budgetHours(n float64) string {
	if n < 10 {
		return m.number(strconv.FormatFloat(math.Floor(n*1000)/1000, 'f', -1, 64))
	}
	return m.hours(n)
}

func (m *Messages) budgetUsed(b Budget) string {
	text := m.BudgetUsed
	if b.PerUser && !b.Own {
		text = m.BudgetMost
	}
	return m.say(text, "share", percent(b.Standing), "used", m.budgetHours(b.UsedHours()), "limit", m.number(b.LimitText()))
}

// clock is a moment of a budget, in the zone of its policy.
func (m *Messages) clock(t time.Time) string {
	whole := t.Add(time.Second - time.Nanosecond).Truncate(time.Second)
	return whole.Format("2006-01-02 15:04:05") + " (" + whole.Location().String() + ")"
}

// budgetNotice is what the spawn form says of a budget; empty where there is enough.
func (m *Messages) budgetNotice(b Budget) string {
	pairs := []string{"share", percent(b.Standing), "budget", m.budgetName(b), "used", m.budgetHours(b.UsedHours()), "limit", m.number(b.LimitText())}
	switch {
	case b.Spent():
		return m.say(m.BudgetSpent, append(pairs, "time", m.clock(b.Again))...)
	case b.Share() >= usage.Low:
		return m.say(m.BudgetLow, pairs...)
	}
	return ""
}

// barClass is how a bar looks: most of the budget is used, or not.
func barClass(b Budget) string {
	if b.Share() >= usage.Low {
		return "idle"
	}
	return "busy"
}
