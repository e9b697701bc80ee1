package policyimport

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

var number = regexp.MustCompile(`^[0-9]{1,15}(\.[0-9]{1,17})?$`)

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
		text = strconv.FormatFloat(v, 'f', -1, 64)
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

// mebibyte is what amounts of memory are rounded to.
const mebibyte = 1 << 20

// cores reads a number of cores, also in thousandths ("500m"). What is finer is
// left off, and rounded says so: nobody gets more than the input says.
func cores(v any) (q resource.Quantity, rounded bool, err error) {
	factor := int64(1000)
	if text, ok := v.(string); ok && strings.HasSuffix(text, "m") {
		v, factor = strings.TrimSuffix(text, "m"), 1
	}
	r, err := rational(v)
	if err != nil {
		return resource.Quantity{}, false, err
	}
	n, rounded, err := floor(r, factor, 1, "thousandths of a core")
	return *resource.NewMilliQuantity(n, resource.DecimalSI), rounded, err
}

// bytes reads an amount of memory; a bare number counts in unit. Above a MiB, what is
// less than another is left off: forms have sizes that people can read.
func bytes(v any, unit string) (q resource.Quantity, rounded bool, err error) {
	factor := units[unit]
	if text, ok := v.(string); ok {
		trimmed := strings.TrimRight(strings.TrimSpace(text), "KMGTi")
		if suffix := strings.TrimSpace(text)[len(trimmed):]; suffix != "" {
			var known bool
			if factor, known = units[suffix]; !known {
				return resource.Quantity{}, false, fmt.Errorf("%.40q has no unit that is known", text)
			}
		}
		v = trimmed
	}
	r, err := rational(v)
	if err != nil {
		return resource.Quantity{}, false, err
	}
	grain := int64(1)
	if new(big.Rat).Mul(r, new(big.Rat).SetInt64(factor)).Cmp(new(big.Rat).SetInt64(mebibyte)) > 0 {
		grain = mebibyte
	}
	n, rounded, err := floor(r, factor, grain, "bytes")
	return *resource.NewQuantity(n, resource.BinarySI), rounded, err
}

// floor is the greatest multiple of grain that is not more than r times factor.
func floor(r *big.Rat, factor, grain int64, of string) (n int64, rounded bool, err error) {
	product := new(big.Rat).Mul(r, new(big.Rat).SetInt64(factor))
	down := new(big.Int).Quo(product.Num(), product.Denom()) // of numbers that are not negative
	down.Sub(down, new(big.Int).Mod(down, big.NewInt(grain)))
	if !down.IsInt64() || down.Sign() == 0 && r.Sign() > 0 {
		return 0, false, fmt.Errorf("%s cannot be counted in %s", r.FloatString(9), of)
	}
	return down.Int64(), product.Cmp(new(big.Rat).SetInt(down)) != 0, nil
}
