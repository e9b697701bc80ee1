package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const (
	startCount    = 100
	startPatience = 4 * time.Minute
)

// startFigures are of many starts at once.
type startFigures struct {
	Count int `json:"count"`
	// Bare and Kernels are when each became ready, in seconds after the first
	// request: equal Pods that only the cluster had to do with, and kernels.
	Bare    []float64 `json:"bare"`
	Kernels []float64 `json:"kernels"`
	Ratio   float64   `json:"ratio"` // of the last ones
	Failed  int       `json:"failed"`
	POST    summary   `json:"post"` // POST /api/kernels
	Ran     int       `json:"ran"`  // kernels that then ran a cell
}

// starts begins many kernels at once, synthetic ones since a small machine has
// no room for the processor time of so many Pythons; and beside it as many Pods that are
// equal to a kernel's in everything but whose they are.
func starts(ctx context.Context, b *bench) (any, error) {
	if b.image == "" {
		return nil, errors.New("no -kernel-image")
	}
	c, err := newCluster(ctx, b)
	if err != nil {
		return nil, err
	}
	defer c.close()
	id, err := c.server.startKernel(ctx, clusterLight)
	if err != nil {
		return nil, err
	}
	if err := c.untilReady(ctx, 1, nil); err != nil {
		return nil, err
	}
	f := &startFigures{Count: startCount}
	b.say("  %d bare Pods", startCount)
	if f.Bare, err = c.bare(ctx, id); err != nil {
		return nil, err
	}
	if err := c.removeKernels(ctx); err != nil {
		return nil, err
	}
	b.say("  the last was ready after %.1f s; %d kernels", f.Bare[startCount-1], startCount)
	if err := c.crowd(ctx, f); err != nil {
		return nil, err
	}
	f.Ratio = round(f.Kernels[len(f.Kernels)-1]/f.Bare[startCount-1], 2)
	b.say("  bare Pods   half ready after %6.1f s, the last after %6.1f s", quantile(f.Bare, 0.5), f.Bare[startCount-1])
	b.say("  kernels     half ready after %6.1f s, the last after %6.1f s: %.2f times as long; failed %d, ran a cell %d", quantile(f.Kernels, 0.5), f.Kernels[startCount-1], f.Ratio, f.Failed, f.Ran)
	b.say("  POST        %s", f.POST)
	if f.Failed > 0 || f.Ran != startCount {
		return f, fmt.Errorf("%d of %d kernels failed, %d ran a cell", f.Failed, startCount, f.Ran)
	}
	return f, nil
}

