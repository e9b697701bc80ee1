package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func machine(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func TestSecondNodeHasItsOwnOfEverything(t *testing.T) {
	l := Layout{Dir: "/state/localcluster"}
	options := Options{NodeIP: "192.0.2.10", Bin: "/bin"}
	assert.Len(t, l.components(options, 2), len(l.components(options, 1))+3)
	first := strings.Join(strings.Fields(strings.Join(argsOf(l.components(options, 1)), " ")), "\n")
	for _, stage := range l.secondStages(options) {
		for _, component := range stage {
			assert.True(t, strings.HasSuffix(component.Name, secondSuffix), component.Name)
			assert.Equal(t, "/state/localcluster/2/netns", component.Namespace)
			for _, arg := range component.Args[1:] {
				if _, value, _ := strings.Cut(arg, "="); strings.HasPrefix(value, "/") {
					assert.True(t, strings.HasPrefix(value, "/state/localcluster/2/"), arg)
					assert.NotContains(t, first, value)
				}
			}
		}
	}
	assert.NotEqual(t, l.cgroup(), l.second().cgroup())

	at := secondNode
	at.reserved = systemReserved(halves(machine("3", "7Gi")))
	got, err := render("kubelet.yaml.tmpl", l.second().settings(at, "/etc/resolv.conf"))
	require.NoError(t, err)
	golden := filepath.Join("testdata", "kubelet-2.yaml")
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

func argsOf(components []Component) (all []string) {
	for _, component := range components {
		all = append(all, component.Args...)
	}
	return all
}

func TestNodesPromiseHalfEach(t *testing.T) {
	half := halves(machine("3", "7Gi"))
	assert.Equal(t, `{cpu: 1500m, memory: "3758096384"}`, systemReserved(half))
	pod := func(node, cpu, memory string) corev1.Pod {
		return corev1.Pod{Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{
			{Resources: corev1.ResourceRequirements{Requests: machine(cpu, memory)}}, {},
		}}}
	}
	require.NoError(t, fits([]corev1.Pod{pod(nodeName, "1", "1Gi"), pod(nodeName, "500m", "1Gi"), pod("", "2", "9Gi")}, half))
	require.ErrorContains(t, fits([]corev1.Pod{pod(nodeName, "1", "1Gi"), pod(nodeName, "501m", "1Gi")}, half),
		"the Pods of node localcluster ask for 1501m of cpu, and of two nodes each has 1500m: stop some first")
	require.ErrorContains(t, fits([]corev1.Pod{pod(nodeName, "1", "4Gi")}, half), "4Gi of memory")
}

func TestVolumesAreWhereTheirAccessModeSays(t *testing.T) {
	reclaim := corev1.PersistentVolumeReclaimDelete
	for mode, want := range map[corev1.PersistentVolumeAccessMode]corev1.NodeSelectorRequirement{
		corev1.ReadWriteOnce: {Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{secondName}},
		corev1.ReadWriteMany: {Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpExists},
	} {
		volume, _, err := directories{root: t.TempDir()}.Provision(t.Context(), controller.ProvisionOptions{
			PVName: "pvc-1", SelectedNodeName: secondName, StorageClass: &storagev1.StorageClass{ReclaimPolicy: &reclaim},
			PVC: &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{mode}}},
		})
		require.NoError(t, err)
		terms := volume.Spec.NodeAffinity.Required.NodeSelectorTerms
		assert.Equal(t, []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{want}}}, terms)
	}
}
