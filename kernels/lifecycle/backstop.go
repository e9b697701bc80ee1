package lifecycle

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
	"github.com/elastichub/elastichub/skew"
)

const (
	// agentsAskedEvery is how often each agent is asked; the calls are spread over that time.
	agentsAskedEvery = 30 * time.Second
	// agentsAskedAtOnce bounds the calls that are under way.
	agentsAskedAtOnce = 16
	// idleSlack is how much longer than it may be idle a kernel can be, since its
	// agent takes leave of it.
	idleSlack = time.Minute
	// saveSlack is how much more it is where the agent saves the kernel's state first.
	saveSlack = 3 * time.Minute
	// idleJitter is by how many seconds two answers on the same idleness may differ.
	idleJitter = 2
	// mostOfAll is how many agents have to be asked before "most of all" means anything.
	mostOfAll = 3
)

// backstop asks every agent how it is. What an agent promises, that its kernel
// ends when it was idle for long enough, holds also where the agent is broken.
type backstop struct {
	pods   *podspec.Builder
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	agents Agents
	now    func() time.Time
	every  time.Duration
	// metered is told what agents have counted; nil: nobody wants to know.
	metered Metered

	// changed is sent the kernels whose findings have changed.
	changed chan event.GenericEvent

	silent map[runID]time.Time  // since when; round's own
	kept   map[runID]time.Time  // until when by hand, of all that ask; round's own
	untold map[runID]bool       // for whom changed had no room; round's own
	apart  map[runID]apartSince // agents that are too far apart; round's own

	mu       sync.Mutex
	findings map[runID]finding
}

// Metered takes what the agent of a kernel's run has counted.
type Metered func(kernel types.UID, run int64, meter protocol.Meter)

func newBackstop(pods *podspec.Builder, c client.Client, live client.Reader, agents Agents) *backstop {
	return &backstop{
		pods: pods, client: c, live: live, agents: agents, now: time.Now, every: agentsAskedEvery,
		changed: make(chan event.GenericEvent, 64), silent: map[runID]time.Time{}, kept: map[runID]time.Time{}, untold: map[runID]bool{}, apart: map[runID]apartSince{}, findings: map[runID]finding{},
	}
}

// runID names a run of a kernel.
type runID struct {
	kernel types.UID
	run    int64
}

func runOf(k *v1alpha1.JupyterKernel) runID { return runID{k.UID, k.Status.Run} }

// finding is what is known of an agent. The zero value: nothing.
type finding struct {
	answers agentAnswers
	// overdue is why the kernel's Pod is to go; empty: it is not.
	overdue string
	// apart is why the agent is not to be spoken to; empty: it is. The kernel is parked.
	apart string
	// apartLong: it has been so for longer than a kernel may take to come to rest.
	apartLong bool
	// idle is since when the kernel has been idle, and park when it will be parked if
	// it stays so, in Unix seconds; 0: it is busy, and it will not.
	idle, park int64
}

func (f finding) idleSince() *metav1.Time { return atSecond(f.idle) }
func (f finding) parkAt() *metav1.Time    { return atSecond(f.park) }

func atSecond(s int64) *metav1.Time {
	if s == 0 {
		return nil
	}
	return &metav1.Time{Time: time.Unix(s, 0)}
}

// steady keeps the former times where they differ only by how long two calls took, the last
// of them as long as is told: each difference is a write.
func (f finding) steady(former finding, took time.Duration) finding {
	if f.idle != 0 && former.idle != 0 && abs(f.idle-former.idle) <= idleJitter+int64(took/time.Second) {
		if f.park-f.idle == former.park-former.idle {
			f.park = former.park
		}
		f.idle = former.idle
	}
	return f
}

func abs(n int64) int64 { return max(n, -n) }

// agentAnswers reports whether an agent does.
type agentAnswers int

const (
	agentUnknown agentAnswers = iota
	agentReachable
	agentUnreachable
)

// inquiry is one call of an agent, and what is known beside its answer.
type inquiry struct {
	kernel   *v1alpha1.JupyterKernel
	node     string
	ready    bool // says the kubelet
	limit    time.Duration
	short    time.Duration // the limit if everything can be kept; zero: there is none
	slack    time.Duration // beyond limit and idleSlack
	until    time.Time     // until when it is kept by hand, or was; zero: it is not
	culled   bool          // also while a client is connected, so that the limit holds
	answered bool
	idle     time.Duration
	heard    time.Time // when it answered
	told     skew.Told // by its agent
	took     time.Duration
}

