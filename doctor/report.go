package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Problem is something that will not work.
type Problem struct {
	// Check is the name of the check that found it, a word of docs/clusters.md.
	Check string `json:"check"`
	// What will not work, and why.
	What string `json:"what"`
	// Fix is what to do.
	Fix string `json:"fix"`
}

// Report is what was found.
type Report struct {
	Problems []Problem `json:"problems"`
	// NotChecked is what could not be looked at, and why.
	NotChecked []string `json:"notChecked"`
	// Versions are the releases of the parts that run, a line for each part.
	Versions []string `json:"versions,omitempty"`
}

// Diagnose makes all checks, in their order.
func Diagnose(p Picture) Report {
	r := Report{Problems: []Problem{}, NotChecked: []string{}, Versions: p.versionLines()}
	for _, c := range checks {
		for _, found := range c.look(&p) {
			found.Check = c.name
			r.Problems = append(r.Problems, found)
		}
	}
	for _, u := range p.Unread {
		r.NotChecked = append(r.NotChecked, fmt.Sprintf("%s: %s", u.What, u.Why))
	}
	for _, asked := range slices.Concat(p.Hubs, p.Directories) {
		if asked.Answer == AnswerNotAsked {
			r.NotChecked = append(r.NotChecked, fmt.Sprintf("%s %s: %s", asked.Value, asked.URL, asked.Detail))
		}
	}
	if !p.Installed {
		r.NotChecked = append(r.NotChecked, fmt.Sprintf("the release %s is not in the namespace %s: its account, its Secrets and its kinds", p.Release, p.Namespace))
	}
	return r
}

// Checks are the names of all checks, in their order.
func Checks() []string {
	names := make([]string, 0, len(checks))
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// WriteText writes a line for each problem and for what was not checked.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "%s: %s. Fix: %s\n", p.Check, oneLine(p.What), oneLine(p.Fix))
	}
	for _, not := range r.NotChecked {
		fmt.Fprintf(&b, "not checked: %s\n", oneLine(not))
	}
	for _, line := range r.Versions {
		fmt.Fprintf(&b, "runs: %s\n", oneLine(line))
	}
	if len(r.Problems) == 0 {
		b.WriteString("no problem found\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the report as one JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
