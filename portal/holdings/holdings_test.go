package holdings

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const gpu = "nvidia.com/gpu"

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func list(pairs ...any) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i].(string))] = resource.MustParse(pairs[i+1].(string))
	}
	return l
}

func kernel(name, user string, phase v1alpha1.KernelPhase, change ...func(*v1alpha1.JupyterKernel)) v1alpha1.JupyterKernel {
	k := v1alpha1.JupyterKernel{}
	k.Name, k.Spec.User, k.Spec.KernelSpec, k.Spec.Run = name, user, "python-gpu", 1
	k.Status.Phase, k.Status.Run = phase, 1
	for _, f := range change {
		f(&k)
	}
	return k
}

func pod(name, node, cpu, memory string) corev1.Pod {
	p := corev1.Pod{}
	p.Name, p.Spec.NodeName = name, node
	p.Spec.Containers = []corev1.Container{
		{Name: "agent", Resources: corev1.ResourceRequirements{Requests: list("cpu", "10m", "memory", "16Mi")}},
		{Name: "kernel", Resources: corev1.ResourceRequirements{Requests: list("cpu", cpu, "memory", memory)}},
	}
	p.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: list("cpu", "64")}}}
	return p
}

// TestOrphansAreTold as their condition tells of them, as long as it is true.
func TestOrphansAreTold(t *testing.T) {
	t.Parallel()
	since := metav1.NewTime(now)
	of := func(is metav1.ConditionStatus) *Orphan {
		nb := v1alpha1.JupyterNotebook{}
		nb.Name, nb.Spec.User = "jupyter-alice", "alice"
		nb.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionOrphan, Status: is, Reason: "HubServerStopped", Message: "It runs.", LastTransitionTime: since}}
		return Of(Objects{Notebooks: []v1alpha1.JupyterNotebook{nb}}).Servers[0].Orphan
	}
	assert.Equal(t, &Orphan{Reason: "HubServerStopped", Message: "It runs.", Since: since.Time}, of(metav1.ConditionTrue))
	assert.Nil(t, of(metav1.ConditionFalse))
}

func objects() Objects {
	spec := v1alpha1.JupyterKernelSpec{}
	spec.Name, spec.Spec.DisplayName = "python-gpu", "Python 3 (GPU)"
	spec.Spec.Resources = &corev1.ResourceRequirements{Limits: list("cpu", "1", gpu, "1")}
	nb := v1alpha1.JupyterNotebook{}
	nb.Name, nb.Spec.User, nb.Status.Phase, nb.Status.PodName = "jupyter-alice", "alice", v1alpha1.NotebookReady, "nb-1"
	nb.Spec.KernelOptions = &v1alpha1.KernelOptions{Policies: []string{"ml"}}
	nb.Spec.Template = &v1alpha1.PodTemplate{}
	nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "lab", Resources: corev1.ResourceRequirements{Limits: list("cpu", "2", "memory", "2Gi")}}}
	stopping := *nb.DeepCopy()
	stopping.Name, stopping.Spec.User, stopping.Spec.Stopped, stopping.Status.PodName = "jupyter-bob", "bob", true, ""
	stopped := *stopping.DeepCopy()
	stopped.Name, stopped.Status.Phase = "jupyter-carol", v1alpha1.NotebookStopped
	return Objects{
		KernelSpecs: []v1alpha1.JupyterKernelSpec{spec},
		Notebooks:   []v1alpha1.JupyterNotebook{nb, stopping, stopped},
		Pods:        []corev1.Pod{pod("k1-1", "n1", "500m", "1Gi"), pod("k2-1", "n2", "1", "2Gi"), pod("nb-1", "n1", "700m", "2Gi")},
		Kernels: []v1alpha1.JupyterKernel{
			kernel("k1", "alice", v1alpha1.KernelReady, func(k *v1alpha1.JupyterKernel) {
				k.Spec.Notebook, k.Spec.Session = "jupyter-alice", &v1alpha1.KernelSession{Path: "a.ipynb"}
				k.Status.PodName, k.Status.Node, k.Status.Held, k.Status.Policies = "k1-1", "n1", list(gpu, "1"), []string{"ml", "x"}
				k.Status.IdleSince, k.Status.ParkAt = &metav1.Time{Time: now}, &metav1.Time{Time: now.Add(time.Hour)}
				k.Spec.Park = &v1alpha1.KernelPark{Run: 1}
			}),
			kernel("k2", "bob", v1alpha1.KernelStarting, func(k *v1alpha1.JupyterKernel) {
				k.Status.PodName, k.Status.Node, k.Status.Held, k.Spec.Policies = "k2-1", "n2", list(gpu, "2"), []string{"ml"}
				k.Spec.Park = &v1alpha1.KernelPark{Run: 7}
			}),
			kernel("k3", "bob", v1alpha1.KernelQueued, func(k *v1alpha1.JupyterKernel) {
				k.Status.Queue = &v1alpha1.QueueStatus{Position: 2, Length: 2, Reason: "all in use"}
			}),
			kernel("k4", "alice", v1alpha1.KernelQueued, func(k *v1alpha1.JupyterKernel) {
				k.Status.Queue = &v1alpha1.QueueStatus{Position: 1, Length: 2}
				k.Spec.Shutdown = &v1alpha1.KernelShutdown{}
			}),
			kernel("k5", "carol", "", func(k *v1alpha1.JupyterKernel) { k.Spec.KernelSpec = "gone" }),
			kernel("k6", "carol", v1alpha1.KernelParked, func(k *v1alpha1.JupyterKernel) {
				k.Status.Held, k.Status.Cause, k.Status.CompletionTime = list(gpu, "1"), v1alpha1.CauseIdle, &metav1.Time{Time: now}
			}),
		},
	}
}

