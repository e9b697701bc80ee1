package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

// story plays events on an activity; each step is a second after the one before.
type story struct {
	*activity
	now time.Time
}

func (s *story) step() time.Time { s.now = s.now.Add(time.Second); return s.now }

func fields(msgType, id string) wire.Fields { return wire.Fields{Type: msgType, ID: []byte(id)} }

func (s *story) asks(msgType, id string) { s.request(s.step(), fields(msgType, id), false) }
func (s *story) inspects(id string)      { s.request(s.step(), fields(exe, id), true) }
func (s *story) replies(msgType, id string) {
	s.reply(s.step(), fields(wire.ReplyType(msgType), "r"), fields(msgType, id))
}
func (s *story) says(state wire.State, msgType, id string) {
	s.published(s.step(), fields(msgType, id), state)
}
func (s *story) wantsInput(id string) {
	s.reply(s.step(), fields(wire.TypeInputRequest, "r"), fields(exe, id))
}
func (s *story) prints(msgType, id string) {
	s.published(s.step(), fields(msgType, id), "")
}

const (
	exe  = wire.TypeExecuteRequest
	info = wire.TypeKernelInfoRequest
)

// TestWhatIsCounted: what a person's code takes, and what computes without being asked,
// once; never what waits for a person.
func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_800_000_000, 0)
	for name, row := range map[string]struct {
		play func(*story)
		busy float64
	}{
		"nothing":          {func(s *story) { s.step() }, 0},
		"a cell":           {func(s *story) { s.asks(exe, "1"); s.step(); s.replies(exe, "1"); s.step() }, 2},
		"one that runs":    {func(s *story) { s.asks(exe, "1"); s.step(); s.step() }, 2},
		"two at once":      {func(s *story) { s.asks(exe, "1"); s.asks(exe, "2"); s.replies(exe, "1"); s.replies(exe, "2") }, 3},
		"a person's input": {func(s *story) { s.asks(exe, "1"); s.wantsInput("1"); s.step(); s.step() }, 1},
		"a question":       {func(s *story) { s.asks(info, "1"); s.step(); s.replies(info, "1") }, 0},
		"its process dies": {func(s *story) { s.asks(exe, "1"); s.forget(s.step()); s.step() }, 1},
		"a thread": {func(s *story) {
			for i := range 4 {
				s.used(s.step(), time.Duration(i)*time.Second, 0)
			}
		}, 3},
		"a cell that computes": {func(s *story) {
			s.asks(exe, "1")
			for i := range 4 {
				s.used(s.step(), time.Duration(i)*time.Second, 0)
			}
		}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &story{newActivity(begin, time.Second, true, 0.05, 5), begin}
			row.play(s)
			assert.Equal(t, protocol.Meter{HeldSeconds: s.now.Sub(begin).Seconds(), BusySeconds: row.busy}, s.meter(s.now))
		})
	}
}

// TestWhatMayChangeAVariable is more than activity.
func TestWhatMayChangeAVariable(t *testing.T) {
	for name, row := range map[string]struct {
		play func(*story)
		want time.Duration // since the beginning
	}{
		"nothing":       {func(*story) {}, 0},
		"a cell":        {func(s *story) { s.asks(exe, "1"); s.replies(exe, "1") }, 2 * time.Second},
		"one that runs": {func(s *story) { s.asks(exe, "1"); s.step() }, 2 * time.Second},
		"a silent one":  {func(s *story) { s.inspects("1"); s.replies(exe, "1"); s.step() }, 2 * time.Second},
		"with an output": {func(s *story) {
			s.inspects("1")
			s.says(wire.StateBusy, exe, "1")
			s.replies(exe, "1")
			s.says(wire.StateIdle, exe, "1")
			s.step()
		}, 4 * time.Second},
		"the debugger's": {func(s *story) { s.asks(wire.TypeDebugRequest, "1"); s.replies(wire.TypeDebugRequest, "1"); s.step() }, 2 * time.Second},
		"a question":     {func(s *story) { s.asks(info, "1"); s.replies(info, "1") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			s := &story{newActivity(begin, 0, true, 0, 0), begin}
			row.play(s)
			assert.Equal(t, row.want, s.idleness(s.now, 0).used.Sub(begin))
		})
	}
}

