package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/wire"
)

func TestYield(t *testing.T) {
	begin := time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }

	a := newActivity(begin, time.Hour, true, 0.05, 5)
	assert.False(t, a.yieldIf(at(59), parkWish{idle: time.Minute}, 0), "not idle for so long")
	assert.False(t, a.idleness(at(61), 0).park, "a wish that was refused does not last")
	assert.True(t, a.yieldIf(at(61), parkWish{idle: time.Minute}, 1))
	i := a.idleness(at(61), 1)
	assert.True(t, i.park)
	assert.True(t, i.yields)

	// what begins in between keeps it, also after it has ended
	s := &story{a, at(62)}
	s.asks(exe, "1")
	assert.False(t, a.idleness(at(62), 0).park)
	s.says(wire.StateBusy, exe, "1")
	s.says(wire.StateIdle, exe, "1")
	assert.False(t, a.idleness(at(62+61), 0).park)

	// a busy kernel never yields, a client's kernel only if the rule says so
	s.asks(exe, "2")
	s.says(wire.StateBusy, exe, "2")
	assert.False(t, a.yieldIf(at(7200), parkWish{idle: time.Minute}, 0))
	b := newActivity(begin, 0, true, 0.05, 5)
	b.setCullConnected(false)
	assert.False(t, b.yieldIf(at(7200), parkWish{idle: time.Minute}, 1))
	assert.False(t, b.idleness(at(7200), 0).park, "nor later, when the client has left")
	assert.True(t, b.yieldIf(at(7200), parkWish{idle: time.Minute}, 0), "also one that is never parked otherwise")
}

// TestWhoDoesNotYield: where all of the state is to be kept, a kernel of which that is known not
// to be so is left to whoever holds it, until it is used again. Who gives it back may.
func TestWhoDoesNotYield(t *testing.T) {
	begin := time.Now()
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	a := newActivity(begin, time.Hour, true, 0.05, 5)
	used := a.idleness(at(61), 0).used
	for name, tc := range map[string]struct {
		refuses refusal
		yields  bool
	}{
		"anything yields":        {refusal{found: true, never: true, used: used}, true},
		"nothing is known":       {refusal{whole: true}, true},
		"not all is kept":        {refusal{whole: true, found: true, used: used}, false},
		"nothing can be kept":    {refusal{whole: true, never: true}, false},
		"it has been used since": {refusal{whole: true, found: true, used: used.Add(-time.Second)}, true},
	} {
		a.refuse(tc.refuses)
		assert.Equal(t, tc.yields, a.yieldIf(at(61), parkWish{idle: time.Minute}, 0), name)
		assert.Equal(t, !tc.yields, a.idleness(at(61), 0).refuses, name)
		assert.Equal(t, tc.yields, a.idleness(at(61), 0).yields, name)
		assert.True(t, a.yieldIf(at(61), parkWish{idle: time.Minute, byHand: true}, 0), "%s: by hand", name)
		assert.True(t, a.idleness(at(3600), 0).park, "%s: its idle time is over", name)
	}

	// one that waits for its user answers nothing, and cannot be saved
	s := &story{a, at(62)}
	s.asks(exe, "1")
	s.says(wire.StateBusy, exe, "1")
	a.mu.Lock()
	a.input, a.last = true, at(62)
	a.mu.Unlock()
	a.refuse(refusal{whole: true})
	assert.False(t, a.yieldIf(at(200), parkWish{idle: time.Minute}, 0))
}
