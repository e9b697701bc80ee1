package agent

import "hash/maphash"

// mostRecent is how many messages of a session are recognised when they come again.
const mostRecent = 4096

// recent knows the last headers of a session's messages. A header has a unique
// msg_id and a date: one that is the same to the byte is a repetition.
type recent struct {
	seed  maphash.Seed
	known map[uint64]struct{}
	order []uint64 // a ring once it is full
	next  int
}

func newRecent() recent {
	return recent{seed: maphash.MakeSeed(), known: map[uint64]struct{}{}}
}

// add reports whether the header is new.
func (r *recent) add(header []byte) bool {
	sum := maphash.Bytes(r.seed, header)
	if _, ok := r.known[sum]; ok {
		return false
	}
	r.known[sum] = struct{}{}
	if len(r.order) < mostRecent {
		r.order = append(r.order, sum)
		return true
	}
	delete(r.known, r.order[r.next])
	r.order[r.next] = sum
	r.next = (r.next + 1) % mostRecent
	return true
}
