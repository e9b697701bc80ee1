package main

import (
	"encoding/json"
	"errors"
	"fmt"
)

// fleet is a Hub with many running servers, as test/hub/bench/fleet.py wrote it.
type fleet struct {
	Way      string     `json:"way"`
	Servers  int        `json:"servers"`
	First    fleetStart `json:"first"`
	Wrong    fleetWrong `json:"wrong"` // once all were started
	Polled   fleetRest  `json:"polled"`
	Unpolled fleetRest  `json:"unpolled"`
	Restart  struct {
		Known float64 `json:"known"` // seconds until a new Hub process lists all servers
	} `json:"restart"`
	HubAway fleetWrong `json:"hubAway"`
	Outage  fleetWrong `json:"outage"`
}

type fleetStart struct {
	Starts  int     `json:"starts"`
	Failed  int     `json:"failed"`
	Seconds float64 `json:"seconds"` // of all
	P50     float64 `json:"p50"`
	P95     float64 `json:"p95"`
}

// fleetWrong is what was wrong in the end.
type fleetWrong struct {
	What     string `json:"what"`
	Lost     int    `json:"lost"`     // servers that ran and that the Hub, or the cluster, has no more
	Doubled  int    `json:"doubled"`  // users with two Pods
	Orphaned int    `json:"orphaned"` // Pods of which the Hub knows nothing
	Starts   int    `json:"starts"`   // under way when it happened
	Run      int    `json:"run"`      // of them, in the end
}

// fleetRest is a minute in which nobody does anything.
type fleetRest struct {
	Polls      int     `json:"polls"` // seconds between two looks of the Hub at each server; 0: none
	HubMiB     int     `json:"hubMiB"`
	ServiceMiB int     `json:"serviceMiB"`
	HubCPU     float64 `json:"hubCPU"` // seconds of processor
	ServiceCPU float64 `json:"serviceCPU"`
	Writes     float64 `json:"writes"`
	Reads      float64 `json:"reads"`
}

var errFleets = errors.New("fleet.json holds elastichub and KubeSpawner, in this order")

func decodeFleets(raw []byte) (us, them fleet, versions string, err error) {
	var r struct {
		Machine map[string]string
		Figures []fleet
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return us, them, "", err
	}
	if len(r.Figures) != 2 {
		return us, them, "", errFleets
	}
	return r.Figures[0], r.Figures[1], spawnerVersions(r.Machine), nil
}

func fleetRows(raw []byte) ([]row, string, error) {
	us, them, versions, err := decodeFleets(raw)
	if err != nil {
		return nil, "", err
	}
	both := func(what string, text func(f fleet) string, wanted string) row {
		return row{what: what, ours: text(us), theirs: "KubeSpawner: " + text(them), wanted: wanted}
	}
	rest := func(of func(f fleet) fleetRest) func(f fleet) string {
		return func(f fleet) string {
			r := of(f)
			return fmt.Sprintf("%.1f + %.1f s; %d + %d MiB", r.HubCPU, r.ServiceCPU, r.HubMiB, r.ServiceMiB)
		}
	}
	wrong := func(of func(f fleet) fleetWrong) func(f fleet) string {
		return func(f fleet) string {
			w := of(f)
			text := fmt.Sprintf("%d, %d, %d", w.Lost, w.Doubled, w.Orphaned)
			if w.Starts > 0 {
				text += fmt.Sprintf("; %d of %d run", w.Run, w.Starts)
			}
			return text
		}
	}
	return []row{
		both(fmt.Sprintf("%d starts as fast as the Hub allows: all, p50 / p95", us.First.Starts), func(f fleet) string {
			return fmt.Sprintf("%.0f s, %.1f / %.1f s, %d failed", f.First.Seconds, f.First.P50, f.First.P95, f.First.Failed)
		}, ""),
		both(fmt.Sprintf("%d servers run: lost, doubled, orphaned", us.Servers), wrong(func(f fleet) fleetWrong { return f.Wrong }), "0, 0, 0"),
		both(fmt.Sprintf("at rest, a look at each every %d s: CPU a minute and memory, Hub + service", us.Polled.Polls), rest(func(f fleet) fleetRest { return f.Polled }), "Hub: a third"),
		both("at rest, no looks: the same", rest(func(f fleet) fleetRest { return f.Unpolled }), "Hub: a third"),
		both("a new Hub process knows all servers after", func(f fleet) string { return fmt.Sprintf("%.1f s", f.Restart.Known) }, ""),
		both("Hub killed in the midst of starts: lost, doubled, orphaned", wrong(func(f fleet) fleetWrong { return f.HubAway }), "0, 0, 0"),
		both(us.Outage.What+" in the midst of starts: lost, doubled, orphaned", wrong(func(f fleet) fleetWrong { return f.Outage }), "0, 0, 0"),
	}, versions, nil
}
