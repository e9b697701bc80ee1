package gateway

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/elastichub/elastichub/skew"
)

// neighbour reads what a notebook server tells of itself, and refuses one that is too far apart.
// Other clients tell nothing.
func (s *Server) neighbour(c *call) error {
	told := skew.Parse(c.Header.Get(skew.Header))
	if told == (skew.Told{}) && c.id.Notebook == "" {
		return nil
	}
	err := skew.Check(skew.Gateway, skew.Wheel, told)
	if s.seen.Note(skew.Wheel, c.id.Namespace+"/"+c.id.Notebook, told) && err != nil {
		s.log.Error("a notebook server is refused", "owner", c.id.owner(), "error", err)
	}
	return apart(err)
}

// apart is what a client is told of parts that are too far apart.
func apart(err error) error {
	var between *skew.ApartError
	if !errors.As(err, &between) {
		return err
	}
	follow := "Save your work and restart your server: File > Hub Control Panel, Stop My Server, Start My Server. Your files stay. " +
		"If it says so again, its image is an old one: ask an administrator."
	if !between.OtherIsOlder() {
		follow = "An administrator must bring the gateway up to " + between.OtherRelease + "."
	}
	return failBecause(kindApart, asSentence(between)+" "+follow, between)
}

// asSentence begins with a capital letter and ends with a full stop.
func asSentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// checkAgent reads what an agent has told in an answer.
func (a *agents) checkAgent(t target, header http.Header) error {
	told := skew.Parse(header.Get(skew.Header))
	a.seen.Note(skew.Agent, t.uid, told)
	return skew.CheckOurs(skew.Gateway, skew.Agent, told)
}

// noteApart has the cell that waits for an agent of another time told of it. The leader, which
// finds the same, parks the kernel; then the cell brings it back.
func (s *socket) noteApart(r dialResult) {
	var between *skew.ApartError
	if !errors.As(r.err, &between) {
		return
	}
	if s.apart == "" {
		s.log.Error("the kernel's agent is not spoken to", "run", r.target.run, "error", between)
	}
	s.backoff, s.nextDial = apartAgain, s.srv.now().Add(apartAgain)
	s.apart = asSentence(between) + " The kernel is parked once nothing runs in it, and comes back for this cell."
}

// apartAgain is when an agent that is too far apart is asked once more.
const apartAgain = 5 * time.Second
