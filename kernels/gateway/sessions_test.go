package gateway

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
)

type fakeSocket struct{ alive bool }

func (f *fakeSocket) Ping(ctx context.Context) error {
	if f.alive {
		return nil
	}
	return context.DeadlineExceeded
}

func TestSessionOfALivingSocketIsNotTakenOver(t *testing.T) {
	all := newSessions()
	key := sessionKey{kernel: "k", owner: "user/alice", session: "s"}
	first, second, third := &fakeSocket{alive: true}, &fakeSocket{alive: true}, &fakeSocket{alive: true}

	session, leaveFirst := all.enter(t.Context(), key, first)
	assert.Equal(t, "s", session)
	session, leaveSecond := all.enter(t.Context(), key, second)
	assert.NotEqual(t, "s", session, "the first is alive")
	session, leaveOther := all.enter(t.Context(), sessionKey{kernel: "k", owner: "user/bob", session: "s"}, third)
	assert.Equal(t, "s", session, "somebody else's session of the same name")

	first.alive, second.alive = false, false
	session, leaveThird := all.enter(t.Context(), key, third)
	assert.Equal(t, "s", session, "who returns after a broken connection resumes")

	for _, leave := range []func(){leaveFirst, leaveSecond, leaveThird, leaveOther} {
		leave()
	}
	assert.Empty(t, all.open)
}
