package web

import (
	"net/url"

	"github.com/a-h/templ"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

// listing is a list's query and where its pages are.
type listing struct {
	shell
	path   string
	query  holdings.Query
	phases []option
	total  int
	next   string
}

type option struct {
	value, text string
	selected    bool
}

// href is the same list, asked for in another way.
func (l listing) href(change func(*holdings.Query)) templ.SafeURL {
	q := l.query
	q.After = ""
	change(&q)
	values := url.Values{}
	for name, value := range map[string]string{"q": q.Search, "phase": q.Phase, "user": q.User, "policy": q.Policy, "node": q.Node, "after": q.After} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if q.Sort != "" {
		sort := q.Sort
		if q.Descending {
			sort = "-" + sort
		}
		values.Set("sort", sort)
	}
	address := l.Base + l.path
	if len(values) > 0 {
		address += "?" + values.Encode()
	}
	return templ.SafeURL(address)
}

// column is a heading that sorts, if it has a key.
type column struct {
	text, key string
	number    bool
}

// sorted is the value of aria-sort.
func (l listing) sorted(c column, first string) string {
	current := l.query.Sort
	if current == "" {
		current = first
	}
	switch {
	case c.key == "" || c.key != current:
		return ""
	case l.query.Descending:
		return "descending"
	}
	return "ascending"
}

func (l listing) sortURL(c column) templ.SafeURL {
	return l.href(func(q *holdings.Query) {
		q.Descending = q.Sort == c.key && !q.Descending
		q.Sort = c.key
	})
}

func (l listing) filtered() bool {
	q := l.query
	return q.Search+q.Phase+q.User+q.Policy+q.Node != ""
}

func newListing(c Console, title, path string, query holdings.Query, total int, next string) listing {
	return listing{shell: shell{Console: c, title: title, current: path, refresh: often, all: true}, path: path, query: query, total: total, next: next}
}

func (m *Messages) kernelPhases(selected string) []option {
	all := []option{{text: m.AnyState.plain()}}
	for _, p := range []v1alpha1.KernelPhase{v1alpha1.KernelQueued, v1alpha1.KernelStarting, v1alpha1.KernelReady, v1alpha1.KernelParked, v1alpha1.KernelDead} {
		text := m.kernelState(holdings.Kernel{Phase: p}).text
		if p == v1alpha1.KernelReady {
			text = m.ServerReady.plain()
		}
		all = append(all, option{string(p), text, string(p) == selected})
	}
	return all
}

func (m *Messages) serverPhases(selected string) []option {
	all := []option{{text: m.AnyState.plain()}}
	for _, p := range []v1alpha1.NotebookPhase{v1alpha1.NotebookPending, v1alpha1.NotebookStarting, v1alpha1.NotebookReady, v1alpha1.NotebookStopping, v1alpha1.NotebookStopped, v1alpha1.NotebookFailed} {
		all = append(all, option{string(p), m.serverState(holdings.Server{Phase: p}).text, string(p) == selected})
	}
	return all
}

func newKernelListing(c Console, query holdings.Query, found holdings.Page[holdings.Kernel]) listing {
	l := newListing(c, c.Msg.AllKernels.plain(), "kernels", query, found.Total, found.Next)
	l.phases = c.Msg.kernelPhases(query.Phase)
	return l
}

func newServerListing(c Console, query holdings.Query, found holdings.Page[holdings.Server]) listing {
	l := newListing(c, c.Msg.AllServers.plain(), "servers", query, found.Total, found.Next)
	l.phases = c.Msg.serverPhases(query.Phase)
	return l
}

func kernelColumns(m *Messages) []column {
	return []column{
		{m.ColUser.plain(), "user", false}, {m.ColKernel.plain(), "kernelspec", false}, {m.ColState.plain(), "phase", false}, {m.Devices.plain(), "", false},
		{m.Size.plain(), "memory", true}, {m.ColNode.plain(), "node", false}, {m.ColPolicy.plain(), "policy", false},
		{m.ColSince.plain(), "since", false}, {m.Idle.plain(), "idle", false},
	}
}

func serverColumns(m *Messages) []column {
	return []column{
		{m.ColUser.plain(), "user", false}, {m.ColServer.plain(), "", false}, {m.ColState.plain(), "phase", false}, {m.Size.plain(), "memory", true},
		{m.ColNode.plain(), "node", false}, {m.ColPolicy.plain(), "policy", false}, {m.ColSince.plain(), "since", false}, {m.ColUsed.plain(), "activity", false},
	}
}
