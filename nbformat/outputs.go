package nbformat

import (
	"encoding/json"
	"slices"
	"strings"
)

// Types of outputs.
const (
	Stream        = "stream"
	DisplayData   = "display_data"
	ExecuteResult = "execute_result"
	Error         = "error"
)

// Output is one output of a cell.
type Output struct{ fields object }

// Type is one of the types of outputs.
func (o Output) Type() string { return text(o.fields.get("output_type")) }

// Text of a stream, and Name, stdout or stderr.
func (o Output) Text() string { return text(o.fields.get("text")) }

// Name of a stream.
func (o Output) Name() string { return text(o.fields.get("name")) }

// Traceback of an error, with its colours.
func (o Output) Traceback() string {
	var lines []string
	_ = json.Unmarshal(o.fields.get("traceback"), &lines) // of another shape: none
	return strings.Join(lines, "\n")
}

// Failure is the name and the value of an error.
func (o Output) Failure() string {
	return text(o.fields.get("ename")) + ": " + text(o.fields.get("evalue"))
}

// Data is what a display or a result shows, by MIME type: text, or JSON for JSON types.
func (o Output) Data() map[string]string {
	var raw map[string]json.RawMessage
	_ = json.Unmarshal(o.fields.get("data"), &raw) // of another shape: none
	data := map[string]string{}
	for mime, value := range raw {
		if isJSON(mime) {
			data[mime] = string(value)
		} else {
			data[mime] = text(value)
		}
	}
	return data
}

// isJSON: such data is any value and no text.
func isJSON(mime string) bool {
	return mime == "application/json" || strings.HasPrefix(mime, "application/") && strings.HasSuffix(mime, "+json")
}

// Recorder takes messages of a kernel in, and gives them to the cells that were run.
type Recorder struct {
	cells    map[*Cell]*record
	displays map[string][]shown
	// changed are the cells whose outputs are to be written.
	changed map[*Cell]bool
}

// shown is an output that can be updated, and whose it is.
type shown struct {
	cell   *Cell
	output *Output
}

// record is what came of one cell.
type record struct {
	outputs []*Output
	// stream is the text of the last output, if that is a stream.
	stream strings.Builder
	clears bool // before the next output
}

// NewRecorder knows no outputs yet.
func NewRecorder() *Recorder {
	return &Recorder{cells: map[*Cell]*record{}, displays: map[string][]shown{}, changed: map[*Cell]bool{}}
}

// Begin empties a cell that is about to be run.
func (r *Recorder) Begin(c *Cell) {
	r.cells[c] = &record{}
	c.fields.set("outputs", encode([]any{}))
	c.fields.set("execution_count", encode(nil))
}

// Add takes the content of an iopub message of a cell in. Other types than outputs, and
// what changes them, are nothing to it.
func (r *Recorder) Add(c *Cell, msgType string, content []byte) {
	var said object
	if r.cells[c] == nil || json.Unmarshal(content, &said) != nil {
		return
	}
	rec := r.cells[c]
	switch msgType {
	case Stream, DisplayData, ExecuteResult, Error:
		if rec.clears {
			r.clear(c)
		}
		r.append(c, msgType, said)
	case "update_display_data":
		for _, s := range r.displays[displayID(said)] {
			s.output.fields.set("data", dataOf(said))
			s.output.fields.set("metadata", orEmpty(said.get("metadata")))
			r.changed[s.cell] = true
		}
	case "clear_output":
		if rec.clears = string(said.get("wait")) == "true"; !rec.clears {
			r.clear(c)
		}
	}
}

func (r *Recorder) clear(c *Cell) {
	for id, all := range r.displays {
		r.displays[id] = slices.DeleteFunc(all, func(s shown) bool { return s.cell == c })
	}
	r.cells[c] = &record{}
	r.changed[c] = true
}

func (r *Recorder) append(c *Cell, msgType string, said object) {
	rec := r.cells[c]
	r.changed[c] = true
	if msgType == Stream {
		if last := len(rec.outputs) - 1; last < 0 || rec.outputs[last].Type() != Stream || rec.outputs[last].Name() != text(said.get("name")) {
			rec.finish()
			o := &Output{}
			o.fields.set("name", said.get("name"))
			o.fields.set("output_type", encode(Stream))
			rec.outputs = append(rec.outputs, o)
		}
		rec.stream.WriteString(text(said.get("text")))
		return // its text is set by write
	}
	rec.finish()
	o := &Output{}
	switch msgType {
	case Error:
		for _, name := range []string{"ename", "evalue"} {
			o.fields.set(name, orText(said.get(name)))
		}
		o.fields.set("output_type", encode(Error))
		o.fields.set("traceback", encode(linesOf(said.get("traceback"))))
	default:
		o.fields.set("data", dataOf(said))
		if msgType == ExecuteResult {
			count := said.get("execution_count")
			if count == nil {
				count = encode(nil)
			}
			o.fields.set("execution_count", count)
		}
		o.fields.set("metadata", orEmpty(said.get("metadata")))
		o.fields.set("output_type", encode(msgType))
		if id := displayID(said); id != "" {
			r.displays[id] = append(r.displays[id], shown{c, o})
		}
	}
	rec.outputs = append(rec.outputs, o)
}

// finish ends the stream that is the last output, if it is one.
func (rec *record) finish() {
	rec.write()
	rec.stream.Reset()
}

// write sets the text of the stream that is the last output, if it is one.
func (rec *record) write() {
	if last := len(rec.outputs) - 1; last >= 0 && rec.stream.Len() > 0 {
		rec.outputs[last].fields.set("text", encode(splitLines(rec.stream.String())))
	}
}

// End writes what came so far into the cells. count is the number of the cell's run, 0 if
// it has none.
func (r *Recorder) End(c *Cell, count int) {
	if count > 0 {
		c.fields.set("execution_count", encode(count))
	}
	for cell := range r.changed { // a cell may have updated what another shows
		rec := r.cells[cell]
		rec.write()
		all := make([]object, 0, len(rec.outputs))
		for _, o := range rec.outputs {
			all = append(all, o.fields)
		}
		cell.fields.set("outputs", encode(all))
	}
	clear(r.changed)
}

func displayID(said object) string {
	var transient struct {
		DisplayID string `json:"display_id"`
	}
	_ = json.Unmarshal(said.get("transient"), &transient) // of another shape: none
	return transient.DisplayID
}

// dataOf is the data of a message as files hold it: texts by their lines.
func dataOf(said object) json.RawMessage {
	var data object
	if json.Unmarshal(said.get("data"), &data) != nil {
		return encode(struct{}{})
	}
	for i, m := range data {
		var one string
		if inLines(m.name) && json.Unmarshal(m.value, &one) == nil {
			data[i].value = encode(splitLines(one))
		}
	}
	slices.SortFunc(data, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return encode(data)
}

// inLines: files hold such data as its lines, and other data as it is.
func inLines(mime string) bool {
	return strings.HasPrefix(mime, "text/") || mime == "application/javascript" || mime == "image/svg+xml"
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return encode(struct{}{})
	}
	return raw
}

func orText(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return encode("")
	}
	return raw
}

func linesOf(raw json.RawMessage) []string {
	lines := []string{}
	_ = json.Unmarshal(raw, &lines) // of another shape: none
	return lines
}
