// Package policytest gives tests policies with faults, for ValidatePolicy and
// for the schema that the API server holds policies against.
package policytest

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Policy is the smallest that has no faults.
func Policy(name string, priority int32, groups ...string) v1alpha1.GroupPolicy {
	return v1alpha1.GroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.GroupPolicySpec{
			Groups: groups, Priority: priority,
			CPU:    v1alpha1.ResourceRange{Min: resource.MustParse("1"), Max: resource.MustParse("4")},
			Memory: v1alpha1.ResourceRange{Min: resource.MustParse("1Gi"), Max: resource.MustParse("8Gi")},
			Images: []v1alpha1.ImageChannel{{ID: "stable", Image: "example/notebook:1"}},
		},
	}
}

// Row is one way to spoil a policy.
type Row struct {
	Name string
	// Schema reports whether the CRD refuses it too.
	Schema bool
	Spoil  func(*v1alpha1.GroupPolicySpec)
	// Want are the type and the path of every fault, in order.
	Want []string
}

type (
	spec = v1alpha1.GroupPolicySpec
	text = v1alpha1.LocalizedText
)

func quantity(s string) *resource.Quantity {
	q := resource.MustParse(s)
	return &q
}

// Rows begin with a policy that has no faults.
func Rows() []Row {
	return []Row{
		{"nothing wrong", false, func(*spec) {}, nil},
		{"no groups", true, func(s *spec) { s.Groups = nil }, []string{"FieldValueRequired spec.groups"}},
		{"empty group", false, func(s *spec) { s.Groups = []string{"a", " "} }, []string{"FieldValueRequired spec.groups[1]"}},
		{"half a DN", false, func(s *spec) { s.Groups = []string{"cn=a,b"} }, []string{"FieldValueInvalid spec.groups[0]"}},
		{"zero", true, func(s *spec) { s.CPU.Min = *quantity("0") }, []string{"FieldValueInvalid spec.cpu.min"}},
		{"negative step", true, func(s *spec) { s.Memory.Step = quantity("-1Gi") }, []string{"FieldValueInvalid spec.memory.step"}},
		{"zero step", true, func(s *spec) { s.CPU.Step = quantity("0") }, []string{"FieldValueInvalid spec.cpu.step"}},
		{"min over max", true, func(s *spec) { s.CPU.Min = *quantity("5") }, []string{"FieldValueInvalid spec.cpu.max"}},
		{"huge", true, func(s *spec) { s.CPU.Max, s.Memory.Max = *quantity("1M"), *quantity("2Pi") }, []string{"FieldValueInvalid spec.cpu.max", "FieldValueInvalid spec.memory.max"}},
		{"parts of a millicore", false, func(s *spec) { s.CPU.Step = quantity("100u") }, []string{"FieldValueInvalid spec.cpu.step"}},
		{"parts of a byte", false, func(s *spec) { s.Memory.Min = *quantity("1500m") }, []string{"FieldValueInvalid spec.memory.min"}},
		{"default below", true, func(s *spec) { s.CPU.Default = quantity("500m") }, []string{"FieldValueInvalid spec.cpu.default"}},
		{"default above", true, func(s *spec) { s.CPU.Default = quantity("5") }, []string{"FieldValueInvalid spec.cpu.default"}},
		{"default off step", false, func(s *spec) { s.CPU.Default = quantity("1500m") }, []string{"FieldValueInvalid spec.cpu.default"}},
		{"default at max off step", false, func(s *spec) { s.CPU.Max, s.CPU.Default = *quantity("4500m"), quantity("4500m") }, nil},
		{"ratio", true, func(s *spec) { s.CPU.RequestRatio, s.Memory.RequestRatio = "1.5", "-0.1" }, []string{"FieldValueInvalid spec.cpu.requestRatio", "FieldValueInvalid spec.memory.requestRatio"}},
		{"no image", true, func(s *spec) { s.Images = nil }, []string{"FieldValueRequired spec.images"}},
		{"hidden images only", true, func(s *spec) { s.Images[0].Hidden = true }, []string{"FieldValueRequired spec.images"}},
		{"image", true, func(s *spec) { s.Images[0].Image = "" }, []string{"FieldValueInvalid spec.images[0].image"}},
		{"image with a newline", true, func(s *spec) { s.Images[0].Image = "a\nb" }, []string{"FieldValueInvalid spec.images[0].image"}},
		{"channel id", true, func(s *spec) { s.Images[0].ID = "Stable!" }, []string{"FieldValueInvalid spec.images[0].id"}},
		{"channel twice", true, func(s *spec) { s.Images = append(s.Images, s.Images[0]) }, []string{"FieldValueDuplicate spec.images[1].id"}},
		{"redirect to nowhere", true, func(s *spec) { s.Images[0].Redirect = &v1alpha1.ChannelRedirect{To: "x"} }, []string{"FieldValueNotFound spec.images[0].redirect.to"}},
		{"redirect to itself", true, func(s *spec) { s.Images[0].Redirect = &v1alpha1.ChannelRedirect{To: "stable"} }, []string{"FieldValueInvalid spec.images[0].redirect.to"}},
		{"redirect to hidden", true, func(s *spec) {
			s.Images = append(s.Images, v1alpha1.ImageChannel{ID: "old", Image: "i", Hidden: true})
			s.Images[0].Redirect = &v1alpha1.ChannelRedirect{To: "old"}
		}, []string{"FieldValueInvalid spec.images[0].redirect.to"}},
		{"presets", true, func(s *spec) {
			s.Presets = []v1alpha1.Preset{
				{Name: "ok", CPU: *quantity("2"), Memory: *quantity("2Gi")},
				{Name: "ok", CPU: *quantity("9"), Memory: *quantity("1500Mi")},
				{CPU: *quantity("1"), Memory: *quantity("1Gi")},
			}
		}, []string{"FieldValueDuplicate spec.presets[1].name", "FieldValueInvalid spec.presets[1].cpu", "FieldValueInvalid spec.presets[1].memory", "FieldValueRequired spec.presets[2].name"}},
		{"node selector", false, func(s *spec) { s.NodeSelector = map[string]string{"bad key": "bad value!"} }, []string{"FieldValueInvalid spec.nodeSelector[bad key]", "FieldValueInvalid spec.nodeSelector[bad key]"}},
		{"tolerations", false, func(s *spec) {
			s.Tolerations = []corev1.Toleration{{Operator: "Maybe", Key: "k"}, {}, {Operator: corev1.TolerationOpExists, Value: "v"}}
		}, []string{"FieldValueNotSupported spec.tolerations[0].operator", "FieldValueRequired spec.tolerations[1].key", "FieldValueInvalid spec.tolerations[2].value"}},
		{"service account", true, func(s *spec) { s.ServiceAccountName = "No" }, []string{"FieldValueInvalid spec.serviceAccountName"}},
		{"tokens of an account", true, func(s *spec) {
			s.ServiceAccountName = "bucket"
			s.ServiceAccountTokens = []v1alpha1.ServiceAccountToken{
				{Audience: "sts.amazonaws.com", Path: "aws", ExpirationSeconds: 600},
				{Audience: "", Path: "none"}, {Audience: "a,b", Path: "two"},
				{Audience: "sts.amazonaws.com", Path: "aws"}, {Audience: "x", Path: "../x"}, {Audience: "x", Path: "soon", ExpirationSeconds: 599},
				{Audience: "x", Path: "late", ExpirationSeconds: 1<<32 + 1},
			}
		}, []string{"FieldValueInvalid spec.serviceAccountTokens[1].audience", "FieldValueInvalid spec.serviceAccountTokens[2].audience",
			"FieldValueDuplicate spec.serviceAccountTokens[3].path", "FieldValueInvalid spec.serviceAccountTokens[4].path",
			"FieldValueInvalid spec.serviceAccountTokens[5].expirationSeconds", "FieldValueInvalid spec.serviceAccountTokens[6].expirationSeconds"}},
		{"tokens of no account", true, func(s *spec) {
			s.ServiceAccountTokens = []v1alpha1.ServiceAccountToken{{Audience: "vault", Path: "vault"}}
		}, []string{"FieldValueRequired spec.serviceAccountName"}},
		{"tokens for the Kubernetes API", true, func(s *spec) {
			s.ServiceAccountName = "bucket"
			s.ServiceAccountTokens = []v1alpha1.ServiceAccountToken{{Audience: "https://kubernetes.default.svc.cluster.local", Path: "api"}}
		}, []string{"FieldValueInvalid spec.serviceAccountTokens[0].audience"}},
		{"a volume where tokens are", false, func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Shared: []v1alpha1.SharedVolume{{Name: "x", Claim: "x", MountPath: "/var/run/secrets/tokens/x"}}}
		}, []string{"FieldValueInvalid spec.storage.shared[0].mountPath"}},
		{"priority class", true, func(s *spec) { s.PriorityClassName = "No" }, []string{"FieldValueInvalid spec.priorityClassName"}},
		{"scheduler", true, func(s *spec) { s.SchedulerName = "No" }, []string{"FieldValueInvalid spec.schedulerName"}},
		{"homes in one volume that cannot be", false, func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: "Homes", SubPath: "all"}, OnRemoval: v1alpha1.HomeDelete}}
		}, []string{"FieldValueForbidden spec.storage.home.static.claim", "FieldValueForbidden spec.storage.home.static.subPath", "FieldValueForbidden spec.storage.home.onRemoval"}},
		{"storage", true, func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{MountPath: "/home/../etc"}, Shared: []v1alpha1.SharedVolume{
				{Name: "data", Claim: "data", MountPath: "/data"}, {Name: "data", Claim: "", MountPath: "/data"}, {Name: "x", Claim: "x", MountPath: "relative"}}}
		}, []string{"FieldValueInvalid spec.storage.home.size", "FieldValueInvalid spec.storage.home.mountPath", "FieldValueDuplicate spec.storage.shared[1].name",
			"FieldValueInvalid spec.storage.shared[1].claim", "FieldValueDuplicate spec.storage.shared[1].mountPath", "FieldValueInvalid spec.storage.shared[2].mountPath"}},
		{"a Pod", false, func(s *spec) {
			s.Pod = &v1alpha1.PolicyPod{
				Labels: map[string]string{"team": "ml", "app.kubernetes.io/name": "x"}, Annotations: map[string]string{"elastichub.io/adopt": "bob"},
				InitContainers: []corev1.Container{{Name: "first", Image: "i"}, {Name: "first", Image: "i"}},
				Volumes:        []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}},
				ExtraResources: corev1.ResourceList{"nvidia.com/gpu": *quantity("1")},
			}
		}, []string{"FieldValueForbidden spec.pod.labels[app.kubernetes.io/name]", "FieldValueForbidden spec.pod.annotations[elastichub.io/adopt]",
			"FieldValueForbidden spec.pod.volumes[0]", "FieldValueForbidden spec.pod.initContainers[1].name", "FieldValueForbidden spec.pod.extraResources[nvidia.com/gpu]"}},
		{"too many containers in a Pod", true, func(s *spec) {
			s.Pod = &v1alpha1.PolicyPod{}
			for i := range 17 {
				s.Pod.InitContainers = append(s.Pod.InitContainers, corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "i"})
			}
		}, []string{"FieldValueForbidden spec.pod.initContainers"}},
		{"a home with others' labels", false, func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: *quantity("1Gi"), Labels: map[string]string{"component": "x", "team": "ml"},
				Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Maybe"}}}}}
		}, []string{"FieldValueForbidden spec.storage.home.labels[component]", "FieldValueForbidden spec.storage.home.selector.matchExpressions[0].operator"}},
		{"env from nowhere", false, func(s *spec) {
			from := func(name, key string) *v1alpha1.PolicyEnvSource {
				return &v1alpha1.PolicyEnvSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key}}
			}
			s.Env = []v1alpha1.PolicyEnv{
				{Name: "A", ValueFrom: &v1alpha1.PolicyEnvSource{}}, {Name: "B", ValueFrom: from("No Name", "k")}, {Name: "C", ValueFrom: from("s", "../k")},
				{Name: "D", ValueFrom: from("s", "k")},
			}
		}, []string{"FieldValueRequired spec.env[0].valueFrom.secretKeyRef", "FieldValueInvalid spec.env[1].valueFrom.secretKeyRef.name",
			"FieldValueInvalid spec.env[2].valueFrom.secretKeyRef.key"}},
		{"env", true, func(s *spec) {
			s.Env = []v1alpha1.PolicyEnv{{Name: "1A"}, {Name: "B", Value: "\x00"}, {Name: "B"}}
		}, []string{"FieldValueInvalid spec.env[0].name", "FieldValueInvalid spec.env[1].value", "FieldValueDuplicate spec.env[2].name"}},
		{"kernels", true, func(s *spec) {
			pool := int32(1)
			s.Kernels = v1alpha1.PolicyKernels{Allowed: []string{"ok", "ok", "../x"}, GPUResource: "gpu", GPUsPerKernel: 3, GPUsPerUser: 2, GPUPool: &pool,
				PerUser: -1, AtLimit: "shrug", IdleSeconds: -1, Weight: -1}
		}, []string{"FieldValueDuplicate spec.kernels.allowed[1]", "FieldValueInvalid spec.kernels.allowed[2]", "FieldValueInvalid spec.kernels.gpuResource",
			"FieldValueInvalid spec.kernels.gpusPerKernel", "FieldValueInvalid spec.kernels.gpusPerUser", "FieldValueInvalid spec.kernels.perUser",
			"FieldValueNotSupported spec.kernels.atLimit", "FieldValueInvalid spec.kernels.idleSeconds", "FieldValueInvalid spec.kernels.weight"}},
		{"negative numbers", true, func(s *spec) { s.ServersPerUser, s.ServerIdleSeconds, s.MaxRunSeconds = -1, -1, -1 },
			[]string{"FieldValueInvalid spec.serversPerUser", "FieldValueInvalid spec.serverIdleSeconds", "FieldValueInvalid spec.maxRunSeconds"}},
		{"everything at once", true, func(s *spec) { s.Groups, s.Images, s.CPU.Max = nil, nil, *quantity("-1") },
			[]string{"FieldValueRequired spec.groups", "FieldValueInvalid spec.cpu.max", "FieldValueRequired spec.images"}},
		{"help", true, func(s *spec) {
			s.Help = &v1alpha1.PolicyHelp{CPU: text{"en": "ok", "zh-Hant": "ok"}, Image: text{"english please": "x"}}
		}, []string{"FieldValueInvalid spec.help.image[english please]"}},
		{"help as a tag that is none", true, func(s *spec) { s.Help = &v1alpha1.PolicyHelp{Server: text{"e": "x"}} }, []string{"FieldValueInvalid spec.help.server[e]"}},
		{"texts too long", true, func(s *spec) {
			long := strings.Repeat("x", 4097)
			s.DisplayName, s.HelpText, s.Help = long, long, &v1alpha1.PolicyHelp{Memory: text{"en": long}}
		}, []string{"FieldValueTooLong spec.displayName", "FieldValueTooLong spec.helpText", "FieldValueTooLong spec.help.memory[en]"}},
		{"too many of everything", true, func(s *spec) {
			for i := range 257 {
				name := fmt.Sprintf("n%d", i)
				s.Groups, s.Kernels.Allowed = append(s.Groups, name), append(s.Kernels.Allowed, name)
				s.Images = append(s.Images, v1alpha1.ImageChannel{ID: name, Image: "i"})
				s.Env = append(s.Env, v1alpha1.PolicyEnv{Name: name})
				s.Presets = append(s.Presets, v1alpha1.Preset{Name: name, CPU: *quantity("1"), Memory: *quantity("1Gi")})
				s.Tolerations = append(s.Tolerations, corev1.Toleration{Key: name})
				s.ImagePullSecrets = append(s.ImagePullSecrets, v1alpha1.PullSecret{Name: name})
			}
		}, []string{"FieldValueTooMany spec.groups", "FieldValueTooMany spec.images", "FieldValueTooMany spec.presets", "FieldValueTooMany spec.tolerations",
			"FieldValueTooMany spec.imagePullSecrets", "FieldValueTooMany spec.env", "FieldValueTooMany spec.kernels.allowed"}},
		{"pull secrets", true, func(s *spec) { s.ImagePullSecrets = []v1alpha1.PullSecret{{Name: "ok"}, {Name: "No"}} }, []string{"FieldValueInvalid spec.imagePullSecrets[1].name"}},
		{"affinity", false, func(s *spec) {
			s.Affinity = &corev1.Affinity{
				NodeAffinity: &corev1.NodeAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
						{Key: "ok", Operator: corev1.NodeSelectorOpIn, Values: []string{"a"}}, {Key: "a b", Operator: "Near"}, {Key: "c", Operator: corev1.NodeSelectorOpIn},
						{Key: "d", Operator: corev1.NodeSelectorOpExists, Values: []string{"x"}}}}}},
					PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 101}},
				},
				PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"bad key": "v"}}}}},
			}
		}, []string{
			"FieldValueInvalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].key",
			"FieldValueNotSupported spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].operator",
			"FieldValueInvalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[2].values",
			"FieldValueInvalid spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[3].values",
			"FieldValueInvalid spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
			"FieldValueRequired spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey",
			"FieldValueInvalid spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchLabels",
		}},
		{"affinity without terms", false, func(s *spec) {
			s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{}}}}
		}, []string{"FieldValueRequired spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"}},
		{"one claim for all members", true, func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: *quantity("1Gi"), Claim: "homes"}}
		}, []string{"FieldValueInvalid spec.storage.home.claim"}},
		{"a claim that cannot be", false, func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: *quantity("1Gi"), Claim: "Home {username}", AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteSometimes"}}}
		}, []string{"FieldValueInvalid spec.storage.home.claim", "FieldValueNotSupported spec.storage.home.accessModes[0]"}},
		{"an unknown end of the home", true, func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: *quantity("1Gi"), OnRemoval: "ask"}}
		}, []string{"FieldValueNotSupported spec.storage.home.onRemoval"}},
		{"a shared volume over the home", false, func(s *spec) {
			s.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: *quantity("1Gi")}, Shared: []v1alpha1.SharedVolume{{Name: "x", Claim: "x", MountPath: "/home/jovyan"}}}
		}, []string{"FieldValueDuplicate spec.storage.shared[0].mountPath"}},
		{"times beyond reason", true, func(s *spec) {
			s.ServerIdleSeconds, s.MaxRunSeconds, s.Kernels.IdleSeconds, s.Kernels.MaxRunSeconds = 1<<40, 1<<40, 1<<40, new(int64(1<<40))
		}, []string{"FieldValueInvalid spec.kernels.idleSeconds", "FieldValueInvalid spec.kernels.maxRunSeconds", "FieldValueInvalid spec.serverIdleSeconds", "FieldValueInvalid spec.maxRunSeconds"}},
		{"a GPU resource without a name", true, func(s *spec) { s.Kernels.GPUResource = "nvidia.com/" }, []string{"FieldValueInvalid spec.kernels.gpuResource", "FieldValueInvalid spec.kernels.gpuResource"}},
	}
}
