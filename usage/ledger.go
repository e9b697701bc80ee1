package usage

import (
	"maps"
	"strings"
	"time"
)

// answerPatience is how long a new leader waits for the agent to tell what passed while
// nobody led. Then the API server's clock has to do.
const answerPatience = 5 * time.Minute

// Now is a moment: on this process's monotonic clock, and as the API server tells the time.
type Now struct {
	Mono time.Duration
	API  time.Time
}

// Kernel is one as the API server has it.
type Kernel struct {
	UID, Name string
	Run       int64
	Key
	// Holds: its run was admitted, and a Pod of it may still be alive.
	Holds bool
	// Server is the name of its JupyterNotebook.
	Server  string
	Amounts Amounts
	// Asked is when the run was asked for, Began and Ended are when its Pod was made and
	// ended; zero where that is not known.
	Asked, Began, Ended time.Time
	// Final is what the agent of the run said at its end, of the run FinalRun.
	Final    *Meter
	FinalRun int64
}

// Server is a notebook server.
type Server struct {
	UID, Name, User, Group string
	// Start is another one each time it starts; Up: it runs.
	Start string
	Up    bool
}

// Ledger is the leader's: all books, and what it has seen. It is not safe for concurrent use.
type Ledger struct {
	books [Shards]*Book
	// urgent: a run has begun or ended, of which nothing may be left to see.
	changed, urgent [Shards]bool
	// where is the shard of each open run, by the kernel's UID.
	where map[string]int

	looked  bool
	now     Now
	since   Now // of the first look
	answers map[string]answer
	totals  map[string]Use
}

// answer is what an agent has counted, and when it said so.
type answer struct {
	run   int64
	meter Meter
	at    time.Duration
}

// Loaded is a book as it was written, and when, by the API server's clock; zero for one
// that is new.
type Loaded struct {
	*Book
	Written time.Time
}

// NewLedger takes over. now is that of the take-over: what passed since a book was written
// is a gap in the runs that are open in it.
func NewLedger(books [Shards]Loaded, now Now) *Ledger {
	l := &Ledger{where: map[string]int{}, answers: map[string]answer{}, totals: map[string]Use{}, now: now}
	l.now.Mono = now.Mono.Truncate(time.Millisecond)
	since := now.API
	for _, loaded := range books {
		if loaded.Book != nil && loaded.Since.Before(since) {
			since = loaded.Since
		}
	}
	for i, loaded := range books {
		b := loaded.Book
		if b == nil {
			b = NewBook(since)
		}
		l.books[i] = b
		for uid, run := range b.Runs {
			l.where[uid] = i
			gap := int64(1) // it is a gap also where the API server's clock was set back
			if !loaded.Written.IsZero() {
				gap = max(gap, now.API.Sub(loaded.Written).Milliseconds())
			}
			run.Gap, run.GapEnd, l.changed[i] = run.Gap+gap, now.API.UnixMilli(), true
		}
	}
	return l
}

// Book is one of the books, which is not to be changed.
func (l *Ledger) Book(shard int) *Book { return l.books[shard] }

// Books are all of them, which are not to be changed.
func (l *Ledger) Books() []*Book { return l.books[:] }

// State says whether a book has changed since it was written, and whether a run has begun
// or ended since.
func (l *Ledger) State(shard int) (changed, urgent bool) { return l.changed[shard], l.urgent[shard] }

// Written is told when a book was.
func (l *Ledger) Written(shard int) { l.changed[shard], l.urgent[shard] = false, false }

// Open counts the runs that are open.
func (l *Ledger) Open() int { return len(l.where) }

// Totals are what was booked since they were last asked for, by resource.
func (l *Ledger) Totals() map[string]Use {
	booked := l.totals
	l.totals = map[string]Use{}
	return booked
}

// open is the run of a kernel that is open, nil if none is.
func (l *Ledger) open(uid string) (*Book, *Run) {
	shard, is := l.where[uid]
	if !is {
		return nil, nil
	}
	return l.books[shard], l.books[shard].Runs[uid]
}

