package kernels

import (
	"context"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Offer is a kernelspec as somebody who chooses sees it.
type Offer struct {
	// Name is the JupyterKernelSpec's.
	Name        string
	DisplayName string
	// GPUs of the resource asked for that one kernel takes.
	GPUs int64
	// IdleSeconds after which it is parked; 0 means never.
	IdleSeconds int64
}

// Catalogue tells what there is to lend, from the caches. Any replica may ask.
type Catalogue struct {
	cfg    Config
	reader client.Reader
	// places is nil without ClusterCapacity.
	places capacity
}

// GPUs counts an extended resource of the cluster's nodes, and how much of it
// nobody holds. known is false without Config.ClusterCapacity.
func (c *Catalogue) GPUs(ctx context.Context, resource string) (free, total int64, known bool, err error) {
	if c.places == nil {
		return 0, 0, false, nil
	}
	places, err := c.places.Places(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	for _, p := range places {
		total += p.Total[resource]
		free += p.Free[resource]
	}
	var kernels v1alpha1.JupyterKernelList
	if err := c.reader.List(ctx, &kernels, client.InNamespace(c.cfg.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return 0, 0, false, fmt.Errorf("kernels: list kernels: %w", err)
	}
	for i := range kernels.Items {
		if status := &kernels.Items[i].Status; counted(*status) {
			free -= fromList(status.Held)[resource]
		}
	}
	return max(free, 0), total, true, nil
}

// Offers lists what a gateway has to offer under some policies, in the
// gateway's order. A kernelspec that no Pod can be made from is left out. A
// gateway that does not exist offers nothing.
func (c *Catalogue) Offers(ctx context.Context, gateway, gpuResource string, policies []string) ([]Offer, error) {
	cfg, reader := c.cfg, c.reader
	var gw v1alpha1.JupyterGateway
	err := reader.Get(ctx, types.NamespacedName{Namespace: cfg.Namespace, Name: gateway}, &gw)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("kernels: gateway %s: %w", gateway, err)
	}
	if err != nil {
		return nil, nil
	}
	names := gw.Spec.Kernels
	if len(names) == 0 {
		names = []string{v1alpha1.DefaultKernelName}
	}
	var offers []Offer
	for _, name := range names {
		in, err := gather(ctx, cfg, reader, &v1alpha1.JupyterKernel{
			ObjectMeta: metav1.ObjectMeta{Name: "offer", Namespace: cfg.Namespace},
			Spec:       v1alpha1.JupyterKernelCRDSpec{Gateway: gateway, KernelSpec: name, Policies: policies, Run: 1},
		})
		if err = ignoreUnbuildable(err); err != nil {
			return nil, err
		}
		if in.Spec == nil || !allowedBy(in.Policies, name) {
			continue
		}
		pod, err := buildPod(cfg, in)
		if errors.As(err, new(*InvalidError)) {
			continue
		}
		if err != nil {
			return nil, err
		}
		offers = append(offers, Offer{
			Name: name, DisplayName: in.Spec.Spec.DisplayName,
			GPUs: extended(&pod.Spec)[gpuResource], IdleSeconds: idleSeconds(cfg, in),
		})
	}
	return offers, nil
}

func allowedBy(policies []v1alpha1.GroupPolicy, kernelSpec string) bool {
	return slices.ContainsFunc(policies, func(p v1alpha1.GroupPolicy) bool {
		return slices.Contains(p.Spec.Kernels.Allowed, kernelSpec)
	})
}