func TestKernels(t *testing.T) {
	h := Of(objects())
	byID := map[string]Kernel{}
	for _, k := range h.Kernels {
		byID[k.ID] = k
	}
	k1 := byID["k1"]
	until := now.Add(time.Hour)
	assert.Equal(t, Kernel{
		ID: "k1", User: "alice", Notebook: "jupyter-alice", KernelSpec: "python-gpu", Title: "Python 3 (GPU)", Document: "a.ipynb",
		Phase: v1alpha1.KernelReady, Policy: "ml", Node: "n1", Devices: map[string]int64{gpu: 1}, Holds: true,
		CPU: 0.51, Memory: 1<<30 + 16<<20, IdleSince: &now, ParkAt: &until, Releasing: true,
	}, k1)
	assert.False(t, byID["k2"].Releasing, "another run's")
	assert.Equal(t, map[string]int64{gpu: 1}, byID["k3"].Devices, "what it asks for")
	assert.False(t, byID["k3"].Holds)
	assert.True(t, byID["k4"].Ending)
	assert.Equal(t, v1alpha1.KernelQueued, byID["k5"].Phase, "nobody has looked at it yet")
	assert.Equal(t, "gone", byID["k5"].Title)
	assert.True(t, byID["k6"].Holds, "its Pod is still going")
	assert.Equal(t, &now, byID["k6"].Since)

	var order []string
	for _, k := range h.Queue() {
		order = append(order, k.ID)
	}
	assert.Equal(t, []string{"k4", "k3", "k5"}, order)
}

func TestKept(t *testing.T) {
	k := kernel("k", "alice", v1alpha1.KernelParked)
	kept := func(outcome string) *Kept {
		k.Status.Kept = &v1alpha1.KeptState{Outcome: outcome, Variables: 3, Bytes: 9, Lost: []string{"f"}}
		return Of(Objects{Kernels: []v1alpha1.JupyterKernel{k}}).Kernels[0].Kept
	}
	assert.Equal(t, &Kept{Whole: true, Variables: 3, Bytes: 9, Lost: []string{"f"}}, kept("whole"))
	assert.Equal(t, &Kept{Variables: 3, Bytes: 9, Lost: []string{"f"}}, kept("part"))
	assert.Nil(t, kept("none"))
	assert.Nil(t, kept("of a later release"))
	k.Status.Phase = v1alpha1.KernelReady
	assert.Nil(t, kept("whole"), "they are in its memory again")
}

func TestServers(t *testing.T) {
	h := Of(objects())
	assert.Equal(t, "n1", h.Servers[0].Node)
	assert.Equal(t, 2.0, h.Servers[0].CPU)
	assert.Equal(t, int64(2<<30), h.Servers[0].Memory)
	assert.Equal(t, v1alpha1.NotebookStopping, h.Servers[1].Phase, "it was asked to")
	assert.Equal(t, v1alpha1.NotebookStopped, h.Servers[2].Phase)
}

func TestOverview(t *testing.T) {
	o := Of(objects()).Overview(Capacity{Total: map[string]int64{gpu: 8, "amd.com/gpu": 1}, Free: map[string]int64{gpu: 3}})
	eight, one, three, none := int64(8), int64(1), int64(3), int64(0)
	assert.Equal(t, []Device{
		{Resource: "amd.com/gpu", Total: &one, Free: &none},
		{Resource: gpu, Total: &eight, Free: &three, Held: 4, Busy: 3, Idle: 1, Waiting: 2},
	}, o.Devices)
	assert.Equal(t, [4]int{2, 2, 1, 3}, [4]int{o.Servers, o.Kernels, o.Parked, o.Waiting})
	require.Len(t, o.Policies, 2)
	assert.Equal(t, "", o.Policies[0].Name)
	ml := o.Policies[1]
	assert.Equal(t, "ml", ml.Name)
	assert.Equal(t, 2, ml.Servers)
	assert.Equal(t, 2, ml.Kernels)
	assert.InDelta(t, 0.51+1.01+0.71+2, ml.CPU, 1e-9)
	assert.Equal(t, map[string]int64{gpu: 3}, ml.Devices)
	assert.Equal(t, []string{"", "n1", "n2"}, []string{o.Nodes[0].Name, o.Nodes[1].Name, o.Nodes[2].Name})
	assert.Nil(t, Of(objects()).Overview(Capacity{}).Devices[0].Total, "nobody counts them")
}

