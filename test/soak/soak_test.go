package soak

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
	kernelclient "github.com/elastichub/elastichub/test/client"
)

const (
	// users work at once.
	users = 8
	// long is from how many cycles on clocks are moved, and memory is compared.
	long = 100
	// mostOfAUser bounds what a user with a notebook and a parked kernel has in etcd, in bytes; Events are not in it.
	mostOfAUser = 48 << 10
)

// cycles are how often a kernel starts, is parked, returns and ends.
func cycles(t *testing.T) int {
	text := os.Getenv("SOAK_CYCLES")
	if text == "" {
		return 4
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "SOAK_CYCLES")
	return n
}

// done counts what has been done.
type done struct{ starts, parks, returns, servers, leaders, deaths, cuts, steps, strays atomic.Int64 }

// TestNothingGrows has kernels and notebooks come and go, first beside processes that live on, while watches break, etcd
// forgets and clocks step; then leaders change and gateways die. Every cell has to be answered, and afterwards everything
// has to weigh what it has weighed before.
func TestNothingGrows(t *testing.T) {
	n := cycles(t)
	w := newWorld(t, n >= long)
	empty := w.settled()
	var counted done
	people := make([]*person, min(n, users))
	for i := range people {
		people[i] = w.person(fmt.Sprintf("user-%d", i))
	}
	// Whatever is made once is made in the first cycles.
	w.work(people, max(len(people), n/10), &counted, nil)
	before := w.settled()
	processes, agents, begun := w.weighAll(), ours(), w.begun()

	w.work(people, n/2, &counted, func(i int) { w.disturb(i, &counted) })
	after := w.comesBackTo(before, "after watches have broken")
	assert.InDelta(t, before.Bytes, after.Bytes, float64(before.Bytes)/20, "bytes in etcd")
	same, still := w.weighAll(), ours()
	assert.Equal(t, begun, w.begun(), "processes live on: one that has begun anew says nothing of those before")
	for name, was := range processes {
		t.Logf("%s: %s; before: %s", name, same[name], was)
		flat(t, name, was, same[name], w.clock != nil)
	}
	t.Logf("agents and this test: %s; before: %s", still, agents)
	flat(t, "agents and this test", agents, still, n >= long)

	w.work(people, n/2, &counted, func(i int) { w.kill(i, &counted) })
	w.comesBackTo(before, "after leaders and gateways have changed")
	for name, now := range w.weighAll() {
		t.Logf("%s, begun anew: %s", name, now)
		assert.LessOrEqual(t, now.Goroutines, processes[name].Goroutines+40, name)
		assert.LessOrEqual(t, now.Files, processes[name].Files+20, name)
	}

	// What a user costs etcd: a notebook, and a kernel that is parked.
	for _, p := range people {
		p.leavesOne()
	}
	full := w.settled()
	of := (full.Bytes - empty.Bytes) / len(people)
	t.Logf("etcd: %d bytes of a user with a notebook and a parked kernel, %d of the release, %d of %d ConfigMaps of the ledger, %d of %d Events; %d of the file in use",
		of, empty.Bytes, full.LedgerBytes, full.Ledger, full.EventBytes, full.Events, w.compact())
	t.Logf("objects of %d users with a parked kernel each: %v; without users: %v", len(people), full.Count, empty.Count)
	assert.Less(t, of, mostOfAUser, "bytes in etcd of a user")
	for _, p := range people {
		p.leaves()
	}
	w.comesBackTo(empty, "after all users have left")
	t.Logf("%d starts, %d parks, %d returns, %d servers made and removed, %d changes of the leader, %d deaths of gateways, %d breaks of all watches, %d clock steps, %d kernels whose start was answered with an error",
		counted.starts.Load(), counted.parks.Load(), counted.returns.Load(), counted.servers.Load(), counted.leaders.Load(), counted.deaths.Load(), counted.cuts.Load(), counted.steps.Load(), counted.strays.Load())
}

// flat compares what a process holds with what it held. Connections to come and timers of the moment make a small
// difference.
func flat(t *testing.T, name string, before, after weight, heap bool) {
	t.Helper()
	assert.LessOrEqual(t, after.Goroutines, before.Goroutines+20, "goroutines of %s", name)
	assert.LessOrEqual(t, after.Files, before.Files+15, "files of %s", name)
	if heap {
		assert.LessOrEqual(t, after.Heap, before.Heap*1.15+(3<<20), "heap of %s", name)
	}
}

