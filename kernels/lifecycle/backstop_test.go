package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
)

func asked(name, node string, change func(*inquiry)) inquiry {
	k := kerneltest.Kernel(name, "gw", "gpu")
	k.UID, k.Status.Run = types.UID(name), 1
	q := inquiry{kernel: k, node: node, ready: true, answered: true, culled: true, limit: time.Hour}
	change(&q)
	return q
}

func TestSinceWhenIdle(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_800_000_000, 600_000_000)
	of := func(after time.Duration, change func(*inquiry)) finding {
		q := asked("k", "n", change)
		q.heard = begin.Add(after)
		return conclude(q.heard.Add(25*time.Second), []inquiry{q}, map[runID]time.Time{})[runID{"k", 1}] // the round goes on
	}
	idle := func(d time.Duration) func(*inquiry) { return func(q *inquiry) { q.idle = d } }
	f := of(0, idle(90*time.Second))
	assert.Equal(t, begin.Unix()-90, f.idleSince().Unix())
	assert.Equal(t, begin.Unix()-90+3600, f.parkAt().Unix())
	assert.Nil(t, of(0, idle(0)).idleSince(), "busy")
	assert.Nil(t, of(0, func(q *inquiry) { q.idle, q.limit = time.Minute, 0 }).parkAt(), "never")
	assert.Nil(t, of(0, func(q *inquiry) { q.idle, q.culled = time.Minute, false }).parkAt(), "not while somebody is connected")

	short := func(d time.Duration) func(*inquiry) { return func(q *inquiry) { q.idle, q.short = d, 5*time.Minute } }
	assert.Equal(t, begin.Unix()-90+300, of(0, short(90*time.Second)).parkAt().Unix())
	assert.Equal(t, begin.Unix()-540+3600, of(0, short(9*time.Minute)).parkAt().Unix(), "not everything could be kept")

	slow := of(30*time.Second, idle(118*time.Second)) // the answer took 2 s
	assert.NotEqual(t, f, slow)
	assert.Equal(t, f, slow.steady(f, 2*time.Second), "no write for that")
	longer := of(30*time.Second, func(q *inquiry) { q.idle, q.limit = 120*time.Second, 2*time.Hour }).steady(f, 0)
	assert.Equal(t, f.idle, longer.idle)
	assert.Equal(t, f.idle+7200, longer.park, "another limit counts")
	assert.NotEqual(t, f.idle, of(30*time.Second, idle(time.Second)).steady(f, 0).idle, "it has worked in between")
}

// TestNothingIsWrittenAtRest: kernels that stay idle are not looked at again, in whatever
// order their agents are asked, and those for whom there was no room are looked at later.
func TestNothingIsWrittenAtRest(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	b := newBackstop(nil, nil, nil, nil)
	b.now = func() time.Time { return now }
	const many = 100 // more than the channel has room for
	var round []inquiry
	for i := range many {
		round = append(round, asked(fmt.Sprint(i), "n", func(*inquiry) {}))
	}
	told := func() int {
		n := 0
		for ; len(b.changed) > 0; n++ {
			<-b.changed
		}
		return n
	}
	play := func() int {
		rand.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		for i := range round {
			now = now.Add(agentsAskedEvery / many)
			round[i].heard = now
			round[i].idle = now.Sub(time.Unix(1_800_000_000, 0)) + time.Duration(len(round[i].kernel.Name))*time.Minute
		}
		b.note(round, conclude(now, round, b.silent))
		return told()
	}
	first := play()
	assert.Less(t, first, many)
	assert.Equal(t, many-first, play())
	for range 10 {
		assert.Zero(t, play())
	}
}

