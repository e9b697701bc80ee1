package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tableBegin and tableEnd enclose what tabulate writes into a page.
const (
	tableBegin = "<!-- figures: written by test/bench -->\n"
	tableEnd   = "<!-- end of figures -->"
)

// row compares one figure with what was wanted, if anything was.
type row struct{ what, ours, theirs, wanted string }

// tabulate writes the figures of the results into a page.
func tabulate(results, page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for figures", page)
	}
	var out strings.Builder
	for _, part := range []struct {
		name string
		rows func(raw []byte) ([]row, string, error)
	}{
		{"roundtrip", tripRows}, {"throughput", flowRows}, {"memory", memoryRows}, {"restart", restartRows}, {"objects", objectRows}, {"starts", startRows}, {"warm", warmRows}, {"home", homeRows}, {"replaced", replacedRows}, {"park", parkRows}, {"spawns", spawnRows}, {"fleet", fleetRows}, {"economy", economyRows},
	} {
		raw, err := os.ReadFile(filepath.Join(results, part.name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		rows, versions, err := part.rows(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "**%s** (%s)\n\n| | elastichub | beside it | wanted |\n|---|---|---|---|\n", part.name, versions)
		for _, r := range rows {
			fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", r.what, r.ours, r.theirs, r.wanted)
		}
	}
	return os.WriteFile(page, []byte(before+tableBegin+out.String()+tableEnd+after), 0o644)
}

func tripRows(raw []byte) ([]row, string, error) {
	all, versions, err := decode[[]series](raw)
	var rows []row
	find := func(kernel, way string) series {
		for _, s := range all {
			if s.Kernel == kernel && s.Way == way {
				return s
			}
		}
		return series{}
	}
	for _, kernel := range []string{"ipykernel", "synthetic"} {
		direct := find(kernel, directWay)
		rows = append(rows, row{kernel + ", direct ZMQ, p50 / p99", "", fmt.Sprintf("%.2f / %.2f ms", direct.Reply.P50, direct.Reply.P99), ""})
		for _, f := range []framing{v1, legacy} {
			ours, theirs := find(kernel, "elastichub, "+string(f)), find(kernel, "EG, quick ACK, "+string(f))
			wanted := ""
			if kernel == "ipykernel" {
				wanted = "≤ 0.5 / 2 ms, 5 times less"
			}
			rows = append(rows, row{
				fmt.Sprintf("%s, added in %s framing, p50 / p99", kernel, f),
				fmt.Sprintf("%.2f / %.2f ms", ours.Added.ReplyP50, ours.Added.ReplyP99),
				fmt.Sprintf("EG with quick ACK: %.2f / %.2f ms, %s", theirs.Added.ReplyP50, theirs.Added.ReplyP99, ratio(theirs.Added.ReplyP50, ours.Added.ReplyP50)), wanted,
			})
		}
		theirs := find(kernel, "EG, legacy")
		rows = append(rows, row{kernel + ", added for an ordinary client, p50 / p99", "", fmt.Sprintf("EG: %.1f / %.1f ms", theirs.Added.ReplyP50, theirs.Added.ReplyP99), ""})
	}
	return rows, versions, err
}

// ratio is a ratio in words.
func ratio(a, b float64) string { return fmt.Sprintf("%.1f times", a/b) }

func flowRows(raw []byte) ([]row, string, error) {
	all, versions, err := decode[[]flow](raw)
	var rows []row
	var direct, bare flow // that precede those of their kind
	for i, f := range all {
		switch f.Way {
		case directWay:
			direct = f
		case pipeWay:
			bare = f
		}
		if toneOf(f.Way) != toneOurs {
			continue
		}
		framing := strings.TrimPrefix(f.Way, "elastichub, ")
		ours := fmt.Sprintf("%s/s, %s MB/s, lost %d", plain(f.PerSec), plain(f.MBPerS), f.Lost)
		what := fmt.Sprintf("%s of %s, %s framing", map[string]string{"flood": "messages", "buffers": "buffers"}[f.Kind], sizeText(f.Bytes), framing)
		if f.Floods == 1 {
			rows = append(rows, row{fmt.Sprintf("%d %s at once", f.Count, what), ours, "direct ZMQ: " + plain(direct.PerSec) + "/s", ""})
			continue
		}
		r := row{what: what, ours: ours}
		if i+1 < len(all) {
			theirs := all[i+1]
			r.theirs = fmt.Sprintf("EG: %s/s, %s MB/s, lost %d: %s; direct ZMQ: %s/s, %s MB/s; %s: %s/s, %s MB/s", plain(theirs.PerSec), plain(theirs.MBPerS), theirs.Lost,
				ratio(f.PerSec, theirs.PerSec), plain(direct.PerSec), plain(direct.MBPerS), pipeWay, plain(bare.PerSec), plain(bare.MBPerS))
		}
		if f.Kind == "flood" {
			r.wanted = "10 times"
		}
		rows = append(rows, r)
	}
	return rows, versions, err
}

func memoryRows(raw []byte) ([]row, string, error) {
	f, versions, err := decode[memoryFigures](raw)
	return []row{
		{fmt.Sprintf("resident memory per kernel, of %d", f.Kernels), fmt.Sprintf("%.0f KB", f.PerKernel/1e3), "", "≤ 200 KB"},
		{"per connected session", fmt.Sprintf("%.0f KB", f.PerSession/1e3), "", "≤ 200 KB"},
		{"both together after load", fmt.Sprintf("%.0f KB", f.Together/1e3), "", ""},
		{"GET of a kernel while all are connected, p99", fmt.Sprintf("%.2f ms", f.GET.P99), "", "≤ 5 ms"},
		{"a cell while all are connected, p99", fmt.Sprintf("%.2f ms", f.Execute.P99), "", "≤ 5 ms"},
		{fmt.Sprintf("the same at %.0f cells/s, p50 / p99", f.BusyRate), fmt.Sprintf("%.2f / %.2f ms", f.Busy.P50, f.Busy.P99), "", ""},
	}, versions, err
}

func restartRows(raw []byte) ([]row, string, error) {
	all, versions, err := decode[[]restarted](raw)
	r := row{what: fmt.Sprintf("restart until a cell has run, median of %d", restartRounds)}
	var theirs []string
	for _, one := range all {
		if toneOf(one.Way) == toneOurs {
			r.ours = fmt.Sprintf("%.0f ms", one.Ready.P50)
		} else {
			theirs = append(theirs, fmt.Sprintf("%s: %.0f ms", one.Way, one.Ready.P50))
		}
	}
	r.theirs = strings.Join(theirs, ", ")
	return []row{r}, versions, err
}

func objectRows(raw []byte) ([]row, string, error) {
	f, versions, err := decode[objectFigures](raw)
	n := float64(f.Count)
	each := func(s spent, n float64) string {
		return fmt.Sprintf("%.0f s; each %.1f ms of CPU, %.1f reads, %.1f writes", s.Seconds, s.CPU/n*1e3, s.Reads/n, s.Writes/n)
	}
	minutes := f.Rest.Seconds / 60
	var kinds []string
	for _, a := range f.Rest.Asked {
		kinds = append(kinds, fmt.Sprintf("%.1f `%s %s`", a.Count/minutes, a.Verb, a.Resource))
	}
	return []row{
		{fmt.Sprintf("%d notebooks, until all are Ready", f.Count), each(f.Notebooks, n), "", ""},
		{fmt.Sprintf("%d kernels beside them, until all are Ready", f.Count), each(f.Kernels, n), "", ""},
		{"at rest with both, each minute", fmt.Sprintf("%.2f s of CPU, %.0f reads, %.0f writes", f.Rest.CPU/minutes, f.Rest.Reads/minutes, f.Rest.Writes/minutes), "", "near zero"},
		{"these requests, by verb and resource, each minute", strings.Join(kinds, ", "), "", ""},
		{"resident memory without any / with both", fmt.Sprintf("%.0f / %.0f MB", f.Empty.RSS/1e6, f.Full.RSS/1e6), "", ""},
		{fmt.Sprintf("leader killed, %d stops and %d lost Services unseen, until all are right", f.Missed, f.Missed), fmt.Sprintf("%.0f s", f.Restart.Seconds), "", ""},
		{fmt.Sprintf("%d notebooks stopped at once, until all are Stopped", f.Count), each(f.Stop, n), "", ""},
	}, versions, err
}

func startRows(raw []byte) ([]row, string, error) {
	f, versions, err := decode[startFigures](raw)
	if err != nil || len(f.Kernels) == 0 || len(f.Bare) == 0 {
		return nil, versions, errors.Join(err, errors.New("no starts"))
	}
	return []row{
		{fmt.Sprintf("%d starts at once, until the last is ready", f.Count), fmt.Sprintf("%.1f s", f.Kernels[len(f.Kernels)-1]),
			fmt.Sprintf("bare Pods: %.1f s, ratio %.2f", f.Bare[len(f.Bare)-1], f.Ratio), ""},
		{"of them failed", fmt.Sprint(f.Failed), "", "0"},
		{"POST /api/kernels, p50 / p99", fmt.Sprintf("%.0f / %.0f ms", f.POST.P50, f.POST.P99), "", ""},
	}, versions, nil
}

func warmRows(raw []byte) ([]row, string, error) {
	f, versions, err := decode[warmFigures](raw)
	ours := fmt.Sprintf("%.0f / %.0f ms", f.Warm.P50, f.Warm.P95)
	if f.Skipped != "" {
		ours = "not measured: " + f.Skipped
	}
	return []row{{"start from a warm pool until a cell has run, p50 / p95", ours, fmt.Sprintf("without a pool: %.0f / %.0f ms", f.Cold.P50, f.Cold.P95), ""}}, versions, err
}
