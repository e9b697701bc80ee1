package booking

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/usage"
	"github.com/elastichub/elastichub/usage/budgets"
)

func TestMain(m *testing.M) { os.Exit(kerneltest.Main(m, "../..")) }

const gpu = "nvidia.com/gpu"

// behind is a cache that shows kernels as they were.
type behind struct {
	client.Client
	kernels []v1alpha1.JupyterKernel // nil: as they are
}

func (b *behind) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if kernels, is := list.(*v1alpha1.JupyterKernelList); is && b.kernels != nil {
		kernels.Items = b.kernels
		return nil
	}
	return b.Client.List(ctx, list, opts...)
}

type scene struct {
	kerneltest.Namespace
	cache *behind
}

func newScene(t *testing.T) *scene {
	n := kerneltest.NewNamespace(t)
	return &scene{n, &behind{Client: n.Client}}
}

// leader is one that has not taken over yet; dropping it is a crash.
func (s *scene) leader() *Booker {
	b := newBooker(namespaces.Only(s.Name), "ledger", s.cache, s.Client, s.Client)
	require.NoError(s, b.takeOver(s.Context()))
	return b
}

func (s *scene) look(b *Booker) {
	s.Helper()
	require.NoError(s, b.look(s.Context()))
}

func (s *scene) write(b *Booker) {
	s.Helper()
	require.NoError(s, b.write(s.Context(), true))
}

// change sets a kernel's status, and tells the API server's time of it, to the second.
func (s *scene) change(name string, change func(*v1alpha1.JupyterKernelStatus)) *v1alpha1.JupyterKernel {
	s.Helper()
	k := &v1alpha1.JupyterKernel{}
	require.True(s, s.Find(name, k))
	change(&k.Status)
	require.NoError(s, s.Status().Update(s.Context(), k))
	return k
}

func admitted(s *v1alpha1.JupyterKernelStatus) {
	now := metav1.Now()
	s.Phase, s.Run, s.Held = v1alpha1.KernelStarting, s.Run+1, corev1.ResourceList{gpu: *resource.NewQuantity(2, resource.DecimalSI)}
	s.QueuedSince, s.StartTime, s.Policies = &metav1.MicroTime{Time: now.Time}, &now, []string{"ml", "all"}
}

func parked(s *v1alpha1.JupyterKernelStatus) {
	now := metav1.Now()
	s.Phase, s.Held, s.CompletionTime = v1alpha1.KernelParked, nil, &now
}

// booked is what somebody who reads the ledger finds.
func (s *scene) booked() usage.Line {
	s.Helper()
	store := usage.Store{Reader: s.Client, Namespace: s.Name, Name: "ledger"}
	saved, err := store.Read(s.Context())
	require.NoError(s, err)
	lines := usage.Report(saved.All(), usage.Period{Months: 1}, usage.ByGroup, nil, time.Now())
	require.Len(s, lines, 1)
	assert.Equal(s, "ml", lines[0].Name)
	return lines[0]
}

// slack is for the API server's timestamps, which are of whole seconds, one for each that is
// compared, and for a busy machine.
const slack = 2.5

