package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/skew"
)

// Speaker is a process of the release that was asked which releases it speaks with.
type Speaker struct {
	// Pod is where it runs, NAMESPACE/NAME.
	Pod string
	// Part is what it is. Said is empty but for that where it tells nothing: it is of skew.Silent, or before.
	Part skew.Part
	Said skew.Versions
}

func (s Speaker) release() string {
	if s.Said.Release == "" {
		return skew.Silent
	}
	return s.Said.Release
}

// running counts the parts of each release. Each part is counted by whoever has seen most of them,
// since several replicas see the same.
func (p *Picture) running() map[skew.Part]map[string]int {
	all := map[skew.Part]map[string]int{}
	count := func(part skew.Part, release string, n int, sum bool) {
		if all[part] == nil {
			all[part] = map[string]int{}
		}
		if sum {
			all[part][release] += n
		} else {
			all[part][release] = max(all[part][release], n)
		}
	}
	for _, s := range p.Speakers {
		count(s.Part, s.release(), 1, true)
	}
	for _, s := range p.Speakers {
		for part, releases := range s.Said.Neighbours {
			for release, n := range releases {
				count(part, nameOf(release), n, false)
			}
		}
	}
	return all
}

// nameOf is a release as people are told of it.
func nameOf(release string) string {
	if release == skew.TellsNone {
		return skew.Silent + " or older"
	}
	return release
}

// parts are in the order in which a start goes through them.
var parts = []skew.Part{skew.Hub, skew.Service, skew.Gateway, skew.Wheel, skew.Agent}

// versionLines are for the report.
func (p *Picture) versionLines() (lines []string) {
	running := p.running()
	for _, part := range parts {
		var told []string
		for _, release := range slices.Sorted(maps.Keys(running[part])) {
			told = append(told, fmt.Sprintf("%s (%d)", release, running[part][release]))
		}
		if told != nil {
			lines = append(lines, string(part)+": "+strings.Join(told, ", "))
		}
	}
	return lines
}

// versions finds parts that are too far apart: they are refused by who has seen them.
func versions(p *Picture) (found []Problem) {
	known := map[string]bool{}
	add := func(one skew.Part, oneRelease string, other skew.Part, otherRelease string, n int) {
		if skew.Near(oneRelease, otherRelease) {
			return
		}
		what := fmt.Sprintf("%s is elastichub %s, and %s is %s (%d of them): a release works with the same and with the former minor one", one, oneRelease, other, otherRelease, n)
		if !known[what] {
			known[what] = true
			found = append(found, Problem{What: what, Fix: follow(other)})
		}
	}
	for _, s := range p.Speakers {
		for _, part := range parts {
			for _, release := range slices.Sorted(maps.Keys(s.Said.Neighbours[part])) {
				n := s.Said.Neighbours[part][release]
				if release == skew.TellsNone {
					if part != skew.Agent { // it may be no part of elastichub
						continue
					}
					release = skew.Silent
				}
				add(s.Part, s.release(), part, release, n)
			}
		}
		if s.Part != skew.Service {
			continue
		}
		for _, other := range p.Speakers {
			if other.Part == skew.Gateway {
				add(s.Part, s.release(), other.Part, other.release(), 1)
			}
		}
	}
	return found
}

// follow is how a part is brought to the release of the others.
func follow(part skew.Part) string {
	switch part {
	case skew.Hub:
		return "install the service's release of the Python package elastichub in the Hub's image, or upgrade the service"
	case skew.Wheel:
		return "have people restart their servers, from an image with the gateway's release of the Python package elastichub"
	case skew.Agent:
		return "wait: such kernels are parked once nothing runs in them, after ten minutes at the latest, and return with another agent"
	case skew.Gateway:
		return "take spec.image out of the JupyterGateway, or name an image of the service's release"
	case skew.Service:
	}
	return "upgrade the older one"
}
