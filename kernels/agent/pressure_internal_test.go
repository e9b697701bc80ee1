package agent

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCrowdingIsAboutLargeMessagesThatSomebodyReads(t *testing.T) {
	r, now := testReplay(1 << 20)
	for range 6 {
		r.add(testFrame(2*largeOutput, true))
	}
	assert.Equal(t, unread, r.crowding(), "nobody is connected")
	reader, _ := r.join(0)
	assert.Equal(t, crowded, r.crowding(), "somebody is about to read")
	takeAll(reader)
	*now = now.Add(stallTime)
	assert.Equal(t, crowded, r.crowding())
	*now = now.Add(1)
	assert.Equal(t, unread, r.crowding(), "it reads no more")
	reader.ack(1)
	assert.Equal(t, crowded, r.crowding(), "it does")
	reader.ack(3)
	assert.Equal(t, roomy, r.crowding())
	reader.leave(false)
	assert.Equal(t, unread, r.crowding())

	small, _ := testReplay(1 << 20)
	small.join(0)
	for small.bytes < 3<<18 {
		small.add(testFrame(largeOutput/2, true))
	}
	assert.Equal(t, roomy, small.crowding(), "small ones come too fast to wait")
}

// TestRoomForOneIsEnough: who reads too slowly does not hold up who keeps up.
func TestRoomForOneIsEnough(t *testing.T) {
	fast, slow, gone := newSession(t.Context(), "fast", 1<<20, testBuilder), newSession(t.Context(), "slow", 1<<20, testBuilder), newSession(t.Context(), "gone", 1<<20, testBuilder)
	a := &agent{sessions: map[string]*session{"fast": fast, "slow": slow, "gone": gone}}
	assert.False(t, a.crowded(), "nobody reads")
	reader, _ := fast.out.join(0)
	slow.out.join(0)
	for range 6 {
		a.broadcast(testFrame(2*largeOutput, true))
	}
	assert.True(t, a.crowded())
	takeAll(reader)
	reader.ack(6)
	assert.False(t, a.crowded())
}
