package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/elastichub/elastichub/kernels/offers"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/prepull"
	"github.com/elastichub/elastichub/prepull/imagestate"
)

// prepullConfig is about images that are on nodes before anybody needs them.
type prepullConfig struct {
	// Name is the release's, and that of its Deployment.
	Name string
	// Enabled: images are pulled; else what was made for that is removed.
	Enabled bool
	// Kernels: the images of kernels, too.
	Kernels           bool
	NodesAtOnce       int
	PriorityClassName string
	// PullSecrets are those of the service's own image.
	PullSecrets []string
}

// prepull is the configuration of that package, whose kernels have the Pods of pods.
func (c serveConfig) prepull(pods podspec.Config) prepull.Config {
	return prepull.Config{
		Enabled: c.Prepull.Enabled, Namespace: c.Namespace, Name: c.Prepull.Name, Kernels: c.Prepull.Kernels,
		NodesAtOnce: c.Prepull.NodesAtOnce, PriorityClassName: c.Prepull.PriorityClassName, PullSecrets: c.Prepull.PullSecrets,
		NotebookImages: imageMap(c.Notebooks.ImageMap, c.Notebooks.Image), Pods: pods,
	}
}

// startPrepull adds what pulls images, and returns what tells how far they are; nil where
// none are pulled.
func startPrepull(mgr manager.Manager, config prepull.Config, capacity bool, lent *offers.Catalogue, registry prometheus.Registerer) (func(context.Context) ([]imagestate.Image, error), error) {
	if err := prepull.SetupWithManager(mgr, config, lent.NodesWith, registry); err != nil {
		return nil, err
	}
	if !config.Enabled {
		return nil, nil
	}
	var nodes client.Reader
	if capacity {
		nodes = mgr.GetAPIReader()
	}
	return prepull.NewViewer(config, mgr.GetClient(), nodes, lent.NodesWith).Images, nil
}
