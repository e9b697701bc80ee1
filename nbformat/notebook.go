package nbformat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// ErrFormat: what was read is no notebook of version 4.
var ErrFormat = errors.New("nbformat: not a notebook of version 4")

// idsSince is the minor version from which each cell has an id.
const idsSince = 5

// Notebook is one document.
type Notebook struct {
	fields object
	cells  []*Cell
}

// Cell is one of a notebook.
type Cell struct {
	fields object
}

// Read parses a file. Error: ErrFormat.
func Read(text []byte) (*Notebook, error) {
	n := &Notebook{}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrFormat)
	}
	if err := json.Unmarshal(text, &n.fields); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if major := number(n.fields.get("nbformat")); major != 4 {
		return nil, fmt.Errorf("%w: nbformat is %d", ErrFormat, major)
	}
	var cells []object
	if err := json.Unmarshal(n.fields.get("cells"), &cells); err != nil {
		return nil, fmt.Errorf("%w: cells: %w", ErrFormat, err)
	}
	for _, fields := range cells {
		n.cells = append(n.cells, &Cell{fields})
	}
	return n, nil
}

// FromScript makes a notebook of a program. Lines that begin with # %% begin cells, as
// editors have it; [markdown] after that is left out of what is run.
func FromScript(program, language string) *Notebook {
	n := &Notebook{}
	n.fields.set("cells", nil) // its place
	n.fields.set("metadata", encode(map[string]any{"language_info": map[string]string{"name": language}}))
	n.fields.set("nbformat", encode(4))
	n.fields.set("nbformat_minor", encode(idsSince))
	var lines []string
	kind := "code"
	end := func() {
		source := strings.TrimSpace(strings.Join(lines, ""))
		if kind == "markdown" {
			source = uncomment(source)
		}
		if source != "" {
			n.cells = append(n.cells, newCell(kind, source))
		}
		lines = nil
	}
	for line := range strings.Lines(program) {
		marker, isMarker := strings.CutPrefix(strings.TrimSpace(line), "# %%")
		if !isMarker {
			lines = append(lines, line)
			continue
		}
		end()
		kind = "code"
		if strings.Contains(marker, "[markdown]") || strings.Contains(marker, "[md]") {
			kind = "markdown"
		}
	}
	end()
	return n
}

func uncomment(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
	}
	return b.String()
}

func newCell(kind, source string) *Cell {
	c := &Cell{}
	c.fields.set("cell_type", encode(kind))
	if kind == "code" {
		c.fields.set("execution_count", encode(nil))
	}
	c.fields.set("id", encode(uuid.NewString()))
	c.fields.set("metadata", encode(struct{}{}))
	if kind == "code" {
		c.fields.set("outputs", encode([]any{}))
	}
	c.fields.set("source", encode(splitLines(source)))
	return c
}

// Bytes is the file.
func (n *Notebook) Bytes() []byte {
	cells := make([]object, 0, len(n.cells))
	for _, c := range n.cells {
		cells = append(cells, c.fields)
	}
	fields := slices.Clone(n.fields)
	fields.set("cells", encode(cells))
	var b bytes.Buffer
	if err := json.Indent(&b, encode(fields), "", " "); err != nil {
		panic(err) // all of it was read or encoded
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// KernelName is that of the kernelspec in the metadata, empty if there is none.
func (n *Notebook) KernelName() string {
	var metadata struct {
		Kernelspec struct{ Name string }
	}
	_ = json.Unmarshal(n.fields.get("metadata"), &metadata) // of another shape: none
	return metadata.Kernelspec.Name
}

// Cells are all cells in their order.
func (n *Notebook) Cells() []*Cell { return n.cells }

// Identify gives an id to each cell that has none, and says so in nbformat_minor.
func (n *Notebook) Identify() {
	seen := map[string]bool{}
	for _, c := range n.cells {
		if id := c.ID(); id == "" || seen[id] {
			c.fields.set("id", encode(uuid.NewString()))
		}
		seen[c.ID()] = true
	}
	if number(n.fields.get("nbformat_minor")) < idsSince {
		n.fields.set("nbformat_minor", encode(idsSince))
	}
}

// Clear takes the outputs of all code cells away.
func (n *Notebook) Clear() {
	for _, c := range n.cells {
		if c.IsCode() {
			c.fields.set("outputs", encode([]any{}))
			c.fields.set("execution_count", encode(nil))
		}
	}
}

// IsCode reports whether the cell is one of code.
func (c *Cell) IsCode() bool { return text(c.fields.get("cell_type")) == "code" }

// ID is empty in notebooks older than 4.5.
func (c *Cell) ID() string { return text(c.fields.get("id")) }

// Source is what the cell holds.
func (c *Cell) Source() string { return text(c.fields.get("source")) }

// HasTag reports whether a tag is among the cell's.
func (c *Cell) HasTag(tag string) bool {
	var metadata struct{ Tags []string }
	_ = json.Unmarshal(c.fields.get("metadata"), &metadata) // of another shape: none
	return slices.Contains(metadata.Tags, tag)
}

// ExecutionCount is 0 where the cell has not been run.
func (c *Cell) ExecutionCount() int { return number(c.fields.get("execution_count")) }

// Outputs are those of the file.
func (c *Cell) Outputs() []Output {
	var fields []object
	_ = json.Unmarshal(c.fields.get("outputs"), &fields) // of another shape: none
	outputs := make([]Output, 0, len(fields))
	for _, f := range fields {
		outputs = append(outputs, Output{f})
	}
	return outputs
}

func number(raw json.RawMessage) int {
	var n int
	_ = json.Unmarshal(raw, &n) // no number: 0
	return n
}

// text is a string, or the lines of one.
func text(raw json.RawMessage) string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one
	}
	var lines []string
	_ = json.Unmarshal(raw, &lines) // neither: empty
	return strings.Join(lines, "")
}

// splitLines is a text as files hold it: its lines with their ends.
func splitLines(text string) []string {
	return slices.AppendSeq([]string{}, strings.Lines(text))
}
