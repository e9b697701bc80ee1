package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/wire"
)

// story plays events on an activity; each step is a second after the one before.
type story struct {
	*activity
	now time.Time
}

func (s *story) step() time.Time { s.now = s.now.Add(time.Second); return s.now }

func fields(msgType, id string) wire.Fields { return wire.Fields{Type: msgType, ID: []byte(id)} }

func (s *story) asks(msgType, id string) { s.request(s.step(), fields(msgType, id)) }
func (s *story) replies(msgType, id string) {
	s.reply(s.step(), fields(wire.ReplyType(msgType), "r"), fields(msgType, id))
}
func (s *story) says(state wire.State, msgType, id string) {
	s.published(s.step(), fields(wire.TypeStatus, "x"), fields(msgType, id), state)
}
func (s *story) prints(msgType, id string) {
	s.published(s.step(), fields(wire.TypeStream, "x"), fields(msgType, id), "")
}

const (
	exe  = wire.TypeExecuteRequest
	info = wire.TypeKernelInfoRequest
)

func TestActivity(t *testing.T) {
	for name, row := range map[string]struct {
		play func(*story)
		busy bool
		idle time.Duration // at the last event
	}{
		"nothing":              {func(*story) {}, false, 0},
		"an execute":           {func(s *story) { s.asks(exe, "1") }, true, 0},
		"answered":             {func(s *story) { s.asks(exe, "1"); s.replies(exe, "1") }, false, 0},
		"another is answered":  {func(s *story) { s.asks(exe, "1"); s.asks(exe, "2"); s.replies(exe, "1") }, true, 0},
		"idle without a reply": {func(s *story) { s.asks(exe, "1"); s.says(wire.StateIdle, exe, "1") }, false, 0},
		"busy by iopub alone":  {func(s *story) { s.says(wire.StateBusy, wire.TypeCommMsg, "1") }, true, 0},
		"and idle again": {func(s *story) {
			s.says(wire.StateBusy, wire.TypeCommMsg, "1")
			s.says(wire.StateIdle, wire.TypeCommMsg, "1")
		}, false, 0},
		"interleaved": {func(s *story) {
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
		"a thread that prints":     {func(s *story) { s.prints(exe, "1") }, false, 0},
		"a parentless print":       {func(s *story) { s.prints("", "") }, false, 0},
		"the process has ended":    {func(s *story) { s.asks(exe, "1"); s.says(wire.StateBusy, exe, "1"); s.forget(s.step()) }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			s := &story{newActivity(begin, 10*time.Second, true), begin}
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
		a := newActivity(now, row.timeout, row.cull)
		assert.Equal(t, row.park, a.idleness(now.Add(row.after), row.connections).park, fmt.Sprintf("%+v", row))
	}
	a := newActivity(now, time.Minute, true)
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
	s := &story{newActivity(now, time.Second, true), now}
	s.says(wire.StateBusy, wire.TypeCommMsg, "1")
	assert.False(t, s.suspect(s.now.Add(suspectAfter)))
	asked := s.now.Add(suspectAfter + 1)
	assert.True(t, s.suspect(asked))
	s.answered(asked)
	assert.False(t, s.idleness(asked, 0).busy)

	s.asks(exe, "2")
	assert.False(t, s.suspect(s.now.Add(time.Hour)), "an execute_request is no suspicion: its cell may be silent for hours")
	s.answered(s.now.Add(time.Hour))
	assert.True(t, s.idleness(s.now.Add(time.Hour), 0).busy)
}

func TestActivityIsBounded(t *testing.T) {
	now := time.Now()
	s := &story{newActivity(now, time.Second, true), now}
	for i := range 2 * mostTracked {
		s.asks(exe, fmt.Sprint(i))
		s.says(wire.StateBusy, exe, fmt.Sprint(i))
	}
	assert.Len(t, s.executes, mostTracked)
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
