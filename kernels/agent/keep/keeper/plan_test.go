package keeper_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/agent/keep/keeper"
)

// look is one look of a supervisor, at so many seconds.
type look struct {
	at   int
	last int // when the kernel was used last; -1: it is being used
	// touched is when it was used last by what is no activity.
	touched int
	want    keeper.Step
	// What is told after the look.
	saved     keeper.Outcome
	ends      bool // the save ends with it
	committed bool
	broken    bool // the commit failed
	later     bool // the save did not begin
}

// TestPlan: short limit 10 s, long limit 100 s.
func TestPlan(t *testing.T) {
	t.Parallel()
	const (
		wait, save, saveAll, interrupt = keeper.Wait, keeper.Save, keeper.SaveAll, keeper.Interrupt
		commit, discard, park, forget  = keeper.Commit, keeper.Discard, keeper.Park, keeper.Forget
	)
	whole := func(l look) look { l.saved, l.ends = keeper.Whole, true; return l }
	part := func(l look) look { l.saved, l.ends = keeper.Part, true; return l }
	failed := func(l look) look { l.saved, l.ends = keeper.Failed, true; return l }
	postponed := func(l look) look { l.saved, l.ends = keeper.Postponed, true; return l }
	for name, each := range map[string]struct {
		change func(*keeper.Situation)
		looks  []look
	}{
		"everything is kept at the short limit": {nil, []look{
			{at: 5, want: wait}, {at: 10, want: save}, whole(look{at: 11, want: wait}), {at: 12, want: commit}, {at: 13, want: wait, committed: true}, {at: 14, want: park}, {at: 15, want: park},
		}},
		"a part waits for the long limit": {nil, []look{
			{at: 10, want: save}, part(look{at: 11, want: wait}), {at: 12, want: wait}, {at: 99, want: wait}, {at: 100, want: commit}, {at: 101, want: wait, committed: true}, {at: 102, want: park},
		}},
		"a part is void once the kernel is used": {nil, []look{
			{at: 10, want: save}, part(look{at: 11, want: wait}), {at: 20, last: -1, want: discard}, {at: 21, last: 20, want: wait}, {at: 30, last: 20, want: save},
		}},
		"a failed save waits for the long limit": {nil, []look{
			{at: 10, want: save}, failed(look{at: 11, want: wait}), {at: 99, want: wait}, {at: 100, want: park},
		}},
		"a cell interrupts, once": {nil, []look{
			{at: 10, want: save}, {at: 11, last: -1, want: interrupt}, {at: 12, last: -1, want: wait}, postponed(look{at: 13, last: -1, want: wait}), {at: 14, last: -1, want: wait}, {at: 15, last: 14, want: wait}, {at: 24, last: 14, want: save},
		}},
		"one that is over at once does, too": {nil, []look{
			{at: 10, want: save}, {at: 11, last: 11, want: interrupt}, whole(look{at: 12, last: 11, want: wait}), {at: 13, last: 11, want: discard}, {at: 14, last: 11, want: wait},
		}},
		"a cell while it is committed": {nil, []look{
			{at: 10, want: save}, whole(look{at: 11, want: wait}), {at: 12, want: commit}, {at: 13, last: -1, want: wait, committed: true}, {at: 14, last: -1, want: forget}, {at: 15, last: -1, want: wait},
		}},
		"a commit that fails": {nil, []look{
			{at: 10, want: save}, whole(look{at: 11, want: wait}), {at: 12, want: commit}, {at: 13, want: wait, broken: true}, {at: 14, want: wait}, {at: 100, want: park},
		}},
		"work beside the cells": {nil, []look{
			{at: 10, want: save}, postponed(look{at: 11, want: wait}), {at: 70, want: wait}, {at: 71, want: save}, postponed(look{at: 72, want: wait}), {at: 100, want: saveAll}, part(look{at: 101, want: wait}), {at: 102, want: commit},
		}},
		"what cannot be saved at the long limit": {nil, []look{
			{at: 100, want: saveAll}, postponed(look{at: 101, want: wait}), {at: 102, want: park},
		}},
		"no short limit": {func(s *keeper.Situation) { s.Short = 0 }, []look{
			{at: 50, want: wait}, {at: 100, want: saveAll}, whole(look{at: 101, want: wait}), {at: 102, want: commit},
		}},
		"what is no activity outdates a save, and another time": {nil, []look{
			{at: 10, want: save}, whole(look{at: 11, want: wait}), {at: 12, touched: 12, want: discard}, {at: 13, touched: 12, want: save}, whole(look{at: 14, touched: 12, want: wait}), {at: 15, touched: 12, want: commit},
			{at: 16, touched: 12, want: wait, committed: true}, {at: 17, touched: 17, want: forget}, {at: 18, touched: 18, want: save}, {at: 19, touched: 19, want: interrupt}, postponed(look{at: 20, touched: 20, want: wait}),
			{at: 21, touched: 21, want: wait}, {at: 99, touched: 99, want: wait}, {at: 100, touched: 100, want: saveAll},
		}},
		"nor does it hold a kernel": {func(s *keeper.Situation) { s.Short = 0 }, []look{
			{at: 100, want: saveAll}, whole(look{at: 101, want: wait}), {at: 102, touched: 102, want: discard}, {at: 103, want: saveAll}, whole(look{at: 104, want: wait}), {at: 105, touched: 105, want: discard},
			{at: 106, want: saveAll}, whole(look{at: 107, want: wait}), {at: 108, touched: 108, want: discard}, {at: 109, want: saveAll}, whole(look{at: 110, want: wait}), {at: 111, touched: 111, want: discard},
			{at: 112, want: saveAll}, whole(look{at: 113, want: wait}), {at: 114, touched: 114, want: discard}, {at: 115, want: saveAll}, whole(look{at: 116, want: wait}), {at: 117, touched: 117, want: discard},
			{at: 118, touched: 117, want: park},
		}},
		"a save that does not begin is tried again": {nil, []look{
			{at: 10, want: save, later: true}, {at: 11, want: save, later: true}, {at: 12, want: save, later: true}, {at: 13, want: save, later: true}, {at: 14, want: save}, whole(look{at: 15, want: wait}), {at: 16, want: commit},
		}},
		"it begins anew with activity": {nil, []look{
			{at: 10, want: save}, whole(look{at: 11, want: wait}), {at: 12, touched: 12, want: discard}, {at: 13, want: save}, whole(look{at: 14, want: wait}), {at: 15, touched: 15, want: discard},
			{at: 16, want: save}, whole(look{at: 17, want: wait}), {at: 18, touched: 18, want: discard}, {at: 19, want: wait}, {at: 20, last: 20, want: wait}, {at: 30, last: 20, want: save},
		}},
		"no limit":         {func(s *keeper.Situation) { s.Short, s.Long = 0, 0 }, []look{{at: 1000000, want: wait}}},
		"held by a client": {func(s *keeper.Situation) { s.May = false }, []look{{at: 1000, want: wait}}},
		"yields what is kept whole": {func(s *keeper.Situation) { s.Yields = true }, []look{
			{at: 3, want: save}, whole(look{at: 4, want: wait}), {at: 5, want: commit},
		}},
		"yields nothing that is not": {func(s *keeper.Situation) { s.Yields = true }, []look{
			{at: 3, want: save}, part(look{at: 4, want: wait}), {at: 5, want: wait},
		}},
		"yields anything, if a policy says so": {func(s *keeper.Situation) { s.Yields, s.YieldAny = true, true }, []look{
			{at: 3, want: saveAll}, part(look{at: 4, want: wait}), {at: 5, want: commit},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var plan keeper.Plan
			for i, l := range each.looks {
				at := func(second int) time.Time { return time.Unix(int64(1000+second), 0) }
				s := keeper.Situation{Now: at(l.at), Used: at(max(l.last, l.touched)), Idle: time.Duration(l.at-l.last) * time.Second, May: true, Short: 10 * time.Second, Long: 100 * time.Second}
				if l.last < 0 {
					s.Busy, s.Used, s.Idle, s.May = true, s.Now, 0, false
				}
				if each.change != nil {
					each.change(&s)
				}
				assert.Equal(t, l.want, plan.Next(s), "look %d, at %d s", i, l.at)
				switch {
				case l.ends:
					plan.Saved(s.Now, l.saved)
				case l.committed || l.broken:
					plan.CommitEnded(l.committed)
				case l.later:
					plan.Later()
				}
			}
		})
	}
}
