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
	assert.False(t, a.yieldIf(at(59), time.Minute, false, 0), "not idle for so long")
	assert.False(t, a.idleness(at(61), 0).park, "a wish that was refused does not last")
	assert.True(t, a.yieldIf(at(61), time.Minute, false, 1))
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
	assert.False(t, a.yieldIf(at(7200), time.Minute, false, 0))
	b := newActivity(begin, 0, true, 0.05, 5)
	b.setCullConnected(false)
	assert.False(t, b.yieldIf(at(7200), time.Minute, false, 1))
	assert.False(t, b.idleness(at(7200), 0).park, "nor later, when the client has left")
	assert.True(t, b.yieldIf(at(7200), time.Minute, false, 0), "also one that is never parked otherwise")
}
