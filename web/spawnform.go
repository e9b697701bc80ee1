package web

import (
	"strconv"
	"strings"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
)

// KernelChoice is a kernelspec as the form shows it.
type KernelChoice struct {
	// Name is the JupyterKernelSpec's.
	Name        string
	DisplayName string
	// GPUs that one kernel takes, by extended resource such as nvidia.com/gpu.
	GPUs map[string]int64
	// IdleSeconds after which it is parked; 0 means never.
	IdleSeconds int64
	// KeepSeconds after which it is parked if all of its variables are kept; 0 means not before.
	KeepSeconds int64
}

// GPUs is what the cluster has of one resource now.
type GPUs struct {
	Free, Total int64
}

// HeldGPUs is what the user's kernels hold of one resource now, and everybody's
// of its pool.
type HeldGPUs struct {
	User, Pool int64
}

// AutoStop is a stop of the server that nobody asked for.
type AutoStop struct {
	Cause v1alpha1.StopCause
	// After is the limit that was reached: the idle time or the longest run.
	After time.Duration
	// At is zero if not known.
	At time.Time
	// KeepsFiles: the server has a home volume.
	KeepsFiles bool
}

// SpawnFormInput is what the spawn form is made from.
type SpawnFormInput struct {
	Allowance groups.Allowance
	// Server is the name of a named server, empty for the default one.
	Server string
	// Values stand in the fields: from forms.Prefill, or forms.Entered after a fault.
	Values forms.Values
	// Reset are the fields that forms.Prefill could not keep.
	Reset []string
	// Faults of the values, from forms.Invalid.
	Faults []forms.FieldError
	// Servers of the user that run, without this one.
	Servers int
	// AutoStop is why the server does not run, nil if not of itself.
	AutoStop *AutoStop
	// GPUs and Held are of the allowance's resources, by name; nil when not known.
	GPUs map[string]GPUs
	Held map[string]HeldGPUs
	// Kernels that exist; those the allowance does not name are not shown.
	Kernels []KernelChoice
	// Budgets are those of the allowance's first policy, as they stand for the user.
	Budgets []Budget
}

// SpawnFormView is the form ready to render.
type SpawnFormView struct {
	msg      *Messages
	title    string
	servers  string
	help     string
	full     string
	notices  []string
	faults   []faultView
	presets  []presetView
	preset   string // fault of the presets
	cpu      numberView
	memory   numberView
	requests bool
	channels []channelView
	image    groupView
	gpus     gpuView
}

type faultView struct {
	// target is the id of the field, empty for faults of no field.
	target string
	label  string
	text   string
}

// groupView is what belongs to a group of radio buttons as a whole.
type groupView struct {
	help, fault string
}

func (g groupView) describedBy() string {
	var ids []string
	if g.fault != "" {
		ids = append(ids, "eh-image-fault")
	}
	if g.help != "" {
		ids = append(ids, "eh-image-help")
	}
	return strings.Join(ids, " ")
}

// presetView is one of the sizes; the last one, without a name, is the
// user's own, which the two number fields hold.
type presetView struct {
	id, name, title   string
	cpu, memory       string
	text, description string
	checked           bool
}

type channelView struct {
	id, value, name, description string
	tag                          string
	checked                      bool
	redirect                     string
	redirectTo, redirectLabel    string
}

// NewSpawnFormView decides what the form shows. It never fails: an allowance
// comes from a valid policy.
func NewSpawnFormView(in SpawnFormInput, msg *Messages) SpawnFormView {
	a := in.Allowance
	v := SpawnFormView{msg: msg, title: msg.say(msg.OptionsFor, "group", a.DisplayName), help: strings.TrimSpace(a.HelpText)}
	if in.Server != "" {
		v.title = msg.say(msg.OptionsForServer, "group", a.DisplayName, "server", in.Server)
	}
	help := func(t v1alpha1.LocalizedText) string { return strings.TrimSpace(t.In(msg.Lang)) }
	if text := help(a.Help.Server); text != "" {
		v.help = text
	}
	v.addServers(in)
	values := in.Values
	v.addPresets(a, &values)
	v.cpu = newNumber(cpuField, a.CPU, values.CPU, msg)
	v.cpu.help = help(a.Help.CPU)
	v.memory = newNumber(memoryField, a.Memory, values.Memory, msg)
	v.memory.help = help(a.Help.Memory)
	v.requests = a.CPU.RequestRatio < 1 || a.Memory.RequestRatio < 1
	v.channels = newChannels(a.Images, values.Image, msg)
	v.image.help = help(a.Help.Image)
	if in.AutoStop != nil {
		v.notices = append(v.notices, msg.stopped(*in.AutoStop))
	}
	if a.Stale {
		v.notices = append(v.notices, msg.say(msg.Stale, "time", a.AsOf.UTC().Format("15:04")))
	}
	if len(in.Reset) > 0 {
		labels := make([]string, 0, len(in.Reset))
		for _, field := range in.Reset {
			labels = append(labels, fieldLabel(field, msg))
		}
		v.notices = append(v.notices, msg.say(msg.Reset, "fields", msg.list(labels)))
	}
	for _, b := range in.Budgets {
		if text := msg.budgetNotice(b); text != "" {
			v.notices = append(v.notices, text)
		}
	}
	v.addFaults(in.Faults)
	v.gpus = newGPUs(in, msg)
	v.gpus.help = help(a.Help.Kernels)
	return v
}

