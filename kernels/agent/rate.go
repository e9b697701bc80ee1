package agent

import (
	"fmt"
	"time"
)

// rateWindow is how long a kernel may publish faster than its rate, as
// jupyter_server's rate_limit_window.
const rateWindow = 3 * time.Second

// rounding is what sums of fractions may lack.
const rounding = 1e-6

// rate limits what a kernel publishes: a bucket of messages and one of bytes,
// each holding rateWindow's worth. Once either is empty, output is left out
// until both hold a second's worth again. It is not safe for concurrent use.
type rate struct {
	messages, bytes float64 // per second; 0: no limit

	messagesLeft, bytesLeft float64
	last                    time.Time
	over                    bool
	leftOut                 int
}

func newRate(messages, bytes int) *rate {
	r := &rate{messages: float64(messages), bytes: float64(bytes)}
	r.messagesLeft, r.bytesLeft = r.messages*rateWindow.Seconds(), r.bytes*rateWindow.Seconds()
	return r
}

// rateNews is what there is to tell.
type rateNews int

const (
	rateSame  rateNews = iota
	rateBegun          // output is left out from here on
	rateEnded          // and no more
)

// pass reports whether a message of output of that size may be published.
func (r *rate) pass(now time.Time, size int) (ok bool, news rateNews) {
	if r.messages == 0 && r.bytes == 0 {
		return true, rateSame
	}
	seconds := max(0, now.Sub(r.last).Seconds())
	if r.last.IsZero() {
		seconds = 0
	}
	r.last = now
	full := rateWindow.Seconds()
	r.messagesLeft = min(full*r.messages, r.messagesLeft+seconds*r.messages)
	r.bytesLeft = min(full*r.bytes, r.bytesLeft+seconds*r.bytes)
	if r.over && r.messagesLeft >= r.messages-rounding && r.bytesLeft >= r.bytes-rounding {
		r.over, news = false, rateEnded
	}
	if r.over {
		r.leftOut++
		return false, rateSame
	}
	enough := (r.messages == 0 || r.messagesLeft >= 1-rounding) && (r.bytes == 0 || r.bytesLeft > 0)
	if !enough {
		r.over = true
		r.leftOut++
		return false, rateBegun
	}
	if r.messages > 0 {
		r.messagesLeft--
	}
	if r.bytes > 0 {
		r.bytesLeft -= float64(size) // one message may exceed what is left
	}
	return true, news
}

// took returns how many messages were left out since it was last called.
func (r *rate) took() int {
	n := r.leftOut
	r.leftOut = 0
	return n
}

// limits says the rate in words.
func (r *rate) limits() string {
	switch {
	case r.bytes == 0:
		return fmt.Sprintf("%d messages a second", int(r.messages))
	case r.messages == 0:
		return size(uint64(r.bytes)) + " a second"
	default:
		return fmt.Sprintf("%d messages or %s a second", int(r.messages), size(uint64(r.bytes)))
	}
}