// OpenRun is the run of a kernel that is open, and the kernel's name.
func (l *Ledger) OpenRun(uid string) (name string, run int64, is bool) {
	if _, open := l.open(uid); open != nil {
		return open.Name, open.Number, true
	}
	return "", 0, false
}

// Answer takes what the agent of a run has counted at a moment of the monotonic clock.
func (l *Ledger) Answer(uid string, run int64, meter Meter, at time.Duration) {
	l.answers[uid] = answer{run, meter, at}
}

// Doubts are the kernels for which Look would begin or end a run. Whoever shows them looks
// at the API server itself first: a cache may be behind, most of all that of a new leader.
func (l *Ledger) Doubts(kernels []Kernel) []string {
	var doubts []string
	seen := make(map[string]bool, len(kernels))
	for i := range kernels {
		k := &kernels[i]
		seen[k.UID] = true
		_, run := l.open(k.UID)
		switch {
		case run == nil && (k.Holds || l.missed(k)), run != nil && (!k.Holds || run.Number != k.Run):
			doubts = append(doubts, k.UID)
		}
	}
	for uid := range l.where {
		if !seen[uid] {
			doubts = append(doubts, uid)
		}
	}
	return doubts
}

// Look books what has passed since the look before. It is shown everything there is.
func (l *Ledger) Look(now Now, kernels []Kernel, servers []Server) {
	now.Mono = now.Mono.Truncate(time.Millisecond) // what is less counts at the next look
	elapsed := (now.Mono - l.now.Mono).Milliseconds()
	if !l.looked {
		elapsed, l.since = 0, now
	}
	l.now = now
	seen := make(map[string]bool, len(kernels))
	for i := range kernels {
		k := &kernels[i]
		seen[k.UID] = true
		l.follow(k, elapsed)
	}
	for uid := range maps.Clone(l.where) {
		if !seen[uid] { // nobody can tell when it ended
			l.close(uid, &Kernel{UID: uid}, elapsed)
		}
	}
	l.save(servers, elapsed)
	for i, b := range l.books {
		for uid, mark := range b.Marks {
			if seen[uid] != (mark.Gone == 0) {
				if mark.Gone = 0; !seen[uid] {
					mark.Gone = now.API.Unix()
				}
				b.Marks[uid] = mark
				l.changed[i] = true
			}
		}
		b.forget(now.API)
	}
	clear(l.answers)
	l.looked = true
}

// follow books one kernel.
func (l *Ledger) follow(k *Kernel, elapsed int64) {
	b, run := l.open(k.UID)
	if run != nil && (!k.Holds || run.Number != k.Run) {
		l.close(k.UID, k, elapsed)
		run = nil
	}
	switch {
	case run != nil:
		for name, n := range k.Amounts { // what its Pod requests is known once there is one
			if run.Amounts == nil {
				run.Amounts = Amounts{}
			}
			if _, known := run.Amounts[name]; !known {
				b.note(run)
				run.Amounts[name] = n
			}
		}
		l.hold(b, run, elapsed, l.now.API)
		l.hear(k.UID, b, run)
	case k.Holds:
		b, run = l.begin(k)
		// It began between two looks, or while nobody led.
		held := max(0, l.now.API.Sub(k.Began).Milliseconds())
		switch {
		case k.Began.IsZero():
			held = 0
		case l.looked:
			held = min(held, elapsed)
		case k.Began.Before(b.Since):
			held, run.Late = max(0, l.now.API.Sub(b.Since).Milliseconds()), true
		}
		l.hold(b, run, held, l.now.API)
		l.hear(k.UID, b, run)
	case l.missed(k):
		b, run = l.begin(k)
		l.hold(b, run, k.Ended.Sub(k.Began).Milliseconds(), k.Ended)
		l.end(k, b, run)
	}
}

// missed reports whether a run has begun and ended and was not seen.
func (l *Ledger) missed(k *Kernel) bool {
	b := l.books[ShardOf(k.User)]
	return !k.Holds && k.Run > b.Marks[k.UID].Run && !k.Began.IsZero() && !k.Ended.Before(k.Began) && !k.Began.Before(b.Since)
}

