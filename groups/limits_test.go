package groups

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// limit is a field of an Allowance as two policies state it, the first of the
// higher priority, what union makes of that, and what explain says.
type limit struct {
	first, second, union any
	// says is a line of explain that names the policies of the value, "" if
	// notSaid tells why there is none.
	says    string
	notSaid string
	// set is the field that is set in the policies, if not this one.
	set string
}

const (
	saidOfTheUser = "explain tells it of the user, not of the allowance"
	shownInForm   = "a text of the form, no limit"
	fromGPUs      = "explain tells the quotas by resource"
	notReadYet    = "a field that nothing reads yet"
)

var fortyHours = v1alpha1.Budget{
	Resource: "nvidia.com/gpu", Hours: resource.MustParse("40"), Per: v1alpha1.BudgetPerUser,
	Window: v1alpha1.BudgetWindow{Calendar: v1alpha1.BudgetWeek, TimeZone: "Europe/Berlin"},
}

// limits are all fields of an Allowance, those of its structs and of the
// elements of its lists included, unless a whole struct is one value.
var limits = map[string]limit{
	"Policies":    {[]string{"first"}, []string{"second"}, []string{"first", "second"}, "", saidOfTheUser, ""},
	"DisplayName": {"a", "b", "a", "", shownInForm, ""},
	"HelpText":    {"a", "b", "a", "", shownInForm, ""},
	"Help":        {v1alpha1.PolicyHelp{}, v1alpha1.PolicyHelp{CPU: v1alpha1.LocalizedText{"en": "b"}}, v1alpha1.PolicyHelp{}, "", shownInForm, ""},
	// One membership makes all allowances of a user.
	"Groups": {[]Group{{Name: "g"}}, []Group{{Name: "g"}}, []Group{{Name: "g"}}, "", saidOfTheUser, ""},
	"Source": {"ldap", "ldap", "ldap", "", saidOfTheUser, ""},
	"AsOf":   {member().AsOf, member().AsOf, member().AsOf, "", saidOfTheUser, ""},
	"Stale":  {true, true, true, "", saidOfTheUser, ""},

	"CPU.Min":             {*quantity("1"), *quantity("500m"), *quantity("500m"), "            min: second\n", "", ""},
	"CPU.Max":             {*quantity("4"), *quantity("8"), *quantity("8"), "            max: second\n", "", ""},
	"CPU.Step":            {*quantity("3"), *quantity("1"), *quantity("1"), "            step: second\n", "", ""},
	"CPU.Default":         {*quantity("1"), *quantity("2"), *quantity("1"), "            default: first\n", "", ""},
	"CPU.RequestRatio":    {0.25, 0.75, 0.75, "            requestRatio: second\n", "", ""},
	"Memory.Min":          {*quantity("1Gi"), *quantity("512Mi"), *quantity("512Mi"), "            min: second\n", "", ""},
	"Memory.Max":          {*quantity("8Gi"), *quantity("16Gi"), *quantity("16Gi"), "            max: second\n", "", ""},
	"Memory.Step":         {*quantity("7Gi"), *quantity("1Gi"), *quantity("1Gi"), "            step: second\n", "", ""},
	"Memory.Default":      {*quantity("1Gi"), *quantity("2Gi"), *quantity("1Gi"), "            default: first\n", "", ""},
	"Memory.RequestRatio": {0.25, 0.75, 0.75, "            requestRatio: second\n", "", ""},
	"Images":              {[]v1alpha1.ImageChannel{{ID: "a", Image: "x"}}, []v1alpha1.ImageChannel{{ID: "b", Image: "y"}}, []v1alpha1.ImageChannel{{ID: "a", Image: "x"}, {ID: "b", Image: "y"}}, "image     b: y  [second]\n", "", ""},
	"Presets":             {[]v1alpha1.Preset(nil), []v1alpha1.Preset{{Name: "big", CPU: *quantity("4"), Memory: *quantity("8Gi")}}, []v1alpha1.Preset{{Name: "big", CPU: *quantity("4"), Memory: *quantity("8Gi")}}, "preset    big: cpu 4, memory 8Gi  [second]\n", "", ""},

	"NodeSelector":         {map[string]string{"pool": "a"}, map[string]string{"pool": "b"}, map[string]string{"pool": "a"}, "placement node pool=a  [first]\n", "", ""},
	"Tolerations":          {[]corev1.Toleration{{Key: "a"}}, []corev1.Toleration{{Key: "b"}}, []corev1.Toleration{{Key: "a"}}, "placement tolerates a=  [first]\n", "", ""},
	"Affinity":             {&corev1.Affinity{}, (*corev1.Affinity)(nil), &corev1.Affinity{}, "placement affinity  [first]\n", "", ""},
	"PriorityClassName":    {"a", "b", "a", "placement priority class a  [first]\n", "", ""},
	"SchedulerName":        {"a", "b", "a", "placement scheduler a  [first]\n", "", ""},
	"ServiceAccountName":   {"a", "b", "a", "placement as a  [first]\n", "", ""},
	"ServiceAccountTokens": {[]v1alpha1.ServiceAccountToken{{Audience: "a", Path: "a"}}, []v1alpha1.ServiceAccountToken{{Audience: "b", Path: "b"}}, []v1alpha1.ServiceAccountToken{{Audience: "a", Path: "a"}}, "placement token for a  [first]\n", "", ""},
	"ImagePullSecrets":     {[]v1alpha1.PullSecret{{Name: "a"}}, []v1alpha1.PullSecret{{Name: "b"}}, []v1alpha1.PullSecret{{Name: "a"}, {Name: "b"}}, "secret    b, to pull images  [second]\n", "", ""},
	"Env":                  {[]v1alpha1.PolicyEnv{{Name: "A"}}, []v1alpha1.PolicyEnv{{Name: "B"}}, []v1alpha1.PolicyEnv{{Name: "A"}, {Name: "B"}}, "env       B  [second]\n", "", ""},
	"Pod":                  {&v1alpha1.PolicyPod{Labels: map[string]string{"a": "1"}}, &v1alpha1.PolicyPod{Labels: map[string]string{"b": "2"}}, &v1alpha1.PolicyPod{Labels: map[string]string{"a": "1", "b": "2"}}, "pod       labels a, b  [first, second]\n", "", ""},

	"Storage.Home":             {(*v1alpha1.HomeVolume)(nil), &v1alpha1.HomeVolume{Size: *quantity("1Gi")}, &v1alpha1.HomeVolume{Size: *quantity("1Gi")}, "home      1Gi at /home/jovyan  [second]\n", "", ""},
	"Storage.Shared.Name":      {"a", "b", "a", "", "a name that nobody sees", ""},
	"Storage.Shared.Claim":     {"a", "b", "a", "volume    a at /data, read and write  [first]\n", "", ""},
	"Storage.Shared.MountPath": {"/a", "/b", "/a", "volume    data at /b, read and write  [second]\n", "", ""},
	"Storage.Shared.ReadOnly":  {true, false, false, "volume    data at /data, read and write  [second]\n", "", ""},

	"Kernels.Allowed":       {[]string{"a"}, []string{"b"}, []string{"a", "b"}, "kernel    b  [second]\n", "", ""},
	"Kernels.GPUResource":   {"amd.com/gpu", "nvidia.com/gpu", "amd.com/gpu", "", fromGPUs, "GPUs.Resource"},
	"Kernels.GPUsPerKernel": {int32(1), int32(2), int32(2), "", fromGPUs, "GPUs.PerKernel"},
	"Kernels.GPUsPerUser":   {int32(3), int32(4), int32(4), "", fromGPUs, "GPUs.PerUser"},
	"Kernels.GPUPool":       {new(int32(5)), new(int32(6)), new(int32(5)), "", fromGPUs, "GPUs.Pool"},
	"Kernels.PerUser":       {int32(2), int32(0), int32(0), "kernels   any number at once  [second]\n", "", ""},
	"Kernels.AtLimit":       {v1alpha1.AtLimitRefuse, v1alpha1.AtLimitQueue, v1alpha1.AtLimitQueue, "at limit  kernels wait in the queue  [second]\n", "", ""},
	"Kernels.IdleSeconds":   {int64(60), int64(120), int64(120), "idle      kernels are parked after 2m0s without activity  [second]\n", "", ""},
	"Kernels.MaxRunSeconds": {new(int64(60)), new(int64(0)), new(int64(0)), "run time  kernels may run for ever  [second]\n", "", ""},
	"Kernels.Weight":        {int32(1), int32(3), int32(3), "weight    3, where capacity is shared out  [second]\n", "", ""},

	"Kernels.Keep":            {&v1alpha1.PolicyKeep{}, (*v1alpha1.PolicyKeep)(nil), &v1alpha1.PolicyKeep{}, "", notReadYet, ""},
	"Kernels.Budget":          {[]v1alpha1.Budget{fortyHours}, []v1alpha1.Budget(nil), []v1alpha1.Budget{fortyHours}, "budget    40 hours of nvidia.com/gpu per user in the week of Europe/Berlin  [first]\n", "", ""},
	"Kernels.OnBudget":        {v1alpha1.OnBudgetAny, v1alpha1.OnBudgetNone, v1alpha1.OnBudgetAny, "on budget any  [first]\n", "", ""},
	"Kernels.OwnEnvironments": {(*bool)(nil), new(true), new(true), "own       environments of the home are kernels  [second]\n", "", ""},

	"GPUs.Resource":  {"amd.com/gpu", "nvidia.com/gpu", "amd.com/gpu", "gpus      nvidia.com/gpu: 1 per kernel, 2 per user, pool of 9 shared by the members of second  [second]\n", "", ""},
	"GPUs.PerKernel": {int32(1), int32(2), int32(2), "gpus      nvidia.com/gpu: 2 per kernel, 2 per user, pool of 9 shared by the members of first  [first, second]\n", "", ""},
	"GPUs.PerUser":   {int32(3), int32(4), int32(4), "gpus      nvidia.com/gpu: 1 per kernel, 4 per user, pool of 9 shared by the members of first  [first, second]\n", "", ""},
	"GPUs.Pool":      {new(int32(5)), new(int32(6)), new(int32(5)), "gpus      nvidia.com/gpu: 1 per kernel, 2 per user, pool of 5 shared by the members of first  [first, second]\n", "", ""},
	"GPUs.Policy":    {"first", "second", "first", "gpus      nvidia.com/gpu: 1 per kernel, 2 per user, pool of 9 shared by the members of first  [first, second]\n", "", ""},

	"ServersPerUser":    {int32(1), int32(3), int32(3), "servers   3 at once  [second]\n", "", ""},
	"ServerIdleSeconds": {int64(60), int64(0), int64(0), "idle      servers are never stopped for idleness  [second]\n", "", ""},
	"SnoozeMaxSeconds":  {new(int64(60)), (*int64)(nil), new(int64(14400)), "snooze    automatic stops are put off by hand for 4h0m0s of a run at most  [second]\n", "", ""},
	"MaxRunSeconds":     {int64(60), int64(0), int64(0), "run time  servers may run for ever  [second]\n", "", ""},
}