// weighAll weighs every process. Where clocks are moved it does so when two hours have passed, in which what is remembered
// for a time is forgotten, and tells the least of several times: Go collects garbage after two minutes without a
// collection.
func (w *world) weighAll() map[string]weight {
	w.t.Helper()
	all := map[string]weight{}
	weigh := func() {
		leader := w.leader()
		for _, p := range w.services {
			name := "service that waits"
			if p == leader {
				name = "service that leads"
			}
			all[name] = lighter(p.weigh(), all[name])
		}
		for i, p := range w.gateways {
			name := fmt.Sprintf("gateway %d", i)
			all[name] = lighter(p.weigh(), all[name])
		}
	}
	if w.clock == nil {
		weigh()
		return all
	}
	// The API server drops Events after an hour of its own clock, which is not moved.
	require.NoError(w.t, w.api.DeleteAllOf(w.t.Context(), &corev1.Event{}, client.InNamespace(namespace)))
	w.pass(2 * time.Hour)
	for range 5 {
		time.Sleep(2 * time.Second)
		w.pass(3 * time.Minute)
		time.Sleep(200 * time.Millisecond)
		weigh()
	}
	return all
}

// begun is how often each process has.
func (w *world) begun() (starts []int) {
	for _, p := range append(w.services[:], w.gateways[:]...) {
		p.mu.Lock()
		starts = append(starts, p.starts)
		p.mu.Unlock()
	}
	return starts
}

// withinLease is how far clocks are moved at once: a leader has to renew its lease within 10 s.
const withinLease = 8 * time.Second

// pass moves clocks while who leads goes on to lead. Were they moved by hours at once, the first to look afterwards would
// lead, and the one that did would end, and come again, as light as any process that begins.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for left := d; left > 0; left -= withinLease {
		before := w.renewed()
		w.clock.Pass(w.t, min(left, withinLease))
		w.until("the leader does not renew its lease", func() bool { return !w.renewed().Equal(before) })
	}
}

// renewed is when the leader renewed its lease; the zero time if that cannot be seen.
func (w *world) renewed() time.Time {
	var lease coordinationv1.Lease
	if w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: "elastichub-controllers"}, &lease) != nil || lease.Spec.RenewTime == nil {
		return time.Time{}
	}
	return lease.Spec.RenewTime.Time
}

// lighter is the least of both: what is there for a moment, as in a process that begins or ends to lead, is no growth.
func lighter(now, before weight) weight {
	if before == (weight{}) {
		return now
	}
	return weight{
		Goroutines: min(now.Goroutines, before.Goroutines), Files: min(now.Files, before.Files),
		Heap: min(now.Heap, before.Heap), Resident: now.Resident,
	}
}

// work has people do so many cycles, all at once, while disturb is called again and again.
func (w *world) work(people []*person, count int, counted *done, disturb func(i int)) {
	w.t.Helper()
	var left atomic.Int64
	left.Store(int64(count))
	var group sync.WaitGroup
	for _, p := range people {
		group.Go(func() {
			for left.Add(-1) >= 0 && !w.t.Failed() {
				p.cycle(counted)
			}
		})
	}
	over := make(chan struct{})
	go func() { group.Wait(); close(over) }()
	began, tell := time.Now(), time.NewTicker(time.Minute)
	defer tell.Stop()
	for i := 0; ; {
		var pause <-chan time.Time
		if disturb != nil {
			disturb(i)
			i++
			pause = time.After(2 * time.Second)
		}
		for paused := false; !paused; {
			select {
			case <-over:
				require.False(w.t, w.t.Failed())
				w.endStrays(counted)
				return
			case <-tell.C:
				w.t.Logf("%d of %d cycles after %s", int64(count)-max(0, left.Load()), count, time.Since(began).Round(time.Second))
			case <-pause:
				paused = true
			}
		}
	}
}

