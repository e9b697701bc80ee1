package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"
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
	previewAsset, pickAsset,
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
	// Edits: administrators change policies here.
	Edits bool
	// CSRF is what forms send along.
	CSRF string
	Now  time.Time
	// Done is what was asked for on the page before.
	Done Done
	// Bound is that of FaultSnoozeUsedUp.
	Bound time.Duration
	Msg   *Messages
}

// Done is what somebody has asked for.
type Done string

// What can be asked for.
const (
	DoneRelease  Done = "release"
	DoneShutDown Done = "shutdown"
	DoneStop     Done = "stop"
	DoneReturn   Done = "return"
	DoneSnooze   Done = "snooze"
	DoneMove     Done = "move"

	DonePolicySaved   Done = "policy-saved"
	DonePolicyDeleted Done = "policy-deleted"
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
	extra   []Asset
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
	add("my-hours", s.Msg.NavMyHours)
	if s.Admin {
		add("cluster", s.Msg.NavCluster)
		add("kernels", s.Msg.NavKernels)
		add("servers", s.Msg.NavServers)
		add("policies", s.Msg.NavPolicies)
		add("hours", s.Msg.NavHours)
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

// styles and scripts of this page alone.
func (s shell) styles() (hrefs []string)  { return s.extras("text/css") }
func (s shell) scripts() (hrefs []string) { return s.extras("text/javascript") }

func (s shell) extras(mediaType string) (hrefs []string) {
	for _, a := range s.extra {
		if strings.HasPrefix(a.MediaType, mediaType) {
			hrefs = append(hrefs, s.Base+"static/"+a.Name)
		}
	}
	return hrefs
}

func (s shell) done() string {
	switch s.Done {
	case DoneRelease:
		return s.Msg.DoneReleased.plain()
	case DoneShutDown:
		return s.Msg.DoneShutDown.plain()
	case DoneStop:
		return s.Msg.DoneStopped.plain()
	case DoneReturn:
		return s.Msg.DoneReturn.plain()
	case DoneSnooze:
		return s.Msg.DoneSnooze.plain()
	case DoneMove:
		return s.Msg.DoneMove.plain()
	case DonePolicySaved:
		return s.Msg.DonePolicySaved.plain()
	case DonePolicyDeleted:
		return s.Msg.DonePolicyDeleted.plain()
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
