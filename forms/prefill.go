package forms

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/elastichub/elastichub/groups"
)

// Values are what stands in the form's fields, valid or not.
type Values struct {
	CPU, Memory, Image string
}

// Prefill is the values a form starts with: the last choices as far as they
// are still allowed, else the defaults. reset names the fields whose last
// choice is not allowed any more, in the form's order.
func Prefill(a groups.Allowance, last json.RawMessage) (v Values, reset []string) {
	fields := []string{FieldCPU, FieldMemory, FieldImage}
	in, err := readJSON(last)
	if err != nil {
		in, reset = input{}, fields
	}
	in.others = nil
	if _, err := in.check(a, false); err != nil {
		var invalid *Invalid
		if errors.As(err, &invalid) {
			for _, f := range invalid.Fields {
				delete(in.values, f.Field)
				reset = append(reset, f.Field)
			}
		}
	}
	o, err := in.check(a, false)
	if err != nil {
		// Not even the defaults are allowed: a policy that was not validated.
		return Values{}, fields
	}
	return Values{CPU: FormatCPU(o.CPU), Memory: FormatMemory(o.Memory), Image: o.Image}, slices.Compact(reset)
}

// Entered is the values of a posted form, to show beside its errors. Each is
// cut at the length of the longest value that could be valid.
func Entered(form map[string][]string) Values {
	first := func(name string) string {
		if len(form[name]) == 0 {
			return ""
		}
		text := strings.ToValidUTF8(form[name][0], "")
		if len(text) > maxNameBytes {
			text = strings.ToValidUTF8(text[:maxNameBytes], "")
		}
		return text
	}
	return Values{CPU: first(FieldCPU), Memory: first(FieldMemory), Image: first(FieldImage)}
}
