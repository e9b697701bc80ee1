package skew

import (
	"cmp"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Path is where a process says which releases it has seen of those that it speaks with.
const Path = "/versions"

const (
	// remembered is for how long a part counts that has said nothing more.
	remembered = 5 * time.Minute
	// mostSeen bounds how many parts of a process are known at a time: one for each notebook and kernel.
	mostSeen = 20_000
)

// Seen are the parts that speak with a process. It may be nil: then nothing is noted.
type Seen struct {
	part     Part
	protocol int
	now      func() time.Time

	mu   sync.Mutex
	last map[seenPart]seenAs
}

type seenPart struct {
	part Part
	name string
}

type seenAs struct {
	told Told
	at   time.Time
}

// NewSeen is for a process that is that part, and speaks that protocol.
func NewSeen(part Part, protocol int, now func() time.Time) *Seen {
	return &Seen{part: part, protocol: protocol, now: now, last: map[seenPart]seenAs{}}
}

// Note notes what the part of that name has told; names stay in the process. It reports whether
// that is news: the part was not known, or was of another release.
func (s *Seen) Note(part Part, name string, told Told) (news bool) {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, now := seenPart{part, name}, s.now()
	former, known := s.last[id]
	if !known && len(s.last) >= mostSeen {
		s.forget(now)
		if len(s.last) >= mostSeen {
			return false
		}
	}
	s.last[id] = seenAs{told, now}
	return !known || former.told != told
}

func (s *Seen) forget(now time.Time) {
	for id, as := range s.last {
		if now.Sub(as.at) > remembered {
			delete(s.last, id)
		}
	}
}

// Versions is what a process answers at Path.
type Versions struct {
	Part     Part   `json:"part"`
	Release  string `json:"release"`
	Protocol int    `json:"protocol"`
	// Neighbours is how many parts of each release have said something in the last minutes.
	// One that tells none is of Silent, or no part of elastichub.
	Neighbours map[Part]map[string]int `json:"neighbours,omitempty"`
}

// Versions tells what is known now.
func (s *Seen) Versions() Versions {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(s.now())
	v := Versions{Part: s.part, Release: Release(), Protocol: s.protocol, Neighbours: map[Part]map[string]int{}}
	for id, as := range s.last {
		if v.Neighbours[id.part] == nil {
			v.Neighbours[id.part] = map[string]int{}
		}
		v.Neighbours[id.part][cmp.Or(as.told.Release, TellsNone)]++
	}
	return v
}

// TellsNone stands for the release of a part that tells none.
const TellsNone = "none"

// ServeHTTP answers at Path. It says numbers and no names, so that it wants no token.
func (s *Seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "GET only", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(Header, Told{Release: Release(), Protocol: s.protocol}.String())
	_ = json.NewEncoder(w).Encode(s.Versions())
}
