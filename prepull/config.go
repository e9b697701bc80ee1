package prepull

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
)

// MostNodesAtOnce bounds Config.NodesAtOnce.
const MostNodesAtOnce = 1000

// Config is what an installation decides about images that are pulled beforehand.
type Config struct {
	// Enabled: images are pulled. Else what was made for that is removed.
	Enabled bool
	// Namespace is the release's.
	Namespace string
	// Name is the release's, and that of its Deployment, with which the DaemonSets go.
	Name string
	// Kernels: the images of kernels, too.
	Kernels bool
	// NodesAtOnce is how many nodes pull at the same time.
	NodesAtOnce int
	// PriorityClassName of the Pods that pull; empty: the cluster's default.
	PriorityClassName string
	// PullSecrets are those of the service's own image.
	PullSecrets []string
	// NotebookImages says which images of notebooks are replaced.
	NotebookImages podrules.ImageMap
	// Pods is what kernels' Pods are made with. Its Image, the service's, runs first in
	// each Pod that pulls.
	Pods podspec.Config
}

// Validate returns all faults.
func (c Config) Validate() error {
	var faults []error
	if c.NodesAtOnce < 1 || c.NodesAtOnce > MostNodesAtOnce {
		faults = append(faults, fmt.Errorf("nodesAtOnce: %d, must be between 1 and %d", c.NodesAtOnce, MostNodesAtOnce))
	}
	if c.PriorityClassName != "" {
		for _, reason := range validation.IsDNS1123Subdomain(c.PriorityClassName) {
			faults = append(faults, fmt.Errorf("priorityClassName: %s", reason))
		}
	}
	for _, reason := range validation.IsDNS1123Label(c.Name) {
		faults = append(faults, fmt.Errorf("name: %s", reason))
	}
	return errors.Join(faults...)
}