func TestALeaderThatIsKilledWhileItBooks(t *testing.T) {
	s := newScene(t)
	s.Make(kerneltest.GPUSpec("gpu", 2), kerneltest.Kernel("k", "gw", "gpu"))
	first := s.leader()
	s.look(first)
	k := s.change("k", admitted)
	begin := time.Now()
	s.look(first)
	first.Metered(k.UID, 1, protocol.Meter{HeldSeconds: 0.1, BusySeconds: 0})
	s.look(first)
	s.write(first)
	assert.EqualValues(t, 1, s.booked().Runs)
	time.Sleep(1500 * time.Millisecond)
	s.look(first) // and is killed before it writes that

	time.Sleep(time.Second)
	second := s.leader()
	s.look(second)
	s.write(second)
	s.look(first)
	assert.Zero(t, testutil.ToFloat64(first.failures))
	require.ErrorIs(t, first.write(t.Context(), true), usage.ErrTaken, "the former leader lives on, and has nothing to say")
	assert.Equal(t, 1., testutil.ToFloat64(first.failures))
	assert.Zero(t, testutil.ToFloat64(second.failures))
	held := time.Since(begin).Seconds()
	second.Metered(k.UID, 1, protocol.Meter{HeldSeconds: held + .1, BusySeconds: 1})
	s.look(second)
	s.look(second) // the same once more
	s.write(second)
	line := s.booked()
	assert.EqualValues(t, 1, line.Runs)
	assert.InDelta(t, 2*held, line.Resources[gpu].Held*3600, 0.5, "by the agent's clock: better than seconds")
	assert.InDelta(t, 2, line.Resources[gpu].Busy*3600, 0.01)

	// It ends while nobody leads.
	s.change("k", parked)
	ended := time.Since(begin).Seconds()
	time.Sleep(2 * time.Second)
	third := s.leader()
	s.look(third)
	require.NoError(t, third.write(t.Context(), true))
	fourth := s.leader() // the third is killed when it has written
	s.look(fourth)
	s.write(fourth)
	line = s.booked()
	assert.EqualValues(t, 1, line.Runs)
	assert.Zero(t, line.Estimated)
	assert.InDelta(t, 2*ended, line.Resources[gpu].Held*3600, 2*slack)
	assert.InDelta(t, 2, line.Resources[gpu].Busy*3600, 0.01)
}

// TestARunThatNobodyWrote: it was admitted and has ended under a leader that was killed
// before it wrote anything of it.
func TestARunThatNobodyWrote(t *testing.T) {
	s := newScene(t)
	s.Make(kerneltest.GPUSpec("gpu", 2), kerneltest.Kernel("k", "gw", "gpu"))
	s.look(s.leader())
	time.Sleep(1100 * time.Millisecond)
	s.change("k", admitted)
	time.Sleep(1500 * time.Millisecond)
	s.change("k", parked)
	for range 2 { // each is killed when it has written
		b := s.leader()
		s.look(b)
		s.write(b)
	}
	line := s.booked()
	assert.EqualValues(t, 1, line.Runs)
	assert.InDelta(t, 2*1.5, line.Resources[gpu].Held*3600, 2*slack)
	assert.Positive(t, line.Resources[gpu].Held)
}

// TestACacheThatIsBehind shows a new leader what the former one has booked already.
func TestACacheThatIsBehind(t *testing.T) {
	s := newScene(t)
	s.Make(kerneltest.GPUSpec("gpu", 2), kerneltest.Kernel("k", "gw", "gpu"))
	b := s.leader()
	waits := &v1alpha1.JupyterKernel{}
	require.True(t, s.Find("k", waits))
	holds := s.change("k", admitted)
	s.look(b)
	s.write(b)

	s.cache.kernels = []v1alpha1.JupyterKernel{*waits}
	b = s.leader()
	s.look(b)
	s.look(b)
	_, _, open := b.ledger.OpenRun(string(holds.UID))
	assert.True(t, open, "it was not ended")
	s.cache.kernels = []v1alpha1.JupyterKernel{}
	s.look(b)
	_, _, open = b.ledger.OpenRun(string(holds.UID))
	assert.True(t, open, "nor here")
	s.change("k", parked)
	s.look(b)
	s.write(b)
	s.cache.kernels = []v1alpha1.JupyterKernel{*holds}
	b = s.leader()
	s.look(b)
	s.look(b)
	s.write(b)
	assert.EqualValues(t, 1, s.booked().Runs, "it was not begun again")
}