// endStrays ends kernels that people do not know of: the gateway's request to the API server was cut off, its answer was an
// error, and the object is there. Whoever lists kernels sees them, and they are parked as all are.
func (w *world) endStrays(counted *done) {
	w.t.Helper()
	var left v1alpha1.JupyterKernelList
	require.NoError(w.t, w.api.List(w.t.Context(), &left, client.InNamespace(namespace)))
	for i := range left.Items {
		counted.strays.Add(1)
		require.NoError(w.t, client.IgnoreNotFound(w.api.Delete(w.t.Context(), &left.Items[i])))
	}
}

// disturb does what processes live through.
func (w *world) disturb(i int, counted *done) {
	switch i % 4 {
	case 0, 2:
		w.line.cut()
		counted.cuts.Add(1)
	case 1:
		w.compact()
		w.line.cut()
		counted.cuts.Add(1)
	}
	if w.clock == nil {
		return
	}
	switch i % 4 {
	case 1:
		w.clock.Step(w.t, time.Hour)
		counted.steps.Add(1)
	case 2:
		w.clock.Step(w.t, -time.Hour)
		counted.steps.Add(1)
	case 3:
		w.clock.Step(w.t, 0)
		counted.steps.Add(1)
	}
}

// kill ends one of the processes, in turn: as a node that dies, or as a rollout.
func (w *world) kill(i int, counted *done) {
	signal := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[i/4%2]
	switch i % 4 {
	case 0, 2:
		w.gateways[i/2%replicas].again(signal)
		counted.deaths.Add(1)
	case 1:
		leader := w.leader()
		leader.again(signal)
		if signal == syscall.SIGKILL && w.clock != nil {
			w.clock.Pass(w.t, 20*time.Second) // its lease
		}
		counted.leaders.Add(1)
	}
}

// leader is the service that leads.
func (w *world) leader() (found *part) {
	w.t.Helper()
	w.until("nobody leads", func() bool {
		for _, p := range w.services {
			if p.leads() {
				found = p
				return true
			}
		}
		return false
	})
	return found
}

// person is a user with a notebook.
type person struct {
	w      *world
	name   string
	token  string
	rounds int
}

func notebook(name string) *v1alpha1.JupyterNotebook {
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: gatewayOf}
	nb.Spec.User = name
	nb.Spec.Template = &v1alpha1.PodTemplate{PodTemplateSpec: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "notebook", Image: "notebook:1"}}}}}
	return nb
}

func (w *world) person(name string) *person {
	w.t.Helper()
	p := &person{w: w, name: name}
	require.NoError(w.t, w.api.Create(w.t.Context(), notebook(name)))
	w.until("no token for "+name, func() bool {
		var s corev1.Secret
		p.token = ""
		if w.api.Get(w.t.Context(), client.ObjectKey{Namespace: namespace, Name: name + "-gateway"}, &s) == nil {
			p.token = string(s.Data["token"])
		}
		return p.token != ""
	})
	return p
}

// cycle is one kernel from its start to its end; now and then another notebook comes and goes, too.
func (p *person) cycle(counted *done) {
	p.rounds++
	k := p.start()
	if k == nil {
		return
	}
	counted.starts.Add(1)
	if p.rounds%8 != 0 { // some end without having been parked
		p.park(k)
		counted.parks.Add(1)
		p.cell(k, "after the return")
		counted.returns.Add(1)
	}
	p.end(k)
	if p.rounds%4 == 0 {
		p.server()
		counted.servers.Add(1)
	}
}

func (p *person) gateway() kernelclient.Gateway {
	return kernelclient.Gateway{URL: p.w.gateways[p.rounds%replicas].url, Token: p.token}
}

// soon asks again until it works: a gateway or the way to the API server may be away.
func (p *person) soon(what string, do func(ctx context.Context) bool) bool {
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		is := do(ctx)
		cancel()
		if is {
			return true
		}
		if time.Since(began) > patience {
			return assert.Fail(p.w.t, "it did not come true", "%s of %s", what, p.name)
		}
	}
}

func (p *person) start() *kernelclient.Kernel {
	k := &kernelclient.Kernel{Gateway: p.gateway(), Session: fmt.Sprintf("%s-%d", p.name, p.rounds), Subprotocol: kernelclient.SubprotocolResume, Patience: patience / 3, AckOdds: 1}
	if !p.soon("a start", func(ctx context.Context) bool {
		var made struct{ ID string }
		status, err := k.Gateway.Call(ctx, http.MethodPost, "/api/kernels", map[string]string{}, &made)
		k.ID = made.ID
		return err == nil && status == http.StatusCreated
	}) || !p.soon("a connection", func(ctx context.Context) bool { return k.Open(ctx) == nil }) {
		return nil
	}
	p.cell(k, "after the start")
	return k
}

