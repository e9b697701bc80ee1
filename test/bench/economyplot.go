package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// economyGoal is what was wanted: held/busy at a median wait of economyGoalWait seconds.
const (
	economyGoal     = 1.3
	economyGoalWait = 2.0
)

// drawEconomy is a curve over keep.idleSeconds: what is held for each busy hour, beside how long people wait.
func drawEconomy(raw []byte) (string, error) {
	f, versions, err := decodeEconomy(raw)
	if err != nil {
		return "", err
	}
	const height, bottom, top = 470, 470 - chartBottom, chartTop + 10
	most, longest := 0.0, 0.0
	for _, l := range append(f.Pool, f.Sweep...) {
		most, longest = max(most, l.Ratio.Median), max(longest, l.WaitMean.Median)
	}
	left := func(seconds float64) float64 { return 70 + seconds/longest*(chartWidth-290) }
	up := func(ratio float64) float64 {
		return bottom - math.Log(ratio)/math.Log(most*1.1)*(bottom-top)
	}
	var out strings.Builder
	out.WriteString(svgHead(height, "What a busy GPU-hour costs, and how long people wait for it",
		fmt.Sprintf("%d users, %d GPUs. GPU-hours held for each that a cell computed in, logarithmic; seconds that cells begin later.", f.Users, f.Ample), versions))
	for _, tick := range []float64{1, economyGoal, 1.5, 2, 3, 4, 5} {
		label := plain(tick)
		if tick == economyGoal {
			label = "≤ " + label
		}
		fmt.Fprintf(&out, `<line class="grid" x1="70" x2="%d" y1="%.1f" y2="%.1f"/><text class="faint" x="64" y="%.1f" text-anchor="end" font-size="11">%s</text>`+"\n",
			chartWidth-20, up(tick), up(tick), up(tick)+4, label)
	}
	for tick := 0.0; tick <= longest; tick += 0.5 {
		fmt.Fprintf(&out, `<text class="faint" x="%.1f" y="%d" text-anchor="middle" font-size="11">%s</text>`+"\n", left(tick), bottom+18, plain(tick))
	}
	point := func(l lent, t tone, name string, below float64) {
		fmt.Fprintf(&out, `<circle class="%s" cx="%.1f" cy="%.1f" r="5"/><text class="text" x="%.1f" y="%.1f" font-size="12">%s</text>`+"\n",
			t, left(l.WaitMean.Median), up(l.Ratio.Median), left(l.WaitMean.Median)+9, up(l.Ratio.Median)-4+below, html.EscapeString(name))
	}
	out.WriteString(`<path class="line ours" d="`)
	for i, l := range f.Sweep {
		fmt.Fprintf(&out, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], left(l.WaitMean.Median), up(l.Ratio.Median))
	}
	out.WriteString("\"/>\n")
	for i, l := range f.Sweep {
		below := 0.0
		if i == 0 { // beside the next there is no room
			below = 16
		}
		point(l, toneOurs, fmt.Sprintf("%d s: %.2f, median wait %s s", f.Seconds[i], l.Ratio.Median, plain(round(l.WaitP50.Median, 1))), below)
	}
	for i, l := range f.Pool {
		t := []tone{toneReference, tonePeer, toneOurs}[i]
		name := fmt.Sprintf("%s: %.2f", l.Way, l.Ratio.Median)
		if l.LostCells.Median > 0 {
			name += fmt.Sprintf(", and variables of %.0f cells are lost", l.LostCells.Median)
		}
		if t == toneOurs {
			name += fmt.Sprintf(", median wait %s s", plain(round(l.WaitP50.Median, 1)))
		}
		point(l, t, name, 0)
	}
	fmt.Fprintf(&out, `<text class="faint" x="%d" y="%d" text-anchor="middle" font-size="12">mean added wait of a cell, seconds; the points of the curve are values of keep.idleSeconds</text>`+"\n</svg>\n", chartWidth/2, bottom+35)
	return out.String(), nil
}