// parkAt is when a kernel that has been idle since then will be parked, in Unix
// seconds; 0: it will not, as long as somebody is connected or for ever. Past the short
// limit not everything could be kept.
func (q inquiry) parkAt(since int64) int64 {
	limit := q.limit
	switch {
	case !q.culled || q.limit <= 0:
		return 0
	case q.short > 0 && (q.idle < q.short+saveSlack || since+int64(q.short/time.Second) < q.until.Unix()):
		limit = q.short
	}
	return max(since+int64(limit/time.Second), q.until.Unix())
}

// isOverdue reports whether the agent should have parked the kernel some time ago, and be
// it that somebody kept it.
func (q inquiry) isOverdue(now time.Time) bool {
	slack := idleSlack + q.slack
	return q.culled && q.limit > 0 && q.idle > q.limit+slack && now.After(q.until.Add(slack))
}

// conclude judges a round. silent remembers since when an agent has been silent
// and its Pod not ready.
//
// An agent that does not answer while the kubelet finds its Pod ready is out of
// our reach: the network's fault, which must not end anybody's work. Nor may our
// own isolation, or that of a node: where most agents of it do not answer,
// nothing is concluded.
func conclude(now time.Time, round []inquiry, silent map[runID]time.Time) map[runID]finding {
	type count struct{ asked, failed int }
	nodes, all := map[string]count{}, count{}
	for _, q := range round {
		n := nodes[q.node]
		n.asked, all.asked = n.asked+1, all.asked+1
		if !q.answered {
			n.failed, all.failed = n.failed+1, all.failed+1
		}
		nodes[q.node] = n
	}
	most := func(c count, least int) bool { return c.asked >= least && 2*c.failed > c.asked }
	findings := map[runID]finding{}
	still := map[runID]time.Time{}
	for _, q := range round {
		id := runOf(q.kernel)
		switch {
		case q.answered:
			f := finding{answers: agentReachable}
			if q.idle > 0 {
				f.idle = q.heard.Add(-q.idle).Unix()
				f.park = q.parkAt(f.idle)
			}
			if q.isOverdue(now) {
				f.overdue = fmt.Sprintf("The kernel was idle for %s, and its agent did not park it.", q.idle.Round(time.Second))
			}
			findings[id] = f
		case most(all, mostOfAll) || most(nodes[q.node], 2):
			findings[id] = finding{}
		case q.ready:
			findings[id] = finding{answers: agentUnreachable}
		default:
			since, known := silent[id]
			if !known {
				since = now
			}
			still[id] = since
			f := finding{answers: agentUnreachable}
			if q.limit > 0 && now.Sub(since) >= q.limit {
				f.overdue = fmt.Sprintf("The kernel's agent has not answered for %s, the kernel's idle time.", now.Sub(since).Round(time.Second))
			}
			findings[id] = f
		}
	}
	clear(silent)
	for id, since := range still {
		silent[id] = since
	}
	return findings
}

// of is what is known of the agent of a kernel's present run.
func (b *backstop) of(k *v1alpha1.JupyterKernel) finding {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.findings[runOf(k)]
}

// NeedLeaderElection makes the leader ask, and nobody else.
func (b *backstop) NeedLeaderElection() bool { return true }

// Start asks until the context ends.
func (b *backstop) Start(ctx context.Context) error {
	for {
		begun := b.now()
		if err := b.round(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "agents cannot be asked")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(b.every-b.now().Sub(begun), time.Second)):
		}
	}
}

