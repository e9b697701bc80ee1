package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
)

// model is a world in which the cache is as old as chance wants, writes are
// lost, arrive late or without an answer, and leaders come and go. What is
// held in the store must never exceed a limit.
type model struct {
	t *testing.T
	// reliable worlds lose no write
	reliable bool
	lock     sync.Mutex // of rng and late, while a pass writes
	rng      *rand.Rand
	store    *modelStore
	// cache holds what the informers have seen; each object may lag on its own,
	// as the order among objects is all that an informer keeps.
	cache map[types.NamespacedName]*v1alpha1.JupyterKernel
	// late are writes that a leader has sent and that have not arrived.
	late []func()
	// leaders may overlap for writes under way, never for decisions.
	leader *admitter
	now    time.Time
	next   int
	// pods is what the cache shows of Pods; warm counts what was seen of claims.
	pods []corev1.Pod
	warm int
}

// laggingClient reads kernels from the model's cache and the rest from the store.
type laggingClient struct {
	client.Client
	m *model
}

func (c laggingClient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if pods, ok := list.(*corev1.PodList); ok {
		for i := range c.m.pods {
			pods.Items = append(pods.Items, *c.m.pods[i].DeepCopy())
		}
		return nil
	}
	kernels, ok := list.(*v1alpha1.JupyterKernelList)
	if !ok {
		return c.Client.List(ctx, list, opts...)
	}
	for _, k := range c.m.cache {
		kernels.Items = append(kernels.Items, *k.DeepCopy())
	}
	return nil
}

func (c laggingClient) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	k, ok := o.(*v1alpha1.JupyterKernel)
	if !ok {
		return c.Client.Get(ctx, key, o, opts...)
	}
	cached, ok := c.m.cache[key]
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "jupyterkernels"}, key.Name)
	}
	cached.DeepCopyInto(k)
	return nil
}

func (c laggingClient) Status() client.SubResourceWriter {
	return unreliableWriter{c.Client.Status(), c.m}
}

// unreliableWriter loses writes, answers, or both, or lets them arrive later.
type unreliableWriter struct {
	client.SubResourceWriter
	m *model
}

var errNoAnswer = errors.New("no answer")

func (w unreliableWriter) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	k, ok := o.(*v1alpha1.JupyterKernel)
	if !ok {
		return w.SubResourceWriter.Patch(ctx, o, patch, opts...)
	}
	w.m.lock.Lock()
	defer w.m.lock.Unlock()
	if w.m.reliable {
		return w.SubResourceWriter.Patch(ctx, o, patch, opts...)
	}
	switch w.m.rng.IntN(6) {
	case 0: // never arrives
		return errNoAnswer
	case 1: // arrives, and the answer is lost
		_ = w.SubResourceWriter.Patch(ctx, k.DeepCopy(), patch, opts...)
		return errNoAnswer
	case 2, 3: // arrives later
		copied := k.DeepCopy()
		w.m.late = append(w.m.late, func() { _ = w.SubResourceWriter.Patch(context.Background(), copied, patch) })
		return errNoAnswer
	default:
		return w.SubResourceWriter.Patch(ctx, o, patch, opts...)
	}
}

const (
	modelPool    = 3
	modelPerUser = 1
	modelUsers   = 5
)

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(seed, 3)), cache: map[types.NamespacedName]*v1alpha1.JupyterKernel{}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	pool := int32(modelPool)
	research := kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) {
		k.Allowed, k.GPUsPerKernel, k.GPUsPerUser, k.GPUPool = []string{"gpu"}, 1, modelPerUser, &pool
	})
	research.Namespace = "ns"
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw", Namespace: "ns"}}
	ks := kerneltest.GPUSpec("gpu", 1)
	ks.Namespace = "ns"
	m.store = &modelStore{fixed: map[types.NamespacedName]client.Object{}, kernels: map[types.NamespacedName]*v1alpha1.JupyterKernel{}, pods: map[string]*corev1.Pod{}}
	gw.Spec.WarmKernels = []v1alpha1.WarmKernel{{KernelSpec: "gpu", Count: 2}}
	for _, o := range []client.Object{research, gw, ks} {
		m.store.fixed[client.ObjectKeyFromObject(o)] = o
	}
	m.elect()
	return m
}