// TestKeptByHand: a kernel that somebody keeps is not parked before that is over, and its
// agent not suspected before it has had the time to park it then.
func TestKeptByHand(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1_800_000_000, 0)
	until := begin.Add(2 * time.Hour)
	at := func(after, idle, short time.Duration) finding {
		return conclude(begin.Add(after), []inquiry{asked("k", "n", func(q *inquiry) { q.idle, q.short, q.until, q.heard = idle, short, until, begin.Add(after) })}, map[runID]time.Time{})[runID{"k", 1}]
	}
	assert.Equal(t, until.Unix(), at(time.Minute, time.Minute, 0).park)
	assert.Equal(t, until.Unix(), at(time.Minute, time.Minute, 5*time.Minute).park)
	assert.Equal(t, until.Unix(), at(30*time.Minute, 30*time.Minute, 5*time.Minute).park, "all of it may be kept then")
	assert.Equal(t, begin.Add(time.Hour+90*time.Minute).Unix(), at(91*time.Minute, time.Minute, 0).park, "it has worked meanwhile, and is idle for an hour later")
	assert.Empty(t, at(119*time.Minute, 119*time.Minute, 0).overdue)
	assert.Empty(t, at(121*time.Minute, 121*time.Minute, 0).overdue, "its agent has just been told")
	assert.NotEmpty(t, at(122*time.Minute, 122*time.Minute, 0).overdue)

	b := newBackstop(nil, nil, nil, nil)
	b.now = func() time.Time { return until.Add(time.Minute) }
	k := kerneltest.Kernel("k", "gw", "gpu")
	assert.Zero(t, b.keptUntil(k))
	k.Status.SnoozedUntil = &metav1.Time{Time: until}
	assert.Equal(t, until, b.keptUntil(k))
	k.Status.SnoozedUntil = nil
	assert.Equal(t, until, b.keptUntil(k), "remembered")
	b.now = func() time.Time { return until.Add(time.Hour) }
	assert.Zero(t, b.keptUntil(k), "and forgotten")
}

func TestConclusions(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	fine := func(*inquiry) {}
	silent := func(q *inquiry) { q.answered = false }
	notReady := func(q *inquiry) { q.answered, q.ready = false, false }
	idle := func(d time.Duration) func(*inquiry) { return func(q *inquiry) { q.idle = d } }
	of := func(findings map[runID]finding, name string) finding { return findings[runID{types.UID(name), 1}] }
	play := func(after time.Duration, memory map[runID]time.Time, round ...inquiry) map[runID]finding {
		return conclude(begin.Add(after), round, memory)
	}
	memory := map[runID]time.Time{}
	crowd := []inquiry{asked("a", "n1", fine), asked("b", "n2", fine), asked("c", "n3", fine)}

	f := play(0, memory, append(crowd, asked("k", "n4", silent))...)
	assert.Equal(t, finding{answers: agentReachable}, of(f, "a"))
	assert.Equal(t, finding{answers: agentUnreachable}, of(f, "k"), "the network's fault")
	f = play(100*time.Hour, memory, append(crowd, asked("k", "n4", silent))...)
	assert.Empty(t, of(f, "k").overdue, "for ever")

	play(0, memory, append(crowd, asked("k", "n4", notReady))...)
	f = play(59*time.Minute, memory, append(crowd, asked("k", "n4", notReady))...)
	assert.Equal(t, finding{answers: agentUnreachable}, of(f, "k"))
	f = play(time.Hour, memory, append(crowd, asked("k", "n4", notReady))...)
	assert.Equal(t, "The kernel's agent has not answered for 1h0m0s, the kernel's idle time.", of(f, "k").overdue)
	play(time.Hour, memory, append(crowd, asked("k", "n4", fine))...)
	f = play(2*time.Hour, memory, append(crowd, asked("k", "n4", notReady))...)
	assert.Empty(t, of(f, "k").overdue, "it has answered in between")
	memory = map[runID]time.Time{}
	play(0, memory, asked("k", "n4", notReady))
	f = play(time.Hour, memory, asked("k", "n4", notReady))
	assert.NotEmpty(t, of(f, "k").overdue, "one agent is nobody's majority")
	f = play(9*time.Hour, memory, asked("k", "n4", func(q *inquiry) { notReady(q); q.limit = 0 }))
	assert.Empty(t, of(f, "k").overdue, "it has no idle time")
	f = play(9*time.Hour, memory, asked("k", "n4", func(q *inquiry) { notReady(q); q.kernel.Status.Run = 2 }))
	assert.Equal(t, finding{answers: agentUnreachable}, f[runID{"k", 2}], "another run begins anew")

	// a node, or everything, is cut off
	memory = map[runID]time.Time{}
	for _, after := range []time.Duration{0, 9 * time.Hour} {
		f = play(after, memory, append(crowd, asked("x", "n4", notReady), asked("y", "n4", notReady))...)
		assert.Equal(t, finding{}, of(f, "x"))
		f = play(after, memory, asked("a", "n1", fine), asked("b", "n2", notReady), asked("c", "n3", notReady))
		assert.Equal(t, finding{}, of(f, "b"))
		assert.Equal(t, finding{answers: agentReachable}, of(f, "a"))
	}
	assert.Empty(t, memory)

	// an agent that answers and does not do what it should
	f = play(0, memory, asked("k", "n1", idle(time.Hour+time.Minute)))
	assert.Empty(t, of(f, "k").overdue)
	f = play(0, memory, asked("k", "n1", idle(time.Hour+2*time.Minute)))
	assert.Equal(t, "The kernel was idle for 1h2m0s, and its agent did not park it.", of(f, "k").overdue)
	f = play(0, memory, asked("k", "n1", func(q *inquiry) { q.idle, q.culled = 9*time.Hour, false }))
	assert.Empty(t, of(f, "k").overdue, "a client may hold it")
	saves := func(extra time.Duration) func(*inquiry) {
		return func(q *inquiry) { q.idle, q.slack = time.Hour+idleSlack+saveSlack+extra, saveSlack }
	}
	f = play(0, memory, asked("k", "n1", saves(0)))
	assert.Empty(t, of(f, "k").overdue, "it may be saving")
	f = play(0, memory, asked("k", "n1", saves(time.Second)))
	assert.NotEmpty(t, of(f, "k").overdue)
}