// TestAKernelThatIsGone holds until its Pod is gone, too.
func TestAKernelThatIsGone(t *testing.T) {
	s := newScene(t)
	s.Make(kerneltest.GPUSpec("gpu", 2), kerneltest.Kernel("k", "gw", "gpu"))
	b := s.leader()
	k := s.change("k", admitted)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "k-1", Labels: podspec.KernelLabels(k, 1)}}
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(k, v1alpha1.GroupVersion.WithKind("JupyterKernel"))}
	request := corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("2Gi")}
	pod.Spec.Containers = []corev1.Container{{Name: v1alpha1.KernelContainer, Image: "i", Resources: corev1.ResourceRequirements{Requests: request}}}
	s.Make(pod)
	s.change("k", func(status *v1alpha1.JupyterKernelStatus) { status.PodName = "k-1" })
	s.look(b)
	require.NoError(t, s.Delete(t.Context(), k))
	time.Sleep(time.Second)
	s.look(b)
	_, _, open := b.ledger.OpenRun(string(k.UID))
	assert.True(t, open)
	held := b.ledger.Book(usage.ShardOf("ann")).Runs[string(k.UID)]
	assert.Equal(t, usage.Amounts{gpu: 2000, usage.CPU: 500, usage.Memory: 2000}, held.Amounts)
	assert.GreaterOrEqual(t, held.Held, int64(1000))

	said, err := json.Marshal(protocol.Result{Reason: protocol.ReasonShutdown, Meter: &protocol.Meter{HeldSeconds: 1, BusySeconds: 0.5}})
	require.NoError(t, err)
	pod.Status.Phase = corev1.PodSucceeded
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.KernelContainer, Image: "i", State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{Message: string(said)}}}}
	b.words.hear(pod)
	assert.Equal(t, &usage.Meter{Held: 1000, Busy: 500}, b.words.last(k).meter)
	require.NoError(t, s.Delete(t.Context(), pod, client.GracePeriodSeconds(0)))
	s.look(b)
	s.write(b)
	line := s.booked()
	assert.EqualValues(t, 1, line.Runs)
	assert.InDelta(t, line.Resources[gpu].Held, line.Resources[usage.Memory].Held, 1e-9)
	assert.InDelta(t, line.Resources[gpu].Held/4, line.Resources[usage.CPU].Held, 1e-9)
}

// TestWritesAreFew, whatever begins and ends.
func TestWritesAreFew(t *testing.T) {
	s := newScene(t)
	s.Make(kerneltest.GPUSpec("gpu", 2))
	b := s.leader()
	for i := range 40 {
		name := "k" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		s.Make(kerneltest.Kernel(name, "gw", "gpu", kerneltest.Owned(name, "ml")))
		s.change(name, admitted)
		s.look(b)
		require.NoError(t, b.write(t.Context(), false))
	}
	assert.EqualValues(t, mostWrites, testutil.ToFloat64(b.writes))
	registry := prometheus.NewRegistry()
	registry.MustRegister(b.hours)
	found, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, found, 1)
	for _, m := range found[0].GetMetric() {
		require.Len(t, m.GetLabel(), 2, "none of them is a user's")
	}
}

// TestABudgetWhileLeadersAreKilled: three are, while a run holds, and the clock by which they tell the time is set by
// five minutes each time.
func TestABudgetWhileLeadersAreKilled(t *testing.T) {
	s := newScene(t)
	policy := kerneltest.Policy("ml", func(k *v1alpha1.PolicyKernels) {
		k.Budget = []v1alpha1.Budget{{Resource: gpu, Hours: resource.MustParse("1"), Per: v1alpha1.BudgetPerUser,
			Window: v1alpha1.BudgetWindow{Rolling: &metav1.Duration{Duration: time.Hour}}}}
	})
	s.Make(policy, kerneltest.GPUSpec("gpu", 2), kerneltest.Kernel("k", "gw", "gpu"))
	b := s.leader()
	require.Nil(t, b.Standings(), "nothing is known yet")
	s.look(b)
	asked := time.Now()
	k := s.change("k", admitted)
	s.look(b)
	began := time.Now()
	held := func() protocol.Meter { return protocol.Meter{HeldSeconds: time.Since(began).Seconds()} }
	for _, step := range []time.Duration{5 * time.Minute, -5 * time.Minute, 5 * time.Minute} {
		time.Sleep(300 * time.Millisecond)
		b.Metered(k.UID, 1, held())
		s.look(b)
		s.write(b) // and is killed
		time.Sleep(300 * time.Millisecond)
		b = s.leader()
		b.api.API = b.api.API.Add(step)
		s.look(b)
		b.Metered(k.UID, 1, held())
		s.look(b)
	}
	standing, known := b.Standings().Of(budgets.Of(policy)[0], k.Spec.User, true)
	require.True(t, known)
	assert.GreaterOrEqual(t, standing.UsedHours()*3600, 2*(time.Since(began).Seconds()-slack))
	assert.LessOrEqual(t, standing.UsedHours()*3600, 2*(time.Since(asked).Seconds()+slack))
	assert.InDelta(t, standing.Share(), testutil.ToFloat64(b.used.WithLabelValues("ml", gpu, "user")), 1e-9)
}
