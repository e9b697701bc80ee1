//go:build e2e

package faults

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/elastichub/elastichub/test/webhooks"
)

// TestASidecarAndALimitRange: a webhook puts a container that never ends before those of kernels' Pods, and a
// LimitRange fills in what it may use. The kernel runs beside it; when it ends, its Pod goes.
func TestASidecarAndALimitRange(t *testing.T) {
	d := demo(t)
	const name = "python-sidecar"
	image := d.must(t, "get", "jupyterkernelspec", "python-gpu", "-o", "jsonpath={.spec.image}")
	d.apply(t, `{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"faults-sidecar"},"spec":{"limits":[{"type":"Container",
		"default":{"cpu":"2","memory":"2Gi"},"defaultRequest":{"cpu":"10m","memory":"16Mi"},"max":{"cpu":"64","memory":"64Gi"}}]}}`)
	t.Cleanup(func() { d.must(t, "delete", "limitrange", "faults-sidecar", "--ignore-not-found") })
	d.apply(t, `{"apiVersion":"kubeflow.tkestack.io/v1alpha1","kind":"JupyterKernelTemplate","metadata":{"name":"`+name+`"},"spec":{"template":{
		"metadata":{"labels":{"faults":"sidecar"}},"spec":{"containers":[{"name":"kernel"}]}}}}`)
	t.Cleanup(func() { d.must(t, "delete", "jupyterkerneltemplate", name, "--ignore-not-found") })
	d.lends(t, name, "nvidia.com/gpu", 1)
	d.must(t, "patch", "jupyterkernelspec", name, "--type=merge", "-p", `{"spec":{"template":{"name":"`+name+`"}}}`)

	rest, err := config.GetConfig() // of KUBECONFIG
	require.NoError(t, err)
	api, err := client.New(rest, client.Options{})
	require.NoError(t, err)
	webhooks.MutateLabelled(t, api, d.Namespace, map[string]string{"faults": "sidecar"}, "", "pods", func() *corev1.Pod { return &corev1.Pod{} }, func(pod *corev1.Pod) {
		mesh := corev1.Container{Name: "mesh", Image: image, Command: []string{"sleep", "600"}, SecurityContext: pod.Spec.Containers[len(pod.Spec.Containers)-1].SecurityContext}
		pod.Spec.Containers = append([]corev1.Container{mesh}, pod.Spec.Containers...)
		pod.Labels["mesh.example.org/tls"] = "on"
	})
	time.Sleep(time.Second) // the API server minds it a moment later

	k := d.opens(t, name)
	reads(t, k, hasRun, 40*time.Second)
	pod := d.podOf(t, k)
	get := func(path string) string { return d.must(t, "get", "pod", pod, "-o", "jsonpath="+path) }
	assert.Equal(t, "mesh agent kernel", get("{.spec.containers[*].name}"))
	assert.Equal(t, "2Gi", get("{.spec.containers[0].resources.limits.memory}"), "of the LimitRange")
	uid := get("{.metadata.uid}")

	assert.Equal(t, "Parked", d.park(t, k.ID, 1).Phase)
	require.Eventually(t, func() bool {
		left := d.must(t, "get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.metadata.uid} {.metadata.deletionTimestamp}")
		return !strings.HasPrefix(left, uid) || !strings.HasSuffix(left, " ")
	}, 20*time.Second, 250*time.Millisecond, "the sidecar keeps no Pod")
}
