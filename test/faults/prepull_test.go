//go:build e2e

package faults

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/prepull"
	"github.com/elastichub/elastichub/prepull/imagestate"
)

// TestImagesAreThereBeforeTheUser has the cluster's own controllers and kubelets hold the
// images of a policy, in a namespace of its own that takes restricted Pods alone: one that
// cannot be had does not keep the other waiting, and when it is off again nothing is left.
// The controller runs here and not in the demo, so that no other test's Pods are replaced.
func TestImagesAreThereBeforeTheUser(t *testing.T) {
	d := demo(t)
	ctrl.SetLogger(logr.Discard())
	service := d.must(t, "get", "deployments", "-l", "app.kubernetes.io/component=service", "-o", "jsonpath={.items[0].spec.template.spec.containers[0].image}")
	notebook := d.must(t, "get", "grouppolicy", "analysts", "-o", "jsonpath={.spec.images[0].image}")
	const broken = "localhost:1/no-such-image:1"

	access, err := ctrl.GetConfig()
	require.NoError(t, err)
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	api, err := client.New(access, client.Options{Scheme: scheme})
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "prepull-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	require.NoError(t, api.Create(t.Context(), namespace))
	t.Cleanup(func() { assert.NoError(t, api.Delete(context.Background(), namespace)) })
	policy := &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "staff"}}
	one := func(amount string) v1alpha1.ResourceRange {
		return v1alpha1.ResourceRange{Min: resource.MustParse(amount), Max: resource.MustParse(amount)}
	}
	policy.Spec.Default, policy.Spec.CPU, policy.Spec.Memory = true, one("1"), one("1Gi")
	policy.Spec.Images = []v1alpha1.ImageChannel{{ID: "first", Image: broken}, {ID: "second", Image: notebook}} // pulled in this order
	require.NoError(t, api.Create(t.Context(), policy))

	cfg := prepull.Config{Enabled: true, Namespace: namespace.Name, Name: "elastichub", NodesAtOnce: 1, Pods: podspec.Config{Image: service}}
	uncounted := func(context.Context) (map[string][]string, error) { return nil, nil }
	lead := func() (viewer *prepull.Viewer, stop func()) {
		mgr, err := ctrl.NewManager(access, ctrl.Options{
			Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: ptr.To(true)},
			Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{namespace.Name: {}}},
		})
		require.NoError(t, err)
		require.NoError(t, prepull.SetupWithManager(mgr, cfg, uncounted, prometheus.NewRegistry()))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- mgr.Start(ctx) }()
		return prepull.NewViewer(cfg, mgr.GetClient(), mgr.GetAPIReader(), uncounted), func() {
			cancel()
			assert.NoError(t, <-ended)
		}
	}
	viewer, stop := lead()
	var seen []imagestate.Image
	assert.Eventually(t, func() bool {
		seen, err = viewer.Images(t.Context())
		return err == nil && len(seen) == 2 && seen[0].Nodes.Failing > 0 && seen[0].Nodes.Failing == seen[0].Nodes.Total &&
			seen[1].Nodes.Present > 0 && seen[1].Nodes.Present == seen[1].Nodes.Total
	}, 40*time.Second, 200*time.Millisecond, "what the console shows: %+v", seen)
	if assert.Len(t, seen, 2) {
		t.Logf("%+v", seen)
		assert.Equal(t, []string{broken, notebook}, []string{seen[0].Image, seen[1].Image})
		if assert.NotEmpty(t, seen[0].Why) {
			assert.Contains(t, seen[0].Why[0], "It cannot be pulled (")
		}
		var node corev1.Node
		require.NoError(t, api.Get(t.Context(), client.ObjectKey{Name: seen[1].On}, &node))
		there := func() bool {
			for _, image := range node.Status.Images {
				for _, name := range image.Names {
					if strings.HasSuffix(name, notebook) {
						return true
					}
				}
			}
			return false
		}
		assert.True(t, there(), "%v", node.Status.Images)
	}
	stop()

	cfg.Enabled = false
	_, stop = lead()
	assert.Eventually(t, func() bool {
		var sets appsv1.DaemonSetList
		var pods corev1.PodList
		require.NoError(t, api.List(t.Context(), &sets, client.InNamespace(namespace.Name)))
		require.NoError(t, api.List(t.Context(), &pods, client.InNamespace(namespace.Name)))
		return len(sets.Items) == 0 && len(pods.Items) == 0
	}, 15*time.Second, 200*time.Millisecond, "what was made is removed")
	stop()
}
