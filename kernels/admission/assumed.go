package admission

// Claim is what a kernel was promised.
type Claim struct {
	Holder
	// Version is the resource version that the write of the promise gave the
	// kernel; empty until the write is known to have happened.
	Version string
}

// Assumed are the claims that the caller has written and its cache does not show
// yet, as a scheduler assumes the Pods that it has bound. The zero value is empty
// and ready. It is not safe for concurrent use.
type Assumed struct{ claims map[string]Claim }

// Assume records a claim. Call it before the write, so that there is no
// moment at which nothing counts it.
func (a *Assumed) Assume(h Holder) {
	if a.claims == nil {
		a.claims = map[string]Claim{}
	}
	a.claims[h.ID] = Claim{Holder: h}
}

// Confirm tells that the promise is written, and as which version.
func (a *Assumed) Confirm(id, version string) {
	if c, ok := a.claims[id]; ok {
		c.Version = version
		a.claims[id] = c
	}
}

// Forget drops a claim whose write is known not to have happened.
func (a *Assumed) Forget(id string) { delete(a.claims, id) }

// Pending returns the claim that is to be counted in place of what the cache
// shows of a kernel, if there is one. atLeast says whether what the cache
// shows is of that version or newer; then the claim is forgotten.
func (a *Assumed) Pending(id string, atLeast func(version string) bool) (Claim, bool) {
	c, ok := a.claims[id]
	if !ok {
		return Claim{}, false
	}
	if c.Version != "" && atLeast(c.Version) {
		delete(a.claims, id)
		return Claim{}, false
	}
	return c, true
}

// Keep forgets the claims of kernels that are gone. A kernel can only be
// promised anything after it was seen, so one that the cache lacks is gone.
func (a *Assumed) Keep(exists func(id string) bool) {
	for id := range a.claims {
		if !exists(id) {
			delete(a.claims, id)
		}
	}
}

// WarmPods are the IDs of the warm Pods that are claimed.
func (a *Assumed) WarmPods() map[string]bool {
	warmPods := map[string]bool{}
	for _, c := range a.claims {
		if c.WarmPod != "" {
			warmPods[c.WarmPod] = true
		}
	}
	return warmPods
}

// Unconfirmed lists the claims whose write may or may not have happened.
func (a *Assumed) Unconfirmed() []string {
	var ids []string
	for id, c := range a.claims {
		if c.Version == "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// Len is the number of claims.
func (a *Assumed) Len() int { return len(a.claims) }
