package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/portal/holdings"
)

var (
	//go:embed console.css
	consoleCSS []byte
	//go:embed console.js
	consoleJS []byte
)

// Asset is a file that the console's pages link to. Its name changes with its content.
type Asset struct {
	Name, MediaType string
	Content         []byte
}

// ConsoleAssets are all there are.
var ConsoleAssets = []Asset{
	newAsset("console", "css", "text/css; charset=utf-8", consoleCSS),
	newAsset("console", "js", "text/javascript; charset=utf-8", consoleJS),
}

func newAsset(name, extension, mediaType string, content []byte) Asset {
	sum := sha256.Sum256(content)
	return Asset{Name: name + "-" + hex.EncodeToString(sum[:6]) + "." + extension, MediaType: mediaType, Content: content}
}

// Console is what is around every page.
type Console struct {
	// Base is where the pages are, and Hub where the Hub's are; both end in a slash.
	Base, Hub string
	// User is empty on pages for who is not signed in.
	User string
	// Admin has pages for administrators; AdminUnknown: nobody can tell whether they may.
	Admin, AdminUnknown bool
	// CSRF is what forms send along.
	CSRF string
	Now  time.Time
	// Done is what was asked for on the page before.
	Done Done
	Msg  *Messages
}

// Done is what somebody has asked for.
type Done string

// What can be asked for.
const (
	DoneRelease  Done = "release"
	DoneShutDown Done = "shutdown"
	DoneStop     Done = "stop"
)

// How often a page looks again by its script, in seconds, while it does not hear of
// changes: one of an object, which asks the API server for its events, less often.
const (
	often  = "5"
	seldom = "15"
)

// shell is a page's frame.
type shell struct {
	Console
	title   string
	current string // path of the page's entry in the navigation
	refresh string // seconds; empty: never
	all     bool   // it shows what is others'
}

type navEntry struct {
	href, text string
	current    bool
}

func (s shell) nav() []navEntry {
	var entries []navEntry
	if s.User == "" {
		return nil
	}
	add := func(path string, text message) {
		entries = append(entries, navEntry{s.Base + path, text.plain(), path == s.current})
	}
	add("", s.Msg.NavMine)
	if s.Admin {
		add("cluster", s.Msg.NavCluster)
		add("kernels", s.Msg.NavKernels)
		add("servers", s.Msg.NavServers)
		add("policies", s.Msg.NavPolicies)
	}
	return entries
}

// live is where the page hears of changes: of everything, or of the reader's own.
func (s shell) live() string {
	if s.all {
		return s.Base + "live?of=all"
	}
	return s.Base + "live"
}

func (s shell) asset(i int) string { return s.Base + "static/" + ConsoleAssets[i].Name }

func (s shell) done() string {
	switch s.Done {
	case DoneRelease:
		return s.Msg.DoneReleased.plain()
	case DoneShutDown:
		return s.Msg.DoneShutDown.plain()
	case DoneStop:
		return s.Msg.DoneStopped.plain()
	}
	return ""
}

// hubURL is a page of the Hub about a server; more are parts of its path.
func (c Console) hubURL(page string, parts ...string) templ.SafeURL {
	address := c.Hub + page
	for _, part := range parts {
		if part != "" {
			address += "/" + url.PathEscape(part)
		}
	}
	return templ.SafeURL(address)
}

// about is a time in its largest unit, rounded down.
func (m *Messages) about(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 2*time.Minute:
		return m.count(m.Seconds, fmt.Sprint(int64(d/time.Second)))
	case d < 2*time.Hour:
		return m.count(m.Minutes, fmt.Sprint(int64(d/time.Minute)))
	case d < 48*time.Hour:
		return m.count(m.Hours, fmt.Sprint(int64(d/time.Hour)))
	}
	return m.count(m.Days, fmt.Sprint(int64(d/(24*time.Hour))))
}

// stateView is a state in a word, with a mark beside it.
type stateView struct{ text, mark string }

