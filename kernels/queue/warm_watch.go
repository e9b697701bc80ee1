package queue

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"golang.org/x/sync/errgroup"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
)

const (
	// warmAskEvery is how often the agents of warm Pods that are for somebody are asked.
	warmAskEvery = time.Minute
	// warmSettles is how long such a Pod may compute after it was ready, and warmStill
	// how long it has to have done nothing then.
	warmSettles = 2 * time.Minute
	warmStill   = time.Minute
	// warmRests is for how long nothing is made for somebody whose warm Pod computed.
	warmRests = time.Hour
)

// warmWatch ends warm Pods that compute although nobody has them. What a home has Python
// start by itself runs in there, and nobody's quota pays for it.
type warmWatch struct {
	cfg    Config
	client client.Client // reads from the cache
	live   client.Reader // reads from the API server
	agents Agents
	now    func() time.Time
	memory *poolMemory
}

// NeedLeaderElection makes the leader ask, and nobody else.
func (w *warmWatch) NeedLeaderElection() bool { return true }

// Start runs until the context ends.
func (w *warmWatch) Start(ctx context.Context) error {
	ticker := time.NewTicker(warmAskEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "warm Pods cannot be looked after")
		}
	}
}

// round asks each once. An agent that does not answer is let be.
func (w *warmWatch) round(ctx context.Context) error {
	var pods corev1.PodList
	if err := w.cfg.Scope.List(ctx, w.client, &pods, podspec.Selector, client.HasLabels{v1alpha1.LabelWarmFor}); err != nil {
		return fmt.Errorf("kernels: list warm Pods: %w", err)
	}
	gatewayKeys := map[types.NamespacedName]podspec.GatewayKey{}
	var g errgroup.Group
	g.SetLimit(askedAtOnce)
	for i := range pods.Items {
		pod := &pods.Items[i]
		if !podspec.IsWarm(pod) || pod.DeletionTimestamp != nil || pod.Status.PodIP == "" || w.now().Sub(readySince(pod, w.now())) < warmSettles {
			continue
		}
		gateway := types.NamespacedName{Namespace: pod.Namespace, Name: pod.OwnerReferences[0].Name}
		key, known := gatewayKeys[gateway]
		if !known {
			var err error
			if key, err = podspec.ReadGatewayKey(ctx, w.live, gateway.Namespace, gateway.Name); err != nil {
				return podspec.IgnoreUnbuildable(err)
			}
			gatewayKeys[gateway] = key
		}
		g.Go(func() error { return w.look(ctx, pod, key) })
	}
	return g.Wait()
}

// look asks the agent of one Pod, and ends that if it computes.
func (w *warmWatch) look(ctx context.Context, pod *corev1.Pod, key podspec.GatewayKey) error {
	secrets, err := key.Derive(pod.Name, 0)
	if err != nil {
		return err
	}
	calling, cancel := context.WithTimeout(ctx, protocol.CallTimeout)
	defer cancel()
	still, err := w.agents.Idle(calling, pod.Status.PodIP, secrets)
	if err != nil || still >= warmStill {
		return nil // nothing is known of it
	}
	w.memory.rest(pod.Annotations[v1alpha1.AnnotationWarm], w.now().Add(warmRests))
	log.FromContext(ctx).Info("a warm Pod computes although nobody has it, and ends", "pod", pod.Name, "for", pod.Labels[v1alpha1.LabelWarmFor])
	ending, done := context.WithTimeout(ctx, writeTimeout)
	defer done()
	// Not if a kernel has taken it meanwhile.
	err = w.client.Delete(ending, pod, client.Preconditions{UID: ptr.To(pod.UID), ResourceVersion: ptr.To(pod.ResourceVersion)})
	if err != nil && !definite(err) {
		return fmt.Errorf("kernels: end warm Pod: %w", err)
	}
	return nil
}

// readySince is since when a Pod has been ready; now, if it is not.
func readySince(pod *corev1.Pod, now time.Time) time.Time {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Time
		}
	}
	return now
}
