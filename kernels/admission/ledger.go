package admission

// Claim is what a kernel was promised.
type Claim struct {
	Holder
	// Version is the resource version that the write of the promise gave the
	// kernel; empty until the write is known to have happened.
	Version string
}

// Ledger remembers the claims that the caller has written and its cache does
// not show yet. The zero value is empty and ready. It is not safe for
// concurrent use.
type Ledger struct{ claims map[string]Claim }

// Promise records a claim. Call it before the write, so that there is no
// moment at which neither ledger nor cache counts it.
func (l *Ledger) Promise(h Holder) {
	if l.claims == nil {
		l.claims = map[string]Claim{}
	}
	l.claims[h.ID] = Claim{Holder: h}
}

// Written tells that the promise is written, and as which version.
func (l *Ledger) Written(id, version string) {
	if c, ok := l.claims[id]; ok {
		c.Version = version
		l.claims[id] = c
	}
}

// Withdraw forgets a claim whose write is known not to have happened.
func (l *Ledger) Withdraw(id string) { delete(l.claims, id) }

// Pending returns the claim that is to be counted in place of what the cache
// shows of a kernel, if there is one. atLeast says whether what the cache
// shows is of that version or newer; then the claim is forgotten.
func (l *Ledger) Pending(id string, atLeast func(version string) bool) (Claim, bool) {
	c, ok := l.claims[id]
	if !ok {
		return Claim{}, false
	}
	if c.Version != "" && atLeast(c.Version) {
		delete(l.claims, id)
		return Claim{}, false
	}
	return c, true
}

// Keep forgets the claims of kernels that are gone. A kernel can only be
// promised anything after it was seen, so one that the cache lacks is gone.
func (l *Ledger) Keep(exists func(id string) bool) {
	for id := range l.claims {
		if !exists(id) {
			delete(l.claims, id)
		}
	}
}

// Spares are the IDs of the spares that are claimed.
func (l *Ledger) Spares() map[string]bool {
	spares := map[string]bool{}
	for _, c := range l.claims {
		if c.Spare != "" {
			spares[c.Spare] = true
		}
	}
	return spares
}

// Doubtful lists the claims whose write may or may not have happened.
func (l *Ledger) Doubtful() []string {
	var ids []string
	for id, c := range l.claims {
		if c.Version == "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// Len is the number of claims.
func (l *Ledger) Len() int { return len(l.claims) }
