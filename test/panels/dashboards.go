package panels

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Panel is one of a dashboard, with its queries.
type Panel struct {
	Dashboard, Title string
	Queries          []string
}

// Dashboards reads all panels with queries of the dashboards in a directory. variables are
// what Grafana puts into these, and the queries of the dashboards' own variables are panels, too.
func Dashboards(directory string, variables map[string]string) ([]Panel, error) {
	files, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []Panel
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		panels, err := panelsOf(raw, variables)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, panels...)
	}
	return all, nil
}

func panelsOf(raw []byte, variables map[string]string) ([]Panel, error) {
	var dashboard struct {
		UID        string
		Templating struct {
			List []struct {
				Name, Type string
				Definition string
			}
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &dashboard); err != nil {
		return nil, err
	}
	var panels []Panel
	for _, v := range dashboard.Templating.List {
		if v.Type != "query" {
			continue
		}
		// label_values(METRIC, LABEL)
		metric, _, found := strings.Cut(strings.TrimPrefix(v.Definition, "label_values("), ",")
		if !found {
			return nil, fmt.Errorf("variable %s: %s is no label_values(METRIC, LABEL)", v.Name, v.Definition)
		}
		panels = append(panels, Panel{Dashboard: dashboard.UID, Title: "variable " + v.Name, Queries: []string{metric}})
	}
	for _, p := range dashboard.Panels {
		panel := Panel{Dashboard: dashboard.UID, Title: p.Title}
		for _, target := range p.Targets {
			query := target.Expr
			for name, value := range variables {
				query = strings.ReplaceAll(query, "$"+name, value)
			}
			if strings.Contains(query, "$") {
				return nil, fmt.Errorf("panel %q has a variable that nobody sets: %s", p.Title, query)
			}
			panel.Queries = append(panel.Queries, query)
		}
		if len(panel.Queries) > 0 {
			panels = append(panels, panel)
		}
	}
	return panels, nil
}

// Variables are those of the dashboards, for a namespace, and Grafana's own, for a graph of
// some minutes.
func Variables(namespace string, shown time.Duration) map[string]string {
	return map[string]string{"namespace": namespace, "__rate_interval": "1m", "__range": fmt.Sprintf("%ds", int(shown.Seconds()))}
}