func (m *model) elect() {
	life, err := lifecycle.NewMetrics(prometheus.NewRegistry())
	require.NoError(m.t, err)
	meters, err := newMetrics(prometheus.NewRegistry())
	require.NoError(m.t, err)
	m.leader = newAdmitter(Config{Scope: namespaces.Only("ns"), Pods: podspec.NewBuilder(podspec.Config{Image: "elastichub:test", ImagePullPolicy: corev1.PullIfNotPresent, KernelImage: "kernel:test", IdleSeconds: 3600})}, laggingClient{m.store, m}, m.store, func() time.Time { return m.now }, meters, life)
}

func (m *model) kernels() []v1alpha1.JupyterKernel {
	var list v1alpha1.JupyterKernelList
	require.NoError(m.t, m.store.List(context.Background(), &list))
	return list.Items
}

// check is the invariant.
func (m *model) check(step string) int {
	users, held := map[string]int{}, 0
	has := map[string]string{}
	for _, k := range m.kernels() {
		if w := k.Status.Warm; w != "" {
			require.Empty(m.t, has[w], "%s is that of two kernels after %s", w, step)
			has[w] = k.Name
			m.warm++
		}
		if len(k.Status.Held) > 0 {
			users[k.Spec.User]++
			held++
		}
	}
	require.LessOrEqual(m.t, held, modelPool, "pool after %s", step)
	for user, n := range users {
		require.LessOrEqual(m.t, n, modelPerUser, "%s after %s", user, step)
	}
	return held
}

