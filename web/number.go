package web

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
)

// fieldBounds are a number field's bounds as plain decimals, and how the
// language writes an amount of its unit.
type fieldBounds struct {
	lowest, highest, step string
	amount                message
}

// numberView is a number field with its slider.
type numberView struct {
	id, name, label, slider string
	value                   string
	bounds                  fieldBounds
	unit                    string
	// inputStep is the step attribute: "any" where the highest value is on no step.
	inputStep string
	// positions of the slider are 0 to positions; the last is the highest value.
	positions, position string
	digits              string
	// decimal stands between whole and fraction in texts.
	decimal           string
	lowText, highText string
	hint, steps, help string
	ratio             string
	// amounts are the plural forms of an amount for the script, as JSON:
	// CLDR's names of the forms, {n} for the number.
	amounts   string
	valueText string
	// template has {value} and {request}, for the script.
	template string
	live     string
	fault    string
}

func (n numberView) fixed() bool { return n.bounds.lowest == n.bounds.highest }

func (n numberView) describedBy() string {
	ids := n.id + "-hint " + n.id + "-live"
	if n.help != "" {
		ids = n.id + "-help " + ids
	}
	if n.fault != "" {
		ids = n.id + "-fault " + ids
	}
	return ids
}

// numberField is what differs between the two number fields.
type numberField struct {
	name   string
	format func(resource.Quantity) string
	// digits after the point that its values can have, in the form's unit.
	digits int
	// suffix makes a Quantity of a value.
	suffix string
	texts  func(*Messages) numberTexts
}

type numberTexts struct {
	label, unit, amount, live, liveAll message
}

var (
	cpuField = numberField{name: forms.FieldCPU, format: forms.FormatCPU, digits: 3,
		texts: func(m *Messages) numberTexts {
			return numberTexts{m.CPU, m.CPUUnit, m.CPUAmount, m.CPULive, m.CPULiveAll}
		}}
	memoryField = numberField{name: forms.FieldMemory, format: forms.FormatMemory, digits: 20, suffix: "Gi",
		texts: func(m *Messages) numberTexts {
			return numberTexts{m.Memory, m.MemoryUnit, m.MemoryAmount, m.MemoryLive, m.MemoryLiveAll}
		}}
)

func newNumber(f numberField, r groups.Range, value string, msg *Messages) numberView {
	t := f.texts(msg)
	n := numberView{
		id: "eh-" + f.name, name: f.name, label: t.label.plain(), slider: msg.say(msg.Slider, "field", t.label.plain()), value: value,
		bounds: fieldBounds{lowest: f.format(r.Min), highest: f.format(r.Max), step: f.format(r.Step), amount: t.amount},
		unit:   t.unit.plain(), digits: strconv.Itoa(f.digits), decimal: msg.Decimal.plain(),
		ratio: strconv.FormatFloat(r.RequestRatio, 'g', -1, 64),
	}
	n.inputStep = n.bounds.step
	span, step := r.Max.MilliValue()-r.Min.MilliValue(), r.Step.MilliValue()
	last := span / step
	if span%step != 0 {
		n.inputStep = "any"
		last++
	}
	n.positions = strconv.FormatInt(last, 10)
	n.lowText, n.highText = msg.number(n.bounds.lowest), msg.number(n.bounds.highest)
	n.steps = msg.say(msg.Steps, "step", msg.number(n.bounds.step))
	n.amounts, n.valueText = t.amount.json(), value
	hint, live := msg.Bounds, t.live
	if n.fixed() {
		hint = msg.Always
	}
	if r.RequestRatio == 1 {
		live = t.liveAll
	}
	n.hint = msg.say(hint, "lowest", n.lowText, "highestAmount", msg.count(t.amount, n.bounds.highest), "step", msg.number(n.bounds.step))
	n.template = msg.count(live, n.bounds.highest)

	number, err := strconv.ParseFloat(value, 64)
	if err != nil || strings.Trim(value, "0123456789.") != "" {
		// Entered by hand and refused; the fault is shown at the field.
		n.position = "0"
		return n
	}
	n.valueText = msg.count(t.amount, value)
	lowest, _ := strconv.ParseFloat(n.bounds.lowest, 64)
	width, _ := strconv.ParseFloat(n.bounds.step, 64)
	at := min(max(int64((number-lowest)/width+0.5), 0), last)
	n.position = strconv.FormatInt(at, 10)
	if q, err := resource.ParseQuantity(value + f.suffix); err == nil && r.Includes(q) {
		n.live = fill(n.template, "value", msg.number(value), "request", msg.number(hundredths(request(number, r.RequestRatio))))
	}
	return n
}

// request is forms.Requests in the form's unit, and what the script computes:
// rounded to hundredths.
func request(limit, ratio float64) float64 {
	return min(math.Round(math.Round(limit*1000)*ratio/10)/100, limit)
}

// hundredths writes at most two digits after the point.
func hundredths(n float64) string {
	s := strconv.FormatFloat(n, 'f', 2, 64)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// json is the plural forms by their CLDR names.
func (t message) json() string {
	named := map[string]string{}
	for form, s := range t.forms {
		named[pluralNames[form]] = s
	}
	encoded, err := json.Marshal(named)
	if err != nil {
		panic(err) // strings only
	}
	return string(encoded)
}