// drawEconomyDay is a day of each way: how many GPUs are held, and how many of them are busy.
func drawEconomyDay(raw []byte) (string, error) {
	f, versions, err := decodeEconomy(raw)
	if err != nil {
		return "", err
	}
	const panel, gap, from, until = 120, 34, 7, 21 // of the day, hours
	height := chartTop + len(f.Day)*(panel+gap) + chartBottom - 10
	most := 0.0
	for _, c := range f.Day {
		for _, n := range c.Held {
			most = max(most, n)
		}
	}
	left := func(hour float64) float64 { return 60 + (hour-from)/(until-from)*(chartWidth-90) }
	var out strings.Builder
	out.WriteString(svgHead(height, fmt.Sprintf("GPUs of %d notebook users on one day", f.Users), "Pale: held. Full: a cell computes. The same users, the same cells, in all three.", versions))
	out.WriteString("<style>.pale{opacity:.35}</style>\n")
	for i, c := range f.Day {
		floor := chartTop + i*(panel+gap) + panel + 18
		up := func(n float64) float64 { return float64(floor) - n/most*panel }
		for _, n := range []float64{0, most / 2, most} {
			fmt.Fprintf(&out, `<line class="grid" x1="60" x2="%d" y1="%.1f" y2="%.1f"/><text class="faint" x="54" y="%.1f" text-anchor="end" font-size="11">%.0f</text>`+"\n",
				chartWidth-30, up(n), up(n), up(n)+4, n)
		}
		t := []tone{toneReference, tonePeer, toneOurs}[min(i, 2)]
		for _, area := range []struct {
			class  string
			values []float64
		}{{"pale ", c.Held}, {"", c.Busy}} {
			fmt.Fprintf(&out, `<path class="%s%s" d="M%.1f %d`, area.class, t, left(from), floor)
			for step, n := range area.values {
				begin := float64(step*f.Step) / 60
				if begin >= from && begin < until {
					fmt.Fprintf(&out, "L%.1f %.1fH%.1f", left(begin), up(n), left(begin+float64(f.Step)/60))
				}
			}
			fmt.Fprintf(&out, "V%dZ\"/>\n", floor)
		}
		hours := func(values []float64) (sum float64) {
			for _, n := range values {
				sum += n * float64(f.Step) / 60
			}
			return sum
		}
		fmt.Fprintf(&out, `<text class="text" x="60" y="%d" font-weight="600">%s</text><text class="text" x="%d" y="%d" text-anchor="end" font-size="12">%.0f GPU-hours held, %.0f busy</text>`+"\n",
			floor-panel-7, html.EscapeString(c.Way), chartWidth-30, floor-panel-7, hours(c.Held), hours(c.Busy))
	}
	for hour := from; hour <= until; hour += 2 {
		fmt.Fprintf(&out, `<text class="faint" x="%.1f" y="%d" text-anchor="middle" font-size="11">%02d:00</text>`+"\n", left(float64(hour)), height-18, hour)
	}
	out.WriteString("</svg>\n")
	return out.String(), nil
}

func economyRows(raw []byte) ([]row, string, error) {
	f, versions, err := decodeEconomy(raw)
	if err != nil {
		return nil, "", err
	}
	wanted := fmt.Sprintf("≤ %s at a median of ≤ %s s", plain(economyGoal), plain(economyGoalWait))
	text := func(l lent) string {
		told := fmt.Sprintf("held/busy %s; waits p50 %s, p90 %s, p99 %s s", l.Ratio, l.WaitP50, plain(round(l.WaitP90.Median, 1)), plain(round(l.WaitP99.Median, 1)))
		if l.LostCells.Median > 0 {
			told += fmt.Sprintf("; %.0f kernels lost with the work of %.0f cells, %.1f GPU-hours", l.LostKernels.Median, l.LostCells.Median, l.LostHours.Median)
		}
		return told
	}
	saves := func(l lent) string {
		return fmt.Sprintf("; %.0f %% less than with GPUs of one's own, %.0f %% less than with the cull", 100*l.Saved.Median, 100*l.SavedCull.Median)
	}
	rows := []row{
		{"a day, medians: cells, busy GPU-hours, idle share of GPUs of one's own", fmt.Sprintf("%.0f, %.0f, %.0f %%", f.Cells.Median, f.Pool[0].Busy.Median, 100*f.Idle.Median), "", ""},
	}
	add := func(pool string, list []lent, wanted string) {
		for _, l := range list {
			r := row{what: fmt.Sprintf("%s, %s", l.Way, pool)}
			switch {
			case toneOf(l.Way) != toneOurs:
				r.theirs = text(l)
			default:
				r.ours = text(l)
				if l.Saved.Median != 0 {
					r.ours += saves(l)
				}
				r.wanted = wanted
			}
			if l.Ready.Median > 0 {
				r.ours += fmt.Sprintf("; %.0f of the GPU-hours are those of warm Pods", l.Ready.Median)
			}
			rows = append(rows, r)
		}
	}
	add(fmt.Sprintf("%d GPUs", f.Ample), append(f.Pool, f.Sweep...), wanted)
	add(fmt.Sprintf("%d GPUs", f.Tight), f.Shortage, "")
	add(fmt.Sprintf("%d GPUs", f.Ample), f.Others, "")
	add("everybody works all day", f.AllWork, "")
	return rows, versions, nil
}