func (m *Messages) kernelState(k holdings.Kernel) stateView {
	switch k.Phase {
	case v1alpha1.KernelQueued:
		return stateView{m.PhaseQueued.plain(), "warn"}
	case v1alpha1.KernelStarting:
		return stateView{m.PhaseStarting.plain(), "warn"}
	case v1alpha1.KernelReady:
		if k.IdleSince != nil {
			return stateView{m.PhaseIdle.plain(), "idle"}
		}
		return stateView{m.PhaseBusy.plain(), "good"}
	case v1alpha1.KernelParked:
		return stateView{m.PhaseParked.plain(), ""}
	case v1alpha1.KernelDead:
		return stateView{m.PhaseDead.plain(), "bad"}
	}
	return stateView{string(k.Phase), ""} // of a newer controller
}

func (m *Messages) serverState(s holdings.Server) stateView {
	switch s.Phase {
	case v1alpha1.NotebookPending:
		return stateView{m.ServerPending.plain(), "warn"}
	case v1alpha1.NotebookStarting:
		return stateView{m.ServerStarting.plain(), "warn"}
	case v1alpha1.NotebookReady:
		return stateView{m.ServerReady.plain(), "good"}
	case v1alpha1.NotebookStopping:
		return stateView{m.ServerStopping.plain(), "warn"}
	case v1alpha1.NotebookStopped:
		return stateView{m.ServerStopped.plain(), ""}
	case v1alpha1.NotebookFailed:
		return stateView{m.ServerFailed.plain(), "bad"}
	}
	return stateView{string(s.Phase), ""}
}

// amounts of devices, as "2 GPUs"; those that are not called so bear their names.
func (m *Messages) amounts(devices map[string]int64) string {
	var parts []string
	for _, resource := range slices.Sorted(maps.Keys(devices)) {
		n := strconv.FormatInt(devices[resource], 10)
		if strings.HasSuffix(resource, "/gpu") && len(devices) == 1 {
			parts = append(parts, m.count(m.KernelGPUs, n))
		} else {
			parts = append(parts, n+nbsp+"×"+nbsp+resource)
		}
	}
	return m.list(parts)
}

func (m *Messages) cores(n float64) string {
	text := strconv.FormatFloat(n, 'f', 2, 64)
	return m.count(m.CPUAmount, strings.TrimSuffix(strings.TrimRight(text, "0"), "."))
}

func (m *Messages) gibibytes(n int64) string {
	text := strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64)
	return m.count(m.MemoryAmount, strings.TrimSuffix(text, ".0"))
}

// size is CPU and memory, empty where neither is known.
func (m *Messages) size(cpu float64, memory int64) string {
	var parts []string
	if cpu > 0 {
		parts = append(parts, m.cores(cpu))
	}
	if memory > 0 {
		parts = append(parts, m.gibibytes(memory))
	}
	return m.list(parts)
}

// act is something to ask for, in a form that opens.
type act struct {
	label, explained, action, csrf string
	// about names what it is done to, for who does not see what is around.
	about string
	// force and reason are what the form asks for, besides.
	force, reason bool
	danger        bool
}

func (c Console) kernelActs(k holdings.Kernel, own bool) []act {
	if k.Ending {
		return nil
	}
	action := c.Base + "kernels/" + url.PathEscape(k.ID)
	var acts []act
	switch {
	case k.Phase == v1alpha1.KernelQueued:
		acts = append(acts, act{label: c.Msg.LeaveQueue.plain(), explained: c.Msg.QueueExplained.plain(), action: action + "/release"})
	case k.Phase.HasPod():
		acts = append(acts, act{label: c.Msg.Release.plain(), explained: c.Msg.ReleaseExplained.plain(), action: action + "/release", force: true})
	}
	acts = append(acts, act{label: c.Msg.ShutDown.plain(), explained: c.Msg.ShutDownExplained.plain(), action: action + "/shutdown", danger: true})
	for i := range acts {
		acts[i].csrf, acts[i].reason, acts[i].about = c.CSRF, !own, k.Title
		if k.Document != "" {
			acts[i].about += ", " + k.Document
		}
	}
	return acts
}

