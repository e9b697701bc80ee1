package plugin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/holdings"
)

// Format is how rows are written.
type Format string

// The formats, as kubectl has them. JSON and YAML have the fields of /api/v1, and namespace.
const (
	Table Format = ""
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// Formats are those that can be named.
var Formats = []string{string(Wide), string(JSON), string(YAML)}

// Kernel, Server and Sum are rows with their namespace.
type (
	Kernel struct {
		Namespace string `json:"namespace"`
		holdings.Kernel
	}
	Server struct {
		Namespace string `json:"namespace"`
		holdings.Server
	}
	Sum struct {
		Namespace string `json:"namespace"`
		holdings.Sum
	}
)

// Kernels are all kernels, by user and id.
func (s *Seen) Kernels() []Kernel {
	rows := []Kernel{}
	for _, p := range s.places {
		for _, k := range p.Holdings.Kernels {
			rows = append(rows, Kernel{p.namespace, k})
		}
	}
	slices.SortStableFunc(rows, func(a, b Kernel) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.User, b.User), cmp.Compare(a.ID, b.ID))
	})
	return rows
}

// Servers are all servers, by user and name.
func (s *Seen) Servers() []Server {
	rows := []Server{}
	for _, p := range s.places {
		for _, v := range p.Servers {
			rows = append(rows, Server{p.namespace, v})
		}
	}
	slices.SortStableFunc(rows, func(a, b Server) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.User, b.User), cmp.Compare(a.Name, b.Name))
	})
	return rows
}

// Queue are the kernels that wait, in order.
func (s *Seen) Queue() []Kernel {
	rows := []Kernel{}
	for _, p := range s.places {
		for _, k := range p.Queue() {
			rows = append(rows, Kernel{p.namespace, k})
		}
	}
	return rows
}

// By says whose sums Top makes.
type By string

// What sums are made by.
const (
	Users    By = "users"
	Policies By = "policies"
	Nodes    By = "nodes"
)

// Top are sums, who holds most first.
func (s *Seen) Top(by By) []Sum {
	ofKernel, ofServer := func(k holdings.Kernel) string { return k.User }, func(v holdings.Server) string { return v.User }
	switch by {
	case Users:
	case Policies:
		ofKernel, ofServer = func(k holdings.Kernel) string { return k.Policy }, func(v holdings.Server) string { return v.Policy }
	case Nodes:
		ofKernel, ofServer = func(k holdings.Kernel) string { return k.Node }, func(v holdings.Server) string { return v.Node }
	}
	rows := []Sum{}
	for _, p := range s.places {
		for _, sum := range p.Sums(ofKernel, ofServer) {
			rows = append(rows, Sum{p.namespace, sum})
		}
	}
	all := func(of Sum) (n int64) {
		for _, count := range of.Devices {
			n += count
		}
		return n
	}
	slices.SortStableFunc(rows, func(a, b Sum) int {
		return cmp.Or(cmp.Compare(all(b), all(a)), cmp.Compare(b.CPU, a.CPU), cmp.Compare(b.Memory, a.Memory))
	})
	return rows
}

// column is one of a table. Wide ones are in wide tables alone.
type column[Row any] struct {
	head string
	wide bool
	cell func(Row) string
}

// Printer writes rows.
type Printer struct {
	Out    io.Writer
	Format Format
	// Namespaces: tables have a column of them.
	Namespaces bool
	Now        time.Time
}

// Kernels writes kernels.
func (p Printer) Kernels(rows []Kernel) error {
	return write(p, rows, func(k Kernel) string { return k.Namespace }, []column[Kernel]{
		{"KERNEL", false, func(k Kernel) string { return k.ID }},
		{"USER", false, func(k Kernel) string { return k.User }},
		{"TITLE", false, func(k Kernel) string { return k.Title }},
		{"PHASE", false, func(k Kernel) string { return string(k.Phase) }},
		{"DEVICES", false, func(k Kernel) string { return devices(k.Devices) }},
		{"SINCE", false, func(k Kernel) string { return p.ago(k.Since) }},
		{"IDLE", false, func(k Kernel) string { return p.ago(k.IdleSince) }},
		{"NODE", true, func(k Kernel) string { return k.Node }},
		{"POLICY", true, func(k Kernel) string { return k.Policy }},
		{"CPU", true, func(k Kernel) string { return cores(k.CPU) }},
		{"MEMORY", true, func(k Kernel) string { return bytes(k.Memory) }},
		{"SERVER", true, func(k Kernel) string { return k.Notebook }},
		{"DOCUMENT", true, func(k Kernel) string { return k.Document }},
		{"MESSAGE", true, func(k Kernel) string { return k.Message }},
	})
}

// Queue writes kernels that wait.
func (p Printer) Queue(rows []Kernel) error {
	place := func(k Kernel, of func(*holdings.Place) string) string {
		if k.Queue == nil {
			return ""
		}
		return of(k.Queue)
	}
	return write(p, rows, func(k Kernel) string { return k.Namespace }, []column[Kernel]{
		{"PLACE", false, func(k Kernel) string {
			return place(k, func(q *holdings.Place) string { return strconv.Itoa(int(q.Position)) })
		}},
		{"KERNEL", false, func(k Kernel) string { return k.ID }},
		{"USER", false, func(k Kernel) string { return k.User }},
		{"TITLE", true, func(k Kernel) string { return k.Title }},
		{"POLICY", true, func(k Kernel) string { return k.Policy }},
		{"ASKS FOR", false, func(k Kernel) string { return devices(k.Devices) }},
		{"WAITS", false, func(k Kernel) string { return p.ago(k.Since) }},
		{"REASON", false, func(k Kernel) string { return place(k, func(q *holdings.Place) string { return q.Reason }) }},
	})
}

