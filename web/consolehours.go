package web

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/elastichub/elastichub/usage"
)

// Hours are what is shown of the ledger: everybody's, or the reader's own.
type Hours struct {
	Own    bool
	Period usage.Period
	By     usage.By
	// Resource is the one that is shown; empty: the first there is.
	Resource string
	// Whose they are, where that is asked for.
	Whose string
	// Lines are what is shown in the table, Dates one for each bar.
	Lines, Dates []usage.Line
	Prices       usage.Prices
	Currency     string
}

// hoursView is a page of hours.
type hoursView struct {
	Console
	Hours
	resources []string
	total     usage.Line
}

func newHoursView(c Console, h Hours) hoursView {
	v := hoursView{Console: c, Hours: h, resources: usage.Resources(h.Dates), total: usage.Total(h.Dates)}
	if !slices.Contains(v.resources, v.Resource) {
		v.Resource = ""
		if len(v.resources) > 0 {
			v.Resource = v.resources[0]
		}
	}
	return v
}

func (v hoursView) path() string {
	if v.Own {
		return "my-hours"
	}
	return "hours"
}

func (v hoursView) title() string {
	if v.Own {
		return v.Msg.MyHoursTitle.plain()
	}
	return v.Msg.HoursTitle.plain()
}

// href is the same page, or a file of it, asked for in another way.
func (v hoursView) href(file string, change func(*hoursView)) templ.SafeURL {
	change(&v)
	values := url.Values{"by": {string(v.By)}}
	if v.Period.Days > 0 {
		values.Set("days", strconv.Itoa(v.Period.Days))
	} else {
		values.Set("months", strconv.Itoa(v.Period.Months))
	}
	if v.Resource != "" {
		values.Set("resource", v.Resource)
	}
	if v.Whose != "" {
		values.Set("user", v.Whose)
	}
	return templ.SafeURL(v.Base + v.path() + file + "?" + values.Encode())
}

// way is one of several, which are links.
type way struct {
	text string
	href templ.SafeURL
	is   bool
}

func (v hoursView) periods() []way {
	var all []way
	for _, p := range []usage.Period{{Days: 1}, {Days: 7}, {Days: 30}, {Months: 12}, {Months: 24}} {
		text := v.Msg.Today.plain()
		switch {
		case p.Months > 0:
			text = v.Msg.count(v.Msg.Months, strconv.Itoa(p.Months))
		case p.Days > 1:
			text = v.Msg.count(v.Msg.Days, strconv.Itoa(p.Days))
		}
		all = append(all, way{text, v.href("", func(w *hoursView) { w.Period = p }), v.Period == p})
	}
	return all
}

func (v hoursView) kinds() []way {
	kinds := []usage.By{usage.ByGroup, usage.ByUser, usage.ByKernelSpec, usage.ByDate}
	if v.Own {
		kinds = []usage.By{usage.ByKernelSpec, usage.ByDate}
	}
	var all []way
	for _, by := range kinds {
		all = append(all, way{v.kind(by), v.href("", func(w *hoursView) { w.By = by }), v.By == by})
	}
	return all
}

// kind is the heading of what lines are of.
func (v hoursView) kind(by usage.By) string {
	switch by {
	case usage.ByUser:
		return v.Msg.ColUser.plain()
	case usage.ByKernelSpec:
		return v.Msg.ColKernel.plain()
	case usage.ByDate:
		return v.Msg.ColDate.plain()
	case usage.ByGroup:
	}
	return v.Msg.ColPolicy.plain()
}

func (v hoursView) shown() []way {
	var all []way
	for _, resource := range v.resources {
		all = append(all, way{v.resource(resource), v.href("", func(w *hoursView) { w.Resource = resource }), v.Resource == resource})
	}
	return all
}

// resource is its name, for people.
func (v hoursView) resource(name string) string { return v.Msg.resourceName(name) }

// lineName names a line.
func (v hoursView) lineName(l usage.Line) (text string, none bool) {
	switch {
	case l.Name != "":
		return l.Name, false
	case v.By == usage.ByGroup:
		return v.Msg.WithoutPolicy.plain(), true
	}
	return "–", true
}