// TestPagesMeetEveryRow, also while rows come and go.
func TestPagesMeetEveryRow(t *testing.T) {
	var all []Kernel
	for i := range 25 {
		all = append(all, Kernel{ID: fmt.Sprintf("k%02d", i), User: fmt.Sprintf("u%d", i%3), Memory: int64(i%4) << 30})
	}
	for _, sort := range append([]string{""}, KernelSorts...) {
		for _, descending := range []bool{false, true} {
			seen := map[string]int{}
			q := Query{Sort: sort, Descending: descending, Limit: 4}
			rows := all
			for pages := 0; ; pages++ {
				require.Less(t, pages, 30)
				p, err := FindKernels(rows, q)
				require.NoError(t, err)
				for _, k := range p.Items {
					seen[k.ID]++
				}
				if p.Next == "" {
					break
				}
				// What was on the last page goes, what sorts anywhere comes.
				rows = append([]Kernel{{ID: fmt.Sprintf("new%d", pages), User: "u1"}}, rows...)
				q.After = p.Next
			}
			for _, k := range all {
				assert.Equal(t, 1, seen[k.ID], "%s %v %s", sort, descending, k.ID)
			}
		}
	}
}

func TestQueries(t *testing.T) {
	all := Of(objects()).Kernels
	ids := func(q Query) (found []string) {
		q.Limit = 100
		p, err := FindKernels(all, q)
		require.NoError(t, err)
		assert.Equal(t, len(p.Items), p.Total)
		for _, k := range p.Items {
			found = append(found, k.ID)
		}
		return found
	}
	assert.Equal(t, []string{"k1", "k4"}, ids(Query{User: "alice"}))
	assert.Equal(t, []string{"k4", "k3", "k5"}, ids(Query{Phase: "Queued"}))
	assert.Equal(t, []string{"k1"}, ids(Query{Search: "A.IPY"}))
	assert.Equal(t, []string{"k2"}, ids(Query{Node: "n2", Policy: "ml"}))
	assert.Nil(t, ids(Query{Search: "nothing"}))
	assert.Equal(t, []string{"k1", "k2", "k3", "k4", "k5", "k6"}, ids(Query{Sort: "idle"})[:6], "what is not idle comes last")
	for _, bad := range []Query{{Sort: "password"}, {After: "%"}, {After: "abc"}} {
		_, err := FindKernels(all, bad)
		assert.ErrorIs(t, err, ErrQuery)
		_, err = FindServers(nil, bad)
		assert.ErrorIs(t, err, ErrQuery)
	}
	p, err := FindServers(Of(objects()).Servers, Query{Sort: "phase", Descending: true, Limit: 2})
	require.NoError(t, err)
	assert.Equal(t, 3, p.Total)
	assert.Equal(t, v1alpha1.NotebookStopping, p.Items[0].Phase)
	assert.NotEmpty(t, p.Next)
}

func TestPolicies(t *testing.T) {
	ml, all := v1alpha1.GroupPolicy{}, v1alpha1.GroupPolicy{}
	ml.Name, ml.Spec.Priority, ml.Spec.Groups = "ml", 5, []string{"g"}
	ml.Spec.CPU.Max, ml.Spec.Memory.Max = resource.MustParse("4"), resource.MustParse("6Gi")
	ml.Spec.Kernels.GPUsPerKernel, ml.Spec.Kernels.GPUsPerUser = 1, 2
	ml.Status.GPUs, ml.Status.Queued = 3, 1
	all.Name, all.Spec.DisplayName, all.Spec.Default = "all", "Everybody", true
	all.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionPolicyValid, Status: metav1.ConditionFalse, Message: "cpu.max: wrong"}}
	assert.Equal(t, []Policy{
		{Name: "ml", DisplayName: "ml", Groups: []string{"g"}, Priority: 5, CPU: 4, Memory: 6 << 30, ServersPerUser: 1, Waiting: 1,
			GPUs: &PolicyGPUs{Resource: gpu, Held: 3, PerKernel: 1, PerUser: 2}},
		{Name: "all", DisplayName: "Everybody", Groups: []string{}, Default: true, ServersPerUser: 1, Fault: "cpu.max: wrong"},
	}, PoliciesOf([]v1alpha1.GroupPolicy{all, ml}))
}