// bare starts Pods like that of a kernel.
func (c *cluster) bare(ctx context.Context, kernel string) ([]float64, error) {
	var k v1alpha1.JupyterKernel
	if err := c.api.Get(ctx, c.key(kernel), &k); err != nil {
		return nil, err
	}
	var model corev1.Pod
	if err := c.api.Get(ctx, c.key(k.Status.PodName), &model); err != nil {
		return nil, err
	}
	labels := client.MatchingLabels{benchLabel: clusterName}
	began := time.Now()
	if err := parallel(20, startCount, func(int) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-bare-", Namespace: c.namespace, Labels: labels}, Spec: *model.Spec.DeepCopy()}
		pod.Spec.NodeName = ""
		return c.api.Create(ctx, pod)
	}); err != nil {
		return nil, err
	}
	var ready []float64
	err := c.until(ctx, startPatience, func() error {
		pods, err := c.pods(ctx, labels)
		if err != nil {
			return err
		}
		n := 0
		for i := range pods {
			switch {
			case podReady(&pods[i]):
				n++
			case pods[i].Status.Phase == corev1.PodFailed:
				return fmt.Errorf("%w: Pod %s: %+v", errHopeless, pods[i].Name, pods[i].Status.ContainerStatuses)
			}
		}
		ready = note(ready, n, began)
		if n < startCount {
			return fmt.Errorf("%d of %d bare Pods are ready", n, startCount)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := c.api.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(c.namespace), labels, client.GracePeriodSeconds(1)); err != nil {
		return nil, err
	}
	return ready, c.until(ctx, startPatience, func() error { return c.none(ctx, labels) })
}

// note adds the present time for each that has become ready since.
func note(ready []float64, n int, began time.Time) []float64 {
	for len(ready) < n {
		ready = append(ready, round(time.Since(began).Seconds(), 2))
	}
	return ready
}

// crowd starts kernels through the gateway and runs a cell in each.
func (c *cluster) crowd(ctx context.Context, f *startFigures) error {
	var mu sync.Mutex
	var posts times
	ids := make([]string, startCount)
	began := time.Now()
	if err := parallel(startCount, startCount, func(i int) (err error) {
		asked := time.Now()
		if ids[i], err = c.server.startKernel(ctx, clusterLight); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		posts.add(time.Since(asked))
		return nil
	}); err != nil {
		return err
	}
	f.POST = posts.summary()
	err := c.untilReady(ctx, startCount, func(n int) { f.Kernels = note(f.Kernels, n, began) })
	if err != nil {
		return err
	}
	return parallel(10, startCount, func(i int) error {
		s, err := c.server.open(ctx, ids[i], v1)
		if err != nil {
			return err
		}
		defer s.close()
		if _, _, err := s.roundTrip(ctx, "1"); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		f.Ran++
		return nil
	})
}

// untilReady waits until so many kernels are Ready and fails if one is Dead.
func (c *cluster) untilReady(ctx context.Context, count int, progress func(ready int)) error {
	return c.until(ctx, startPatience, func() error {
		kernels, err := c.kernels(ctx)
		if err != nil {
			return err
		}
		n := 0
		for _, k := range kernels {
			switch k.Status.Phase {
			case v1alpha1.KernelReady:
				n++
			case v1alpha1.KernelDead:
				return fmt.Errorf("%w: kernel %s: %s %s", errHopeless, k.Name, k.Status.Cause, k.Status.Message)
			case v1alpha1.KernelQueued, v1alpha1.KernelStarting, v1alpha1.KernelParked:
			}
		}
		if progress != nil {
			progress(n)
		}
		if n < count {
			return fmt.Errorf("%d of %d kernels are ready", n, count)
		}
		return nil
	})
}

const (
	warmPool   = 3
	warmRounds = 20
	coldRounds = 5
)

// warmFigures are of starts with and without a warm pool: from POST until a
// cell has run.
type warmFigures struct {
	Pool    int     `json:"pool"`
	Cold    summary `json:"cold"`
	Warm    summary `json:"warm"`
	Skipped string  `json:"skipped,omitempty"`
}

// warm measures starts from a warm pool.
func warm(ctx context.Context, b *bench) (any, error) {
	c, err := newCluster(ctx, b)
	if err != nil {
		return nil, err
	}
	defer c.close()
	f := &warmFigures{Pool: warmPool}
	var cold, warm times
	for range coldRounds {
		took, _, err := c.start(ctx)
		if err != nil {
			return nil, err
		}
		cold.add(took)
	}
	f.Cold = cold.summary()
	b.say("  no pool     %s", f.Cold)
	gateway := &v1alpha1.JupyterGateway{}
	if err := c.api.Get(ctx, c.key(clusterName), gateway); err != nil {
		return nil, err
	}
	before := gateway.DeepCopy()
	gateway.Spec.Warm = warmPool
	if err := c.api.Patch(ctx, gateway, client.MergeFrom(before)); err != nil {
		return nil, err
	}
	for range warmRounds {
		if err := c.untilWarm(ctx); err != nil {
			if len(warm) > 0 || ctx.Err() != nil {
				return nil, err
			}
			f.Skipped = "spec.warm has no effect: " + err.Error()
			b.say("  skipped: %s", f.Skipped)
			return f, nil
		}
		took, pod, err := c.start(ctx)
		if err != nil {
			return nil, err
		}
		if len(pod) < len(warmPrefix) || pod[:len(warmPrefix)] != warmPrefix {
			return nil, fmt.Errorf("the kernel runs in Pod %s, which is not of the pool", pod)
		}
		warm.add(took)
	}
	f.Warm = warm.summary()
	b.say("  warm pool   p50 %.0f ms, p95 %.0f ms, n=%d; without p50 %.0f ms: %.1f times as long", f.Warm.P50, f.Warm.P95, f.Warm.N, f.Cold.P50, f.Cold.P50/f.Warm.P50)
	return f, nil
}

// untilWarm waits until the pool is full.
func (c *cluster) untilWarm(ctx context.Context) error {
	return c.until(ctx, time.Minute, func() error {
		pods, err := c.pods(ctx, client.MatchingLabels{v1alpha1.LabelGateway: clusterName, v1alpha1.LabelComponent: v1alpha1.ComponentKernel})
		if err != nil {
			return err
		}
		n := 0
		for i := range pods {
			owner := metav1.GetControllerOf(&pods[i])
			if owner != nil && owner.Kind == "JupyterGateway" && podReady(&pods[i]) {
				n++
			}
		}
		if n < warmPool {
			return fmt.Errorf("%d of %d warm Pods are ready", n, warmPool)
		}
		return nil
	})
}

// start starts a kernel, runs a cell in it, and removes it. It returns how
// long it took until the cell had run, and the name of the Pod it ran in.
func (c *cluster) start(ctx context.Context) (took time.Duration, pod string, err error) {
	began := time.Now()
	id, err := c.server.startKernel(ctx, clusterName)
	if err != nil {
		return 0, "", err
	}
	defer func() {
		err = errors.Join(err, c.server.call(ctx, http.MethodDelete, "/api/kernels/"+id, nil, nil), c.removeKernels(ctx))
	}()
	s, err := c.server.open(ctx, id, v1)
	if err != nil {
		return 0, "", err
	}
	defer s.close()
	limited, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if _, _, err := s.roundTrip(limited, "1"); err != nil {
		return 0, "", err
	}
	took = time.Since(began)
	var k v1alpha1.JupyterKernel
	err = c.api.Get(ctx, c.key(id), &k)
	return took, k.Status.PodName, err
}
