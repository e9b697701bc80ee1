package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/admission"
	"github.com/elastichub/elastichub/kernels/agent/keys"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/kernels/podstate"
)

const (
	// madeAtOnce bounds the warm Pods that one pass makes.
	madeAtOnce = 8
	// warmPlaced is how long the scheduler may look for a node for one.
	warmPlaced = time.Minute
	// The pause after a warm Pod of a class has failed, and its bounds.
	firstWarmPause = 10 * time.Second
	mostWarmPause  = 10 * time.Minute
	// warmLives: a warm Pod that ends sooner has failed.
	warmLives = 2 * time.Minute
	mostSeen  = 64
)

// warmSurvey is what a survey finds of the pool.
type warmSurvey struct {
	stocks []*stock
	// pods are the warm Pods that live and are not joined to a kernel, by name.
	pods map[string]*corev1.Pod
	// claimed are those, by name, that a kernel has been promised.
	claimed map[string]bool
	ended   []*corev1.Pod
	// unschedulable: the scheduler finds no node for the Pod of some kernel.
	unschedulable bool
}

// warmPool is what the admitter remembers of the pool. A new leader does
// without: it only means trying again sooner.
type warmPool struct {
	mu sync.Mutex
	// leaving are Pods that were deleted, by name, until when.
	leaving map[string]time.Time
	failed  map[string]warmFailure // by class
}

type warmFailure struct {
	inARow int
	seen   map[string]bool // Pods that were counted, by name
	until  time.Time
}

// pause is how long to wait after so many failures in a row.
func (f warmFailure) pause() time.Duration {
	return min(firstWarmPause<<min(f.inARow-1, 10), mostWarmPause)
}

// fail counts a Pod that came to nothing, once.
func (p *warmPool) fail(class, pod string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.failed[class]
	if f.seen[pod] {
		return
	}
	if f.seen == nil || len(f.seen) > mostSeen {
		f.seen = map[string]bool{}
	}
	f.seen[pod] = true
	f.inARow++
	f.until = now.Add(f.pause())
	if p.failed == nil {
		p.failed = map[string]warmFailure{}
	}
	p.failed[class] = f
}

func (p *warmPool) succeed(class string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failed, class)
}

// wait is how long no Pod of a class is made, for its failures.
func (p *warmPool) wait(class string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed[class].until.Sub(now)
}

func (p *warmPool) leave(pod string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaving == nil {
		p.leaving = map[string]time.Time{}
	}
	p.leaving[pod] = until
}

func (p *warmPool) stay(pod string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.leaving, pod)
}

// left reports whether a Pod was told to go.
func (p *warmPool) left(pod *corev1.Pod, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, told := p.leaving[pod.Name]
	return told && now.Before(until) || pod.DeletionTimestamp != nil
}

func (p *warmPool) tidy(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, until := range p.leaving {
		if !now.Before(until) {
			delete(p.leaving, name)
		}
	}
}

// shelve makes the warm Pods that are free the spares of the decision, and what
// is missing its stocks.
func (a *admitter) shelve(s *survey, nodes []Node) {
	now := a.now()
	a.pool.tidy(now)
	wanted := map[string]int64{}
	for _, st := range s.warm.stocks {
		wanted[st.class] = st.count
	}
	for name, pod := range s.warm.pods {
		if s.warm.claimed[name] {
			continue
		}
		class := pod.Annotations[v1alpha1.AnnotationWarm]
		var h admission.Holder
		a.locate(s, &h, pod, nodes)
		spare := admission.Spare{
			ID: name, Class: class, Ready: podstate.Ready(pod), Going: a.pool.left(pod, now),
			Holds: podspec.Extended(&pod.Spec), Node: h.Node, Eligible: h.Eligible, Unschedulable: h.Unschedulable || podstate.Unschedulable(pod),
		}
		s.input.Spares = append(s.input.Spares, spare)
		if spare.Ready {
			a.pool.succeed(class)
		}
		if !spare.Going {
			wanted[class]--
		}
	}
	for _, st := range s.warm.stocks {
		missing := wanted[st.class]
		if missing <= 0 || s.warm.unschedulable {
			continue
		}
		if wait := a.pool.wait(st.class, now); wait > 0 {
			s.wake(wait)
			continue
		}
		stock := admission.Stock{ID: st.class, Missing: min(missing, madeAtOnce), Wants: podspec.Extended(&st.sample.Spec)}
		if a.capacity != nil {
			stock.Eligible = eligible(nodes, &st.sample.Spec)
		}
		s.input.Stocks = append(s.input.Stocks, stock)
	}
}

// wake asks for a pass after a time at the latest.
func (s *survey) wake(after time.Duration) {
	if s.again == 0 || after < s.again {
		s.again = max(after, time.Second)
	}
}

