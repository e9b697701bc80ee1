package forms

import "k8s.io/apimachinery/pkg/api/resource"

// Options are a user's choices after every check: values on the slider, an
// image channel that is on offer. Their JSON is the Hub's user_options.
type Options struct {
	CPU    resource.Quantity `json:"cpu"`
	Memory resource.Quantity `json:"memory"`
	// Image is the id of an image channel, never an image.
	Image string `json:"image"`
}

// FieldError names a field of the form, the fault and the bound.
type FieldError struct {
	// Field is the form's name for it: cpu, memory, image, or an unknown name as it came.
	Field string `json:"field"`
	// Code is one of a closed set: missing, malformed, below_min, above_max,
	// off_step, not_offered, unknown, repeated.
	Code    string `json:"code"`
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
