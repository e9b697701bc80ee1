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
	want    v1alpha1.WarmKernel
	count   int64
	// sample is such a Pod, of no name that is used.
	sample *corev1.Pod
}

// warmWanted lists what a gateway says, that of the default kernel first.
func warmWanted(gw *v1alpha1.JupyterGateway) []v1alpha1.WarmKernel {
	var wanted []v1alpha1.WarmKernel
	if gw.Spec.Warm > 0 {
		name := v1alpha1.DefaultKernelName
		if len(gw.Spec.Kernels) > 0 {
			name = gw.Spec.Kernels[0]
		}
		if d := gw.Spec.DefaultKernel; d != nil && *d != "" {
			name = *d
		}
		wanted = append(wanted, v1alpha1.WarmKernel{KernelSpec: name, Count: gw.Spec.Warm})
	}
	return append(wanted, gw.Spec.WarmKernels...)
}

// targetsOf reads what all gateways want. What no Pod can be made from, now, is
// left out: the kernelspec's conditions say why.
func targetsOf(ctx context.Context, pods *podspec.Builder, reader client.Reader, gateways []v1alpha1.JupyterGateway) ([]*target, error) {
	var targets []*target
	byClass := map[string]*target{}
	for i := range gateways {
		gw := &gateways[i]
		if gw.DeletionTimestamp != nil {
			continue
		}
		for _, want := range warmWanted(gw) {
			if want.Count <= 0 {
				continue
			}
			sample, err := pods.Sample(ctx, reader, gw, want)
			if err != nil {
				if err = podspec.IgnoreUnbuildable(err); err != nil {
					return nil, err
				}
				continue
			}
			class := sample.Pod.Annotations[v1alpha1.AnnotationWarm]
			if s := byClass[class]; s != nil {
				s.count += int64(want.Count)
				continue
			}
			byClass[class] = &target{class: class, gateway: gw, want: want, count: int64(want.Count), sample: sample.Pod}
			targets = append(targets, byClass[class])
		}
	}
	return targets, nil
}
