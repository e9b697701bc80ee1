package policyedit

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Kind is how a field is entered.
type Kind int

// Kinds of fields.
const (
	// Text is text of one line, or a quantity.
	Text Kind = iota
	// Area is text of several lines.
	Area
	// Number is a whole number.
	Number
	// Flag is yes or no.
	Flag
	// Lines are texts, one a line.
	Lines
	// AtLimit is queue or refuse.
	AtLimit
	// OnBudget is whole, any, force or none.
	OnBudget
	// Budgets are budgets, one a line; see BudgetLine.
	Budgets
)

// Field is one that the form has an input for.
type Field struct {
	// Path is the field's below spec, and the input's name.
	Path string
	Kind Kind
}

// Fields are those that have an input; all others are in the YAML below them.
var Fields = []Field{
	{"displayName", Text}, {"groups", Lines}, {"default", Flag}, {"priority", Number},
	{"cpu.min", Text}, {"cpu.max", Text}, {"cpu.step", Text}, {"cpu.default", Text}, {"cpu.requestRatio", Text},
	{"memory.min", Text}, {"memory.max", Text}, {"memory.step", Text}, {"memory.default", Text}, {"memory.requestRatio", Text},
	{"serversPerUser", Number}, {"serverIdleSeconds", Number}, {"maxRunSeconds", Number},
	{"kernels.allowed", Lines}, {"kernels.gpuResource", Text}, {"kernels.gpusPerKernel", Number}, {"kernels.gpusPerUser", Number}, {"kernels.gpuPool", Number},
	{"kernels.perUser", Number}, {"kernels.atLimit", AtLimit}, {"kernels.idleSeconds", Number}, {"kernels.maxRunSeconds", Number}, {"kernels.weight", Number},
	{"kernels.budget", Budgets}, {"kernels.onBudget", OnBudget},
	{"helpText", Area},
}

// Names of what the form has besides.
const (
	// FieldName is the object's, of a new one.
	FieldName = "name"
	// FieldRest is the YAML of all other fields.
	FieldRest = "rest"
)

// Form is what the inputs hold: by path, and FieldName and FieldRest.
type Form map[string]string

// Fill is the form of a spec.
func Fill(spec Spec) Form {
	f := Form{}
	rest := spec
	for _, each := range Fields {
		value, there := at(spec, each.Path)
		rest = with(rest, each.Path, nil)
		if !there {
			continue
		}
		if each.Kind == Budgets {
			lines, readable := budgetLines(value)
			if !readable { // then it stays what it is, in the YAML
				rest = with(rest, each.Path, value)
			}
			f[each.Path] = lines
			continue
		}
		if list, is := value.([]any); is {
			lines := make([]string, 0, len(list))
			for _, line := range list {
				lines = append(lines, text(line))
			}
			f[each.Path] = strings.Join(lines, "\n")
			continue
		}
		f[each.Path] = text(value)
	}
	if len(rest) > 0 {
		raw, err := yaml.Marshal(rest)
		if err != nil {
			panic(err) // it came from JSON
		}
		f[FieldRest] = string(raw)
	}
	return f
}

// Problem is what is wrong with a form, as far as this package says it.
type Problem string

// Problems.
const (
	// ProblemNumber: it is no whole number.
	ProblemNumber Problem = "number"
	// ProblemBudget: a line is no budget.
	ProblemBudget Problem = "budget"
	// ProblemYAML: it cannot be read.
	ProblemYAML Problem = "yaml"
	// ProblemTwice: the YAML has a field that has an input.
	ProblemTwice Problem = "twice"
	// ProblemTaken: there is a policy of that name.
	ProblemTaken Problem = "taken"
)

// Fault is something wrong.
type Fault struct {
	// Field is the name of an input, or empty.
	Field string
	// Path is what is told with it, where it is not that of the input.
	Path string
	// Problem, or else Text: what the validation says, in English.
	Problem Problem
	Text    string
}

