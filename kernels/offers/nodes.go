package offers

import (
	"context"
	"slices"

	"github.com/elastichub/elastichub/podrules"
)

// NodesWith are the names of the nodes that have each extended resource, whoever holds it, by
// claims or not, and whether or not a node is ready; nil without Config.ClusterCapacity.
func (c *Catalogue) NodesWith(ctx context.Context) (map[string][]string, error) {
	if c.cluster == nil {
		return nil, nil
	}
	uses, err := c.cluster.Uses(ctx)
	if err != nil {
		return nil, err
	}
	counted, err := c.cluster.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	found, exist := map[string][]string{}, map[string]bool{}
	add := func(resource, node string) {
		if !slices.Contains(found[resource], node) {
			found[resource] = append(found[resource], node)
		}
	}
	for _, use := range uses {
		exist[use.Name] = true
		for resource, amount := range use.Allocatable {
			if podrules.IsExtendedResource(resource) && amount.Sign() > 0 {
				add(string(resource), use.Name)
			}
		}
	}
	for _, node := range counted {
		for resource, n := range node.Total {
			if exist[node.Name] && n > 0 { // those that an autoscaler may add do not
				add(resource, node.Name)
			}
		}
	}
	return found, nil
}
