package forms

import (
	"math/big"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/groups"
)

// maxNumberBytes is enough for every byte count up to a pebibyte, in GiB with
// all its decimals, and bounds the arithmetic.
const maxNumberBytes = 48

// dimension is what differs between cpu and memory. An amount is counted in
// the smallest parts: millicores and bytes.
type dimension struct {
	field string
	// parts in one of the form's units: 1000 in a core, 2^30 in a GiB.
	parts int64
	// suffixes that a JSON string may end in, and their parts.
	suffixes map[string]int64
	bounds   func(groups.Allowance) groups.Range
	count    func(resource.Quantity) int64
	quantity func(int64) resource.Quantity
	unit     string
}

const gib = 1 << 30

var (
	cpu = dimension{
		field: FieldCPU, parts: 1000,
		bounds:   func(a groups.Allowance) groups.Range { return a.CPU },
		count:    func(q resource.Quantity) int64 { return q.MilliValue() },
		quantity: func(n int64) resource.Quantity { return *resource.NewMilliQuantity(n, resource.DecimalSI) },
		unit:     "CPUs",
	}
	memory = dimension{
		field: FieldMemory, parts: gib,
		suffixes: map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": gib, "Ti": 1 << 40},
		bounds:   func(a groups.Allowance) groups.Range { return a.Memory },
		count:    func(q resource.Quantity) int64 { return q.Value() },
		quantity: func(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.BinarySI) },
		unit:     "GiB",
	}
)

// parse reads a plain decimal as a number of parts, exactly.
func (d dimension) parse(text string, suffixes bool) (*big.Rat, bool) {
	parts := d.parts
	if suffixes {
		for suffix, of := range d.suffixes {
			if number, found := strings.CutSuffix(text, suffix); found {
				text, parts = number, of
				break
			}
		}
	}
	if !plainDecimal(text) {
		return nil, false
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, false
	}
	return n.Mul(n, new(big.Rat).SetInt64(parts)), true
}

// plainDecimal matches [0-9]+(\.[0-9]+)?
func plainDecimal(s string) bool {
	if len(s) == 0 || len(s) > maxNumberBytes {
		return false
	}
	point := -1
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
		case c == '.' && point < 0 && i > 0 && i < len(s)-1:
			point = i
		default:
			return false
		}
	}
	return true
}

// decide holds a number of parts against the allowance.
func (d dimension) decide(a groups.Allowance, n *big.Rat) (resource.Quantity, Code) {
	r := d.bounds(a)
	switch {
	case n.Cmp(new(big.Rat).SetInt64(d.count(r.Min))) < 0:
		return resource.Quantity{}, BelowMin
	case n.Cmp(new(big.Rat).SetInt64(d.count(r.Max))) > 0:
		return resource.Quantity{}, AboveMax
	case !n.IsInt():
		return resource.Quantity{}, OffStep
	}
	// At most max, so it fits.
	q := d.quantity(n.Num().Int64())
	if !r.OnStep(q) {
		return resource.Quantity{}, OffStep
	}
	return q, ""
}

// text is a quantity in the form's unit, as a plain decimal, exactly.
func (d dimension) text(q resource.Quantity) string {
	whole, rest := d.count(q)/d.parts, d.count(q)%d.parts
	exact := new(big.Rat).Add(new(big.Rat).SetInt64(whole), big.NewRat(rest, d.parts))
	if exact.IsInt() {
		return exact.Num().String()
	}
	// A fraction over 2^30 or 1000 has at most 30 decimals.
	return strings.TrimRight(exact.FloatString(30), "0")
}

// FormatCPU is a number of cores as the form spells it: "1.5".
func FormatCPU(q resource.Quantity) string { return cpu.text(q) }

// FormatMemory is a number of GiB as the form spells it: "4", "0.5".
func FormatMemory(q resource.Quantity) string { return memory.text(q) }

// amount reads one amount from the input.
func (in input) amount(a groups.Allowance, d dimension, complete bool) (resource.Quantity, Code) {
	v, useDefault, code := in.state(d.field, complete)
	if code != "" {
		return resource.Quantity{}, code
	}
	if useDefault {
		return d.bounds(a).Default.DeepCopy(), ""
	}
	n, ok := d.parse(v.text, v.suffixes)
	if !ok {
		return resource.Quantity{}, Malformed
	}
	return d.decide(a, n)
}