// begin opens a run.
func (l *Ledger) begin(k *Kernel) (*Book, *Run) {
	shard := ShardOf(k.User)
	b := l.books[shard]
	run := &Run{Key: k.Key, Name: k.Name, Number: k.Run, Server: k.Server, Amounts: maps.Clone(k.Amounts)}
	b.Runs[k.UID], l.where[k.UID] = run, shard
	b.change(l.now.API, run.Key, func(r *Row) { r.Runs++ })
	l.changed[shard], l.urgent[shard] = true, true
	return b, run
}

// hear takes what the agent of a run has told, which settles what passed without a leader.
func (l *Ledger) hear(uid string, b *Book, run *Run) {
	told, has := l.answers[uid]
	if has && told.run == run.Number {
		meter := told.meter
		meter.Held += max(0, (l.now.Mono - told.at).Milliseconds())
		l.meter(b, run, meter)
		return
	}
	if run.Gap > 0 && l.now.Mono-l.since.Mono > answerPatience {
		l.settle(b, run, run.Gap)
	}
}

// meter books by what an agent has counted.
func (l *Ledger) meter(b *Book, run *Run, meter Meter) {
	former := Meter{}
	if run.Meter != nil {
		former = *run.Meter
	} else if run.Late { // what was before is not in the ledger
		former.Busy = meter.Busy
	}
	if meter.Held < former.Held || meter.Busy < former.Busy {
		return // it is not the same agent
	}
	if run.Gap > 0 {
		gap := min(max(run.Gap, meter.Held-run.Held), meter.Held)
		if run.Meter != nil {
			gap = run.MeterAt + meter.Held - former.Held - run.Held
		}
		l.settle(b, run, gap)
	}
	// Both are counted by clocks of their own: what is busy more than held is booked later.
	busy := max(0, min(meter.Busy-former.Busy, run.Held-run.Busy))
	run.Busy += busy
	l.book(b, run, busy, l.now.API, func(u *Use, n int64) { u.Busy += n })
	run.Meter, run.MeterAt = &Meter{Held: meter.Held, Busy: former.Busy + busy}, run.Held
}

// settle books a gap.
func (l *Ledger) settle(b *Book, run *Run, held int64) {
	end := time.UnixMilli(run.GapEnd)
	run.Gap, run.GapEnd = 0, 0
	l.hold(b, run, max(0, held), end)
}

// close ends a run whose kernel is shown as it is now, or not at all.
func (l *Ledger) close(uid string, k *Kernel, elapsed int64) {
	b, run := l.open(uid)
	final := k.Final
	if k.FinalRun != run.Number {
		final = nil
	}
	if told, has := l.answers[uid]; has && told.run == run.Number && final == nil {
		final = &told.meter
	}
	ended := k.Ended // by whatever clock
	if k.Run != run.Number {
		ended = k.Asked
	}
	switch {
	case final != nil:
		if run.Gap > 0 && run.Meter == nil && !l.looked { // it ended in the gap
			run.Gap = min(run.Gap, max(1, final.Held-run.Held))
		}
		l.hold(b, run, elapsed, l.now.API)
		l.meter(b, run, *final)
	case run.Gap > 0 && l.looked: // it was there after the gap
		l.settle(b, run, run.Gap)
		l.hold(b, run, elapsed, l.now.API)
	case run.Gap > 0 && !ended.IsZero():
		begin := time.UnixMilli(run.GapEnd - run.Gap)
		l.settle(b, run, min(run.Gap, max(0, ended.Sub(begin).Milliseconds())))
	case run.Gap > 0:
		run.Gap = 0
		b.change(l.now.API, run.Key, func(r *Row) { r.Estimated++ })
	default:
		l.hold(b, run, elapsed, l.now.API)
	}
	l.end(&Kernel{UID: uid, Run: run.Number, Final: final, FinalRun: run.Number}, b, run)
}

