package web

import (
	"cmp"
	"net/url"
	"strconv"

	"github.com/a-h/templ"

	"github.com/elastichub/elastichub/portal/holdings"
)

// barView is a resource at a glance, in shares of 100.
type barView struct {
	busy, idle string
	text       string
}

func (m *Messages) bar(d holdings.Device) barView {
	if d.Total == nil || *d.Total <= 0 {
		return barView{}
	}
	share := func(n int64) string { return strconv.FormatInt(min(100*n / *d.Total, 100), 10) }
	n := func(n int64) string { return strconv.FormatInt(n, 10) }
	return barView{share(d.Busy), share(d.Idle), m.say(m.BarText, "busy", n(d.Busy), "idle", n(d.Idle), "total", n(*d.Total))}
}

type tile struct{ text, value string }

func (m *Messages) tiles(d holdings.Device) []tile {
	n := func(n int64) string { return strconv.FormatInt(n, 10) }
	var all []tile
	if d.Total != nil {
		all = append(all, tile{m.Total.plain(), n(*d.Total)})
	}
	if d.Free != nil {
		all = append(all, tile{m.Free.plain(), n(*d.Free)})
	}
	return append(all, tile{m.Held.plain(), n(d.Held)}, tile{m.Busy.plain(), n(d.Busy)}, tile{m.Idle.plain(), n(d.Idle)}, tile{m.Waiting.plain(), n(d.Waiting)})
}

func (m *Messages) counts(o holdings.Overview) []tile {
	return []tile{
		{m.RunningServers.plain(), strconv.Itoa(o.Servers)}, {m.RunningKernels.plain(), strconv.Itoa(o.Kernels)},
		{m.ParkedKernels.plain(), strconv.Itoa(o.Parked)}, {m.WaitingKernels.plain(), strconv.Itoa(o.Waiting)},
	}
}

// Events are what happened to the object of a page, if that is known.
type Events struct {
	Known bool
	All   []holdings.Event
}

// mostQueued is how much of the queue the page of the cluster shows.
const mostQueued = 50

// fact is something known of an object; stamp is set for a time.
type fact struct{ text, value, stamp string }

func (c Console) kernelFacts(k holdings.Kernel) []fact {
	m := c.Msg
	return []fact{
		{m.ColUser.plain(), k.User, ""}, {m.ColServer.plain(), k.Notebook, ""}, {m.ColKernel.plain(), k.KernelSpec, ""}, {m.ColDocument.plain(), k.Document, ""},
		{m.Devices.plain(), m.deviceLine(k), ""}, {m.Size.plain(), m.size(k.CPU, k.Memory), ""}, {m.ColNode.plain(), k.Node, ""}, {m.ColPolicy.plain(), k.Policy, ""},
		{m.ColSince.plain(), c.ago(k.Since), stamp(k.Since)}, {m.Made.plain(), c.ago(&k.Created), stamp(&k.Created)},
	}
}

func (c Console) serverFacts(s holdings.Server) []fact {
	m := c.Msg
	return []fact{
		{m.ColUser.plain(), s.User, ""}, {m.Image.plain(), s.Image, ""}, {m.Size.plain(), m.size(s.CPU, s.Memory), ""}, {m.ColNode.plain(), s.Node, ""},
		{m.ColPolicy.plain(), s.Policy, ""}, {m.ColSince.plain(), c.ago(s.StartedAt), stamp(s.StartedAt)},
		{m.ColUsed.plain(), c.ago(s.LastActivity), stamp(s.LastActivity)}, {m.Made.plain(), c.ago(&s.Created), stamp(&s.Created)},
	}
}

func (c Console) kernelURL(k holdings.Kernel) templ.SafeURL {
	return templ.SafeURL(c.Base + "kernels/" + url.PathEscape(k.ID))
}

func serverTitle(s holdings.Server, m *Messages) string {
	if s.Server == "" {
		return m.DefaultServer.plain()
	}
	return cmp.Or(s.DisplayName, s.Server)
}

func (c Console) serverURL(s holdings.Server) templ.SafeURL {
	return templ.SafeURL(c.Base + "servers/" + url.PathEscape(s.Name))
}

// currentOf is the navigation's entry for an object's page: one's own is among mine.
func currentOf(own bool, list string) string {
	if own {
		return ""
	}
	return list
}
