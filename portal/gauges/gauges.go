package gauges

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/portal/holdings"
)

// collectTime bounds one collection; everything comes from caches.
const collectTime = 5 * time.Second

// nobodys stands for the policy or node of what has none, or one that does not exist. It
// is no name of an object.
const nobodys = "-"

// Node is what one of the cluster has, and what all Pods on it request.
type Node struct {
	Name                   string
	Allocatable, Requested corev1.ResourceList
}

// Sources are where the collector reads.
type Sources struct {
	// Elected is closed when this replica leads.
	Elected <-chan struct{}
	// Reader reads the objects of the scope's namespaces from the cache.
	Reader client.Reader
	Scope  *namespaces.Scope
	// Capacity is what the cluster has of extended resources, and Nodes all of its nodes;
	// both are empty where nobody counts them.
	Capacity func(context.Context) (holdings.Capacity, error)
	Nodes    func(context.Context) ([]Node, error)
	Log      *slog.Logger
}

// Collector makes the gauges.
type Collector struct{ from Sources }

// New returns the collector, to be registered.
func New(from Sources) *Collector { return &Collector{from} }

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range all {
		ch <- desc
	}
}

// Collect implements prometheus.Collector. What cannot be read is left out, rather than
// shown as none.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	select {
	case <-c.from.Elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	s, err := c.look(ctx)
	if err != nil {
		c.from.Log.ErrorContext(ctx, "cannot count what is held", "error", err)
		return
	}
	s.put(func(desc *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	})
}

// look reads everything.
func (c *Collector) look(ctx context.Context) (scene, error) {
	var kernels v1alpha1.JupyterKernelList
	var notebooks v1alpha1.JupyterNotebookList
	var specs v1alpha1.JupyterKernelSpecList
	var pods corev1.PodList
	var policies v1alpha1.GroupPolicyList
	var gateways v1alpha1.JupyterGatewayList
	for _, list := range []client.ObjectList{&kernels, &notebooks, &specs, &pods, &policies, &gateways} {
		if err := c.from.Scope.List(ctx, c.from.Reader, list, client.UnsafeDisableDeepCopy); err != nil {
			return scene{}, err
		}
	}
	capacity, err := c.from.Capacity(ctx)
	if err != nil {
		return scene{}, err
	}
	nodes, err := c.from.Nodes(ctx)
	if err != nil {
		return scene{}, err
	}
	h := holdings.Of(holdings.Objects{Kernels: kernels.Items, Notebooks: notebooks.Items, KernelSpecs: specs.Items, Pods: pods.Items})
	return scene{
		holdings: h, overview: h.Overview(capacity), policies: holdings.PoliciesOf(policies.Items), nodes: nodes,
		gateways: gateways.Items, notTaken: notTakenOf(notebooks.Items, kernels.Items, gateways.Items),
	}, nil
}