func (m *model) pick(is func(*v1alpha1.JupyterKernel) bool) *v1alpha1.JupyterKernel {
	var found []v1alpha1.JupyterKernel
	for _, k := range m.kernels() {
		if is(&k) {
			found = append(found, k)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return &found[m.rng.IntN(len(found))]
}

// drop deletes a kernel that holds nothing.
func (m *model) drop() {
	if k := m.pick(func(k *v1alpha1.JupyterKernel) bool { return len(k.Status.Held) == 0 }); k != nil {
		require.NoError(m.t, m.store.Delete(context.Background(), k))
	}
}

func (m *model) step() string {
	ctx := context.Background()
	m.now = m.now.Add(time.Duration(m.rng.IntN(3000)) * time.Millisecond)
	switch m.rng.IntN(16) {
	case 0, 1: // somebody wants a kernel
		if len(m.kernels()) >= 14 { // enough for every conflict, few enough to be quick
			m.drop()
			return "delete"
		}
		m.next++
		k := kerneltest.Kernel(fmt.Sprintf("k%d", m.next), "gw", "gpu", kerneltest.Owned(fmt.Sprintf("u%d", m.rng.IntN(modelUsers)), "research"))
		k.Namespace, k.UID = "ns", types.UID(k.Name)
		k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelQueued, Run: 1, QueuedSince: &metav1.MicroTime{Time: m.now.Add(-time.Duration(m.rng.IntN(120)) * time.Second)}} // any may come before any
		m.store.put(k)
		return "create"
	case 2: // a kernel ends, and with it its Pod
		if k := m.pick(func(k *v1alpha1.JupyterKernel) bool { return len(k.Status.Held) > 0 }); k != nil {
			delete(m.store.pods, k.Status.Warm)
			k.Status.Phase, k.Status.Held = v1alpha1.KernelParked, nil
			k.Status.Warm, k.Status.PodName = "", ""
			require.NoError(m.t, m.store.Status().Update(ctx, k))
		}
		return "end"
	case 3: // a kernel comes back, or goes back to the queue within its run
		if k := m.pick(func(k *v1alpha1.JupyterKernel) bool { return k.Status.Phase == v1alpha1.KernelParked }); k != nil {
			k.Status.Phase = v1alpha1.KernelQueued
			k.Status.Run += int64(m.rng.IntN(2))
			require.NoError(m.t, m.store.Status().Update(ctx, k))
		}
		return "return"
	case 4: // a late write arrives
		if len(m.late) > 0 {
			i := m.rng.IntN(len(m.late))
			m.late[i]()
			m.late = append(m.late[:i], m.late[i+1:]...)
		}
		return "late write"
	case 5, 6, 7, 8: // the cache catches up on some objects
		if m.rng.IntN(2) == 0 {
			m.syncPods()
		}
		for _, k := range m.kernels() {
			if m.rng.IntN(3) > 0 {
				m.cache[client.ObjectKeyFromObject(&k)] = k.DeepCopy()
			}
		}
		m.forget(false)
		return "sync"
	case 9: // a leader is killed; its writes under way live on
		if m.rng.IntN(2) == 0 {
			m.elect()
			return "new leader"
		}
		return "nothing"
	default:
		_, _ = m.leader.Reconcile(ctx, reconcile.Request{})
		return "pass"
	}
}

func (m *model) syncPods() {
	m.pods = nil
	for _, pod := range m.store.pods {
		m.pods = append(m.pods, *pod)
	}
}

// TestNeverAboveALimit checks the admitter itself in such a world.
func TestNeverAboveALimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	full, warm := 0, 0
	for seed := range uint64(100) {
		m := newModel(t, seed)
		for range 600 {
			if m.check(m.step()) == modelPool {
				full++
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		m.settle()
		warm += m.warm
	}
	assert.Greater(t, warm, 100, "hardly a warm Pod was ever taken: the test tests nothing")
	assert.Greater(t, full, 100, "the limit was hardly ever reached: the test tests nothing")
}

// forget lets the cache see deletions.
func (m *model) forget(all bool) {
	exists := map[types.NamespacedName]bool{}
	for _, k := range m.kernels() {
		exists[client.ObjectKeyFromObject(&k)] = true
	}
	for key := range m.cache {
		if !exists[key] && (all || m.rng.IntN(2) == 0) {
			delete(m.cache, key)
		}
	}
}

// TestNewLeaderReadsBeforeItDecides: the cache of a new leader does not show
// what the former one has admitted.
func TestNewLeaderReadsBeforeItDecides(t *testing.T) {
	m := newModel(t, 1)
	m.reliable = true
	add := func(name string, phase v1alpha1.KernelPhase) *v1alpha1.JupyterKernel {
		k := kerneltest.Kernel(name, "gw", "gpu", kerneltest.Owned(name, "research"))
		k.Namespace, k.UID = "ns", types.UID(name)
		k.Status = v1alpha1.JupyterKernelStatus{Phase: phase, Run: 1, QueuedSince: &metav1.MicroTime{Time: m.now}}
		m.store.put(k)
		return k
	}
	sync := func(names ...string) {
		for _, k := range m.kernels() {
			if slices.Contains(names, k.Name) {
				m.cache[client.ObjectKeyFromObject(&k)] = k.DeepCopy()
			}
		}
	}
	for i := range modelPool {
		k := add(fmt.Sprintf("old%d", i), v1alpha1.KernelQueued)
		sync(k.Name) // the cache stays here
		k.Status.Phase, k.Status.Held = v1alpha1.KernelStarting, podspec.ToList(map[string]int64{"nvidia.com/gpu": 1})
		m.store.put(k)
	}
	add("new", v1alpha1.KernelQueued)
	for range 5 {
		sync("new")
		_, err := m.leader.Reconcile(t.Context(), reconcile.Request{})
		require.NoError(t, err)
		assert.Equal(t, modelPool, m.check("pass"))
	}
	assert.False(t, m.leader.takeover.leaderReady)
	sync("old0", "old1", "old2", "new")
	for range 2 {
		_, err := m.leader.Reconcile(t.Context(), reconcile.Request{})
		require.NoError(t, err)
		assert.Equal(t, modelPool, m.check("pass"))
	}
	assert.True(t, m.leader.takeover.leaderReady)
	sync("new")
	k := m.cache[types.NamespacedName{Namespace: "ns", Name: "new"}]
	require.NotNil(t, k.Status.Queue)
	assert.Equal(t, "3 of the 3 nvidia.com/gpu of policy research are in use (gpuPool).", k.Status.Queue.Reason)
}

// settle lets the world calm down: then nothing may be left undone.
func (m *model) settle() {
	ctx := context.Background()
	for _, write := range m.late {
		write()
	}
	m.late = nil
	m.reliable = true
	for range 12 {
		for _, k := range m.kernels() {
			m.cache[client.ObjectKeyFromObject(&k)] = k.DeepCopy()
		}
		m.forget(true)
		m.syncPods()
		m.now = m.now.Add(time.Second)
		_, err := m.leader.Reconcile(ctx, reconcile.Request{})
		require.NoError(m.t, err)
		m.check("settling")
	}
	users, waitingUsers, held := map[string]bool{}, map[string]bool{}, 0
	for _, k := range m.kernels() {
		if len(k.Status.Held) > 0 {
			users[k.Spec.User] = true
			held++
		}
	}
	for _, k := range m.kernels() {
		if k.Status.Phase == v1alpha1.KernelQueued && !users[k.Spec.User] {
			waitingUsers[k.Spec.User] = true
		}
	}
	if len(waitingUsers) > 0 {
		assert.Equal(m.t, modelPool, held, "%d users wait although there is room", len(waitingUsers))
	}
}
