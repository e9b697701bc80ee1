package holdings

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrQuery: a list is asked for in a way that there is not.
var ErrQuery = errors.New("holdings: no such sort key, or no place in a list")

// Query chooses rows of a list, and one page of them.
type Query struct {
	// Search is a part of what names a row, in any case.
	Search string
	// Phase, User, Policy and Node are exact; empty: any.
	Phase, User, Policy, Node string
	// OfHub chooses servers that the Hub makes, or others; nil: all.
	OfHub *bool
	// Sort is a key; empty: the list's own. Rows with the same are sorted by name.
	Sort       string
	Descending bool
	// Limit of rows in a page, and the Next of the page before it; empty: the first.
	Limit int
	After string
}

// Page is one of a list.
type Page[Row any] struct {
	Items []Row `json:"items"`
	// Total counts the rows of all pages.
	Total int `json:"total"`
	// Next is what the following page comes after, empty on the last.
	Next string `json:"next,omitempty"`
}

// KernelSorts and ServerSorts are the sort keys, the list's own first.
var (
	KernelSorts = []string{"user", "phase", "kernelspec", "node", "policy", "since", "idle", "memory"}
	ServerSorts = []string{"user", "phase", "node", "policy", "since", "activity", "memory"}
)

// FindKernels finds one page of kernels. Error: ErrQuery.
func FindKernels(all []Kernel, q Query) (Page[Kernel], error) {
	return find(all, q, KernelSorts, traits[Kernel]{
		name: func(k *Kernel) string { return k.ID },
		matches: func(k *Kernel) bool {
			return q.fits(string(k.Phase), k.User, k.Policy, k.Node) &&
				q.mentions(k.ID, k.User, k.KernelSpec, k.Title, k.Document, k.Node, k.Policy, k.Notebook)
		},
		key: func(k *Kernel, sort string) string {
			switch sort {
			case "phase":
				return string(k.Phase)
			case "kernelspec":
				return k.Title
			case "node":
				return k.Node
			case "policy":
				return k.Policy
			case "since":
				return instant(k.Since)
			case "idle":
				return instant(k.IdleSince)
			case "memory":
				return number(k.Memory)
			}
			return k.User
		},
	})
}

// FindServers finds one page of servers. Error: ErrQuery.
func FindServers(all []Server, q Query) (Page[Server], error) {
	return find(all, q, ServerSorts, traits[Server]{
		name: func(s *Server) string { return s.Name },
		matches: func(s *Server) bool {
			return q.fits(string(s.Phase), s.User, s.Policy, s.Node) && (q.OfHub == nil || *q.OfHub == s.isOfHub) && q.mentions(s.Name, s.User, s.Server, s.Image, s.Node, s.Policy)
		},
		key: func(s *Server, sort string) string {
			switch sort {
			case "phase":
				return string(s.Phase)
			case "node":
				return s.Node
			case "policy":
				return s.Policy
			case "since":
				return instant(s.StartedAt)
			case "activity":
				return instant(s.LastActivity)
			case "memory":
				return number(s.Memory)
			}
			return s.User
		},
	})
}

func (q Query) fits(phase, user, policy, node string) bool {
	for _, pair := range [][2]string{{q.Phase, phase}, {q.User, user}, {q.Policy, policy}, {q.Node, node}} {
		if pair[0] != "" && pair[0] != pair[1] {
			return false
		}
	}
	return true
}

func (q Query) mentions(names ...string) bool {
	if q.Search == "" {
		return true
	}
	wanted := strings.ToLower(q.Search)
	return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(strings.ToLower(name), wanted) })
}

// instant sorts times as text; what there is none of comes last.
func instant(t *time.Time) string {
	if t == nil {
		return "~"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

func number(n int64) string { return fmt.Sprintf("%020d", n) }

// traits are what find asks of a row.
type traits[Row any] struct {
	name    func(*Row) string
	matches func(*Row) bool
	key     func(row *Row, sort string) string
}

// find pages by sort key and name, so that rows that come and go shift nothing.
func find[Row any](all []Row, q Query, sorts []string, of traits[Row]) (Page[Row], error) {
	sort := cmp.Or(q.Sort, sorts[0])
	if !slices.Contains(sorts, sort) {
		return Page[Row]{}, ErrQuery
	}
	type entry struct {
		key, name string
		row       *Row
	}
	var found []entry
	for i := range all {
		if row := &all[i]; of.matches(row) {
			found = append(found, entry{of.key(row, sort), of.name(row), row})
		}
	}
	order := func(a, b entry) int {
		byKey := cmp.Compare(a.key, b.key)
		if q.Descending {
			byKey = -byKey
		}
		return cmp.Or(byKey, cmp.Compare(a.name, b.name))
	}
	slices.SortFunc(found, order)
	page := Page[Row]{Items: []Row{}, Total: len(found)}
	from := 0
	if q.After != "" {
		key, name, err := parseCursor(q.After)
		if err != nil {
			return Page[Row]{}, err
		}
		last := entry{key: key, name: name}
		from, _ = slices.BinarySearchFunc(found, last, func(a, b entry) int {
			return cmp.Or(order(a, b), -1) // the first that comes after it
		})
	}
	to := min(from+q.Limit, len(found))
	for _, e := range found[from:to] {
		page.Items = append(page.Items, *e.row)
	}
	if to < len(found) && to > from {
		page.Next = cursor(found[to-1].key, found[to-1].name)
	}
	return page, nil
}

// cursor is a row's place in a list, as text; each text of whole bytes in hexadecimal is one.
func cursor(key, name string) string { return hex.EncodeToString([]byte(key + "\x00" + name)) }

func parseCursor(text string) (key, name string, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return "", "", ErrQuery
	}
	key, name, _ = strings.Cut(string(raw), "\x00")
	return key, name, nil
}
