package main

import (
	"encoding/json"
	"fmt"
)

// hubAlone is a Hub whose spawner does nothing.
const hubAlone = "the Hub alone"

// spawns is how servers start and stop by way of one spawner, as test/hub/bench/spawns.py wrote it.
type spawns struct {
	Way     string    `json:"way"`
	AtOnce  int       `json:"atOnce"`
	P50     float64   `json:"p50"` // seconds from POST until the Hub says that the server is ready
	P95     float64   `json:"p95"`
	StopP50 float64   `json:"stopP50"`
	Start   spawnCost `json:"start"` // of each
	Stop    spawnCost `json:"stop"`
	// Minute is what each costs in a minute in which it only runs, where that was measured.
	Minute *spawnCost `json:"minute"`
}

// spawnCost is what one start or stop costs.
type spawnCost struct {
	HubCPU     float64 `json:"hubCPU"` // seconds of processor
	ServiceCPU float64 `json:"serviceCPU"`
	APICPU     float64 `json:"apiCPU"`
	Writes     float64 `json:"writes"` // requests of the spawner, or of its service
	Reads      float64 `json:"reads"`
	Requests   float64 `json:"requests"` // that the API server has answered, of everybody
}

func decodeSpawns(raw []byte) ([]spawns, string, error) {
	var r struct {
		Machine map[string]string
		Figures []spawns
	}
	err := json.Unmarshal(raw, &r)
	return r.Figures, spawnerVersions(r.Machine), err
}

// spawnerVersions says what test/hub/bench measured, on what.
func spawnerVersions(m map[string]string) string {
	return fmt.Sprintf("elastichub %s, KubeSpawner %s, JupyterHub %s, Python %s, %s CPUs, load %s before, %s",
		m["elastichub"], m["jupyterhub-kubespawner"], m["jupyterhub"], m["python"], m["cpus"], m["load"], m["date"])
}

// spawnRows compares each figure of ours with that of KubeSpawner, which follows it, and with that
// of a Hub whose spawner does nothing, the third.
func spawnRows(raw []byte) ([]row, string, error) {
	all, versions, err := decodeSpawns(raw)
	var rows []row
	for i := 0; i+2 < len(all); i += 3 {
		us, them, bare := all[i], all[i+1], all[i+2]
		of := fmt.Sprintf("%d at once", us.AtOnce)
		rows = append(rows,
			row{what: of + ": from POST until ready, p50 / p95", ours: fmt.Sprintf("%.2f / %.2f s", us.P50, us.P95),
				theirs: fmt.Sprintf("KubeSpawner: %.2f / %.2f s, %s", them.P50, them.P95, ratio(them.P50, us.P50))},
			hubRow(of+": CPU of a start", us.Start, them.Start, bare.Start, 1),
			hubRow(of+": CPU of a stop", us.Stop, them.Stop, bare.Stop, 1))
		if us.Minute != nil && them.Minute != nil && bare.Minute != nil {
			rows = append(rows, hubRow("1,000 that run: CPU of a minute", *us.Minute, *them.Minute, *bare.Minute, 1000))
		}
		rows = append(rows,
			row{what: of + ": writes and reads of a start", ours: fmt.Sprintf("%.1f, %.1f", us.Start.Writes, us.Start.Reads),
				theirs: fmt.Sprintf("%.1f, %.1f", them.Start.Writes, them.Start.Reads), wanted: "≤ 15 writes"},
			row{what: of + ": writes and reads of a stop", ours: fmt.Sprintf("%.1f, %.1f", us.Stop.Writes, us.Stop.Reads),
				theirs: fmt.Sprintf("%.1f, %.1f", them.Stop.Writes, them.Stop.Reads)},
			row{what: of + ": API server, a start: CPU, requests of everybody", ours: fmt.Sprintf("%.0f ms, %.0f", 1e3*us.Start.APICPU, us.Start.Requests),
				theirs: fmt.Sprintf("%.0f ms, %.0f", 1e3*them.Start.APICPU, them.Start.Requests), wanted: "≤ KubeSpawner's CPU"},
		)
	}
	return rows, versions, err
}

// hubRow is the CPU of n of something: all of the Hub's, and how much of that the spawner's is.
func hubRow(what string, us, them, bare spawnCost, n float64) row {
	spawners := func(c spawnCost) float64 { return max(c.HubCPU-bare.HubCPU, 0) }
	return row{what: what + ", Hub (the spawner's part) + service",
		ours: fmt.Sprintf("%.1f (%.1f) + %.1f ms", 1e3*n*us.HubCPU, 1e3*n*spawners(us), 1e3*n*us.ServiceCPU),
		theirs: fmt.Sprintf("KubeSpawner: %.1f (%.1f) ms, %s; the Hub alone: %.1f ms",
			1e3*n*them.HubCPU, 1e3*n*spawners(them), ratio(them.HubCPU, us.HubCPU), 1e3*n*bare.HubCPU),
		wanted: "a third"}
}

func drawSpawns(raw []byte) (string, error) {
	all, versions, err := decodeSpawns(raw)
	c := chart{title: "Start of a server by the Hub, until it is ready", unit: "seconds", versions: versions,
		subtitle: "Bar: median, line: 95th percentile. Behind it: CPU of the Hub for one start."}
	for i, s := range all {
		if s.Way == hubAlone { // which starts nothing
			continue
		}
		if i == 0 || all[i-1].AtOnce != s.AtOnce {
			c.groups = append(c.groups, group{title: fmt.Sprintf("%d at once", s.AtOnce)})
		}
		last := &c.groups[len(c.groups)-1]
		last.bars = append(last.bars, bar{label: s.Way, value: s.P50, whisker: s.P95, tone: toneOf(s.Way),
			text: fmt.Sprintf("%.1f / %.1f; Hub %.0f ms", s.P50, s.P95, 1e3*s.Start.HubCPU)})
	}
	return c.svg(), err
}
