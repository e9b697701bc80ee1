package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Status is how a cluster is, now.
type Status struct {
	Report     Report
	Components []ComponentStatus
	Nodes      []corev1.Node
	GPUsInUse  map[string]int64 // by node
	// Cluster is what is wrong with the cluster apart from its components.
	Cluster error
}

// ComponentStatus is how one component is; Fault is nil if it is well.
type ComponentStatus struct {
	Name  string
	RSS   uint64
	Fault error
	ComponentProcess
}

// Healthy says whether all is well.
func (s Status) Healthy() bool { return len(s.Faults()) == 0 }

// Faults are all that is wrong.
func (s Status) Faults() []error {
	var faults []error
	for _, component := range s.Components {
		if component.Fault != nil {
			faults = append(faults, fmt.Errorf("%s: %w", component.Name, component.Fault))
		}
	}
	if s.Cluster != nil {
		faults = append(faults, s.Cluster)
	}
	return faults
}

// ErrDown is returned where a running cluster was expected.
var ErrDown = errors.New("no cluster is running: start one with `localcluster up`")

// Status asks every component how it is. It returns ErrDown if there is no
// supervisor.
func (l Layout) Status(ctx context.Context) (Status, error) {
	report, err := l.ReadReport()
	if err != nil {
		return Status{}, err
	}
	if !report.Supervisor.Alive() {
		return Status{}, ErrDown
	}
	options, err := l.readOptions()
	if err != nil {
		return Status{}, err
	}
	status := Status{Report: report}
	components := l.components(options, report.Nodes)
	status.Components = make([]ComponentStatus, 0, len(components)+1)
	status.Components = append(status.Components, ComponentStatus{
		Name: "supervisor", ComponentProcess: ComponentProcess{Process: report.Supervisor, Since: report.Since},
	})
	for _, component := range components {
		status.Components = append(status.Components, ComponentStatus{
			Name: component.Name, ComponentProcess: report.Components[component.Name],
		})
	}
	var wait sync.WaitGroup
	for i := range status.Components {
		row := &status.Components[i]
		if !row.Process.Alive() {
			row.Fault = errors.New("not running")
			continue
		}
		row.RSS, _ = row.Process.RSS()
		if i == 0 {
			continue
		}
		wait.Add(1)
		go func() {
			defer wait.Done()
			row.Fault = components[i-1].Probe(ctx)
		}()
	}
	wait.Wait()
	if report.Phase != Running {
		status.Cluster = fmt.Errorf("the cluster is %s", report.Phase)
		return status, nil
	}
	status.Cluster = l.inspect(ctx, options, &status)
	return status, nil
}

func (l Layout) inspect(ctx context.Context, options Options, status *Status) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := l.Client()
	if err != nil {
		return err
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	status.Nodes = nodes.Items
	pods, err := unfinished(ctx, client)
	if err != nil {
		return err
	}
	status.GPUsInUse = make(map[string]int64)
	for _, pod := range pods {
		for _, container := range pod.Spec.Containers {
			requested := container.Resources.Requests[gpuResource]
			status.GPUsInUse[pod.Spec.NodeName] += requested.Value()
		}
	}
	faults := []error{l.probeNode(ctx, client, options.GPUs), l.probeDNS(ctx, client)}
	if status.Report.Nodes > 1 {
		faults = append(faults, probeSecond(ctx, client))
	}
	if status.Report.NodesError != "" {
		faults = append(faults, errors.New(status.Report.NodesError))
	}
	return errors.Join(faults...)
}

// GPUs returns the node's number of GPUs.
func GPUs(node corev1.Node) int64 {
	quantity := node.Status.Allocatable[gpuResource]
	return quantity.Value()
}

// Ready says whether the node takes Pods.
func Ready(node corev1.Node) bool { return ready(&node) == nil }
