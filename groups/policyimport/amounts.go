package policyimport

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

var number = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,9})?$`)

// units are JupyterHub's, all of them powers of 1024 (ByteSpecification), and
// Kubernetes' own.
var units = map[string]int64{
	"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}

// rational takes what YAML makes of a number, or its text.
func rational(v any) (*big.Rat, error) {
	text := ""
	switch v := v.(type) {
	case string:
		text = strings.TrimSpace(v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v is not a number", v)
		}
		text = strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.9f", v), "0"), ".")
	default:
		text = fmt.Sprint(v)
	}
	if !number.MatchString(text) {
		return nil, fmt.Errorf("%.40q is not a plain number", text)
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, fmt.Errorf("%.40q is not a plain number", text)
	}
	return r, nil
}

// cores reads a number of cores, also in thousandths ("500m").
func cores(v any) (resource.Quantity, error) {
	if text, ok := v.(string); ok && strings.HasSuffix(text, "m") {
		r, err := rational(strings.TrimSuffix(text, "m"))
		if err != nil {
			return resource.Quantity{}, err
		}
		return whole(r, 1, "thousandths of a core", func(n int64) resource.Quantity { return *resource.NewMilliQuantity(n, resource.DecimalSI) })
	}
	r, err := rational(v)
	if err != nil {
		return resource.Quantity{}, err
	}
	return whole(r, 1000, "thousandths of a core", func(n int64) resource.Quantity { return *resource.NewMilliQuantity(n, resource.DecimalSI) })
}

// bytes reads an amount of memory; a bare number counts in unit.
func bytes(v any, unit string) (resource.Quantity, error) {
	factor := units[unit]
	if text, ok := v.(string); ok {
		trimmed := strings.TrimRight(strings.TrimSpace(text), "KMGTi")
		if suffix := strings.TrimSpace(text)[len(trimmed):]; suffix != "" {
			var known bool
			if factor, known = units[suffix]; !known {
				return resource.Quantity{}, fmt.Errorf("%.40q has no unit that is known", text)
			}
		}
		v = trimmed
	}
	r, err := rational(v)
	if err != nil {
		return resource.Quantity{}, err
	}
	return whole(r, factor, "bytes", func(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.BinarySI) })
}

func whole(r *big.Rat, factor int64, of string, quantity func(int64) resource.Quantity) (resource.Quantity, error) {
	n := new(big.Rat).Mul(r, new(big.Rat).SetInt64(factor))
	if !n.IsInt() || !n.Num().IsInt64() {
		return resource.Quantity{}, fmt.Errorf("%s is not a whole number of %s", r.FloatString(9), of)
	}
	return quantity(n.Num().Int64()), nil
}
