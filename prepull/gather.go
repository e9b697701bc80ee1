package prepull

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/prepull/imagestate"
)

// Devices are the names of the nodes that have each extended resource; nil: nobody counts them.
type Devices func(context.Context) (map[string][]string, error)

// gather reads what a plan follows from, and the Pods that there are, from the cache.
func gather(ctx context.Context, cfg Config, reader client.Reader, devices Devices) (Sources, []corev1.Pod, error) {
	var policies v1alpha1.GroupPolicyList
	var notebooks v1alpha1.JupyterNotebookList
	var gateways v1alpha1.JupyterGatewayList
	var specs v1alpha1.JupyterKernelSpecList
	var templates v1alpha1.JupyterKernelTemplateList
	for _, list := range []client.ObjectList{&policies, &notebooks, &gateways, &specs, &templates} {
		if err := reader.List(ctx, list, client.InNamespace(cfg.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return Sources{}, nil, fmt.Errorf("prepull: %w", err)
		}
	}
	var pods corev1.PodList
	if err := reader.List(ctx, &pods, client.InNamespace(cfg.Namespace), client.MatchingLabels(selector()), client.UnsafeDisableDeepCopy); err != nil {
		return Sources{}, nil, fmt.Errorf("prepull: %w", err)
	}
	counted, err := devices(ctx)
	if err != nil {
		return Sources{}, nil, fmt.Errorf("prepull: nodes with devices: %w", err)
	}
	return Sources{
		Policies: policies.Items, Notebooks: notebooks.Items, Gateways: gateways.Items, Specs: specs.Items, Templates: templates.Items, Devices: counted,
	}, pods.Items, nil
}

// Viewer tells, on every replica, how far the images are.
type Viewer struct {
	cfg     Config
	reader  client.Reader
	devices Devices
	sizes   *sizes
}

// NewViewer makes one. reader reads from the cache, nodes from the API server; nil: nobody
// may read nodes, and no image has a size.
func NewViewer(cfg Config, reader, nodes client.Reader, devices Devices) *Viewer {
	return &Viewer{cfg: cfg, reader: reader, devices: devices, sizes: newSizes(nodes)}
}

// Images are all that are wanted.
func (v *Viewer) Images(ctx context.Context) ([]imagestate.Image, error) {
	from, pods, err := gather(ctx, v.cfg, v.reader, v.devices)
	if err != nil {
		return nil, err
	}
	plan := PlanOf(v.cfg, from)
	images := imagestate.Of(plan.Wanted, plan.Images(), pods)
	v.sizes.tell(ctx, images)
	return images, nil
}
