package queue

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podtrouble"
)

// endWarm deletes a warm Pod, unless it has been joined to a kernel meanwhile.
func (a *admitter) endWarm(ctx context.Context, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if pod.DeletionTimestamp == nil {
		err := a.client.Delete(ctx, pod, client.Preconditions{UID: ptr.To(pod.UID), ResourceVersion: ptr.To(pod.ResourceVersion)})
		if apierrors.IsConflict(err) {
			a.memory.stay(pod) // it has changed: look again
			return nil
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("kernels: end warm Pod: %w", err)
		}
	}
	return nil
}

// makeWarm makes a warm Pod and the Secret of its agent.
func (a *admitter) makeWarm(ctx context.Context, st *target) error {
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
	secrets, err := key.Derive(name, 0)
	if err != nil {
		return err
	}
	podspec.IntroduceKubelet(pod, secrets[0], key.ID())
	log.FromContext(ctx).Info("a kernel is kept ready", "kernelspec", st.want.KernelSpec, "pod", name, "for", pod.Labels[v1alpha1.LabelWarmFor], "why", st.want.Why)
	// The Pod first: it waits for the Secret, and owns it, so that none is left over.
	a.expected.add(pod)
	if err := a.client.Create(ctx, pod); err != nil {
		known := definite(err) || notTaken(err)
		if known || ctx.Err() != nil { // a webhook that takes its time must not keep kernels waiting
			log.FromContext(ctx).Error(err, "the cluster does not take a warm Pod", "kernelspec", st.want.KernelSpec)
			if known {
				a.expected.remove(pod)
			}
			a.memory.fail(st.class, podID(pod), a.now())
			return nil
		}
		return fmt.Errorf("kernels: create warm Pod: %w", err)
	}
	err = a.client.Create(ctx, podspec.WarmSecret(pod, secrets[0]))
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	// it would wait in vain
	if e := a.client.Delete(ctx, pod, client.Preconditions{UID: ptr.To(pod.UID)}); client.IgnoreNotFound(e) != nil {
		err = errors.Join(err, e)
	} else if definite(err) || notTaken(err) || ctx.Err() != nil {
		log.FromContext(ctx).Error(err, "the cluster does not take the Secret of a warm Pod", "kernelspec", st.want.KernelSpec)
		a.memory.fail(st.class, podID(pod), a.now())
		return nil
	}
	return fmt.Errorf("kernels: create Secret of warm Pod: %w", err)
}

// notTaken reports whether a webhook or a quota has kept the cluster from taking something.
func notTaken(err error) bool {
	return podtrouble.Denied(err.Error()) || podtrouble.Passing(err.Error()) != ""
}

// tendPool carries out what was decided about the warm pool.
func (a *admitter) tendPool(ctx context.Context, s *survey, d admission.Decision) error {
	actions, again := s.pool.plan(s.input.WarmPods, d)
	s.lookAgain(again)
	var early atomic.Bool
	var g errgroup.Group
	g.SetLimit(writesAtOnce)
	for _, action := range actions {
		switch action.verb {
		case countFailure:
			a.memory.fail(action.class, podID(action.pod), s.pool.now)
		case forgetFailures:
			a.memory.succeed(action.class)
		case endPod:
			a.memory.leave(action.pod, s.pool.now.Add(expectFor))
			g.Go(func() error { return a.endWarm(ctx, action.pod) })
		case makePod:
			g.Go(func() error {
				err := a.makeWarm(ctx, action.target)
				if errors.As(err, new(*podspec.MissingError)) {
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
		s.lookAgain(time.Second)
	}
	a.measurePool(s, d)
	return nil
}

// measurePool counts the warm Pods that nobody has, and what they hold.
func (a *admitter) measurePool(s *survey, d admission.Decision) {
	assigned := map[string]bool{}
	for _, id := range d.AssignWarm {
		assigned[id] = true
	}
	a.meters.warm.Reset()
	a.meters.warmHeld.Reset()
	people := 0
	for _, warmPod := range s.input.WarmPods {
		if assigned[warmPod.ID] {
			continue
		}
		state := warmStarting
		if warmPod.Ready {
			state = warmReady
		}
		a.meters.warm.WithLabelValues(state).Inc()
		for name, n := range warmPod.Holds {
			a.meters.warmHeld.WithLabelValues(name).Add(float64(n))
		}
		if s.pool.pods[warmPod.ID].Labels[v1alpha1.LabelWarmFor] != "" {
			people++
		}
	}
	a.meters.warmPeople.Set(float64(people))
}
