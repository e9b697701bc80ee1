package plugin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elastichub/elastichub/portal/acts"
)

// explanation is what the console says of what somebody may have, as far as it is shown.
type explanation struct {
	User   string     `json:"user"`
	Fault  string     `json:"fault"`
	Stale  bool       `json:"stale"`
	AsOf   *time.Time `json:"as_of"`
	Groups []struct {
		Name string `json:"name"`
		DN   string `json:"dn"`
	} `json:"groups"`
	Policies []explainedPolicy `json:"policies"`
	Values   []explainedValue  `json:"values"`
}

type explainedPolicy struct {
	Name     string   `json:"name"`
	Priority int32    `json:"priority"`
	Applied  bool     `json:"applied"`
	Because  string   `json:"because"`
	Faults   []string `json:"faults"`
}

type explainedValue struct {
	Field string   `json:"field"`
	Value string   `json:"value"`
	From  []string `json:"from"`
}

// faultSentences say why somebody gets nothing.
var faultSentences = map[string]string{
	"unknown-user":          "The directory knows no user of that name.",
	"no-policy":             "No policy counts for this user, who may have nothing.",
	"invalid-policy":        "A policy has faults, so that this user may have nothing.",
	"sign-in-again":         "What a sign-in said of this user's groups is missing or too old.",
	"directory-unavailable": "The directory does not answer.",
}

// Explanation writes the console's answer of what somebody may have: groups, why each policy
// counts or does not, and each value.
func (p Printer) Explanation(answer []byte) error {
	var e explanation
	if err := json.Unmarshal(answer, &e); err != nil {
		return fmt.Errorf("the console's answer is none: %w", err)
	}
	if p.Format == JSON || p.Format == YAML {
		return p.Value(json.RawMessage(answer))
	}
	var names []string
	for _, g := range e.Groups {
		if g.DN != "" && g.DN != g.Name {
			g.Name += " (" + g.DN + ")"
		}
		names = append(names, g.Name)
	}
	sentence := e.User + " is in no group that is known."
	if len(names) > 0 {
		sentence = e.User + " is in " + strings.Join(names, ", ") + "."
	}
	if e.Stale && e.AsOf != nil {
		sentence += " The directory said so " + p.ago(e.AsOf) + " ago, and does not answer now."
	}
	fmt.Fprintln(p.Out, acts.Line(sentence))
	if e.Fault != "" {
		told, known := faultSentences[e.Fault]
		if !known {
			told = "What this user may have cannot be told: " + e.Fault + "."
		}
		fmt.Fprintln(p.Out, acts.Line(told))
	}
	if len(e.Policies) > 0 {
		fmt.Fprintln(p.Out)
		if err := write(p, e.Policies, nil, []column[explainedPolicy]{
			{"POLICY", false, func(v explainedPolicy) string { return v.Name }},
			{"PRIORITY", false, func(v explainedPolicy) string { return strconv.Itoa(int(v.Priority)) }},
			{"COUNTS", false, func(v explainedPolicy) string { return map[bool]string{true: "yes", false: "no"}[v.Applied] }},
			{"BECAUSE", false, func(v explainedPolicy) string { return strings.Join(append([]string{v.Because}, v.Faults...), "; ") }},
		}); err != nil {
			return err
		}
	}
	if len(e.Values) == 0 {
		return nil
	}
	fmt.Fprintln(p.Out)
	return write(p, e.Values, nil, []column[explainedValue]{
		{"VALUE", false, func(v explainedValue) string { return v.Field }},
		{"IS", false, func(v explainedValue) string { return v.Value }},
		{"FROM", false, func(v explainedValue) string { return strings.Join(v.From, ", ") }},
	})
}

// hours are the console's, as far as they are shown.
type hours struct {
	By       string      `json:"by"`
	Currency string      `json:"currency"`
	Items    []hoursLine `json:"items"`
	Total    hoursLine   `json:"total"`
}

type hoursLine struct {
	Name      string `json:"name"`
	Client    bool   `json:"client"`
	Runs      int64  `json:"runs"`
	Resources map[string]struct {
		Held  float64 `json:"held"`
		Busy  float64 `json:"busy"`
		Saved float64 `json:"saved"`
	} `json:"resources"`
	Cost *float64 `json:"cost"`
}

// hoursRow is a line's part of one resource.
type hoursRow struct{ name, runs, resource, held, busy, saved, cost string }

// HoursBy are what hours can be summed up by.
var HoursBy = []string{"group", "user", "kernelspec", "date"}

// Hours writes the console's answer of hours, a row for each resource of a line.
func (p Printer) Hours(answer []byte) error {
	var h hours
	if err := json.Unmarshal(answer, &h); err != nil {
		return fmt.Errorf("the console's answer is none: %w", err)
	}
	if p.Format == JSON || p.Format == YAML {
		return p.Value(json.RawMessage(answer))
	}
	var rows []hoursRow
	priced := h.Total.Cost != nil
	h.Total.Name = "total"
	for _, line := range append(h.Items, h.Total) {
		if line.Client {
			line.Name += " (client)"
		}
		row := hoursRow{name: line.Name, runs: strconv.FormatInt(line.Runs, 10)}
		if line.Cost != nil {
			row.cost = strings.TrimSpace(decimal(*line.Cost) + " " + h.Currency)
		}
		for _, resource := range slices.Sorted(maps.Keys(line.Resources)) {
			of := line.Resources[resource]
			row.resource, row.held, row.busy, row.saved = resource, decimal(of.Held), decimal(of.Busy), decimal(of.Saved)
			rows = append(rows, row)
			row.runs, row.cost = "", "" // they are of the line
		}
		if len(line.Resources) == 0 {
			rows = append(rows, row)
		}
	}
	columns := []column[hoursRow]{
		{strings.ToUpper(h.By), false, func(r hoursRow) string { return r.name }},
		{"RESOURCE", false, func(r hoursRow) string { return r.resource }},
		{"HELD", false, func(r hoursRow) string { return r.held }},
		{"BUSY", false, func(r hoursRow) string { return r.busy }},
		{"SAVED", false, func(r hoursRow) string { return r.saved }},
		{"RUNS", false, func(r hoursRow) string { return r.runs }},
	}
	if priced {
		columns = append(columns, column[hoursRow]{"COST", false, func(r hoursRow) string { return r.cost }})
	}
	return write(p, rows, nil, columns)
}

func decimal(n float64) string { return strconv.FormatFloat(n, 'f', 2, 64) }