// tendPool carries out what was decided about the pool: it ends warm Pods that
// are in the way, too many, outdated or broken, and makes new ones.
func (a *admitter) tendPool(ctx context.Context, s *survey, d admission.Decision) error {
	taken := map[string]bool{}
	for _, name := range d.Take {
		taken[name] = true
	}
	var early atomic.Bool
	var g errgroup.Group
	g.SetLimit(writesAtOnce)
	for _, pod := range a.superfluous(s, d, taken) {
		a.pool.leave(pod.Name, a.now().Add(expectFor))
		g.Go(func() error { return a.endWarm(ctx, pod) })
	}
	for _, st := range s.warm.stocks {
		for range d.Make[st.class] {
			g.Go(func() error {
				err := a.makeWarm(ctx, st)
				var missing *podspec.MissingError
				if errors.As(err, &missing) {
					early.Store(true) // the gateway's key is about to be made, and Secrets are not watched
					return nil
				}
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if early.Load() {
		s.wake(time.Second)
	}
	a.meters.warm.Reset()
	for i := range s.input.Spares {
		state := warmStarting
		if s.input.Spares[i].Ready {
			state = warmReady
		}
		if !taken[s.input.Spares[i].ID] {
			a.meters.warm.WithLabelValues(state).Inc()
		}
	}
	return nil
}

// superfluous lists the free warm Pods that are to end.
func (a *admitter) superfluous(s *survey, d admission.Decision, taken map[string]bool) []*corev1.Pod {
	now := a.now()
	left := map[string]int64{}
	for _, st := range s.warm.stocks {
		left[st.class] = st.count
	}
	end := slices.Clone(s.warm.ended)
	for _, pod := range s.warm.ended {
		if now.Sub(pod.CreationTimestamp.Time) < warmLives {
			a.pool.fail(pod.Annotations[v1alpha1.AnnotationWarm], pod.Name, now)
		}
	}
	spares := slices.Clone(s.input.Spares)
	slices.SortFunc(spares, func(x, y admission.Spare) int { // ready ones are kept
		if x.Ready != y.Ready {
			return b2i(y.Ready) - b2i(x.Ready)
		}
		return strings.Compare(x.ID, y.ID)
	})
	for _, spare := range spares {
		pod := s.warm.pods[spare.ID]
		switch {
		case spare.Going || taken[spare.ID] || pod.UID == "": // the last: not seen yet
			continue
		case s.warm.unschedulable, slices.Contains(d.GiveUp, spare.ID):
			end = append(end, pod)
		case a.broken(s, pod):
			a.pool.fail(spare.Class, pod.Name, now)
			end = append(end, pod)
		case left[spare.Class] <= 0:
			end = append(end, pod)
		default:
			left[spare.Class]--
		}
	}
	return end
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// broken tells whether a warm Pod has had its time to become ready.
func (a *admitter) broken(s *survey, pod *corev1.Pod) bool {
	if podstate.Ready(pod) {
		return false
	}
	age := a.now().Sub(pod.CreationTimestamp.Time)
	limit := lifecycle.StartLimit
	switch t := podstate.TroubleOf(pod); {
	case t == nil:
	case t.Cause == "":
		limit = warmPlaced
	default:
		limit = t.Grace + podstate.ContainerGrace
	}
	if left := limit - age; left > 0 {
		s.wake(left)
		return false
	}
	return true
}

// endWarm deletes a warm Pod, unless it has been joined to a kernel meanwhile.
func (a *admitter) endWarm(ctx context.Context, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if pod.DeletionTimestamp == nil {
		err := a.client.Delete(ctx, pod, client.Preconditions{UID: ptr.To(pod.UID), ResourceVersion: ptr.To(pod.ResourceVersion)})
		if apierrors.IsConflict(err) {
			a.pool.stay(pod.Name) // it has changed: look again
			return nil
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("kernels: end warm Pod: %w", err)
		}
	}
	return nil
}

// makeWarm makes a warm Pod and the Secret of its agent.
func (a *admitter) makeWarm(ctx context.Context, st *stock) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	name := podspec.NewWarmName()
	pod, err := a.cfg.Pods.BuildWarm(ctx, a.client, st.gateway, st.want, name)
	if err != nil {
		return podspec.IgnoreUnbuildable(err)
	}
	key, err := podspec.ReadGatewayKey(ctx, a.live, pod.Namespace, st.gateway.Name)
	if err != nil {
		return err
	}
	secret, err := keys.Derive(key, name, 0)
	if err != nil {
		return err
	}
	// The Pod first: it waits for the Secret, and owns it, so that none is left over.
	a.expected.add(pod)
	if err := a.client.Create(ctx, pod); err != nil {
		if definite(err) {
			log.FromContext(ctx).Error(err, "the cluster refuses a warm Pod", "kernelspec", st.want.KernelSpec)
			a.expected.remove(pod)
			a.pool.fail(st.class, name, a.now())
			return nil
		}
		return fmt.Errorf("kernels: create warm Pod: %w", err)
	}
	err = a.client.Create(ctx, podspec.WarmSecret(pod, secret))
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	// it would wait in vain
	if e := a.client.Delete(ctx, pod, client.Preconditions{UID: ptr.To(pod.UID)}); client.IgnoreNotFound(e) != nil {
		err = errors.Join(err, e)
	}
	return fmt.Errorf("kernels: create Secret of warm Pod: %w", err)
}
