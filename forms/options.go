package forms

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Names of the form's fields, and keys of the options' JSON.
const (
	FieldCPU    = "cpu"
	FieldMemory = "memory"
	FieldImage  = "image"
)

// Names that only the form has.
const (
	// FieldPreset is the name of a preset, or empty for numbers of one's own.
	FieldPreset = "preset"
	// FieldLanguage is the form's own language, so that it returns in it.
	FieldLanguage = "lang"
)

// Options are a user's choices after every check: values on the slider, an
// image channel that is on offer. Their JSON is the Hub's user_options.
type Options struct {
	CPU    resource.Quantity `json:"cpu"`
	Memory resource.Quantity `json:"memory"`
	// Image is the id of an image channel, never an image.
	Image string `json:"image"`
}

// MarshalJSON writes the one canonical spelling, which Check reads back.
func (o Options) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		CPU    string `json:"cpu"`
		Memory string `json:"memory"`
		Image  string `json:"image"`
	}{FormatCPU(o.CPU), FormatMemory(o.Memory) + "Gi", o.Image})
}

// Code says what is wrong with a field.
type Code = string

// All codes there are.
const (
	Missing    Code = "missing"
	Malformed  Code = "malformed"
	BelowMin   Code = "below_min"
	AboveMax   Code = "above_max"
	OffStep    Code = "off_step"
	NotOffered Code = "not_offered"
	Unknown    Code = "unknown"
	Repeated   Code = "repeated"
)

// FieldError names a field of the form, the fault and the bound.
type FieldError struct {
	// Field is the form's name for it: cpu, memory, image, preset, or an unknown name
	// as it came but for its length; empty for the options as a whole.
	Field string `json:"field"`
	// Code is one of a closed set: missing, malformed, below_min, above_max,
	// off_step, not_offered, unknown, repeated.
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// Invalid is the error for choices beyond the allowance. It holds all faults.
type Invalid struct {
	Fields []FieldError
}

func (e *Invalid) Error() string {
	text := "forms: invalid options"
	for _, f := range e.Fields {
		text += "; " + f.Field + ": " + f.Message
	}
	return text
}