// divided are the structs whose fields count one by one. All others are taken
// as they are.
var divided = []reflect.Type{
	reflect.TypeFor[Allowance](), reflect.TypeFor[Range](), reflect.TypeFor[GPUQuota](), reflect.TypeFor[v1alpha1.PolicyKernels](),
	reflect.TypeFor[v1alpha1.NotebookStorage](), reflect.TypeFor[v1alpha1.SharedVolume](),
}

// divide is the divided struct that a type is, points to or has in a list.
func divide(t reflect.Type) (reflect.Type, bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	for _, d := range divided {
		if t == d {
			return t, true
		}
	}
	return t, false
}

func fieldsOf(t reflect.Type, prefix string) []string {
	var all []string
	for i := range t.NumField() {
		f := t.Field(i)
		if inner, ok := divide(f.Type); ok {
			all = append(all, fieldsOf(inner, prefix+f.Name+".")...)
		} else {
			all = append(all, prefix+f.Name)
		}
	}
	return all
}

// fieldOf finds a field by its path, in the first element of a list.
func fieldOf(a *Allowance, path string) reflect.Value {
	v := reflect.ValueOf(a)
	for name := range strings.SplitSeq(path, ".") {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice {
			if v.Kind() == reflect.Slice {
				v = v.Index(0)
			} else {
				v = v.Elem()
			}
		}
		v = v.FieldByName(name)
	}
	return v
}