func (c Console) serverActs(s holdings.Server, own bool) []act {
	if s.Stopped {
		return nil
	}
	a := act{label: c.Msg.StopServer.plain(), explained: c.Msg.StopOwnExplained.plain(), action: c.Base + "servers/" + url.PathEscape(s.Name) + "/stop", csrf: c.CSRF, danger: true, about: serverTitle(s, c.Msg)}
	if !own {
		a.explained, a.reason = c.Msg.StopExplained.plain(), true
	}
	return []act{a}
}

// kernelLines say in words where a kernel stands.
func (c Console) kernelLines(k holdings.Kernel) []string {
	var lines []string
	say := func(t message, pairs ...string) { lines = append(lines, c.Msg.say(t, pairs...)) }
	switch {
	case k.Queue != nil:
		say(c.Msg.PlaceInQueue, "place", strconv.Itoa(int(k.Queue.Position)), "length", strconv.Itoa(int(k.Queue.Length)))
		if k.Queue.Reason != "" {
			lines = append(lines, k.Queue.Reason)
		}
		if k.Since != nil {
			say(c.Msg.WaitsFor, "time", c.Msg.about(c.Now.Sub(*k.Since)))
		}
	case k.Phase == v1alpha1.KernelReady && k.IdleSince != nil:
		say(c.Msg.IdleFor, "time", c.Msg.about(c.Now.Sub(*k.IdleSince)))
		switch {
		case k.ParkAt == nil:
		case k.ParkAt.After(c.Now):
			say(c.Msg.ParkIn, "time", c.Msg.about(k.ParkAt.Sub(c.Now)))
		default:
			say(c.Msg.ParkSoon)
		}
	case k.Phase == v1alpha1.KernelParked && k.Since != nil:
		say(c.Msg.ParkedFor, "time", c.Msg.about(c.Now.Sub(*k.Since)))
	}
	if k.Kept != nil {
		text := c.Msg.KeptWhole
		if !k.Kept.Whole {
			text = c.Msg.KeptPart
		}
		lines = append(lines, c.Msg.count(text, strconv.Itoa(int(k.Kept.Variables)), "lost", c.Msg.list(k.Kept.Lost)))
	}
	switch {
	case k.Ending:
		say(c.Msg.Ending)
	case k.Releasing:
		say(c.Msg.Releasing)
	}
	if k.Message != "" {
		lines = append(lines, k.Message)
	}
	return lines
}

func (c Console) serverLines(s holdings.Server) []string {
	var lines []string
	say := func(t message, d time.Duration) { lines = append(lines, c.Msg.say(t, "time", c.Msg.about(d))) }
	if s.LastActivity != nil && s.Phase == v1alpha1.NotebookReady {
		say(c.Msg.LastUsed, c.Now.Sub(*s.LastActivity))
	}
	if s.StopAt != nil && !s.Stopped {
		switch s.StopCause {
		case v1alpha1.StopIdle:
			say(c.Msg.StopIfIdle, s.StopAt.Sub(c.Now))
		case v1alpha1.StopMaxRun:
			say(c.Msg.StopAtMax, s.StopAt.Sub(c.Now))
		case v1alpha1.StopBudget, v1alpha1.StopAdmin:
		}
	}
	if s.Message != "" {
		lines = append(lines, s.Message)
	}
	return lines
}

// deviceLine is what a kernel holds or asks for, empty if it needs no device.
func (m *Messages) deviceLine(k holdings.Kernel) string {
	switch {
	case len(k.Devices) == 0:
		return ""
	case k.Holds:
		return m.say(m.HoldsDevices, "devices", m.amounts(k.Devices))
	}
	return m.say(m.AsksDevices, "devices", m.amounts(k.Devices))
}

func (c Console) kernelURL(k holdings.Kernel) templ.SafeURL {
	return templ.SafeURL(c.Base + "kernels/" + url.PathEscape(k.ID))
}

