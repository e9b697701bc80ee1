package doctor

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// sound is an installation without objects, in which nothing is wrong.
func sound() Picture {
	p := Picture{Release: "r", Namespace: "n", Kubernetes: "v1.34.4+k3s1", Oldest: ">=1.30.0-0", HasGroups: true}
	p.Values.CRDs.Upgrade, p.Values.Kernels.ClusterCapacity = true, true
	return p
}

// rotated is a gateway of that keyID with a kernel whose agent has a secret of another.
func rotated(key, ofAgent string) ([]v1alpha1.JupyterGateway, []corev1.Pod) {
	gateway := v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw"}}
	gateway.Status.KeyID = key
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "k", Labels: map[string]string{v1alpha1.LabelComponent: v1alpha1.ComponentKernel, v1alpha1.LabelGateway: "gw"}}}
	pod.Annotations = map[string]string{v1alpha1.AnnotationAgentKey: ofAgent}
	pod.Status.Phase = corev1.PodRunning
	return []v1alpha1.JupyterGateway{gateway}, []corev1.Pod{pod}
}

func orphaned(reason string, is metav1.ConditionStatus) []v1alpha1.JupyterNotebook {
	nb := v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "jupyter-zoe"}}
	nb.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionOrphan, Status: is, Reason: reason}}
	return []v1alpha1.JupyterNotebook{nb}
}

// TestProblems are those that a real API server does not let one make, or not so soon;
// the others are in package gather.
func TestProblems(t *testing.T) {
	t.Parallel()
	badKernel := v1alpha1.JupyterKernelSpec{}
	require.NoError(t, json.Unmarshal([]byte(`{"metadata": {"name": "k"}, "spec": {"env": [{"name": "A", "value": 1}]}}`), &badKernel))
	claims := v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "t"}}
	claims.Spec.Template = &v1alpha1.PodTemplate{}
	claims.Spec.Template.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}}
	orphans := orphaned("HubServerStopped", metav1.ConditionTrue)
	invalid := v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	for name, row := range map[string]struct {
		spoil func(*Picture)
		want  []string
	}{
		"sound":                            {func(*Picture) {}, nil},
		"agents of a former key":           {func(p *Picture) { p.Gateways, p.Pods = rotated("b", "") }, []string{"gateway-keys"}},
		"agents of its key":                {func(p *Picture) { p.Gateways, p.Pods = rotated("b", "b") }, nil},
		"a key never rotated":              {func(p *Picture) { p.Gateways, p.Pods = rotated("", "") }, nil},
		"newer":                            {func(p *Picture) { p.Kubernetes = "v2.0.0" }, nil},
		"as old as may":                    {func(p *Picture) { p.Kubernetes = "v1.30.0-eks-1" }, nil},
		"older":                            {func(p *Picture) { p.Kubernetes = "v1.29.14-gke.1" }, []string{"kubernetes-version"}},
		"a kernelspec that cannot be read": {func(p *Picture) { p.KernelSpecs = append(p.KernelSpecs, badKernel) }, []string{"malformed"}},
		"an orphan that is reported":       {func(p *Picture) { p.Values.Orphans.Mode, p.Notebooks = "report", orphans }, []string{"orphans"}},
		"one that will be removed":         {func(p *Picture) { p.Values.Orphans.Mode, p.Notebooks = "remove", orphans }, nil},
		"one that never will": {func(p *Picture) {
			p.Values.Orphans.Mode, p.Notebooks = "remove", orphaned("HubUserUnclear", metav1.ConditionTrue)
		}, []string{"orphans"}},
		"one that was": {func(p *Picture) {
			p.Values.Orphans.Mode, p.Notebooks = "report", orphaned("HubUserGone", metav1.ConditionFalse)
		}, nil},
		"nobody looks for them": {func(p *Picture) { p.Values.Orphans.Mode, p.Notebooks = "off", orphans }, nil},
		"claims in a template":  {func(p *Picture) { p.Templates = append(p.Templates, claims) }, []string{"dynamic-allocation"}},
		"a policy with faults": {func(p *Picture) { p.Policies = append(p.Policies, invalid) },
			[]string{"policies", "policies", "policies", "policies", "policies", "policies"}},
		"a kind that is missing": {func(p *Picture) {
			p.Installed, p.Policies = true, []v1alpha1.GroupPolicy{}
			p.Unread = []Unread{{"grouppolicies", "forbidden"}}
			p.Kinds = []Kind{{"a", KindMissing}, {"b", KindSame}}
		}, []string{"kinds"}},
		"without a Hub": {func(p *Picture) {
			p.Installed, p.HasGroups, p.Policies, p.Values.Notebooks.Gateway = true, false, nil, "default"
		}, nil},
		"policies without groups": {func(p *Picture) { p.HasGroups, p.Policies = false, []v1alpha1.GroupPolicy{invalid} },
			[]string{"policies", "policies", "policies", "policies", "policies", "policies", "policies"}},
		"another release's namespace": {func(p *Picture) { p.Elsewhere, p.Absent = map[string]string{"team": "other"}, []string{"gone"} }, []string{"namespaces", "namespaces"}},
		"kinds that nobody updates":   {func(p *Picture) { p.Values.CRDs.Upgrade, p.Kinds = false, []Kind{{"a", KindDifferent}} }, []string{"kinds"}},
		"a Secret without its key":    {func(p *Picture) { p.Secrets = []Secret{{"hub.tokenSecret", "s", "token", SecretKeyless}} }, []string{"secrets"}},
		"k3s enforces them itself": {func(p *Picture) {
			p.Values.NetworkPolicy.Enabled = true
			p.Nodes = []corev1.Node{{Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.34.4+k3s1"}}}}
		}, nil},
		"nobody may see DaemonSets": {func(p *Picture) {
			p.Values.NetworkPolicy.Enabled, p.Unread = true, []Unread{{"daemonsets", "forbidden"}}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sound()
			row.spoil(&p)
			var found []string
			for _, problem := range Diagnose(p).Problems {
				found = append(found, problem.Check)
			}
			assert.Equal(t, row.want, found)
		})
	}
}

// TestHomesThatAreNotInTheWay: those that can be on several nodes, those of a driver that
// attaches nothing, and those of servers that land where their kernels can be.
func TestHomesThatAreNotInTheWay(t *testing.T) {
	t.Parallel()
	gpu := corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("1")}
	for name, row := range map[string]struct {
		spoil func(*Picture)
		want  int
	}{
		"a node without GPUs": {func(*Picture) {}, 1},
		"ReadWriteMany": {func(p *Picture) {
			p.Policies[0].Spec.Storage.Home.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		}, 0},
		"nothing attached":    {func(p *Picture) { p.Attaches = map[string]bool{"nfs.csi.k8s.io": false} }, 0},
		"attached":            {func(p *Picture) { p.Attaches = map[string]bool{"nfs.csi.k8s.io": true} }, 1},
		"all have GPUs":       {func(p *Picture) { p.Nodes[0].Status.Allocatable = gpu }, 0},
		"it is cordoned":      {func(p *Picture) { p.Nodes[0].Spec.Unschedulable = true }, 0},
		"the other is chosen": {func(p *Picture) { p.Policies[0].Spec.NodeSelector = map[string]string{"name": "b"} }, 0},
		"it is tainted": {func(p *Picture) {
			p.Nodes[0].Spec.Taints = []corev1.Taint{{Key: "x", Effect: corev1.TaintEffectNoSchedule}}
		}, 0},
		"no GPU is to be had":  {func(p *Picture) { p.Policies[0].Spec.Kernels.GPUsPerKernel = 0 }, 0},
		"no node has GPUs now": {func(p *Picture) { p.Nodes[1].Status.Allocatable = nil }, 0},
		"its taint is tolerated": {func(p *Picture) {
			p.Nodes[0].Spec.Taints = []corev1.Taint{{Key: "x", Effect: corev1.TaintEffectNoSchedule}}
			p.Policies[0].Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}, 1},
		"a kernelspec has GPUs": {func(p *Picture) {
			p.Policies[0].Spec.Kernels.GPUsPerKernel, p.Policies[0].Spec.Kernels.Allowed = 0, []string{"k"}
			p.KernelSpecs = []v1alpha1.JupyterKernelSpec{{ObjectMeta: metav1.ObjectMeta{Name: "k"}, Spec: v1alpha1.JupyterKernelSpecSpec{Resources: &corev1.ResourceRequirements{Limits: gpu}}}}
		}, 1},
		"GPUs may come": {func(p *Picture) {
			p.Nodes[1].Status.Allocatable = nil
			p.Values.Kernels.NodePools = []NodePool{{Name: "a100", Resources: map[string]int64{"nvidia.com/gpu": 8}}}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sound()
			p.StorageClasses = []storagev1.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: "nfs", Annotations: map[string]string{defaultClass: "true"}}, Provisioner: "nfs.csi.k8s.io"}}
			p.Nodes = []corev1.Node{
				{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"name": "a"}}},
				{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"name": "b"}}, Status: corev1.NodeStatus{Allocatable: gpu}},
			}
			p.Policies = []v1alpha1.GroupPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "p"}}}
			p.Policies[0].Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{}}
			p.Policies[0].Spec.Kernels.GPUsPerKernel, p.Policies[0].Spec.Kernels.GPUResource = 1, "nvidia.com/gpu"
			row.spoil(&p)
			assert.Len(t, homes(&p), row.want)
		})
	}
}