// Servers writes servers.
func (p Printer) Servers(rows []Server) error {
	found := slices.ContainsFunc(rows, func(s Server) bool { return s.Orphan != nil })
	return write(p, rows, func(s Server) string { return s.Namespace }, []column[Server]{
		{"SERVER", false, func(s Server) string { return s.Name }},
		{"USER", false, func(s Server) string { return s.User }},
		{"PHASE", false, func(s Server) string { return string(s.Phase) }},
		{"CPU", false, func(s Server) string { return cores(s.CPU) }},
		{"MEMORY", false, func(s Server) string { return bytes(s.Memory) }},
		{"STARTED", false, func(s Server) string { return p.ago(s.StartedAt) }},
		{"ACTIVE", false, func(s Server) string { return p.ago(s.LastActivity) }},
		{"ORPHAN", !found, orphanReason},
		{"KEPT BY", true, func(s Server) string { return keptBy(s.Busy) }},
		{"NODE", true, func(s Server) string { return s.Node }},
		{"POLICY", true, func(s Server) string { return s.Policy }},
		{"IMAGE", true, func(s Server) string { return s.Image }},
		{"REASON", true, func(s Server) string { return s.Reason }},
	})
}

// orphanReason is why a server is an orphan of the Hub's, if it is one.
func orphanReason(s Server) string {
	if s.Orphan == nil {
		return ""
	}
	return s.Orphan.Reason
}

// keptBy is what keeps a server, the first of it by name.
func keptBy(all []holdings.Busy) string {
	if len(all) == 0 {
		return ""
	}
	text := strings.TrimPrefix(busyThing(all[0]), "the ")
	if more := len(all) - 1; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Top writes sums.
func (p Printer) Top(by By, rows []Sum) error {
	heads := map[By]string{Users: "USER", Policies: "POLICY", Nodes: "NODE"}
	return write(p, rows, func(s Sum) string { return s.Namespace }, []column[Sum]{
		{heads[by], false, func(s Sum) string { return s.Name }},
		{"SERVERS", false, func(s Sum) string { return strconv.Itoa(s.Servers) }},
		{"KERNELS", false, func(s Sum) string { return strconv.Itoa(s.Kernels) }},
		{"DEVICES", false, func(s Sum) string { return devices(s.Devices) }},
		{"CPU", false, func(s Sum) string { return cores(s.CPU) }},
		{"MEMORY", false, func(s Sum) string { return bytes(s.Memory) }},
	})
}

// Value writes what is no list as JSON or YAML.
func (p Printer) Value(value any) error {
	body, err := json.MarshalIndent(value, "", "  ")
	if err == nil && p.Format == YAML {
		body, err = yaml.JSONToYAML(body)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.Out, strings.TrimSuffix(string(body), "\n"))
	return err
}

func write[Row any](p Printer, rows []Row, namespace func(Row) string, columns []column[Row]) error {
	if p.Format == JSON || p.Format == YAML {
		return p.Value(map[string]any{"items": rows})
	}
	columns = slices.DeleteFunc(columns, func(c column[Row]) bool { return c.wide && p.Format != Wide })
	if p.Namespaces {
		columns = append([]column[Row]{{"NAMESPACE", false, namespace}}, columns...)
	}
	table := tabwriter.NewWriter(p.Out, 0, 0, 3, ' ', 0)
	for i, c := range columns {
		fmt.Fprint(table, c.head, ending(i, len(columns)))
	}
	for _, row := range rows {
		for i, c := range columns {
			// What users write must not move a terminal's cursor.
			fmt.Fprint(table, cmp.Or(acts.Line(c.cell(row)), "-"), ending(i, len(columns)))
		}
	}
	return table.Flush()
}

func ending(i, of int) string {
	if i == of-1 {
		return "\n"
	}
	return "\t"
}

func (p Printer) ago(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return duration.HumanDuration(max(p.Now.Sub(*t), 0))
}

// devices are extended resources, such as nvidia.com/gpu: 2.
func devices(counts map[string]int64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s: %d", name, counts[name]))
	}
	return strings.Join(all, ", ")
}

func cores(n float64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(int64(n*1000+.5))/1000, 'f', -1, 64)
}

func bytes(n int64) string {
	if n == 0 {
		return ""
	}
	const mebi = 1 << 20
	if n < 1024*mebi {
		return fmt.Sprintf("%dMi", (n+mebi-1)/mebi)
	}
	return strconv.FormatFloat(float64(n*10/(1024*mebi))/10, 'f', -1, 64) + "Gi"
}

// List writes servers, kernels or, where neither is named, both.
func (p Printer) List(seen *Seen, which string) error {
	switch {
	case which == "servers":
		return p.Servers(seen.Servers())
	case which == "kernels":
		return p.Kernels(seen.Kernels())
	case p.Format == JSON || p.Format == YAML:
		return p.Value(map[string]any{"servers": seen.Servers(), "kernels": seen.Kernels()})
	}
	if err := p.Servers(seen.Servers()); err != nil {
		return err
	}
	fmt.Fprintln(p.Out)
	return p.Kernels(seen.Kernels())
}

// Why writes sentences, a line for each.
func (p Printer) Why(answers []Answer) error {
	if p.Format == JSON || p.Format == YAML {
		return p.Value(map[string]any{"items": answers})
	}
	for i, a := range answers {
		if i > 0 {
			fmt.Fprintln(p.Out)
		}
		if p.Namespaces {
			fmt.Fprintf(p.Out, "In the namespace %s:\n", a.Namespace)
		}
		if _, err := fmt.Fprintln(p.Out, strings.Join(a.Sentences, "\n")); err != nil {
			return err
		}
	}
	return nil
}
