package economy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// What is published of notebook users, and what is not.
//
// Carver et al., "NotebookOS" (arXiv 2503.20591, 2025; ASPLOS 2026), of notebooks that train
// interactively in a production platform (AdobeTrace): half of the tasks take at most 2 minutes
// and three quarters at most 5; the median time between two of a session is 5 minutes, the
// shortest 4; reserved GPUs are idle more than 81 % of the time, nearly 70 % of them for
// a session's whole life, and three quarters of the sessions use theirs for at most 5 % of it.
const (
	taskMedian        = 120 * time.Second
	taskThreeQuarters = 300 * time.Second
	betweenMedian     = 300 * time.Second
	betweenLeast      = 240 * time.Second
	sharesUnused      = 0.69
	sharesLittle      = 0.06 // of sessions that use their GPU, and at most mostLittle of the time
	mostLittle        = 0.05
	// IdlePublished is the share of the time in which reserved GPUs are idle there, at least.
	IdlePublished = 0.81
)

// normalThreeQuarters is the third quartile of the standard normal distribution.
const normalThreeQuarters = 0.6744897501960817

// spread is that of the lognormal distribution with the two quantiles of the tasks. The time
// between tasks, beyond the shortest, is taken to be as wide, since only its median is published.
var spread = math.Log(taskThreeQuarters.Seconds()/taskMedian.Seconds()) / normalThreeQuarters

// Cell is one that a user runs.
type Cell struct {
	Asked time.Duration // since midnight
	Takes time.Duration // on the GPU
}

// Session is a notebook server, from its start to its stop, and what is run in its one notebook.
type Session struct {
	User        string
	Start, Stop time.Duration
	Cells       []Cell
}

// Shape is what of a day is not published, and chosen.
type Shape struct {
	Users int
	// Starts and Lasts bound when servers are started and how long they are wanted.
	Starts, Lasts [2]time.Duration
	// Noon bounds when the lunch begins and Lunch how long it is, in which nobody runs anything; zero: there is none.
	Noon, Lunch [2]time.Duration
	// AllWork: nobody has a GPU for nothing, or nearly so.
	AllWork bool
}

// Office is a day of office hours.
func Office(users int) Shape {
	return Shape{
		Users:  users,
		Starts: [2]time.Duration{8 * time.Hour, 10 * time.Hour}, Lasts: [2]time.Duration{7 * time.Hour, 9*time.Hour + 30*time.Minute},
		Noon: [2]time.Duration{11*time.Hour + 45*time.Minute, 13 * time.Hour}, Lunch: [2]time.Duration{45 * time.Minute, 75 * time.Minute},
	}
}

// Day makes the sessions of a day. The same seed makes the same day.
func Day(seed uint64, shape Shape) []Session {
	rng := rand.New(rand.NewPCG(seed, 14))
	sessions := make([]Session, shape.Users)
	for i := range sessions {
		s := &sessions[i]
		s.User = fmt.Sprintf("user%03d", i)
		s.Start = between(rng, shape.Starts)
		s.Stop = s.Start + between(rng, shape.Lasts)
		noon := between(rng, shape.Noon)
		back := noon + between(rng, shape.Lunch)
		kind := rng.Float64()
		switch {
		case shape.AllWork || kind >= sharesUnused+sharesLittle:
			s.work(rng, noon, back)
		case kind >= sharesUnused:
			s.dabble(rng)
		}
	}
	return sessions
}

// work has one task follow another.
func (s *Session) work(rng *rand.Rand, noon, back time.Duration) {
	for at := s.Start + pause(rng); at < s.Stop; at += pause(rng) {
		if at >= noon && at < back {
			at = back
		}
		if at < s.Stop {
			s.Cells = append(s.Cells, Cell{Asked: at, Takes: task(rng)})
		}
	}
}

// dabble has a few tasks at any time.
func (s *Session) dabble(rng *rand.Rand) {
	length := s.Stop - s.Start
	left := time.Duration(mostLittle * float64(length))
	for range 1 + rng.IntN(4) {
		takes := task(rng)
		for takes > left {
			takes /= 2 // there are none of no length
		}
		left -= takes
		s.Cells = append(s.Cells, Cell{Takes: max(takes.Truncate(time.Millisecond), time.Millisecond)})
	}
	step := length / time.Duration(len(s.Cells))
	for i := range s.Cells {
		s.Cells[i].Asked = s.Start + time.Duration(i)*step + between(rng, [2]time.Duration{0, step})
	}
}

// task is how long one takes.
func task(rng *rand.Rand) time.Duration {
	return max(time.Millisecond, scaled(taskMedian, math.Exp(spread*rng.NormFloat64())))
}

// pause is how long it is from running one to running the next, which waits if the first is not over.
func pause(rng *rand.Rand) time.Duration {
	return betweenLeast + scaled(betweenMedian-betweenLeast, math.Exp(spread*rng.NormFloat64()))
}

// scaled is so many times d, in whole milliseconds, as the ledger counts.
func scaled(d time.Duration, by float64) time.Duration {
	return time.Duration(float64(d) * by).Truncate(time.Millisecond)
}

func between(rng *rand.Rand, bounds [2]time.Duration) time.Duration {
	return bounds[0] + scaled(bounds[1]-bounds[0], rng.Float64())
}
