package forms

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

const (
	// maxJSONBytes bounds user_options; three short values need far less.
	maxJSONBytes = 16 << 10
	// maxUnknown and maxNameBytes bound what an error repeats of its input.
	maxUnknown   = 16
	maxNameBytes = 64
)

var (
	// hubFields are what JupyterHub itself adds to forms and queries.
	hubFields = []string{"_xsrf", "next"}
	// formFields are not about the choice, either.
	formFields = append([]string{FieldLanguage}, hubFields...)
)

// input is the choices before any check, from either side.
type input struct {
	values map[string]value
	// preset is the fault of the preset; CPU and memory have none besides.
	preset Code
	// others are the names of fields that nobody knows.
	others []string
}

type value struct {
	text string
	// malformed: not even text, or a number where text is meant.
	malformed, repeated bool
	// suffixes may be used.
	suffixes bool
}

// Decode checks a posted form. A form without any of our fields means the
// defaults; one with some of them must have all. If it names a preset, CPU and
// memory are the preset's, and what stands in their fields is not looked at.
// The error is *Invalid.
func Decode(a groups.Allowance, form map[string][]string) (Options, error) {
	in := input{values: map[string]value{}}
	for name, texts := range form {
		switch {
		case slices.Contains(formFields, name):
		case !isField(name) && name != FieldPreset:
			in.others = append(in.others, name)
		case len(texts) > 1:
			in.values[name] = value{repeated: true}
		case len(texts) == 1:
			in.values[name] = value{text: texts[0]}
		}
	}
	complete := len(in.values) > 0
	in.usePreset(a)
	return in.check(a, complete)
}

// usePreset puts a preset's numbers in the place of those that were sent.
func (in *input) usePreset(a groups.Allowance) {
	v, there := in.values[FieldPreset]
	delete(in.values, FieldPreset)
	switch {
	case !there:
	case v.repeated:
		in.preset = Repeated
	case v.text != "":
		in.preset = NotOffered
		for _, p := range Presets(a) {
			if p.Name == v.text {
				in.preset = ""
				in.values[FieldCPU] = value{text: FormatCPU(p.CPU)}
				in.values[FieldMemory] = value{text: FormatMemory(p.Memory)}
			}
		}
	}
}

// Check checks user_options as the Hub has them. Nothing, null and {} mean
// the defaults, and so does a key that is not there. The error is *Invalid.
func Check(a groups.Allowance, raw json.RawMessage) (Options, error) {
	in, err := readJSON(raw)
	if err != nil {
		return Options{}, err
	}
	return in.check(a, false)
}

// Stored is Check for options that are kept from an earlier choice, by whatever
// spawner. What is unknown or not allowed now is nobody's wish: it gives way to
// the default, and its fault is among dropped. The error, *Invalid, is left for
// an allowance in which not even the defaults are.
func Stored(a groups.Allowance, raw json.RawMessage) (o Options, dropped []FieldError, err error) {
	o, err = Check(a, raw)
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		return o, nil, err
	}
	kept, err := readJSON(raw)
	if err != nil {
		kept = input{}
	}
	kept.others = nil
	for _, f := range invalid.Fields {
		delete(kept.values, f.Field)
	}
	o, err = kept.check(a, false)
	return o, invalid.Fields, err
}

// readJSON walks the one object there may be; encoding/json alone would let
// the last of repeated keys win.
func readJSON(raw json.RawMessage) (input, error) {
	in := input{values: map[string]value{}}
	trimmed := bytes.TrimSpace(raw)
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return in, nil
	}
	whole := &Invalid{Fields: []FieldError{{Code: Malformed, Message: "The options must be one JSON object."}}}
	if len(trimmed) > maxJSONBytes || !json.Valid(trimmed) || trimmed[0] != '{' {
		return in, whole
	}
	decoder := json.NewDecoder(bytes.NewReader(trimmed))
	if _, err := decoder.Token(); err != nil {
		return in, whole
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return in, whole
		}
		name, _ := key.(string)
		var v json.RawMessage
		if err := decoder.Decode(&v); err != nil {
			return in, whole
		}
		switch _, twice := in.values[name]; {
		case slices.Contains(hubFields, name):
		case !isField(name):
			in.others = append(in.others, name)
		case twice:
			in.values[name] = value{repeated: true}
		default:
			in.values[name] = jsonValue(name, v)
		}
	}
	if _, err := decoder.Token(); err != nil && !errors.Is(err, io.EOF) {
		return in, whole
	}
	return in, nil
}