// round asks every agent once.
func (b *backstop) round(ctx context.Context) error {
	inquiries, secrets, err := b.prepare(ctx)
	if err != nil {
		return err
	}
	var calls errgroup.Group
	calls.SetLimit(agentsAskedAtOnce)
	for i := range inquiries {
		calls.Go(func() error {
			calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
			defer cancel()
			begun := b.now()
			report, err := b.agents.Report(calling, inquiries[i].kernel.Status.PodIP, secrets[i])
			inquiries[i].answered, inquiries[i].idle, inquiries[i].heard = err == nil, report.Idle, b.now()
			inquiries[i].told = report.Told
			inquiries[i].took = inquiries[i].heard.Sub(begun)
			if err == nil && report.Meter != nil && b.metered != nil {
				b.metered(inquiries[i].kernel.UID, inquiries[i].kernel.Status.Run, *report.Meter)
			}
			return nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(b.every / time.Duration(len(inquiries)+1)):
		}
	}
	_ = calls.Wait() // they return none
	if ctx.Err() != nil {
		return ctx.Err()
	}
	findings := conclude(b.now(), inquiries, b.silent)
	partWays(b.now(), inquiries, b.apart, findings)
	b.note(inquiries, findings)
	return nil
}

// note keeps the findings and has the kernels looked at whose have changed.
func (b *backstop) note(inquiries []inquiry, findings map[runID]finding) {
	b.mu.Lock()
	former := b.findings
	for _, q := range inquiries {
		id := runOf(q.kernel)
		findings[id] = findings[id].steady(former[id], q.took)
	}
	b.findings = findings
	b.mu.Unlock()
	untold := map[runID]bool{}
	for _, q := range inquiries {
		id := runOf(q.kernel)
		if f := findings[id]; f == former[id] && f.overdue == "" && !b.untold[id] {
			continue
		}
		select {
		case b.changed <- event.GenericEvent{Object: q.kernel}:
		default: // the next round says it again
			untold[id] = true
		}
	}
	b.untold = untold
}

// keptUntil is until when a kernel is kept by hand. It is remembered for a while: when that
// is over its agent has to be told, and to save what there is.
func (b *backstop) keptUntil(k *v1alpha1.JupyterKernel) time.Time {
	maps.DeleteFunc(b.kept, func(_ runID, until time.Time) bool { return b.now().Sub(until) > 2*(idleSlack+saveSlack) })
	if until := k.Status.SnoozedUntil; until != nil {
		b.kept[runOf(k)] = until.Time
	}
	return b.kept[runOf(k)]
}

// prepare gathers whom to ask.
func (b *backstop) prepare(ctx context.Context) ([]inquiry, []keys.Secrets, error) {
	var kernels v1alpha1.JupyterKernelList
	if err := b.client.List(ctx, &kernels); err != nil {
		return nil, nil, fmt.Errorf("kernels: list kernels: %w", err)
	}
	reader := podspec.OnePass(b.client)
	gatewayKeys := map[types.NamespacedName]podspec.GatewayKey{}
	var inquiries []inquiry
	var secrets []keys.Secrets
	for i := range kernels.Items {
		k := &kernels.Items[i]
		if !HasAgent(k) || k.Spec.KernelSpec == "" {
			continue
		}
		pod := &corev1.Pod{}
		if err := b.client.Get(ctx, types.NamespacedName{Namespace: k.Namespace, Name: k.Status.PodName}, pod); err != nil ||
			!podspec.BelongsTo(pod, k.UID) || pod.DeletionTimestamp != nil || !podstate.Alive(pod) {
			continue // its end is the kernel's matter
		}
		gateway := k.GatewayKey()
		key, known := gatewayKeys[gateway]
		if !known {
			var err error
			if key, err = podspec.ReadGatewayKey(ctx, b.live, gateway.Namespace, gateway.Name); err != nil {
				log.FromContext(ctx).Error(err, "the agents of a gateway cannot be asked", "gateway", k.Spec.Gateway)
			}
			gatewayKeys[gateway] = key
		}
		secret, err := key.ForRun(string(k.UID), k.Status.Run, k.Status.Warm)
		if err != nil {
			continue
		}
		q := inquiry{kernel: k, node: pod.Spec.NodeName, ready: podstate.Ready(pod)}
		if in, err := b.pods.GatherRunning(ctx, reader, k, pod); err == nil {
			rule := b.pods.IdleRule(in)
			q.limit, q.short, q.culled, q.until = rule.Timeout(), rule.Short(), rule.CullConnected, b.keptUntil(k)
			if b.pods.StateOf(in).Enabled {
				q.slack = saveSlack
			}
		} // else it has no limit that anybody could know
		inquiries, secrets = append(inquiries, q), append(secrets, secret)
	}
	return inquiries, secrets, nil
}