// TestReport: a line for each, whatever is in it, and what was not checked is no problem.
func TestReport(t *testing.T) {
	t.Parallel()
	p := sound()
	p.Installed = true
	p.Unread = []Unread{{"grouppolicies", "forbidden:\n no"}, {"jupytergateways", "forbidden"}}
	p.Directories = []Asked{{Value: "groups.ldap", URL: "ldap://directory", Answer: AnswerNotAsked, Detail: "within only"}}
	var text strings.Builder
	require.NoError(t, Diagnose(p).WriteText(&text))
	assert.Equal(t, "not checked: grouppolicies: forbidden: no\nnot checked: jupytergateways: forbidden\n"+
		"not checked: groups.ldap ldap://directory: within only\nno problem found\n", text.String())

	p.Hubs = []Asked{{Value: "hub.tokenSecret", URL: "http://hub", Answer: AnswerRefused, Detail: "HTTP status 403"}}
	text.Reset()
	require.NoError(t, Diagnose(p).WriteText(&text))
	assert.Contains(t, text.String(), "hub-token: the Hub at http://hub refuses the token of hub.tokenSecret (HTTP status 403). Fix: ")
	assert.NotContains(t, text.String(), "no problem")
	text.Reset()
	require.NoError(t, Diagnose(p).WriteJSON(&text))
	var said Report
	require.NoError(t, json.Unmarshal([]byte(text.String()), &said))
	assert.Equal(t, Diagnose(p), said)
}

// TestEveryCheckIsDescribed: docs/clusters.md has a row for each, in their order.
func TestEveryCheckIsDescribed(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/clusters.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(page), "| check |")
	var described []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(table, -1) {
		described = append(described, row[1])
	}
	assert.Equal(t, Checks(), described)
}
