package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
)

const (
	// yieldEvery is how often agents are asked how long they have been idle
	// while somebody waits; yieldPause is the least time between two rounds.
	yieldEvery = 5 * time.Second
	yieldPause = time.Second
	// yieldEnds is how long a kernel that agreed to park may take to be gone after its agent
	// was heard of last: its state may be saved first.
	yieldEnds = time.Minute
	// askedAtOnce and mostAsked bound the calls of a round.
	askedAtOnce = 16
	mostAsked   = 512
)

// yielder lets those who wait for room have that of the kernels that have been
// idle longest. Which kernel is idle, and for how long, its agent alone says;
// and it is the agent that parks it, unless work has come meanwhile.
type yielder struct {
	cfg    Config
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	agents Agents
	now    func() time.Time
	meters *metrics
	// wake is sent to, without waiting, when somebody waits for room.
	wake chan struct{}

	mu sync.Mutex
	// latest is what the admitter saw last; it is not changed any more.
	latest admission.Input

	// ending are kernels that agreed to park, by UID; for round alone.
	ending map[string]*yielding
}

func newYielder(cfg Config, c client.Client, live client.Reader, agents Agents, meters *metrics) *yielder {
	return &yielder{
		cfg: cfg, client: c, live: live, agents: agents, now: time.Now, meters: meters,
		wake: make(chan struct{}, 1), ending: map[string]*yielding{},
	}
}

// yielding is a kernel that agreed to park, and until when that counts.
type yielding struct {
	candidate
	until time.Time
}

// note takes what the admitter has seen and decided. It never waits.
func (y *yielder) note(in admission.Input, starved bool) {
	y.mu.Lock()
	y.latest = in
	y.mu.Unlock()
	if !starved {
		return
	}
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// NeedLeaderElection makes the leader do it, and nobody else.
func (y *yielder) NeedLeaderElection() bool { return true }

// Start runs until the context ends.
func (y *yielder) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-y.wake:
		}
		pause := yieldPause
		again, err := y.round(ctx)
		if err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "no kernel can be asked to yield")
		}
		if again {
			pause = yieldEvery
			y.again()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (y *yielder) again() {
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// round looks once whether somebody can be helped; again says that somebody
// still waits.
func (y *yielder) round(ctx context.Context) (again bool, err error) {
	y.askAgain(ctx)
	in := y.input()
	d := admission.Decide(in)
	if len(d.Starved) == 0 || len(d.Admit) > 0 { // the next pass sees another world
		return len(d.Starved) > 0 || len(y.ending) > 0, nil
	}
	candidates, err := y.candidates(ctx, in)
	if err != nil || len(candidates) == 0 {
		return true, err
	}
	idle := y.ask(ctx, candidates)
	for _, id := range admission.Yield(in, idle) {
		i := slices.IndexFunc(candidates, func(c candidate) bool { return string(c.kernel.UID) == id })
		y.park(ctx, candidates[i])
	}
	return true, nil
}

// input is what was seen last, as if the kernels that agreed to park were gone.
func (y *yielder) input() admission.Input {
	y.mu.Lock()
	defer y.mu.Unlock()
	in, now := y.latest, y.now()
	for id, e := range y.ending {
		switch {
		case !slices.ContainsFunc(in.Holders, func(h admission.Holder) bool { return h.ID == id }):
			y.meters.yields.Inc()
			delete(y.ending, id)
		case now.After(e.until):
			delete(y.ending, id)
		}
	}
	in.Holders = slices.DeleteFunc(slices.Clone(in.Holders), func(h admission.Holder) bool {
		_, ending := y.ending[h.ID]
		return ending
	})
	return in
}

// askAgain asks those who agreed to park: work may have come first, or not all of the
// kernel's state can be kept, and a policy wants that. They count as before then.
func (y *yielder) askAgain(ctx context.Context) {
	for id, e := range y.ending {
		calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
		idle, err := y.agents.IdleToYield(calling, e.kernel.Status.PodIP, e.secrets)
		cancel()
		switch {
		case err != nil: // it may be gone
		case idle >= e.grace:
			e.until = y.now().Add(yieldEnds)
		default:
			delete(y.ending, id)
			log.FromContext(ctx).Info("a kernel does not yield after all", "kernel", e.kernel.Name)
		}
	}
}

// candidate is a kernel that may have to yield.
type candidate struct {
	kernel  *v1alpha1.JupyterKernel
	secrets keys.Secrets
	// grace is how long it has to have been idle.
	grace time.Duration
}

// candidates lists the kernels that hold anything scarce and have been up for
// long enough to have been idle for so long, those up longest first.
func (y *yielder) candidates(ctx context.Context, in admission.Input) ([]candidate, error) {
	var gateways v1alpha1.JupyterGatewayList
	if err := y.cfg.Scope.List(ctx, y.client, &gateways); err != nil {
		return nil, fmt.Errorf("kernels: list gateways: %w", err)
	}
	grace := map[types.NamespacedName]time.Duration{}
	for i := range gateways.Items {
		if s := gateways.Items[i].Spec.YieldIdleSeconds; s > 0 {
			grace[client.ObjectKeyFromObject(&gateways.Items[i])] = time.Duration(s) * time.Second
		}
	}
	if len(grace) == 0 {
		return nil, nil
	}
	holds := map[string]bool{}
	for _, h := range in.Holders {
		holds[h.ID] = len(h.Holds) > 0
	}
	var kernels v1alpha1.JupyterKernelList
	if err := y.cfg.Scope.List(ctx, y.client, &kernels); err != nil {
		return nil, fmt.Errorf("kernels: list kernels: %w", err)
	}
	var list []candidate
	gatewayKeys := map[types.NamespacedName]podspec.GatewayKey{}
	for i := range kernels.Items {
		k := &kernels.Items[i]
		gateway := k.GatewayKey()
		g, yields := grace[gateway]
		if !yields || !holds[string(k.UID)] || !lifecycle.HasAgent(k) || k.Spec.KernelSpec == "" || k.Status.ReadyTime == nil || isKept(k, y.now()) || y.now().Sub(k.Status.ReadyTime.Time) < g {
			continue
		}
		key, known := gatewayKeys[gateway]
		if !known {
			var err error
			if key, err = podspec.ReadGatewayKey(ctx, y.live, gateway.Namespace, gateway.Name); err != nil {
				return nil, err
			}
			gatewayKeys[gateway] = key
		}
		secrets, err := key.ForRun(string(k.UID), k.Status.Run, k.Status.Warm)
		if err != nil {
			return nil, err
		}
		list = append(list, candidate{kernel: k, secrets: secrets, grace: g})
	}
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(a.kernel.Status.ReadyTime.Compare(b.kernel.Status.ReadyTime.Time), cmp.Compare(a.kernel.UID, b.kernel.UID))
	})
	return list[:min(len(list), mostAsked)], nil
}

