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
	o, dropped, err := Stored(a, last)
	if err != nil {
		// Not even the defaults are allowed: a policy that was not validated.
		return Values{}, fields
	}
	for _, f := range dropped {
		switch {
		case f.Field == "":
			reset = fields
		case isField(f.Field):
			reset = append(reset, f.Field)
		}
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

// Linked is Prefill with what a link chooses in the place of the last choices.
// faults are those of its fields; fields that nobody knows are nobody's choice.
func Linked(a groups.Allowance, last json.RawMessage, link map[string][]string) (v Values, reset []string, faults []FieldError) {
	v, reset = Prefill(a, last)
	chosen := map[string][]string{}
	for _, name := range []string{FieldCPU, FieldMemory, FieldImage, FieldPreset} {
		if len(link[name]) > 0 {
			chosen[name] = link[name]
		}
	}
	if len(chosen) == 0 {
		return v, reset, nil
	}
	said := Entered(chosen)
	_, numbers := chosen[FieldCPU]
	if _, there := chosen[FieldMemory]; there || numbers {
		v.Preset = ""
	}
	for name, to := range map[string]*string{FieldCPU: &v.CPU, FieldMemory: &v.Memory, FieldImage: &v.Image, FieldPreset: &v.Preset} {
		if len(chosen[name]) > 0 {
			*to = map[string]string{FieldCPU: said.CPU, FieldMemory: said.Memory, FieldImage: said.Image, FieldPreset: said.Preset}[name]
		} else if name != FieldPreset {
			chosen[name] = []string{*to}
		}
	}
	var invalid *Invalid
	if _, err := Decode(Offered(a, last), chosen); errors.As(err, &invalid) {
		faults = invalid.Fields
	} else if p := preset(a, v.Preset); p != nil {
		v.CPU, v.Memory = FormatCPU(p.CPU), FormatMemory(p.Memory)
	}
	return v, reset, faults
}

func preset(a groups.Allowance, name string) *v1alpha1.Preset {
	for _, p := range Presets(a) {
		if p.Name == name {
			return &p
		}
	}
	return nil
}

// Offered is an allowance with the hidden channels left out, but for the one
// that was chosen last.
func Offered(a groups.Allowance, last json.RawMessage) groups.Allowance {
	in, err := readJSON(last)
	chosen := in.values[FieldImage].text
	a.Images = slices.DeleteFunc(slices.Clone(a.Images), func(c v1alpha1.ImageChannel) bool {
		return c.Hidden && (err != nil || c.ID != chosen)
	})
	return a
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
