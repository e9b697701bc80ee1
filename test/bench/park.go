package main

import (
	"encoding/json"
	"fmt"
)

// parkStep is what a save or a load takes: medians.
type parkStep struct {
	Seconds float64 `json:"seconds"` // on the clock
	CPU     float64 `json:"cpu"`     // seconds
	MB      float64 `json:"mb"`      // of memory besides
}

// parked is one way to keep the state of one notebook; test/bench/park.py measures it.
type parked struct {
	Notebook string   `json:"notebook"`
	Way      string   `json:"way"`
	Save     parkStep `json:"save"`
	Load     parkStep `json:"load"`
	Size     float64  `json:"size"` // MB
}

func decodeParked(raw []byte) ([]parked, string, error) {
	var r struct {
		Machine map[string]string
		Figures []parked
	}
	err := json.Unmarshal(raw, &r)
	m := r.Machine
	return r.Figures, fmt.Sprintf("elastichub %s, dill %s, cloudpickle %s, Python %s and its pickle, pandas %s, %s rows, %s rounds, %s CPUs, load %s before, %s",
		m["elastichub"], m["dill"], m["cloudpickle"], m["python"], m["pandas"], m["rows"], m["rounds"], m["cpus"], m["load"], m["date"]), err
}

// steps of a way, with their names.
func (p parked) steps() map[string]parkStep {
	return map[string]parkStep{"save": p.Save, "load": p.Load}
}

func parkRows(raw []byte) ([]row, string, error) {
	all, versions, err := decodeParked(raw)
	var rows []row
	for i, ours := range all {
		if toneOf(ours.Way) != toneOurs {
			continue
		}
		for _, step := range []string{"save", "load"} {
			us := ours.steps()[step]
			r := row{what: fmt.Sprintf("%s, %s", ours.Notebook, step), ours: fmt.Sprintf("%.2f s, CPU %.2f s, %+.0f MB", us.Seconds, us.CPU, us.MB)}
			for _, theirs := range all[i+1:] {
				if theirs.Notebook != ours.Notebook {
					break
				}
				them := theirs.steps()[step]
				r.theirs += fmt.Sprintf("%s: %.2f s, CPU %.2f s, %+.0f MB, %s; ", theirs.Way, them.Seconds, them.CPU, them.MB, ratio(them.Seconds, us.Seconds))
			}
			if len(r.theirs) > 0 {
				r.theirs = r.theirs[:len(r.theirs)-2]
			}
			if step == "save" && ours.Notebook == "1 GiB of arrays" {
				r.wanted = "CPU ≤ 0.3 s, ≤ 64 MB"
			}
			rows = append(rows, r)
		}
	}
	return rows, versions, err
}

func drawParked(raw []byte) (string, error) {
	all, versions, err := decodeParked(raw)
	c := chart{title: "The state of a kernel, saved and loaded", unit: "seconds", subtitle: "Bar: median on the clock.", versions: versions}
	for _, step := range []string{"save", "load"} {
		for i, p := range all {
			if i == 0 || all[i-1].Notebook != p.Notebook {
				c.groups = append(c.groups, group{title: step + ", " + p.Notebook})
			}
			last := &c.groups[len(c.groups)-1]
			s := p.steps()[step]
			last.bars = append(last.bars, bar{label: p.Way, value: s.Seconds, text: fmt.Sprintf("%.2f, %+.0f MB", s.Seconds, s.MB), tone: toneOf(p.Way)})
		}
	}
	return c.svg(), err
}