// TestWhatIsFoundIsDone, to the present run alone.
func TestWhatIsFoundIsDone(t *testing.T) {
	t.Parallel()
	now := time.Now()
	k := kerneltest.Kernel("k", "gw", "gpu")
	k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodName: "k-1", StartTime: &metav1.Time{Time: now}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "kernel"}}}}
	pod.Name = "k-1"
	kerneltest.Running("10.0.0.1", true)(&pod.Status)
	look := func(f finding) plan {
		return next(observed{kernel: k, pod: pod, pods: []*corev1.Pod{pod}, agent: f, now: now})
	}
	assert.Empty(t, look(finding{answers: agentReachable}).status.Conditions, "nothing is said of what is as it should be")
	p := look(finding{answers: agentUnreachable})
	assert.True(t, meta.IsStatusConditionFalse(p.status.Conditions, ConditionAgentReachable))
	assert.Equal(t, v1alpha1.KernelReady, p.status.Phase)
	k.Status = p.status
	assert.True(t, meta.IsStatusConditionFalse(look(finding{}).status.Conditions, ConditionAgentReachable), "nothing is known")
	assert.True(t, meta.IsStatusConditionTrue(look(finding{answers: agentReachable}).status.Conditions, ConditionAgentReachable))
	p = look(finding{answers: agentUnreachable, overdue: "It is silent."})
	assert.Equal(t, v1alpha1.KernelParked, p.status.Phase)
	assert.Equal(t, v1alpha1.CauseIdle, p.status.Cause)
	assert.Equal(t, "It is silent. Its Pod was deleted.", p.status.Message)
	assert.Equal(t, []*corev1.Pod{pod}, p.remove)
	assert.Nil(t, meta.FindStatusCondition(p.status.Conditions, ConditionAgentReachable))
}

// TestAPodIsHeldWhileItsNodeRunsIt: what it holds may still be in use.
func TestAPodIsHeldWhileItsNodeRunsIt(t *testing.T) {
	t.Parallel()
	deadline := time.Now()
	pod := &corev1.Pod{}
	pod.DeletionTimestamp, pod.Spec.NodeName = &metav1.Time{Time: deadline}, "n"
	for _, row := range []struct {
		after  time.Duration
		node   nodeState
		forced bool
	}{
		{59 * time.Second, nodeLost, false}, {60 * time.Second, nodeLost, true},
		{100 * time.Hour, nodeReady, false},
		{9 * time.Minute, nodeUnknown, false}, {10 * time.Minute, nodeUnknown, true},
	} {
		v := observed{now: deadline.Add(row.after), nodes: map[string]nodeState{"n": row.node}}
		again, forced := v.overdue(pod)
		assert.Equal(t, row.forced, len(forced) > 0, "%+v", row)
		assert.Positive(t, again)
	}
}

// silentAgents answer nothing but at the addresses where they do.
type silentAgents struct {
	mu    sync.Mutex
	idle  map[string]time.Duration
	calls []string
}

