package cluster

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const gpuResource corev1.ResourceName = "nvidia.com/gpu"

// advertiseGPUs keeps the node offering the number of GPUs in the options
// until ctx ends. There is nothing behind them: they are only counted, which is
// all that scheduling does. A kubelet drops them whenever it starts.
func (l Layout) advertiseGPUs(ctx context.Context, client kubernetes.Interface) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		if err := l.advertiseOnce(ctx, client); err != nil && ctx.Err() == nil {
			slog.Warn("advertise GPUs", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (l Layout) advertiseOnce(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	options, err := l.readOptions()
	if err != nil {
		return err
	}
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if advertised(node.Status, options.GPUs) {
		return nil
	}
	amount := map[corev1.ResourceName]string{gpuResource: strconv.Itoa(options.GPUs)}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": amount, "allocatable": amount}})
	if err != nil {
		return err
	}
	if _, err := client.CoreV1().Nodes().PatchStatus(ctx, nodeName, patch); err != nil {
		return err
	}
	slog.Info("advertised GPUs", "gpus", options.GPUs)
	return nil
}

func advertised(status corev1.NodeStatus, gpus int) bool {
	capacity, hasCapacity := status.Capacity[gpuResource]
	allocatable, hasAllocatable := status.Allocatable[gpuResource]
	return hasCapacity && hasAllocatable && capacity.Value() == int64(gpus) && allocatable.Value() == int64(gpus)
}