func serverTitle(s holdings.Server, m *Messages) string {
	if s.Server == "" {
		return m.DefaultServer.plain()
	}
	return s.Server
}

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
		all = append(all, tile{m.Total.plain(), n(*d.Total)}, tile{m.Free.plain(), n(max(*d.Total-d.Held, 0))})
	}
	return append(all, tile{m.Held.plain(), n(d.Held)}, tile{m.Busy.plain(), n(d.Busy)}, tile{m.Idle.plain(), n(d.Idle)}, tile{m.Waiting.plain(), n(d.Waiting)})
}

func (m *Messages) counts(o holdings.Overview) []tile {
	return []tile{
		{m.RunningServers.plain(), strconv.Itoa(o.Servers)}, {m.RunningKernels.plain(), strconv.Itoa(o.Kernels)},
		{m.ParkedKernels.plain(), strconv.Itoa(o.Parked)}, {m.WaitingKernels.plain(), strconv.Itoa(o.Waiting)},
	}
}

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

func (c Console) ago(t *time.Time) string {
	if t == nil {
		return ""
	}
	return c.Msg.say(c.Msg.TimeAgo, "time", c.Msg.about(c.Now.Sub(*t)))
}

func stamp(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Fault is why there is no page.
type Fault string

// Faults that a page tells of in its reader's language.
const (
	FaultNotAllowed Fault = "not-allowed"
	FaultCrossSite  Fault = "cross-site"
	FaultSignIn     Fault = "sign-in-failed"
	FaultProvider   Fault = "provider-unavailable"
	FaultNoRoute    Fault = "no-route"
	FaultNoAdmin    Fault = "no-administrator"
	FaultNotFound   Fault = "not-found"
	FaultConflict   Fault = "conflict"
	FaultNotRunning Fault = "not-running"
	FaultNoReason   Fault = "reason-required"
	FaultUnreadable Fault = "malformed"
	FaultSignInNew  Fault = "sign-in-again"
	FaultDirectory  Fault = "directory-unavailable"
	FaultInternal   Fault = "internal"
)

// wayOut is the text of the link that leads to the first page.
func (m *Messages) wayOut(f Fault) string {
	switch f {
	case FaultNoRoute, FaultNoAdmin, FaultNotFound, FaultConflict, FaultNotRunning, FaultNoReason, FaultUnreadable:
		return m.MineTitle.plain()
	case FaultNotAllowed, FaultCrossSite, FaultSignIn, FaultProvider, FaultSignInNew, FaultDirectory, FaultInternal:
	}
	return m.Again.plain()
}

func (m *Messages) fault(f Fault) string {
	switch f {
	case FaultNotAllowed:
		return m.FaultNotAllowed.plain()
	case FaultCrossSite:
		return m.FaultCrossSite.plain()
	case FaultSignIn:
		return m.FaultSignIn.plain()
	case FaultProvider:
		return m.FaultProvider.plain()
	case FaultNoRoute:
		return m.FaultNoRoute.plain()
	case FaultNoAdmin:
		return m.FaultNoAdmin.plain()
	case FaultNotFound:
		return m.FaultNotFound.plain()
	case FaultConflict:
		return m.FaultConflict.plain()
	case FaultNotRunning:
		return m.FaultNotRunning.plain()
	case FaultNoReason:
		return m.FaultNoReason.plain()
	case FaultUnreadable:
		return m.FaultUnreadable.plain()
	case FaultSignInNew:
		return m.SignInAgain.plain()
	case FaultDirectory:
		return m.DirectoryUnavailable.plain()
	case FaultInternal:
	}
	return m.FaultInternal.plain()
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

// poolText is what a policy's members hold together.
func (m *Messages) poolText(g *holdings.PolicyGPUs) string {
	held := strconv.Itoa(int(g.Held))
	if g.Pool == nil {
		return m.say(m.GpusNoPool, "held", held)
	}
	return m.say(m.GpusOfPool, "held", held, "pool", strconv.Itoa(int(*g.Pool)))
}
