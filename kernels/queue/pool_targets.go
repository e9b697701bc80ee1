package queue

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
)

// target is a number of warm Pods of one class that a gateway wants.
type target struct {
	class   string
	gateway *v1alpha1.JupyterGateway
	want    podspec.WarmWant
	count   int64
	// sample is such a Pod, of no name that is used.
	sample *corev1.Pod
}

// targetsOf finds what is to be kept ready for all gateways. What no Pod can be made from, now, is left out: the kernelspec's
// conditions say why.
func (a *admitter) targetsOf(ctx context.Context, s *survey, gateways []v1alpha1.JupyterGateway, kernels []v1alpha1.JupyterKernel) error {
	var list targetList
	var all *people
	for i := range gateways {
		gw := &gateways[i]
		wanted := gw.KeptReady()
		if gw.DeletionTimestamp != nil || len(wanted) == 0 {
			continue
		}
		if all == nil {
			var err error
			if all, err = a.people(ctx, s, kernels); err != nil {
				return err
			}
		}
		for _, want := range wanted {
			s.ready[ofGateway{client.ObjectKeyFromObject(gw), want.KernelSpec}] = true
		}
		wants, again, err := a.chosen(ctx, s, gw, wanted, all)
		if err != nil {
			return err
		}
		s.lookAgain(again)
		for _, want := range wants {
			sample, err := a.sample(ctx, s, gw, want.WarmWant)
			if err != nil {
				if err = podspec.IgnoreUnbuildable(err); err != nil {
					return err
				}
				continue
			}
			list.add(gw, want, sample.Pod)
		}
	}
	s.pool.targets = list.targets
	a.cfg.Pods.KeepSamples(s.samples)
	return nil
}

// sample is a Pod as it is wanted, and is kept for the next pass.
func (a *admitter) sample(ctx context.Context, s *survey, gw *v1alpha1.JupyterGateway, want podspec.WarmWant) (*podspec.Built, error) {
	s.samples[podspec.SampleID(gw, want)] = true
	return a.cfg.Pods.Sample(ctx, s.reader, gw, want)
}

// targetList has one target for each class.
type targetList struct {
	targets []*target
	byClass map[string]*target
}

func (l *targetList) add(gw *v1alpha1.JupyterGateway, want counted, sample *corev1.Pod) {
	class := sample.Annotations[v1alpha1.AnnotationWarm]
	if t := l.byClass[class]; t != nil {
		t.count += want.count
		return
	}
	if l.byClass == nil {
		l.byClass = map[string]*target{}
	}
	l.byClass[class] = &target{class: class, gateway: gw, want: want.WarmWant, count: want.count, sample: sample}
	l.targets = append(l.targets, l.byClass[class])
}
