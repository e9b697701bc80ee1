package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// draw makes the pictures anew from whatever results there are.
func draw(results, images string) error {
	var faults []error
	for _, picture := range []struct {
		part string
		draw func(raw []byte) (string, error)
	}{
		{"roundtrip", drawRoundTrips}, {"throughput", drawThroughput}, {"memory", drawMemory}, {"restart", drawRestarts},
		{"starts", drawStarts}, {"warm", drawWarm}, {"home", drawHome}, {"replaced", drawReplaced}, {"park", drawParked},
		{"spawns", drawSpawns}, {"economy", drawEconomy}, {"economy-day", drawEconomyDay},
	} {
		part, _, _ := strings.Cut(picture.part, "-") // the rest says which picture of it
		raw, err := os.ReadFile(filepath.Join(results, part+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var svg string
		if err == nil {
			svg, err = picture.draw(raw)
		}
		if err == nil {
			err = errors.Join(os.MkdirAll(images, 0o755), os.WriteFile(filepath.Join(images, "bench-"+picture.part+".svg"), []byte(svg), 0o644))
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// decode reads the figures of a part, and a line that says what they are of.
func decode[T any](raw []byte) (figures T, versions string, err error) {
	var r struct {
		Machine map[string]string `json:"machine"`
		Figures *T                `json:"figures"`
	}
	r.Figures = &figures
	err = json.Unmarshal(raw, &r)
	m := r.Machine
	versions = fmt.Sprintf("elastichub %s, Enterprise Gateway %s, ipykernel %s, %s CPUs, %s", m["elastichub"],
		m["enterprise gateway: jupyter_enterprise_gateway"], m["kernels: ipykernel"], m["cpus"], m["date"])
	return figures, versions, err
}

// tone is whose bar it is.
type tone string

const (
	toneOurs      tone = "ours"
	tonePeer      tone = "peer"
	toneReference tone = "reference"
)

func toneOf(way string) tone {
	switch {
	case strings.HasPrefix(way, "elastichub"):
		return toneOurs
	case way == directWay, way == pipeWay:
		return toneReference
	}
	return tonePeer
}

// bar is one line of a chart. The whisker, if not 0, is a second value.
type bar struct {
	label   string
	value   float64
	whisker float64
	text    string
	tone    tone
}

type group struct {
	title string
	bars  []bar
}

// chart has horizontal bars over one axis.
type chart struct {
	title    string
	subtitle string // says what the bars are
	versions string
	unit     string
	log      bool
	groups   []group
}

const (
	chartWidth  = 820
	chartLeft   = 230 // of the bars
	chartRight  = 150 // for the values' text
	chartTop    = 84
	barHeight   = 16
	barStep     = 23
	groupStep   = 30
	chartBottom = 44
)

// svgHead begins a picture that brings its own ground, so that it can be read
// on any page.
func svgHead(height int, title, subtitle, versions string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-label="%[3]s" font-family="system-ui, sans-serif" font-size="13">
<style>
.ground{fill:#fff;stroke:#d0d7de}.text{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d0d7de}.line{fill:none;stroke-width:2.5}
.ours{fill:#0969da}.peer{fill:#8c959f}.reference{fill:#bf8700}.whisker{stroke:#1f2328;stroke-width:1.5}
.line.ours{fill:none;stroke:#0969da}.line.reference{fill:none;stroke:#bf8700}
@media (prefers-color-scheme:dark){.ground{fill:#0d1117;stroke:#3d444d}.text{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#3d444d}
.ours{fill:#4493f8}.peer{fill:#757d87}.reference{fill:#d29922}.whisker{stroke:#e6edf3}.line.ours{fill:none;stroke:#4493f8}.line.reference{fill:none;stroke:#d29922}}
</style>
<rect class="ground" x="0.5" y="0.5" width="%[4]d" height="%[5]d" rx="6"/>
<text class="text" x="16" y="26" font-size="16" font-weight="600">%[3]s</text>
<text class="faint" x="16" y="46" font-size="12">%[6]s</text>
<text class="faint" x="16" y="63" font-size="12">%[7]s</text>
`, chartWidth, height, html.EscapeString(title), chartWidth-1, height-1, html.EscapeString(subtitle), html.EscapeString(versions))
}

func (c chart) svg() string {
	height := chartTop + chartBottom
	smallest, largest := math.Inf(1), 0.0
	for _, g := range c.groups {
		height += groupStep + barStep*len(g.bars)
		for _, b := range g.bars {
			largest = max(largest, b.value, b.whisker)
			if b.value > 0 {
				smallest = min(smallest, b.value)
			}
		}
	}
	axis := newAxis(c.log, smallest, largest)
	var out strings.Builder
	out.WriteString(svgHead(height, c.title, c.subtitle, c.versions))
	bottom := height - chartBottom
	for _, tick := range axis.ticks {
		fmt.Fprintf(&out, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="faint" x="%.1f" y="%d" text-anchor="middle" font-size="11">%s</text>`+"\n",
			axis.x(tick), axis.x(tick), chartTop-4, bottom+4, axis.x(tick), bottom+18, plain(tick))
	}
	fmt.Fprintf(&out, `<text class="faint" x="%d" y="%d" text-anchor="middle" font-size="12">%s</text>`+"\n",
		chartLeft+(chartWidth-chartLeft-chartRight)/2, bottom+35, html.EscapeString(c.unit))
	y := chartTop
	for _, g := range c.groups {
		fmt.Fprintf(&out, `<text class="text" x="16" y="%d" font-weight="600">%s</text>`+"\n", y+15, html.EscapeString(g.title))
		y += groupStep - 8
		for _, b := range g.bars {
			end := axis.x(b.value)
			fmt.Fprintf(&out, `<text class="text" x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`+"\n",
				chartLeft-8, y+13, html.EscapeString(b.label), b.tone, chartLeft, y, max(1, end-chartLeft), barHeight)
			if b.whisker > b.value {
				far := axis.x(b.whisker)
				fmt.Fprintf(&out, `<path class="whisker" d="M%.1f %dH%.1fM%.1f %dv8"/>`+"\n", end, y+barHeight/2, far, far, y+barHeight/2-4)
				end = far
			}
			fmt.Fprintf(&out, `<text class="text" x="%.1f" y="%d" font-size="12">%s</text>`+"\n", end+6, y+13, html.EscapeString(b.text))
			y += barStep
		}
		y += 8
	}
	out.WriteString("</svg>\n")
	return out.String()
}

type axis struct {
	log      bool
	from, to float64
	ticks    []float64
}

func newAxis(logarithmic bool, smallest, largest float64) axis {
	if largest <= 0 || math.IsInf(smallest, 1) {
		return axis{to: 1, ticks: []float64{0, 1}}
	}
	if logarithmic {
		a := axis{log: true, from: math.Pow(10, math.Floor(math.Log10(smallest))), to: largest}
		if smallest < a.from*1.3 { // a bar has to be seen
			a.from /= 10
		}
		for t := a.from; t <= a.to; t *= 10 {
			a.ticks = append(a.ticks, t)
		}
		return a
	}
	step := math.Pow(10, math.Floor(math.Log10(largest)))
	for largest/step < 4 {
		step /= 2
	}
	a := axis{to: largest}
	for t := 0.0; t <= largest; t += step {
		a.ticks = append(a.ticks, t)
	}
	return a
}

func (a axis) x(v float64) float64 {
	share := (v - a.from) / (a.to - a.from)
	if a.log {
		share = 0
		if v > a.from {
			share = math.Log(v/a.from) / math.Log(a.to/a.from)
		}
	}
	return chartLeft + min(1, max(0, share))*(chartWidth-chartLeft-chartRight)
}

// plain writes a number with three digits that count.
func plain(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.3gk", v/1e3)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

func drawRoundTrips(raw []byte) (string, error) {
	all, versions, err := decode[[]series](raw)
	c := chart{title: "Round trip of a cell that does nothing", unit: "milliseconds, logarithmic",
		subtitle: "Until execute_reply; bar: median, line: 99th percentile.", versions: versions, log: true}
	for _, kernel := range []string{"ipykernel", "synthetic"} {
		g := group{title: kernel}
		for _, s := range all {
			if s.Kernel == kernel {
				text := fmt.Sprintf("%s, p99 %s", plain(s.Reply.P50), plain(s.Reply.P99))
				g.bars = append(g.bars, bar{label: s.Way, value: s.Reply.P50, whisker: s.Reply.P99, text: text, tone: toneOf(s.Way)})
			}
		}
		c.groups = append(c.groups, g)
	}
	return c.svg(), err
}

func drawThroughput(raw []byte) (string, error) {
	all, versions, err := decode[[]flow](raw)
	c := chart{title: "Messages from a kernel that outruns every gateway", unit: "messages per second at the client, logarithmic", versions: versions, log: true,
		subtitle: "Median of several floods, counted at the client."}
	var last string
	for _, f := range all {
		if f.Floods == 1 {
			continue // the one that is about loss
		}
		title := fmt.Sprintf("%s each, %s", sizeText(f.Bytes), map[string]string{"flood": "text", "buffers": "binary buffer"}[f.Kind])
		if title != last {
			c.groups = append(c.groups, group{title: title})
			last = title
		}
		g := &c.groups[len(c.groups)-1]
		g.bars = append(g.bars, bar{label: f.Way, value: f.PerSec, text: fmt.Sprintf("%s/s, %s MB/s", plain(f.PerSec), plain(f.MBPerS)), tone: toneOf(f.Way)})
	}
	return c.svg(), err
}

func sizeText(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%d MiB", bytes>>20)
	case bytes >= 1<<10:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d bytes", bytes)
}

func drawMemory(raw []byte) (string, error) {
	f, versions, err := decode[memoryFigures](raw)
	c := chart{title: fmt.Sprintf("What %d kernels cost one gateway replica", f.Kernels), unit: "kilobytes of resident memory each", versions: versions,
		subtitle: "Growth of the process divided by their number."}
	c.groups = []group{{title: "resident memory", bars: []bar{
		{label: "a kernel", value: f.PerKernel / 1e3, text: plain(f.PerKernel/1e3) + " KB", tone: toneOurs},
		{label: "its connected session", value: f.PerSession / 1e3, text: plain(f.PerSession/1e3) + " KB", tone: toneOurs},
		{label: "both, after load", value: f.Together / 1e3, text: plain(f.Together/1e3) + " KB", tone: toneOurs},
		{label: "wanted: at most", value: 200, text: "200 KB", tone: toneReference},
	}}}
	return c.svg(), err
}

func drawRestarts(raw []byte) (string, error) {
	all, versions, err := decode[[]restarted](raw)
	c := chart{title: "Restart of an ipykernel until a cell has run", unit: "milliseconds", subtitle: "Bar: median, line: 95th percentile.", versions: versions}
	g := group{title: "ipykernel"}
	for _, r := range all {
		g.bars = append(g.bars, bar{label: r.Way, value: r.Ready.P50, whisker: r.Ready.P95, text: fmt.Sprintf("%s, p95 %s", plain(r.Ready.P50), plain(r.Ready.P95)), tone: toneOf(r.Way)})
	}
	c.groups = append(c.groups, g)
	return c.svg(), err
}

// drawStarts is a curve: how many were ready after what time.
func drawStarts(raw []byte) (string, error) {
	f, versions, err := decode[startFigures](raw)
	if err != nil {
		return "", err
	}
	const height, bottom = 380, 380 - chartBottom
	last := max(slices.Max(f.Bare), slices.Max(f.Kernels))
	axis := newAxis(false, 0, last)
	left := func(seconds float64) float64 { return 60 + seconds/last*(chartWidth-90) }
	up := func(n int) float64 { return bottom - float64(n)/float64(f.Count)*(bottom-chartTop-26) }
	var out strings.Builder
	out.WriteString(svgHead(height, fmt.Sprintf("%d starts at once", f.Count),
		fmt.Sprintf("Kernels: from POST until phase Ready. Bare Pods: equal Pods, until Ready. The last ones differ by a factor of %.2f.", f.Ratio), versions))
	for _, tick := range axis.ticks {
		fmt.Fprintf(&out, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="faint" x="%.1f" y="%d" text-anchor="middle" font-size="11">%s</text>`+"\n",
			left(tick), left(tick), chartTop+20, bottom+4, left(tick), bottom+18, plain(tick))
	}
	for _, n := range []int{0, f.Count / 2, f.Count} {
		fmt.Fprintf(&out, `<text class="faint" x="52" y="%.1f" text-anchor="end" font-size="11">%d</text>`+"\n", up(n)+4, n)
	}
	for i, curve := range []struct {
		name  string
		tone  tone
		times []float64
	}{{"kernels", toneOurs, f.Kernels}, {"bare Pods", toneReference, f.Bare}} {
		fmt.Fprintf(&out, `<rect class="%s" x="%d" y="%d" width="14" height="4"/><text class="text" x="%d" y="%d">%s</text>`+"\n",
			curve.tone, 64+i*110, chartTop+4, 84+i*110, chartTop+10, curve.name)
		fmt.Fprintf(&out, `<path class="line %s" d="M%.1f %.1f`, curve.tone, left(0), up(0))
		for n, at := range curve.times {
			fmt.Fprintf(&out, "H%.1fV%.1f", left(at), up(n+1))
		}
		out.WriteString("\"/>\n")
	}
	fmt.Fprintf(&out, `<text class="faint" x="%d" y="%d" text-anchor="middle" font-size="12">seconds after the first request</text>`+"\n</svg>\n", chartWidth/2, bottom+35)
	return out.String(), nil
}

func drawWarm(raw []byte) (string, error) {
	f, versions, err := decode[warmFigures](raw)
	c := chart{title: "Start of an ipykernel on the cluster, until a cell has run", unit: "milliseconds", versions: versions,
		subtitle: "Bar: median, line: 95th percentile."}
	g := group{title: "from POST to the reply of the first cell"}
	add := func(label string, s summary) {
		g.bars = append(g.bars, bar{label: label, value: s.P50, whisker: s.P95, text: fmt.Sprintf("%s, p95 %s", plain(s.P50), plain(s.P95)), tone: toneOurs})
	}
	add("without a pool", f.Cold)
	if f.Skipped == "" {
		add(fmt.Sprintf("from a warm pool of %d", f.Pool), f.Warm)
	}
	c.groups = append(c.groups, g)
	return c.svg(), err
}
