package web

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
)

// KernelChoice is a kernelspec as the form shows it.
type KernelChoice struct {
	// Name is the JupyterKernelSpec's.
	Name        string
	DisplayName string
	GPUs        int
	// IdleSeconds after which it is parked; 0 means never.
	IdleSeconds int64
}

// GPUs is the state of the cluster now.
type GPUs struct {
	Free, Total int
}

// SpawnFormInput is what the spawn form is made from.
type SpawnFormInput struct {
	Allowance groups.Allowance
	// Values stand in the fields: from forms.Prefill, or forms.Entered after a fault.
	Values forms.Values
	// Reset are the fields that forms.Prefill could not keep.
	Reset []string
	// Faults of the values, from forms.Invalid.
	Faults []forms.FieldError
	// GPUs is nil when not known.
	GPUs *GPUs
	// Kernels that exist; those the allowance does not name are not shown.
	Kernels []KernelChoice
}

// SpawnFormView is the form ready to render.
type SpawnFormView struct {
	msg       *Messages
	title     string
	help      string
	notices   []string
	faults    []faultView
	presets   []presetView
	cpu       numberView
	memory    numberView
	channels  []channelView
	imageHint string
	gpus      gpuView
}

type faultView struct {
	// target is the id of the field, empty for faults of no field.
	target string
	label  string
	text   string
}

type presetView struct {
	name, cpu, memory, text string
}

// numberView is a number field with its slider.
type numberView struct {
	id, name, label, slider string
	value                   string
	bounds                  FieldBounds
	// inputStep is the step attribute: "any" where the highest value is on no step.
	inputStep string
	// positions of the slider are 0 to positions; the last is the highest value.
	positions, position string
	digits              string
	hint, steps         string
	ratio               string
	guaranteed, all     string
	live                string
	fault               string
}

func (n numberView) fixed() bool { return n.bounds.Lowest == n.bounds.Highest }

func (n numberView) describedBy() string {
	ids := n.id + "-hint " + n.id + "-live"
	if n.fault != "" {
		ids = n.id + "-fault " + ids
	}
	return ids
}

type channelView struct {
	id, value, name, description string
	tag                          string
	checked                      bool
	redirect                     string
	redirectTo, redirectLabel    string
}

type gpuView struct {
	title, intro string
	kernels      []kernelView
	limit        string
	free         string
	scarce       bool
}

type kernelView struct {
	name, gpus, idle string
	hasGPU           bool
}

// NewSpawnFormView decides what the form shows. It never fails: an allowance
// comes from a valid policy.
func NewSpawnFormView(in SpawnFormInput, msg *Messages) SpawnFormView {
	a := in.Allowance
	v := SpawnFormView{msg: msg, title: msg.OptionsFor(a.DisplayName), help: strings.TrimSpace(a.HelpText)}
	v.cpu = newNumber(cpuField, a.CPU, in.Values.CPU, msg.CPULabel, msg.CPUUnit, msg.CPUUnitOne, msg)
	v.memory = newNumber(memoryField, a.Memory, in.Values.Memory, msg.MemoryLabel, msg.MemoryUnit, msg.MemoryUnit, msg)
	v.channels = newChannels(a.Images, in.Values.Image, msg)
	for _, p := range a.Presets {
		cpu, memory := forms.FormatCPU(p.CPU), forms.FormatMemory(p.Memory)
		v.presets = append(v.presets, presetView{name: p.Name, cpu: cpu, memory: memory,
			text: cpu + nbsp + v.cpu.bounds.unitAfter(cpu) + " · " + memory + nbsp + msg.MemoryUnit})
	}
	if a.Stale {
		v.notices = append(v.notices, msg.Stale(a.AsOf))
	}
	if len(in.Reset) > 0 {
		labels := make([]string, 0, len(in.Reset))
		for _, field := range in.Reset {
			labels = append(labels, fieldLabel(field, msg))
		}
		v.notices = append(v.notices, msg.Reset(labels))
	}
	v.addFaults(in.Faults)
	v.gpus = newGPUs(a.Kernels, in.Kernels, in.GPUs, msg)
	return v
}

// nbsp keeps a number and its unit on one line.
const nbsp = "\u00a0"

// numberField is what differs between the two number fields.
type numberField struct {
	name   string
	format func(resource.Quantity) string
	// digits after the point that its values can have, in the form's unit.
	digits int
	// suffix makes a Quantity of a value.
	suffix string
}

var (
	cpuField    = numberField{name: forms.FieldCPU, format: forms.FormatCPU, digits: 3}
	memoryField = numberField{name: forms.FieldMemory, format: forms.FormatMemory, digits: 20, suffix: "Gi"}
)