// fullPolicy has something of everything, so that every field can be changed.
func fullPolicy(name string) Allowance {
	p := policy(name, 0, "g")
	p.Spec.Storage = &v1alpha1.NotebookStorage{Shared: []v1alpha1.SharedVolume{{Name: "data", Claim: "data", MountPath: "/data"}}}
	p.Spec.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"python"}, GPUsPerKernel: 1, GPUsPerUser: 2, GPUPool: new(int32(9))}
	return allow(member("g"), p)
}

// TestEveryLimitOfAnAllowance: no field of an allowance is forgotten where
// policies are put together, or where their result is explained.
func TestEveryLimitOfAnAllowance(t *testing.T) {
	same := equality.Semantic.Copy()
	require.NoError(t, same.AddFunc(time.Time.Equal))
	fields := fieldsOf(reflect.TypeFor[Allowance](), "")
	for _, path := range fields {
		t.Run(path, func(t *testing.T) {
			l, known := limits[path]
			require.True(t, known, "say in limits what union makes of this field, and what explain says")
			first, second := fullPolicy("first"), fullPolicy("second")
			set := path
			if l.set != "" {
				set = l.set
			}
			fieldOf(&first, set).Set(reflect.ValueOf(l.first))
			fieldOf(&second, set).Set(reflect.ValueOf(l.second))
			u := union([]Allowance{first, second})
			got := fieldOf(&u, path).Interface()
			assert.True(t, same.DeepEqual(l.union, got), "union makes %v of %v and %v", got, l.first, l.second)

			require.NotEqual(t, l.says == "", l.notSaid == "", "explain says it, or there is a reason")
			var b strings.Builder
			require.NoError(t, Explanation{Allowance: &u, Origins: origins(u, []Allowance{first, second})}.WriteText(&b))
			assert.Contains(t, b.String(), l.says)
		})
	}
	assert.Len(t, limits, len(fields), "a limit that no field has")
}