// isKept reports whether somebody keeps a kernel by hand.
func isKept(k *v1alpha1.JupyterKernel, now time.Time) bool {
	return k.Status.SnoozedUntil != nil && k.Status.SnoozedUntil.After(now)
}

// ask maps those who have been idle for their grace to how long they have been.
// Agents that do not answer are let be.
func (y *yielder) ask(ctx context.Context, candidates []candidate) map[string]time.Duration {
	var mu sync.Mutex
	idle := map[string]time.Duration{}
	var g errgroup.Group
	g.SetLimit(askedAtOnce)
	for _, c := range candidates {
		g.Go(func() error {
			calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
			defer cancel()
			if d, err := y.agents.IdleToYield(calling, c.kernel.Status.PodIP, c.secrets); err == nil && d >= c.grace {
				mu.Lock()
				defer mu.Unlock()
				idle[string(c.kernel.UID)] = d
			}
			return nil
		})
	}
	_ = g.Wait() // none fails
	return idle
}

// park asks one agent to park its kernel, which it does if it still is idle.
func (y *yielder) park(ctx context.Context, c candidate) {
	ctx, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
	defer cancel()
	will, err := y.agents.Park(ctx, c.kernel.Status.PodIP, c.secrets, c.grace)
	switch {
	case err != nil:
		log.FromContext(ctx).Error(err, "a kernel did not answer whether it yields", "kernel", c.kernel.Name)
	case will:
		y.ending[string(c.kernel.UID)] = &yielding{c, y.now().Add(yieldEnds)}
		log.FromContext(ctx).Info("an idle kernel is to yield to somebody who waits", "kernel", c.kernel.Name)
	}
}

// Agents reaches the agents of running kernels, by address and secret.
// Errors mean that a call may or may not have been obeyed; both can be repeated.
type Agents interface {
	// Idle tells for how long the kernel has been idle; a busy one: not at all.
	Idle(ctx context.Context, ip string, secrets keys.Secrets) (time.Duration, error)
	// IdleToYield is Idle for somebody who waits for what the kernel holds; one that does
	// not yield that: not at all.
	IdleToYield(ctx context.Context, ip string, secrets keys.Secrets) (time.Duration, error)
	// Park ends the kernel as its idle time would, if it still has been idle for
	// so long, and reports whether it will. The agent alone decides.
	Park(ctx context.Context, ip string, secrets keys.Secrets, idle time.Duration) (bool, error)
}