// end forgets a run that was booked.
func (l *Ledger) end(k *Kernel, b *Book, run *Run) {
	if run.Meter == nil && k.Final != nil && k.FinalRun == run.Number {
		l.meter(b, run, *k.Final)
	}
	b.note(run)
	b.Marks[k.UID] = Mark{Run: max(run.Number, b.Marks[k.UID].Run)}
	delete(b.Runs, k.UID)
	shard := l.where[k.UID]
	l.changed[shard], l.urgent[shard] = true, true
	delete(l.where, k.UID)
}

// hold books that a run was held for so many milliseconds, up to a moment.
func (l *Ledger) hold(b *Book, run *Run, ms int64, until time.Time) {
	if ms > 0 {
		run.Held += ms
		b.hold(run, ms, until)
		l.book(b, run, ms, until, func(u *Use, n int64) { u.Held += n })
	}
}

func (l *Ledger) book(b *Book, run *Run, ms int64, until time.Time, to func(*Use, int64)) {
	for name, n := range run.Amounts {
		l.add(b, run.Key, name, n, ms, until, to)
	}
	if ms != 0 {
		l.changed[ShardOf(run.User)] = true
	}
}

// add books so much of a resource for milliseconds that end at a moment, to the days in
// which they were.
func (l *Ledger) add(b *Book, key Key, name string, n, ms int64, until time.Time, to func(*Use, int64)) {
	for ms > 0 {
		last := until.UTC().Add(-time.Millisecond) // what ends at midnight is of the day before
		midnight := time.Date(last.Year(), last.Month(), last.Day(), 0, 0, 0, 0, time.UTC)
		part := min(ms, last.Sub(midnight).Milliseconds()+1)
		b.change(last, key, func(r *Row) {
			u := r.Of[name]
			to(&u, n*part)
			r.Of[name] = u
		})
		total := l.totals[name]
		to(&total, n*part)
		l.totals[name] = total
		ms -= part
		until = midnight
	}
}

// save books what servers would have held besides, had they kept what their kernels held
// at most at one time. What passes without a leader saves nothing.
func (l *Ledger) save(servers []Server, elapsed int64) {
	type owner struct{ user, server string }
	held, largest := map[owner]Amounts{}, map[owner]*Run{}
	for uid, shard := range l.where {
		run := l.books[shard].Runs[uid]
		at := owner{run.User, run.Server}
		for name, n := range run.Amounts {
			if !IsDevice(name) || run.Server == "" {
				continue
			}
			if held[at] == nil {
				held[at] = Amounts{}
			}
			held[at][name] += n
			if largest[at] == nil || largest[at].Amounts[name] < n {
				largest[at] = run
			}
		}
	}
	seen := map[string]bool{}
	for i := range servers {
		s := &servers[i]
		if !s.Up {
			continue
		}
		shard := ShardOf(s.User)
		b, now := l.books[shard], held[owner{s.User, s.Name}]
		session := b.Sessions[s.UID]
		if session != nil && session.Start != s.Start {
			delete(b.Sessions, s.UID)
			session, l.changed[shard] = nil, true
		}
		if session == nil {
			if len(now) == 0 {
				continue
			}
			session = &Session{Start: s.Start, Most: Amounts{}}
			b.Sessions[s.UID] = session
		}
		seen[s.UID] = true
		for name, n := range now {
			if n > session.Most[name] {
				session.Most[name], session.Key = n, largest[owner{s.User, s.Name}].Key
				l.changed[shard] = true
			}
		}
		for name, most := range session.Most {
			if spare := most - now[name]; spare > 0 && elapsed > 0 {
				l.add(b, session.Key, name, spare, elapsed, l.now.API, func(u *Use, n int64) { u.Saved += n })
				l.changed[shard] = true
			}
		}
	}
	for i, b := range l.books {
		for uid := range b.Sessions {
			if !seen[uid] {
				delete(b.Sessions, uid)
				l.changed[i] = true
			}
		}
	}
}

// IsDevice reports whether a resource is an extended one, such as nvidia.com/gpu.
func IsDevice(resource string) bool { return strings.Contains(resource, "/") }
