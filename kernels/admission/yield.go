package admission

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// mostServed bounds the requests that one call of Yield looks at.
	mostServed = 8
	// mostWeighed bounds the idle holders it considers for each.
	mostWeighed = 32
)

// Yield chooses idle holders whose end would let starved requests be admitted:
// for each request, first come first, the one that has been idle longest, or as
// few as it takes if one does not do. idle maps the IDs of those that may be
// chosen to how long they have been idle. Nobody is chosen whose end alone
// helps nobody.
func Yield(in Input, idle map[string]time.Duration) []string {
	var chosen []string
	tried := map[string]bool{}
	for range mostServed {
		starved := Decide(in).Starved
		i := slices.IndexFunc(starved, func(id string) bool { return !tried[id] })
		if i < 0 {
			break
		}
		tried[starved[i]] = true
		ends := endsFor(in, starved[i], idle)
		in = without(in, ends)
		chosen = append(chosen, ends...)
	}
	return chosen
}

// endsFor chooses whose end lets one request be admitted; none if nothing does.
func endsFor(in Input, id string, idle map[string]time.Duration) []string {
	at := slices.IndexFunc(in.Requests, func(r Request) bool { return r.ID == id })
	candidates := idlers(in, in.Requests[at].Wants, idle)
	helped := func(ends []string) bool { return slices.Contains(Decide(without(in, ends)).Admit, id) }
	for _, c := range candidates {
		if helped([]string{c.ID}) {
			return []string{c.ID}
		}
	}
	// All of them, or those of one node: a pool is full wherever its kernels are.
	groups := map[string][]Holder{"": candidates}
	for _, c := range candidates {
		if c.Node != "" {
			groups[c.Node] = append(groups[c.Node], c)
		}
	}
	var best []string
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if ends := fewest(groups[name], helped); len(ends) > 0 && (best == nil || len(ends) < len(best)) {
			best = ends
		}
	}
	return best
}

// idlers are the holders that may end and hold any of what is wanted, the one
// idle longest first.
func idlers(in Input, wants Resources, idle map[string]time.Duration) []Holder {
	var list []Holder
	for _, h := range in.Holders {
		if _, may := idle[h.ID]; may && helps(h.Holds, Resources{}, wants) {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b Holder) int { return cmp.Or(cmp.Compare(idle[b.ID], idle[a.ID]), cmp.Compare(a.ID, b.ID)) })
	return list[:min(len(list), mostWeighed)]
}

// fewest takes from the front until it helps, and then leaves out whoever is
// not needed, from the back, where they have been idle for less.
func fewest(holders []Holder, helped func([]string) bool) []string {
	var ends []string
	for _, h := range holders {
		ends = append(ends, h.ID)
		if len(ends) > 1 && helped(ends) {
			for i := len(ends) - 2; i >= 0; i-- {
				if less := slices.Delete(slices.Clone(ends), i, i+1); helped(less) {
					ends = less
				}
			}
			return ends
		}
	}
	return nil
}

func without(in Input, ids []string) Input {
	in.Holders = slices.DeleteFunc(slices.Clone(in.Holders), func(h Holder) bool { return slices.Contains(ids, h.ID) })
	return in
}