func TestActivity(t *testing.T) {
	for name, row := range map[string]struct {
		play func(*story)
		busy bool
		idle time.Duration // at the last event
	}{
		"nothing":                         {func(*story) {}, false, 0},
		"an execute":                      {func(s *story) { s.asks(exe, "1") }, true, 0},
		"answered":                        {func(s *story) { s.asks(exe, "1"); s.replies(exe, "1") }, false, 0},
		"answered before its output came": {func(s *story) { s.asks(exe, "1"); s.says(wire.StateBusy, exe, "1"); s.replies(exe, "1") }, true, 0},
		"and then idle": {func(s *story) {
			s.asks(exe, "1")
			s.says(wire.StateBusy, exe, "1")
			s.replies(exe, "1")
			s.says(wire.StateIdle, exe, "1")
		}, false, 0},
		"silent, which runs": {func(s *story) { s.inspects("1") }, true, 0},
		"silent, from beginning to end": {func(s *story) {
			s.asks(exe, "0")
			s.replies(exe, "0")
			s.inspects("1")
			s.says(wire.StateBusy, exe, "1")
			s.replies(exe, "1")
			s.says(wire.StateIdle, exe, "1")
		}, false, 4 * time.Second},
		"silent, which ends before it is called busy": {func(s *story) { s.asks(exe, "0"); s.replies(exe, "0"); s.inspects("1"); s.replies(exe, "1") }, false, 2 * time.Second},
		"silent beside a cell":                        {func(s *story) { s.asks(exe, "1"); s.inspects("2"); s.replies(exe, "2"); s.replies(exe, "1") }, false, 0},
		"another is answered":                         {func(s *story) { s.asks(exe, "1"); s.asks(exe, "2"); s.replies(exe, "1") }, true, 0},
		"idle without a reply":                        {func(s *story) { s.asks(exe, "1"); s.says(wire.StateIdle, exe, "1") }, false, 0},
		"busy with a comm_msg":                        {func(s *story) { s.asks(wire.TypeCommMsg, "1"); s.says(wire.StateBusy, wire.TypeCommMsg, "1") }, true, 0},
		"busy with what nobody asked": {func(s *story) {
			s.says(wire.StateBusy, wire.TypeCommMsg, "1")
			s.says(wire.StateBusy, exe, "2")
		}, false, 2 * time.Second},
		"and idle again": {func(s *story) {
			s.asks(wire.TypeCommMsg, "1")
			s.says(wire.StateBusy, wire.TypeCommMsg, "1")
			s.says(wire.StateIdle, wire.TypeCommMsg, "1")
		}, false, 0},
		"interleaved": {func(s *story) {
			s.asks(exe, "1")
			s.asks(wire.TypeInterruptRequest, "2")
			s.says(wire.StateBusy, exe, "1")
			s.says(wire.StateBusy, wire.TypeInterruptRequest, "2")
			s.says(wire.StateIdle, wire.TypeInterruptRequest, "2")
		}, true, 0},
		"kernel_info is nothing": {func(s *story) {
			s.asks(info, "1")
			s.says(wire.StateBusy, info, "1")
			s.replies(info, "1")
			s.says(wire.StateIdle, info, "1")
		}, false, 4 * time.Second},
		"a start is nothing":       {func(s *story) { s.says(wire.StateStarting, "", "") }, false, time.Second},
		"a completion is activity": {func(s *story) { s.asks(wire.TypeCompleteRequest, "1") }, false, 0},
		"a thread that prints":     {func(s *story) { s.asks(exe, "1"); s.replies(exe, "1"); s.prints(exe, "1") }, false, time.Second},
		"a parentless print":       {func(s *story) { s.prints("", "") }, false, time.Second},
		"replies to nothing":       {func(s *story) { s.replies(exe, "1"); s.replies(wire.TypeCompleteRequest, "2") }, false, 2 * time.Second},
		"the same reply again": {func(s *story) {
			s.asks(wire.TypeCompleteRequest, "1")
			s.replies(wire.TypeCompleteRequest, "1")
			s.replies(wire.TypeCompleteRequest, "1")
			s.says(wire.StateBusy, wire.TypeCompleteRequest, "1")
		}, false, 2 * time.Second},
		"it waits for input": {func(s *story) { s.asks(exe, "1"); s.wantsInput("1") }, false, 0},
		"it asks again and again": {func(s *story) {
			s.asks(exe, "1")
			s.wantsInput("1")
			s.wantsInput("1")
			s.wantsInput("1")
		}, false, 2 * time.Second},
		"input is given":          {func(s *story) { s.asks(exe, "1"); s.wantsInput("1"); s.asks(wire.TypeInputReply, "2") }, true, 0},
		"input that nobody wants": {func(s *story) { s.wantsInput("1") }, false, time.Second},
		"at a breakpoint":         {func(s *story) { s.asks(exe, "1"); s.debugged(s.step(), "stopped") }, false, 0},
		"and on": {func(s *story) {
			s.asks(exe, "1")
			s.debugged(s.step(), "stopped")
			s.debugged(s.step(), "continued")
		}, true, 0},
		"the debugger says so without a cell": {func(s *story) { s.debugged(s.step(), "stopped"); s.debugged(s.step(), "continued") }, false, 2 * time.Second},
		"the process has ended":               {func(s *story) { s.asks(exe, "1"); s.says(wire.StateBusy, exe, "1"); s.forget(s.step()) }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now() // the cells that wait to begin are on their way: hangs are below
			s := &story{newActivity(begin, 10*time.Second, true, 0.05, 5), begin}
			row.play(s)
			i := s.idleness(s.now, 0)
			assert.Equal(t, row.busy, i.busy)
			assert.Equal(t, row.idle, i.idle)
			assert.False(t, i.park)
			assert.Equal(t, !row.busy, s.idleness(s.now.Add(10*time.Second), 0).park, "parked when idle, never when busy")
			assert.Equal(t, 10*time.Second, i.timeout)
		})
	}
}