// nbsp keeps a number and its unit on one line.
const nbsp = "\u00a0"

// addServers says how many servers run, when there may be several, and warns
// when one more is too many.
func (v *SpawnFormView) addServers(in SpawnFormInput) {
	most := max(int(in.Allowance.ServersPerUser), 1)
	n := strconv.Itoa(most)
	if most > 1 {
		v.servers = v.msg.count(v.msg.ServersRun, n, "running", strconv.Itoa(in.Servers))
	}
	if in.Servers >= most {
		v.full = v.msg.count(v.msg.ServersFull, strconv.Itoa(in.Servers))
	}
}

// addPresets puts a chosen preset's numbers into values: the form never shows
// a size and numbers that are not that size's.
func (v *SpawnFormView) addPresets(a groups.Allowance, values *forms.Values) {
	msg := v.msg
	offered := forms.Presets(a)
	chosen := false
	for i, p := range offered {
		cpu, memory := forms.FormatCPU(p.CPU), forms.FormatMemory(p.Memory)
		view := presetView{
			id: "eh-preset-" + strconv.Itoa(i), name: p.Name, title: p.Title, cpu: cpu, memory: memory, description: p.Description,
			text:    joined(msg.count(msg.CPUAmount, cpu)) + " · " + joined(msg.count(msg.MemoryAmount, memory)),
			checked: p.Name == values.Preset,
		}
		if view.title == "" {
			view.title = p.Name
		}
		if view.checked {
			chosen = true
			values.CPU, values.Memory = cpu, memory
		}
		v.presets = append(v.presets, view)
	}
	if len(offered) > 0 {
		v.presets = append(v.presets, presetView{id: "eh-preset-own", title: msg.OwnSize.plain(), text: msg.OwnSizeHint.plain(), checked: !chosen})
	}
}

func joined(amount string) string { return strings.ReplaceAll(amount, " ", nbsp) }

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
			v.tag = msg.HiddenChannel.plain()
		}
		if c.Redirect != nil {
			v.redirect = c.Redirect.Message
			v.redirectTo, v.redirectLabel = "eh-image-"+c.Redirect.To, msg.say(msg.Redirect, "channel", names[c.Redirect.To])
		}
		views = append(views, v)
	}
	return views
}

func (v *SpawnFormView) addFaults(faults []forms.FieldError) {
	for _, f := range faults {
		var view faultView
		switch f.Field {
		case forms.FieldCPU:
			v.cpu.fault = v.msg.numberFault(f.Code, v.cpu.bounds)
			view = faultView{target: v.cpu.id, label: v.cpu.label, text: v.cpu.fault}
		case forms.FieldMemory:
			v.memory.fault = v.msg.numberFault(f.Code, v.memory.bounds)
			view = faultView{target: v.memory.id, label: v.memory.label, text: v.memory.fault}
		case forms.FieldPreset:
			v.preset = v.msg.PresetFault.plain()
			view = faultView{label: v.msg.Size.plain(), text: v.preset}
			if len(v.presets) > 0 {
				view.target = v.presets[0].id
			}
		case forms.FieldImage:
			v.image.fault = v.msg.ImageFault.plain()
			view = faultView{label: v.msg.Image.plain(), text: v.image.fault}
			if len(v.channels) > 0 {
				view.target = v.channels[0].id
			}
		case "":
			view.text = v.msg.OptionsFault.plain()
		default:
			view.text = v.msg.say(v.msg.UnknownFault, "name", f.Field)
		}
		v.faults = append(v.faults, view)
	}
}

func fieldLabel(field string, msg *Messages) string {
	switch field {
	case forms.FieldCPU:
		return msg.CPU.plain()
	case forms.FieldMemory:
		return msg.Memory.plain()
	case forms.FieldImage:
		return msg.Image.plain()
	default:
		return field
	}
}