func newNumber(f numberField, r groups.Range, value, label, unit, unitOne string, msg *Messages) numberView {
	n := numberView{
		id: "eh-" + f.name, name: f.name, label: label, slider: msg.Slider(label), value: value,
		bounds: FieldBounds{Lowest: f.format(r.Min), Highest: f.format(r.Max), Step: f.format(r.Step), Unit: unit, UnitOne: unitOne},
		digits: strconv.Itoa(f.digits),
		ratio:  strconv.FormatFloat(r.RequestRatio, 'g', -1, 64),
	}
	n.inputStep = n.bounds.Step
	span, step := r.Max.MilliValue()-r.Min.MilliValue(), r.Step.MilliValue()
	last := span / step
	if span%step != 0 {
		n.inputStep = "any"
		last++
	}
	n.positions = strconv.FormatInt(last, 10)
	n.hint, n.steps = msg.Bounds(n.bounds), msg.Steps(n.bounds.Step)
	n.guaranteed, n.all = msg.Guaranteed, msg.GuaranteedAll
	number, err := strconv.ParseFloat(value, 64)
	if err != nil || strings.Trim(value, "0123456789.") != "" {
		// Entered by hand and refused; the fault is shown at the field.
		n.position = "0"
		return n
	}
	lowest, _ := strconv.ParseFloat(n.bounds.Lowest, 64)
	width, _ := strconv.ParseFloat(n.bounds.Step, 64)
	at := min(max(int64((number-lowest)/width+0.5), 0), last)
	n.position = strconv.FormatInt(at, 10)
	if q, err := resource.ParseQuantity(value + f.suffix); err == nil && r.Includes(q) {
		n.live = n.sentence(number, r.RequestRatio)
	}
	return n
}

// sentence is what the script shows, too, when the value changes.
func (n numberView) sentence(limit, ratio float64) string {
	request, whole := strconv.FormatFloat(limit*ratio, 'f', 2, 64), trimZeros(strconv.FormatFloat(limit, 'f', 2, 64))
	text := n.guaranteed
	if ratio == 1 {
		text = n.all
	}
	return strings.NewReplacer("{request}", trimZeros(request), "{limit}", whole, "{unit}", n.bounds.unitAfter(whole)).Replace(text)
}

func trimZeros(s string) string {
	if !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}

// newChannels lists what is on offer, and the chosen channel even if hidden.
func newChannels(all []v1alpha1.ImageChannel, chosen string, msg *Messages) []channelView {
	var views []channelView
	names := map[string]string{}
	for _, c := range all {
		names[c.ID] = c.DisplayName
	}
	for _, c := range all {
		if c.Hidden && c.ID != chosen {
			continue
		}
		v := channelView{id: "eh-image-" + c.ID, value: c.ID, name: c.DisplayName, description: c.Description, checked: c.ID == chosen}
		if c.Hidden {
			v.tag = msg.HiddenChannel
		}
		if c.Redirect != nil {
			v.redirect = c.Redirect.Message
			v.redirectTo, v.redirectLabel = "eh-image-"+c.Redirect.To, msg.RedirectProposed(names[c.Redirect.To])
		}
		views = append(views, v)
	}
	return views
}

func newGPUs(allowed v1alpha1.PolicyKernels, all []KernelChoice, now *GPUs, msg *Messages) gpuView {
	v := gpuView{title: msg.Kernels, intro: msg.NoKernels}
	for _, k := range all {
		if !slices.Contains(allowed.Allowed, k.Name) || k.GPUs > int(min(allowed.GPUsPerKernel, allowed.GPUsPerUser)) {
			continue
		}
		view := kernelView{name: k.DisplayName, gpus: msg.KernelNoGPU, hasGPU: k.GPUs > 0}
		if view.name == "" {
			view.name = k.Name
		}
		idle := time.Duration(k.IdleSeconds) * time.Second
		switch {
		case k.IdleSeconds <= 0:
			view.idle = msg.KeptWhileOpen
		case k.GPUs > 0:
			view.idle = msg.ReturnedAfter(idle)
		default:
			view.idle = msg.ParkedAfter(idle)
		}
		if k.GPUs > 0 {
			view.gpus = msg.KernelGPUs(k.GPUs)
		}
		v.kernels = append(v.kernels, view)
	}
	hasGPU := slices.ContainsFunc(v.kernels, func(k kernelView) bool { return k.hasGPU })
	switch {
	case hasGPU:
		v.intro = msg.KernelsIntro
	case len(v.kernels) > 0:
		v.title, v.intro = msg.RemoteKernels, msg.RemoteKernelsIntro
		return v
	default:
		return v
	}
	v.limit = msg.GPUsPerUser(int(allowed.GPUsPerUser))
	if now != nil {
		v.free = msg.FreeGPUs(now.Free, now.Total)
		v.scarce = now.Free == 0
	}
	return v
}

func (v *SpawnFormView) addFaults(faults []forms.FieldError) {
	for _, f := range faults {
		view := faultView{text: f.Message}
		switch f.Field {
		case forms.FieldCPU:
			view.target, view.label, view.text = v.cpu.id, v.cpu.label, v.msg.FieldFault(f, v.cpu.bounds)
			v.cpu.fault = view.text
		case forms.FieldMemory:
			view.target, view.label, view.text = v.memory.id, v.memory.label, v.msg.FieldFault(f, v.memory.bounds)
			v.memory.fault = view.text
		case forms.FieldImage:
			view.label, view.text = v.msg.Image, v.msg.ImageFault
			if len(v.channels) > 0 {
				view.target = v.channels[0].id
			}
			v.imageHint = view.text
		default:
			if f.Code == forms.Unknown {
				view.text = v.msg.UnknownFieldFault(f.Field)
			}
		}
		v.faults = append(v.faults, view)
	}
}

func fieldLabel(field string, msg *Messages) string {
	switch field {
	case forms.FieldCPU:
		return msg.CPULabel
	case forms.FieldMemory:
		return msg.MemoryLabel
	case forms.FieldImage:
		return msg.Image
	default:
		return field
	}
}
