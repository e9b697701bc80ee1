package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/prepull"
)

// TestChartConfiguresPrepull: what the chart's values say reaches the package.
func TestChartConfiguresPrepull(t *testing.T) {
	pods := podspec.Config{Image: "elastichub:1"}
	assert.Equal(t, prepull.Config{Namespace: "hub", Name: "hub", Kernels: true, NodesAtOnce: 5, NotebookImages: podrules.ImageMap{}, Pods: pods},
		chartConfig(t, "").prepull(pods))
	got := chartConfig(t, "prepull: {enabled: true, kernels: false, nodesAtOnce: 2, priorityClassName: last}\nimagePullSecrets: [{name: registry}]\nnotebooks: {image: notebook:1, imageMap: [{from: old}]}\n")
	assert.Equal(t, prepull.Config{
		Enabled: true, Namespace: "hub", Name: "hub", NodesAtOnce: 2, PriorityClassName: "last", PullSecrets: []string{"registry"},
		NotebookImages: podrules.ImageMap{{From: "old", To: "notebook:1"}}, Pods: pods,
	}, got.prepull(pods))
}

func TestPrepullNamesItsFaults(t *testing.T) {
	_, err := loadServeConfig(writeConfig(t, minimal+"prepull: {nodesAtOnce: 0, name: A, priorityClassName: '-'}\n"), nil)
	require.Error(t, err)
	for _, fault := range []string{"prepull.nodesAtOnce: 0, must be between 1 and 1000", "prepull.name: ", "prepull.priorityClassName: "} {
		assert.ErrorContains(t, err, fault)
	}
}