// TestEveryFieldOfAPolicyIsInTheAllowance: what a policy says of its members
// is not lost on the way.
func TestEveryFieldOfAPolicyIsInTheAllowance(t *testing.T) {
	whoIsMeant := map[string]bool{"Groups": true, "Default": true, "Priority": true}
	notReadYet := map[string]bool{"Budget": true}
	policies, allowance := reflect.TypeFor[v1alpha1.GroupPolicySpec](), reflect.TypeFor[Allowance]()
	spec := policy("full", 0, "g").Spec
	for i := range policies.NumField() {
		f := policies.Field(i)
		if whoIsMeant[f.Name] || notReadYet[f.Name] {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			_, is := allowance.FieldByName(f.Name)
			require.True(t, is, "the allowance has no such field")
			p := v1alpha1.GroupPolicy{Spec: *spec.DeepCopy()}
			reflect.ValueOf(&p.Spec).Elem().FieldByName(f.Name).Set(someOf(f.Type))
			a := allow(member("g"), p)
			assert.False(t, reflect.ValueOf(a).FieldByName(f.Name).IsZero(), "allow does not copy it")
		})
	}
}

// someOf is a value of a type that is not zero, nor a default of a policy's field.
func someOf(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	default:
		panic("no value of " + t.String() + " is known here")
	case reflect.String:
		v.SetString("some")
	case reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.Append(v, someOf(t.Elem())))
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(someOf(t.Key()), someOf(t.Elem()))
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		if t.Elem().Kind() != reflect.Struct {
			v.Elem().Set(someOf(t.Elem()))
		} else if t.Elem().NumField() > 0 && t.Elem().Field(0).IsExported() {
			v.Elem().Field(0).Set(someOf(t.Elem().Field(0).Type))
		}
	case reflect.Struct:
		if t == reflect.TypeFor[v1alpha1.ResourceRange]() {
			return reflect.ValueOf(v1alpha1.ResourceRange{Min: *quantity("1"), Max: *quantity("2")})
		}
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				v.Field(i).Set(someOf(f.Type))
			}
		}
	}
	return v
}