func TestWhenToPark(t *testing.T) {
	now := time.Now()
	for _, row := range []struct {
		timeout     time.Duration
		cull        bool
		connections int
		after       time.Duration
		park        bool
	}{
		{10 * time.Second, true, 0, 9999 * time.Millisecond, false},
		{10 * time.Second, true, 0, 10 * time.Second, true},
		{10 * time.Second, true, 3, 10 * time.Second, true},
		{10 * time.Second, false, 3, time.Hour, false},
		{10 * time.Second, false, 0, 10 * time.Second, true},
		{0, true, 0, 1000 * time.Hour, false},
	} {
		a := newActivity(now, row.timeout, row.cull, 0.05, 5)
		assert.Equal(t, row.park, a.idleness(now.Add(row.after), row.connections).park, fmt.Sprintf("%+v", row))
	}
	a := newActivity(now, time.Minute, true, 0.05, 5)
	a.setTimeout(now.Add(time.Second), time.Second)
	assert.True(t, a.idleness(now.Add(time.Second), 0).park, "a changed time-out counts at once")
	a.setTimeout(now.Add(time.Hour), 0)
	a.setTimeout(now.Add(time.Hour), time.Second)
	assert.False(t, a.idleness(now.Add(time.Hour), 0).park, "where there was none, idle time begins with it")
	a.setTimeout(now.Add(time.Hour+time.Second), time.Second)
	assert.True(t, a.idleness(now.Add(time.Hour+time.Second), 0).park, "saying it again changes nothing")
}

