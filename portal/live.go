package portal

import (
	"io"
	"net/http"
	"time"
)

const (
	livePath = "/live"
	// liveAll is the value of the parameter of for who watches everything, not their own.
	liveAll = "all"
	// mostStreams bounds the streams of one replica; pages look by themselves then.
	mostStreams = 200
	// In looks: how often a stream that has nothing to tell says that it is there, how often
	// it is asked who has it, and when it ends, to be opened anew at any replica.
	liveBreath = 15
	liveCheck  = 30
	liveEnds   = 600
)

// live tells a page that something has changed that it shows, at most once in a look. It
// does not tell what: the page is read again, with what its reader may see then.
func (p *Portal) live(r *request) error {
	all := r.URL.Query().Get("of") == liveAll
	if all && !r.isAdmin {
		if r.adminErr != nil {
			return r.adminErr
		}
		return errNoAdmin
	}
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		return errTooManyStreams
	}
	mark := func() (uint64, error) {
		seen, err := p.lists.get(r.Context())
		if all || err != nil {
			return seen.mark, err
		}
		return seen.marks[r.person.User], nil
	}
	last, err := mark()
	if err != nil {
		return err
	}
	// What an earlier request of the connection has set.
	_ = http.NewResponseController(r.w).SetReadDeadline(time.Time{})
	r.w.Header().Set("Content-Type", "text/event-stream")
	r.w.Header().Set("X-Accel-Buffering", "no")
	if !r.tell(": here\n\n") {
		return nil
	}
	ticker := time.NewTicker(p.config.LiveEvery)
	defer ticker.Stop()
	for look := 1; look < liveEnds; look++ {
		select {
		case <-r.Context().Done():
			return nil
		case <-p.draining:
			return nil
		case <-ticker.C:
		}
		if look%liveCheck == 0 && !p.stillMay(r, all) {
			return nil
		}
		now, err := mark()
		if err != nil {
			return err
		}
		switch {
		case now != last:
			last = now
			if !r.tell("data: changed\n\n") {
				return nil
			}
		case look%liveBreath == 0:
			if !r.tell(":\n\n") {
				return nil
			}
		}
	}
	return nil
}

// stillMay asks again who has a stream.
func (p *Portal) stillMay(r *request, all bool) bool {
	person, err := p.deps.Gate.Identify(r.Request)
	if err != nil || person.User != r.person.User {
		return false
	}
	if !all {
		return true
	}
	is, err := p.administrates(r.Context(), person)
	return err == nil && is
}

// tell writes a piece of a stream, and reports whether somebody is there.
func (r *request) tell(text string) bool {
	control := http.NewResponseController(r.w)
	// Recorders of tests know no deadlines; the server does.
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := io.WriteString(r.w, text); err != nil {
		return false
	}
	return control.Flush() == nil
}

// Drain ends all streams; pages open them anew at another replica.
func (p *Portal) Drain() { p.drain.Do(func() { close(p.draining) }) }