func (a *silentAgents) ParkForBudget(context.Context, string, keys.Secrets, time.Duration, bool) (bool, error) {
	return false, errors.New("silent")
}

func (a *silentAgents) Notify(context.Context, string, keys.Secrets, protocol.Notice) error {
	return errors.New("silent")
}

func (a *silentAgents) ParkByHand(context.Context, string, keys.Secrets, time.Duration) (bool, error) {
	return false, errors.New("no answer")
}

func (a *silentAgents) SetIdle(context.Context, string, keys.Secrets, protocol.IdleLimits) error {
	return nil
}

func (a *silentAgents) SetKeep(context.Context, string, keys.Secrets, protocol.KeepState) (bool, error) {
	return false, errors.New("not asked")
}

func (a *silentAgents) SetVariables(context.Context, string, keys.Secrets, protocol.Variables) error {
	return nil
}

func (a *silentAgents) Shutdown(context.Context, string, keys.Secrets) error { return nil }

func (a *silentAgents) Report(_ context.Context, ip string, secrets keys.Secrets) (protocol.Report, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, ip+" "+secrets[0].Bearer())
	if idle, ok := a.idle[ip]; ok {
		return protocol.Report{Idle: idle}, nil
	}
	return protocol.Report{}, errors.New("no answer")
}

// gatewayWithKey makes a gateway that parks kernels after so many seconds, its key, and a kernelspec without GPUs.
func gatewayWithKey(n kerneltest.Namespace, seconds int32) {
	gw := &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw"}}
	gw.Spec.CullIdleTimeout = ptr.To(seconds)
	n.Make(gw, kerneltest.GPUSpec("gpu", 0))
	key := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: podspec.KeySecretName(gw)}, StringData: map[string]string{podspec.KeyName: keys.Secret{}.Hex()}}
	key.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(gw, v1alpha1.GroupVersion.WithKind("JupyterGateway"))}
	n.Make(key)
}

// TestEveryAgentIsAsked, with the secret of its run, on a real API server.
func TestEveryAgentIsAsked(t *testing.T) {
	n := kerneltest.NewNamespace(t)
	gatewayWithKey(n, 1)
	agents := &silentAgents{idle: map[string]time.Duration{"10.0.0.1": 5 * time.Minute}}
	cfg := podspec.Config{Image: "x", KernelImage: "x"}
	b := newBackstop(podspec.NewBuilder(cfg), n.Client, n.Client, agents)
	b.every = 50 * time.Millisecond
	var want []string
	kernels := map[string]*v1alpha1.JupyterKernel{}
	for name, ip := range map[string]string{"idle": "10.0.0.1", "silent": "10.0.0.2"} {
		k := kerneltest.Kernel(name, "gw", "gpu")
		n.Make(k)
		pod := &corev1.Pod{}
		pod.Name, pod.Spec.Containers = podspec.PodName(name, 1), []corev1.Container{{Name: "kernel", Image: "x"}}
		pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(k, v1alpha1.GroupVersion.WithKind("JupyterKernel"))}
		n.Make(pod)
		kerneltest.Running(ip, false)(&pod.Status)
		require.NoError(t, n.Status().Update(t.Context(), pod))
		k.Status = v1alpha1.JupyterKernelStatus{Phase: v1alpha1.KernelReady, Run: 1, PodName: pod.Name, PodIP: ip}
		require.NoError(t, n.Status().Update(t.Context(), k))
		secret, err := keys.Derive(make([]byte, keys.Size), string(k.UID), 1)
		require.NoError(t, err)
		want, kernels[name] = append(want, ip+" "+secret.Bearer()), k
	}
	n.Make(kerneltest.Kernel("parked", "gw", "gpu"))
	require.NoError(t, b.round(t.Context()))
	assert.ElementsMatch(t, want, agents.calls)
	assert.Contains(t, b.of(kernels["idle"]).overdue, "idle for 5m0s")
	assert.Equal(t, finding{answers: agentUnreachable}, b.of(kernels["silent"]))
	assert.Len(t, b.changed, 2, "both are to be looked at")
	time.Sleep(1100 * time.Millisecond)
	require.NoError(t, b.round(t.Context()))
	assert.Contains(t, b.of(kernels["silent"]).overdue, "has not answered for")
}