// cell runs one, and says what came of it if it is not answered.
func (p *person) cell(k *kernelclient.Kernel, when string) {
	id, err := k.Execute("1")
	var came []string
	for idle, status := false, ""; err == nil && (!idle || status == ""); {
		var m wire.Message
		if m, err = k.Next(); err != nil || m.ParentID() != id {
			continue
		}
		came = append(came, m.Type()+" "+m.ExecutionState())
		switch m.Type() {
		case wire.TypeExecuteReply:
			status = wire.Member(m.Content, "status")
			assert.Equal(p.w.t, "ok", status, "%s, %s, kernel %s: %s", p.name, when, k.ID, m.Content)
		case wire.TypeStatus:
			idle = idle || m.ExecutionState() == string(wire.StateIdle)
		}
	}
	if !assert.NoError(p.w.t, err, "%s, %s, kernel %s, %d returns of the client, %q", p.name, when, k.ID, k.Returns, came) {
		var now v1alpha1.JupyterKernel
		_ = p.w.api.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: k.ID}, &now)
		log, _ := p.w.kubelet.logs.Load(now.Status.PodName)
		p.w.t.Logf("kernel %s: %+v %+v\n%v", k.ID, now.Spec, now.Status, log)
	}
}

func (p *person) park(k *kernelclient.Kernel) {
	key := client.ObjectKey{Namespace: namespace, Name: k.ID}
	p.soon("a park", func(ctx context.Context) bool {
		var now v1alpha1.JupyterKernel
		if p.w.api.Get(ctx, key, &now) != nil {
			return false
		}
		switch {
		case now.Status.Phase == v1alpha1.KernelParked:
			return true
		case now.Status.Phase == v1alpha1.KernelReady && (now.Spec.Park == nil || now.Spec.Park.Run != now.Status.Run):
			next := now.DeepCopy()
			next.Spec.Park = &v1alpha1.KernelPark{Run: now.Status.Run, By: "soak"}
			_ = p.w.api.Patch(ctx, next, client.MergeFrom(&now))
		}
		return false
	})
}

// end removes the kernel's object: a server without a Pod, as all are here, is taken for one that is being replaced, and
// what it asks to end goes on.
func (p *person) end(k *kernelclient.Kernel) {
	defer k.Close()
	o := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: k.ID}}
	p.soon("an end", func(ctx context.Context) bool { return client.IgnoreNotFound(p.w.api.Delete(ctx, o)) == nil })
	p.gone("a kernel's end", &v1alpha1.JupyterKernel{ObjectMeta: o.ObjectMeta})
}

// gone waits until there is no such object.
func (p *person) gone(what string, o client.Object) {
	p.w.t.Helper()
	p.soon(what, func(ctx context.Context) bool {
		return apierrors.IsNotFound(p.w.api.Get(ctx, client.ObjectKeyFromObject(o), o))
	})
}

// server makes another notebook, waits for what belongs to it, and removes it.
func (p *person) server() {
	name := fmt.Sprintf("%s-s%d", p.name, p.rounds)
	p.soon("a notebook", func(ctx context.Context) bool {
		err := p.w.api.Create(ctx, notebook(name))
		return err == nil
	})
	p.soon("a notebook's token", func(ctx context.Context) bool {
		return p.w.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name + "-gateway"}, &corev1.Secret{}) == nil
	})
	p.remove(name)
}

func (p *person) remove(name string) {
	p.soon("a notebook's end", func(ctx context.Context) bool {
		return client.IgnoreNotFound(p.w.api.Delete(ctx, &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})) == nil
	})
	p.gone("the end of a notebook's Secret", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-gateway"}})
}

// leavesOne leaves a parked kernel.
func (p *person) leavesOne() {
	if k := p.start(); k != nil {
		p.park(k)
		k.Close()
	}
}

// leaves removes the person's notebook.
func (p *person) leaves() { p.remove(p.name) }