// TestLostIdle: libzmq drops what a slow subscriber does not take, perhaps the
// one message that ends being busy.
func TestLostIdle(t *testing.T) {
	now := time.Now()
	s := &story{newActivity(now, time.Second, true, 0.05, 5), now}
	s.asks(wire.TypeCommMsg, "1")
	s.says(wire.StateBusy, wire.TypeCommMsg, "1")
	assert.False(t, s.suspect(s.now.Add(suspectAfter)))
	asked := s.now.Add(suspectAfter + 1)
	assert.True(t, s.suspect(asked))
	s.answered(asked)
	assert.False(t, s.idleness(asked, 0).busy)

	s.asks(exe, "2")
	assert.False(t, s.suspect(s.now.Add(time.Hour)), "an execute_request is no suspicion: its cell may be silent for hours")
	s.answered(s.now.Add(time.Hour))
	s.alive(s.now.Add(time.Hour))
	assert.True(t, s.idleness(s.now.Add(time.Hour), 0).busy)
}

func TestActivityIsBounded(t *testing.T) {
	now := time.Now()
	s := &story{newActivity(now, time.Second, true, 0.05, 5), now}
	for i := range 2 * mostTracked {
		s.asks(exe, fmt.Sprint(i))
		s.asks(wire.TypeCommMsg, fmt.Sprint("c", i))
		s.says(wire.StateBusy, wire.TypeCommMsg, fmt.Sprint("c", i))
	}
	assert.Len(t, s.executes, mostTracked)
	assert.Len(t, s.asked, mostTracked)
	assert.Len(t, s.busy, mostTracked)
}

func TestCrashesInARow(t *testing.T) {
	var c crashes
	var waits []time.Duration
	for {
		wait, giveUp := c.next(0)
		if giveUp {
			break
		}
		waits = append(waits, wait)
	}
	assert.Equal(t, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond,
		800 * time.Millisecond, 1600 * time.Millisecond}, waits)
	wait, giveUp := c.next(stableAfter)
	assert.False(t, giveUp, "a kernel that lived long begins a new row")
	assert.Equal(t, firstBackoff, wait)
}

// TestHang: a request that does not begin is work that waits, unless nothing in
// the kernel answers.
func TestHang(t *testing.T) {
	const timeout = 2 * hungAfter
	begin := time.Now()
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	hung := func() *story {
		s := &story{newActivity(begin, timeout, true, 0.05, 5), begin}
		s.request(begin, fields(exe, "1"), false)
		return s
	}
	s := hung()
	assert.False(t, s.stalled(at(time.Second)))
	assert.True(t, s.stalled(at(hungAfter/2)), "it is asked on control")
	assert.True(t, s.idleness(at(hungAfter), 0).busy)
	i := s.idleness(at(hungAfter+time.Second), 0)
	assert.False(t, i.busy)
	assert.True(t, i.running)
	assert.Equal(t, standstillHung, i.still)
	assert.Equal(t, hungAfter+time.Second, i.idle, "since it was asked")
	assert.True(t, s.idleness(at(timeout), 0).park)

	s = hung()
	s.alive(at(hungAfter))
	assert.True(t, s.idleness(at(hungAfter+time.Second), 0).busy, "it answers on control: something else keeps it")
	assert.False(t, s.idleness(at(2*hungAfter+time.Second), 0).busy, "and no more")

	s = hung()
	s.published(at(time.Second), fields(exe, "1"), wire.StateBusy)
	s.request(at(time.Second), fields(exe, "2"), false)
	assert.False(t, s.stalled(at(time.Hour)))
	assert.True(t, s.idleness(at(time.Hour), 0).busy, "the first has begun, the second waits for it")

	s = hung()
	s.request(at(time.Second), fields(wire.TypeCommMsg, "2"), false)
	s.published(at(time.Second), fields(wire.TypeCommMsg, "2"), wire.StateBusy)
	assert.True(t, s.idleness(at(time.Hour), 0).busy, "another request keeps it")
}

