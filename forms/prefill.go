package forms

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
)

// Values are what stands in the form's fields, valid or not.
type Values struct {
	CPU, Memory, Image string
	// Preset is a preset's name; empty means the numbers.
	Preset string
}

// Presets are those that can be chosen. A valid policy has no others; a union
// of policies, or one that passed an older check, may.
func Presets(a groups.Allowance) []v1alpha1.Preset {
	return slices.DeleteFunc(slices.Clone(a.Presets), func(p v1alpha1.Preset) bool {
		return p.Name == "" || !a.CPU.Includes(p.CPU) || !a.Memory.Includes(p.Memory)
	})
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
	v = Values{CPU: FormatCPU(o.CPU), Memory: FormatMemory(o.Memory), Image: o.Image}
	for _, p := range Presets(a) {
		if p.CPU.Cmp(o.CPU) == 0 && p.Memory.Cmp(o.Memory) == 0 {
			v.Preset = p.Name
			break
		}
	}
	return v, slices.Compact(reset)
}

// maxEnteredBytes is the length of the longest value that could be valid, a
// preset's name.
const maxEnteredBytes = 253 * utf8.UTFMax

// Entered is the values of a posted form, to show beside its errors. Each is
// cut at the length of the longest value that could be valid.
func Entered(form map[string][]string) Values {
	first := func(name string) string {
		if len(form[name]) == 0 {
			return ""
		}
		text := strings.ToValidUTF8(form[name][0], "")
		if len(text) > maxEnteredBytes {
			text = strings.ToValidUTF8(text[:maxEnteredBytes], "")
		}
		return text
	}
	return Values{CPU: first(FieldCPU), Memory: first(FieldMemory), Image: first(FieldImage), Preset: first(FieldPreset)}
}