// Spec is what the form says. What stands as it stood in base stays just that. The faults
// are those of text that is nothing at all; what it says may be wrong nevertheless.
func (f Form) Spec(base Spec) (Spec, []Fault) {
	var faults []Fault
	spec, err := decodeYAML(f[FieldRest])
	if err != nil {
		return nil, []Fault{{Field: FieldRest, Problem: ProblemYAML, Text: err.Error()}}
	}
	for key, old := range base {
		if empty, is := old.(Spec); is && len(empty) == 0 && spec[key] == nil {
			spec[key] = empty
		}
	}
	was := Fill(base)
	for _, each := range Fields {
		if value, there := at(spec, each.Path); there {
			if _, readable := budgetLines(value); each.Kind == Budgets && !readable {
				continue
			}
			faults = append(faults, Fault{Field: FieldRest, Path: each.Path, Problem: ProblemTwice})
			continue
		}
		entered := clean(f[each.Path], each.Kind)
		if old, there := at(base, each.Path); there && entered == clean(was[each.Path], each.Kind) {
			spec = with(spec, each.Path, old)
			continue
		}
		value, problem := each.parse(entered)
		if problem != "" {
			faults = append(faults, Fault{Field: each.Path, Problem: problem})
			continue
		}
		if value != nil {
			spec = with(spec, each.Path, value)
		}
	}
	return spec, faults
}

// clean leaves out what nobody sees.
func clean(entered string, kind Kind) string {
	entered = strings.ReplaceAll(entered, "\r\n", "\n")
	if kind == Flag && entered == "" {
		return "false"
	}
	if kind != Lines && kind != Budgets {
		return strings.TrimSpace(entered)
	}
	var lines []string
	for line := range strings.Lines(entered) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// parse is nil for what is left out.
func (each Field) parse(entered string) (any, Problem) {
	if entered == "" {
		return nil, ""
	}
	switch each.Kind {
	case Number:
		n, err := strconv.ParseInt(entered, 10, 64)
		if err != nil {
			return nil, ProblemNumber
		}
		return n, ""
	case Flag:
		if entered != "true" {
			return nil, ""
		}
		return true, ""
	case Lines:
		var list []any
		for line := range strings.SplitSeq(entered, "\n") {
			list = append(list, line)
		}
		return list, ""
	case Budgets:
		return parseBudgets(entered)
	case Text, Area, AtLimit, OnBudget:
	}
	return entered, ""
}

// AddLines adds what is not there yet to a field of lines.
func (f Form) AddLines(path string, lines []string) {
	all := strings.Split(clean(f[path], Lines), "\n")
	if all[0] == "" {
		all = nil
	}
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" && !strings.ContainsAny(line, "\r\n") && !slices.Contains(all, line) {
			all = append(all, line)
		}
	}
	f[path] = strings.Join(all, "\n")
}

// FaultsOf puts the validation's words at the inputs that they speak of.
func FaultsOf(list field.ErrorList) []Fault {
	var faults []Fault
	for _, e := range list {
		faults = append(faults, FaultAt(e.Field, e.ErrorBody()))
	}
	return faults
}

// FaultAt is one at a path of the object.
func FaultAt(path, words string) Fault {
	below, isSpec := strings.CutPrefix(path, "spec.")
	switch {
	case path == "metadata.name":
		return Fault{Field: FieldName, Text: words}
	case !isSpec:
		return Fault{Path: path, Text: words}
	}
	whole, _, _ := strings.Cut(below, "[")
	for _, each := range Fields {
		if each.Path == below || each.Path == whole {
			f := Fault{Field: each.Path, Text: words}
			if below != each.Path {
				f.Path = below
			}
			return f
		}
	}
	for _, each := range Fields {
		if strings.HasPrefix(each.Path, below+".") { // such as cpu
			return Fault{Field: each.Path, Path: below, Text: words}
		}
	}
	return Fault{Field: FieldRest, Path: below, Text: words}
}

// Merge adds faults at places that have none yet: what two validations say is one fault.
func Merge(faults, more []Fault) []Fault {
	for _, f := range more {
		if !slices.ContainsFunc(faults, func(g Fault) bool { return g.Field == f.Field && g.Path == f.Path }) {
			faults = append(faults, f)
		}
	}
	return faults
}