func (v hoursView) of(l usage.Line) usage.Hours { return l.Resources[v.Resource] }

// saves reports whether hours of the resource that is shown can be saved: those of devices.
func (v hoursView) saves() bool { return usage.IsDevice(v.Resource) }

// hours writes a number of hours with a digit after the point, but for many.
func (m *Messages) hours(n float64) string { return m.number(hoursDecimal(n)) }

func hoursDecimal(n float64) string {
	digits := 1
	if n >= 100 {
		digits = 0
	}
	return strconv.FormatFloat(n, 'f', digits, 64)
}

// share of the hours held in which kernels were busy.
func (v hoursView) share(h usage.Hours) string {
	if h.Held <= 0 {
		return "–"
	}
	return strconv.Itoa(int(100*h.Busy/h.Held+.5)) + nbsp + "%"
}

// cost of the hours held of the resource that is shown; empty where it has no price.
func (v hoursView) cost(h usage.Hours) string {
	cost, priced := v.Prices.Of(v.Resource, h)
	if !priced {
		return ""
	}
	return strings.TrimSpace(v.Msg.number(strconv.FormatFloat(cost, 'f', 2, 64)) + " " + v.Currency)
}

func (v hoursView) tiles() []tile {
	h := v.of(v.total)
	all := []tile{{v.Msg.HoursHeld.plain(), v.Msg.hours(h.Held)}, {v.Msg.HoursBusy.plain(), v.Msg.hours(h.Busy)}}
	if v.saves() {
		all = append(all, tile{v.Msg.HoursSaved.plain(), v.Msg.hours(h.Saved)})
	}
	if cost := v.cost(h); cost != "" {
		all = append(all, tile{v.Msg.Cost.plain(), cost})
	}
	return append(all, tile{v.Msg.Runs.plain(), strconv.FormatInt(v.total.Runs, 10)})
}

// plotBar is one of the plot, in units of its height, from above.
type plotBar struct {
	x, width                   string
	savedY, saved, heldY, held string
	busyY, busy                string
	text                       string
}

// plotHeight is that of the plot, and plotSlot the width of a bar with the gap after it.
const (
	plotHeight = 100.0
	plotSlot   = 10
)

// most is the height of the plot in hours.
func (v hoursView) most() float64 {
	most := 0.0
	for _, line := range v.Dates {
		h := v.of(line)
		most = max(most, h.Held+h.Saved)
	}
	return most
}

// plot is one bar for each date: busy at the bottom, held above, saved on top.
func (v hoursView) plot() []plotBar {
	most := v.most()
	if most <= 0 {
		return nil
	}
	f := func(n float64) string { return strconv.FormatFloat(n, 'f', 2, 64) }
	var bars []plotBar
	for i, line := range v.Dates {
		h := v.of(line)
		busy, held, saved := min(h.Busy, h.Held)/most*plotHeight, h.Held/most*plotHeight, h.Saved/most*plotHeight
		bars = append(bars, plotBar{
			x: strconv.Itoa(i*plotSlot + 1), width: strconv.Itoa(plotSlot - 2),
			savedY: f(plotHeight - held - saved), saved: f(saved), heldY: f(plotHeight - held), held: f(held - busy), busyY: f(plotHeight - busy), busy: f(busy),
			text: v.Msg.say(v.Msg.PlotBar, "date", line.Name, "held", v.Msg.hours(h.Held), "busy", v.Msg.hours(h.Busy), "saved", v.Msg.hours(h.Saved)),
		})
	}
	return bars
}

func (v hoursView) plotBox() string {
	return "0 0 " + strconv.Itoa(len(v.Dates)*plotSlot) + " " + strconv.Itoa(int(plotHeight))
}

// plotText is the plot in words.
func (v hoursView) plotText() string {
	h := v.of(v.total)
	return v.Msg.say(v.Msg.PlotText, "resource", v.resource(v.Resource), "from", v.Dates[0].Name, "to", v.Dates[len(v.Dates)-1].Name,
		"held", v.Msg.hours(h.Held), "busy", v.Msg.hours(h.Busy), "saved", v.Msg.hours(h.Saved))
}