// TestComputing: what nobody has asked for is work if it takes enough.
func TestComputing(t *testing.T) {
	begin := time.Now()
	// run lets a kernel compute for that part of each of the seconds, and
	// returns how long it has been idle at the end.
	run := func(timeout time.Duration, threshold, load float64, seconds int, open func(a *activity, second int)) time.Duration {
		a := newActivity(begin, timeout, true, threshold, 5)
		total, now := time.Hour, begin
		for second := range seconds {
			if open != nil {
				open(a, second)
			}
			now = now.Add(time.Second)
			total += time.Duration(load * float64(time.Second))
			a.used(now, total, 0)
		}
		return a.idleness(now, 0).idle
	}
	assert.Equal(t, 300*time.Second, run(time.Hour, 0.05, 0, 300, nil))
	assert.Equal(t, 300*time.Second, run(time.Hour, 0.05, 0.04, 300, nil), "noise")
	assert.Zero(t, run(time.Hour, 0.05, 0.06, 300, nil))
	assert.Equal(t, 300*time.Second, run(time.Hour, 0, 8, 300, nil), "switched off")
	assert.Zero(t, run(10*time.Second, 0.05, 1, 5, nil), "a short idle time is measured over itself")

	assert.Equal(t, 2*time.Second, run(time.Hour, 0.05, 1, 22, func(a *activity, second int) {
		switch second {
		case 0:
			a.request(begin, fields(exe, "1"), false)
		case 20:
			a.over(begin.Add(20*time.Second), "1")
			// what a cell used is its own: these two seconds are not enough yet
		}
	}))
	at := func(second int, used time.Duration, a *activity) {
		a.used(begin.Add(time.Duration(second)*time.Second), used, 0)
	}
	a := newActivity(begin, time.Hour, true, 0.05, 5)
	for second := range 11 {
		at(second, time.Duration(second)*time.Second, a)
	}
	at(12, 10*time.Second, a)
	at(14, 10*time.Second, a)
	assert.Equal(t, 4*time.Second, a.idleness(begin.Add(14*time.Second), 0).idle, "it has ended when it ended, not when the window has passed")
	at(16, time.Second, a) // less than before: a lie, or another container
	assert.Equal(t, 6*time.Second, a.idleness(begin.Add(16*time.Second), 0).idle)

	waiting := newActivity(begin, time.Hour, true, 0.05, 5)
	waiting.request(begin, fields(exe, "1"), false)
	waiting.reply(begin, fields(wire.TypeInputRequest, "r"), fields(exe, "1"))
	for second := range 11 {
		at(second, time.Duration(second)*time.Second, waiting)
	}
	assert.Zero(t, waiting.idleness(begin.Add(10*time.Second), 0).idle, "it waits for input while a thread computes")
}

// TestComputingOnGPUs is work by the same rule, whatever the CPUs do.
func TestComputingOnGPUs(t *testing.T) {
	begin := time.Now()
	// run tells of that utilisation every two seconds, and returns how long the
	// kernel has been idle after the last.
	run := func(busyGPU float64, open bool, percent ...float64) time.Duration {
		a, now := newActivity(begin, time.Hour, true, 0.05, busyGPU), begin
		if open {
			a.request(now, fields(exe, "1"), false)
		}
		for _, p := range percent {
			now = now.Add(2 * time.Second)
			a.used(now, time.Second, p)
		}
		if open {
			a.over(begin, "1")
		}
		return a.idleness(now, 0).idle
	}
	many := func(n int, percent float64) []float64 { return slices.Repeat([]float64{percent}, n) }
	assert.Zero(t, run(5, false, many(60, 5)...))
	assert.Equal(t, 2*time.Minute, run(5, false, many(60, 4)...), "noise")
	assert.Equal(t, 2*time.Minute, run(0, false, many(60, 100)...), "switched off")
	assert.Equal(t, 12*time.Second, run(50, false, slices.Concat(many(60, 100), many(6, 0))...), "it has ended when it ended")
	assert.Equal(t, 20*time.Second, run(50, false, many(10, 100)...), "one peak is half a GPU for less than a minute")
	assert.Zero(t, run(50, false, many(16, 100)...))
	assert.Equal(t, 2*time.Minute, run(5, true, many(60, 100)...), "what a cell used is its own")
}
