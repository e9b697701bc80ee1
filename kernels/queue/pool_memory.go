package queue

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// The pause after a warm Pod of a class has failed, and its bounds.
	firstWarmPause = 10 * time.Second
	mostWarmPause  = 10 * time.Minute
	// mostSeen bounds the failed Pods that are remembered of a class.
	mostSeen = 64
)

// poolMemory is what the queue remembers of the warm pool. A new leader does
// without: it only means trying again sooner.
type poolMemory struct {
	mu sync.Mutex
	// leaving are Pods that were deleted, by ID, until when.
	leaving map[string]time.Time
	failed  map[string]poolFailure // by class
	// resting is until when no Pod of a class is made, whatever becomes of others.
	resting map[string]time.Time
	// ran is when a kernel of each kernelspec ran last, by the UID of its notebook:
	// also one that was shut down since.
	ran map[string]map[string]time.Time
}

// noteRan takes when the kernels of notebooks ran last, and returns what is remembered,
// of those notebooks alone that exist.
func (p *poolMemory) noteRan(ran map[string]map[string]time.Time, exists map[string]bool) map[string]map[string]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	former := p.ran
	p.ran = map[string]map[string]time.Time{}
	for _, source := range []map[string]map[string]time.Time{former, ran} {
		for notebook, specs := range source {
			if !exists[notebook] {
				continue
			}
			if p.ran[notebook] == nil {
				p.ran[notebook] = map[string]time.Time{}
			}
			for spec, at := range specs {
				if at.After(p.ran[notebook][spec]) {
					p.ran[notebook][spec] = at
				}
			}
		}
	}
	return p.ran
}

type poolFailure struct {
	inARow int
	seen   map[string]bool // Pods that were counted, by ID
	until  time.Time
}

// pause is how long to wait after so many failures in a row.
func (f poolFailure) pause() time.Duration {
	return min(firstWarmPause<<min(f.inARow-1, 10), mostWarmPause)
}

// fail counts a Pod that came to nothing, once.
func (p *poolMemory) fail(class, id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.failed[class]
	if f.seen[id] {
		return
	}
	if f.seen == nil || len(f.seen) > mostSeen {
		f.seen = map[string]bool{}
	}
	f.seen[id] = true
	f.inARow++
	f.until = now.Add(f.pause())
	if p.failed == nil {
		p.failed = map[string]poolFailure{}
	}
	p.failed[class] = f
}

// rest has no Pod of a class made until then.
func (p *poolMemory) rest(class string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.resting == nil {
		p.resting = map[string]time.Time{}
	}
	p.resting[class] = until
}

// succeed forgets the failures of a class.
func (p *poolMemory) succeed(class string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failed, class)
}

// leave notes that a Pod is about to be deleted.
func (p *poolMemory) leave(pod *corev1.Pod, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaving == nil {
		p.leaving = map[string]time.Time{}
	}
	p.leaving[podID(pod)] = until
}

// stay takes that back.
func (p *poolMemory) stay(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.leaving, podID(pod))
}

// recall copies what is remembered into a snapshot, and forgets what is over.
func (p *poolMemory) recall(into *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	into.leaving, into.pausedUntil = map[string]bool{}, map[string]time.Time{}
	for id, until := range p.leaving {
		if !into.now.Before(until) {
			delete(p.leaving, id)
			continue
		}
		into.leaving[id] = true
	}
	for class, f := range p.failed {
		into.pausedUntil[class] = f.until
	}
	into.restingUntil = map[string]time.Time{}
	for class, until := range p.resting {
		if !into.now.Before(until) {
			delete(p.resting, class)
			continue
		}
		into.restingUntil[class] = until
	}
}
