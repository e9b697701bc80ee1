package groups

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func faultsOf(p v1alpha1.GroupPolicy) []string {
	var all []string
	for _, f := range ValidatePolicy(p) {
		all = append(all, string(f.Type)+" "+f.Field)
	}
	return all
}

func quantity(s string) *resource.Quantity {
	q := resource.MustParse(s)
	return &q
}

func TestValidatePolicy(t *testing.T) {
	type spec = v1alpha1.GroupPolicySpec
	for _, row := range []struct {
		name  string
		spoil func(*spec)
		want  []string
	}{
		{"nothing wrong", func(*spec) {}, nil},
		{"no groups", func(s *spec) { s.Groups = nil }, []string{"FieldValueRequired spec.groups"}},
		{"empty group", func(s *spec) { s.Groups = []string{"a", " "} }, []string{"FieldValueRequired spec.groups[1]"}},
		{"half a DN", func(s *spec) { s.Groups = []string{"cn=a,b"} }, []string{"FieldValueInvalid spec.groups[0]"}},
		{"zero", func(s *spec) { s.CPU.Min = *quantity("0") }, []string{"FieldValueInvalid spec.cpu.min"}},
		{"negative step", func(s *spec) { s.Memory.Step = quantity("-1Gi") }, []string{"FieldValueInvalid spec.memory.step"}},
		{"zero step", func(s *spec) { s.CPU.Step = quantity("0") }, []string{"FieldValueInvalid spec.cpu.step"}},
		{"min over max", func(s *spec) { s.CPU.Min = *quantity("5") }, []string{"FieldValueInvalid spec.cpu.max"}},
		{"huge", func(s *spec) { s.CPU.Max, s.Memory.Max = *quantity("1M"), *quantity("2Pi") }, []string{"FieldValueInvalid spec.cpu.max", "FieldValueInvalid spec.memory.max"}},
		{"parts of a millicore", func(s *spec) { s.CPU.Step = quantity("100u") }, []string{"FieldValueInvalid spec.cpu.step"}},
		{"parts of a byte", func(s *spec) { s.Memory.Min = *quantity("1500m") }, []string{"FieldValueInvalid spec.memory.min"}},
		{"default below", func(s *spec) { s.CPU.Default = quantity("500m") }, []string{"FieldValueInvalid spec.cpu.default"}},
		{"default above", func(s *spec) { s.CPU.Default = quantity("5") }, []string{"FieldValueInvalid spec.cpu.default"}},
		{"default off step", func(s *spec) { s.CPU.Default = quantity("1500m") }, []string{"FieldValueInvalid spec.cpu.default"}},
		{"default at max off step", func(s *spec) { s.CPU.Max, s.CPU.Default = *quantity("4500m"), quantity("4500m") }, nil},
		{"ratio", func(s *spec) { s.CPU.RequestRatio, s.Memory.RequestRatio = "1.5", "-0.1" }, []string{"FieldValueInvalid spec.cpu.requestRatio", "FieldValueInvalid spec.memory.requestRatio"}},
		{"no image", func(s *spec) { s.Images = nil }, []string{"FieldValueRequired spec.images"}},
		{"hidden images only", func(s *spec) { s.Images[0].Hidden = true }, []string{"FieldValueRequired spec.images"}},
		{"image", func(s *spec) { s.Images[0].Image = "" }, []string{"FieldValueInvalid spec.images[0].image"}},
		{"image with a newline", func(s *spec) { s.Images[0].Image = "a\nb" }, []string{"FieldValueInvalid spec.images[0].image"}},
		{"channel id", func(s *spec) { s.Images[0].ID = "Stable!" }, []string{"FieldValueInvalid spec.images[0].id"}},
		{"channel twice", func(s *spec) { s.Images = append(s.Images, s.Images[0]) }, []string{"FieldValueDuplicate spec.images[1].id"}},
		{"redirect to nowhere", func(s *spec) { s.Images[0].Redirect = &v1alpha1.ChannelRedirect{To: "x"} }, []string{"FieldValueNotFound spec.images[0].redirect.to"}},
		{"redirect to itself", func(s *spec) { s.Images[0].Redirect = &v1alpha1.ChannelRedirect{To: "stable"} }, []string{"FieldValueInvalid spec.images[0].redirect.to"}},
		{"redirect to hidden", func(s *spec) {
			s.Images = append(s.Images, v1alpha1.ImageChannel{ID: "old", Image: "i", Hidden: true})
			s.Images[0].Redirect = &v1alpha1.ChannelRedirect{To: "old"}
		}, []string{"FieldValueInvalid spec.images[0].redirect.to"}},
		{"presets", func(s *spec) {
			s.Presets = []v1alpha1.Preset{
				{Name: "ok", CPU: *quantity("2"), Memory: *quantity("2Gi")},
				{Name: "ok", CPU: *quantity("9"), Memory: *quantity("1500Mi")},
				{CPU: *quantity("1"), Memory: *quantity("1Gi")},
			}
		}, []string{"FieldValueDuplicate spec.presets[1].name", "FieldValueInvalid spec.presets[1].cpu", "FieldValueInvalid spec.presets[1].memory", "FieldValueRequired spec.presets[2].name"}},
		{"node selector", func(s *spec) { s.NodeSelector = map[string]string{"bad key": "bad value!"} }, []string{"FieldValueInvalid spec.nodeSelector[bad key]", "FieldValueInvalid spec.nodeSelector[bad key]"}},
		{"tolerations", func(s *spec) {
			s.Tolerations = []corev1.Toleration{{Operator: "Maybe", Key: "k"}, {}, {Operator: corev1.TolerationOpExists, Value: "v"}}
		}, []string{"FieldValueNotSupported spec.tolerations[0].operator", "FieldValueRequired spec.tolerations[1].key", "FieldValueInvalid spec.tolerations[2].value"}},
		{"priority class", func(s *spec) { s.PriorityClassName = "No" }, []string{"FieldValueInvalid spec.priorityClassName"}},
		{"storage", func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{MountPath: "/home/../etc"}, Shared: []v1alpha1.SharedVolume{
				{Name: "data", Claim: "data", MountPath: "/data"}, {Name: "data", Claim: "", MountPath: "/data"}, {Name: "x", Claim: "x", MountPath: "relative"}}}
		}, []string{"FieldValueInvalid spec.storage.home.size", "FieldValueInvalid spec.storage.home.mountPath", "FieldValueDuplicate spec.storage.shared[1].name",
			"FieldValueInvalid spec.storage.shared[1].claim", "FieldValueDuplicate spec.storage.shared[1].mountPath", "FieldValueInvalid spec.storage.shared[2].mountPath"}},
		{"env", func(s *spec) {
			s.Env = []v1alpha1.PolicyEnv{{Name: "1A"}, {Name: "B", Value: "\x00"}, {Name: "B"}}
		}, []string{"FieldValueInvalid spec.env[0].name", "FieldValueInvalid spec.env[1].value", "FieldValueDuplicate spec.env[2].name"}},
		{"kernels", func(s *spec) {
			pool := int32(1)
			s.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"ok", "ok", "../x"}, GPUResource: "gpu", GPUsPerKernel: 3, GPUsPerUser: 2, GPUPool: &pool,
				PerUser: -1, AtLimit: "shrug", IdleSeconds: -1, Weight: -1}
		}, []string{"FieldValueDuplicate spec.kernels.allowed[1]", "FieldValueInvalid spec.kernels.allowed[2]", "FieldValueInvalid spec.kernels.gpuResource",
			"FieldValueInvalid spec.kernels.gpusPerKernel", "FieldValueInvalid spec.kernels.gpusPerUser", "FieldValueInvalid spec.kernels.perUser",
			"FieldValueNotSupported spec.kernels.atLimit", "FieldValueInvalid spec.kernels.idleSeconds", "FieldValueInvalid spec.kernels.weight"}},
		{"negative numbers", func(s *spec) { s.ServersPerUser, s.ServerIdleSeconds, s.MaxRunSeconds = -1, -1, -1 },
			[]string{"FieldValueInvalid spec.serversPerUser", "FieldValueInvalid spec.serverIdleSeconds", "FieldValueInvalid spec.maxRunSeconds"}},
		{"everything at once", func(s *spec) { s.Groups, s.Images, s.CPU.Max = nil, nil, *quantity("-1") },
			[]string{"FieldValueRequired spec.groups", "FieldValueInvalid spec.cpu.max", "FieldValueRequired spec.images"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := policy("p", 0, "a")
			row.spoil(&p.Spec)
			assert.Equal(t, row.want, faultsOf(p))
		})
	}
}

func TestValidatePolicyNothingSet(t *testing.T) {
	assert.Equal(t, []string{"FieldValueRequired spec.groups", "FieldValueInvalid spec.cpu.min", "FieldValueInvalid spec.cpu.max",
		"FieldValueInvalid spec.memory.min", "FieldValueInvalid spec.memory.max", "FieldValueRequired spec.images"}, faultsOf(v1alpha1.GroupPolicy{}))
}