func jsonValue(name string, raw json.RawMessage) value {
	if raw[0] == '"' {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return value{malformed: true}
		}
		return value{text: text, suffixes: true}
	}
	isNumber := raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'
	if !isNumber || name == FieldImage {
		return value{malformed: true}
	}
	return value{text: string(raw)}
}

// check holds every field against the allowance. With complete set, a field
// that is not there is a fault; otherwise it means the default.
func (in input) check(a groups.Allowance, complete bool) (Options, error) {
	var o Options
	var faults []FieldError
	var code Code
	if in.preset != "" {
		faults = append(faults, presetError(a, in.preset))
	} else {
		if o.CPU, code = in.amount(a, cpu, complete); code != "" {
			faults = append(faults, amountError(a, cpu, code))
		}
		if o.Memory, code = in.amount(a, memory, complete); code != "" {
			faults = append(faults, amountError(a, memory, code))
		}
	}
	if o.Image, code = in.image(a, complete); code != "" {
		faults = append(faults, imageError(a, code))
	}
	slices.Sort(in.others)
	for i, name := range slices.Compact(in.others) {
		if i == maxUnknown {
			break
		}
		faults = append(faults, FieldError{Field: shorten(name), Code: Unknown, Message: "There is no such option."})
	}
	if len(faults) > 0 {
		return Options{}, &Invalid{Fields: faults}
	}
	return o, nil
}

func isField(name string) bool {
	return name == FieldCPU || name == FieldMemory || name == FieldImage
}

func shorten(name string) string {
	name = strings.ToValidUTF8(name, "\uFFFD")
	if len(name) <= maxNameBytes {
		return name
	}
	return strings.ToValidUTF8(name[:maxNameBytes], "") + "…"
}

// state sorts out what stands before any look at the value itself.
func (in input) state(name string, complete bool) (v value, useDefault bool, code Code) {
	v, there := in.values[name]
	switch {
	case !there && !complete:
		return v, true, ""
	case !there:
		return v, false, Missing
	case v.repeated:
		return v, false, Repeated
	case v.malformed:
		return v, false, Malformed
	case v.text == "":
		return v, false, Missing
	}
	return v, false, ""
}

func (in input) image(a groups.Allowance, complete bool) (string, Code) {
	v, useDefault, code := in.state(FieldImage, complete)
	if code != "" {
		return "", code
	}
	if useDefault {
		if channel, offered := DefaultImage(a); offered {
			return channel.ID, ""
		}
		return "", NotOffered
	}
	for _, channel := range a.Images {
		if channel.ID == v.text {
			return channel.ID, ""
		}
	}
	return "", NotOffered
}

// DefaultImage is the first channel that is not hidden.
func DefaultImage(a groups.Allowance) (v1alpha1.ImageChannel, bool) {
	for _, channel := range a.Images {
		if !channel.Hidden {
			return channel, true
		}
	}
	return v1alpha1.ImageChannel{}, false
}

func amountError(a groups.Allowance, d dimension, code Code) FieldError {
	r := d.bounds(a)
	lowest, highest, step := d.text(r.Min), d.text(r.Max), d.text(r.Step)
	var message string
	switch code {
	case BelowMin:
		message = fmt.Sprintf("At least %s %s.", lowest, d.unit)
	case AboveMax:
		message = fmt.Sprintf("At most %s %s.", highest, d.unit)
	case OffStep:
		message = fmt.Sprintf("From %s in steps of %s, or %s %s.", lowest, step, highest, d.unit)
	case Repeated:
		message = "Given more than once."
	default:
		message = fmt.Sprintf("A plain number from %s to %s %s.", lowest, highest, d.unit)
	}
	return FieldError{Field: d.field, Code: code, Message: message}
}

func presetError(a groups.Allowance, code Code) FieldError {
	if code == Repeated {
		return FieldError{Field: FieldPreset, Code: code, Message: "Given more than once."}
	}
	var offered []string
	for _, p := range Presets(a) {
		offered = append(offered, p.Name)
	}
	if len(offered) == 0 {
		return FieldError{Field: FieldPreset, Code: code, Message: "There are no presets."}
	}
	return FieldError{Field: FieldPreset, Code: code, Message: "One of: " + strings.Join(offered, ", ") + "; or empty."}
}

func imageError(a groups.Allowance, code Code) FieldError {
	if code == Repeated {
		return FieldError{Field: FieldImage, Code: code, Message: "Given more than once."}
	}
	var offered []string
	for _, channel := range a.Images {
		if !channel.Hidden {
			offered = append(offered, channel.ID)
		}
	}
	return FieldError{Field: FieldImage, Code: code, Message: "One of: " + strings.Join(offered, ", ") + "."}
}
