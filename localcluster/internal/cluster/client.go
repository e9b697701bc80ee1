package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Client is a client with the administrator's rights.
func (l Layout) Client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	return kubernetes.NewForConfig(config)
}

// probeNode says whether the first node takes Pods and has its GPUs.
func (l Layout) probeNode(ctx context.Context, client kubernetes.Interface, gpus int) error {
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := ready(node); err != nil {
		return err
	}
	if !advertised(node.Status, gpus) {
		return fmt.Errorf("node %s does not advertise %d GPUs yet", nodeName, gpus)
	}
	return nil
}

func ready(node *corev1.Node) error {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			if condition.Status == corev1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("node %s is not ready: %s", node.Name, condition.Message)
		}
	}
	return fmt.Errorf("node %s has not reported yet", node.Name)
}

// probeDNS says whether CoreDNS is available, and the default service account
// there, without which Pods are refused.
func (l Layout) probeDNS(ctx context.Context, client kubernetes.Interface) error {
	deployment, err := client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if deployment.Status.AvailableReplicas == 0 {
		return fmt.Errorf("CoreDNS is not available yet")
	}
	_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	return err
}
