package admission

// Claim is what a kernel was promised for one of its runs.
type Claim struct {
	Holder
	Run int64
}

// Ledger remembers the claims that the caller has written and its cache does
// not show yet. The zero value is empty and ready. It is not safe for
// concurrent use.
type Ledger struct{ claims map[string]Claim }

// Promise records a claim. Call it before the write, so that there is no
// moment at which neither ledger nor cache counts it.
func (l *Ledger) Promise(c Claim) {
	if l.claims == nil {
		l.claims = map[string]Claim{}
	}
	l.claims[c.ID] = c
}

// Withdraw forgets a claim whose write is known not to have happened.
func (l *Ledger) Withdraw(id string) { delete(l.claims, id) }

// Seen tells the ledger what the cache shows of a kernel: the run its status
// speaks of, and whether that run still waits. It returns the claim that is
// still to be counted beside the cache, if any.
func (l *Ledger) Seen(id string, run int64, waiting bool) (Claim, bool) {
	c, ok := l.claims[id]
	if !ok {
		return Claim{}, false
	}
	if run > c.Run || run == c.Run && !waiting {
		delete(l.claims, id)
		return Claim{}, false
	}
	return c, true
}

// Keep forgets the claims of kernels that exist says are gone.
func (l *Ledger) Keep(exists func(id string) bool) {
	for id := range l.claims {
		if !exists(id) {
			delete(l.claims, id)
		}
	}
}

// Len is the number of claims.
func (l *Ledger) Len() int { return len(l.claims) }
