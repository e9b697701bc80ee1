package lifecycle

import (
	"maps"
	"time"

	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/skew"
)

// apartPatience is how long a kernel may work on whose agent is too far apart.
const apartPatience = 10 * time.Minute

// apartSince is an agent of a release that does not work with this one.
type apartSince struct {
	since time.Time
	why   string // for people
}

// partWays notes in the findings whose agents are of a release that does not work with this
// one: their kernels are parked as by hand, and after apartPatience by force. apart remembers them.
func partWays(now time.Time, round []inquiry, apart map[runID]apartSince, findings map[runID]finding) {
	still := map[runID]apartSince{}
	for _, q := range round {
		id := runOf(q.kernel)
		former, known := apart[id]
		if q.answered {
			err := skew.CheckOurs(skew.Service, skew.Agent, q.told)
			if err == nil {
				continue
			}
			if !known {
				former.since = now
			}
			former.why = podstate.Sentence("The kernel was parked", err.Error()) + "."
		} else if !known {
			continue
		}
		still[id] = former
		f := findings[id]
		f.apart, f.apartLong = former.why, now.Sub(former.since) >= apartPatience
		findings[id] = f
	}
	clear(apart)
	maps.Copy(apart, still)
}
