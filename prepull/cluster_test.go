package prepull

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	controllers "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/prepull/imagestate"
	"github.com/elastichub/elastichub/test/apiserver"
)

var apiServer *rest.Config // nil without KUBEBUILDER_ASSETS

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrl.SetLogger(logr.Discard())
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run()
	}
	environment := apiserver.Environment(filepath.Join("..", "charts", "elastichub", "crds"))
	started, err := environment.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "envtest:", err)
		return 1
	}
	defer func() {
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "envtest:", err)
		}
	}()
	apiServer = started
	return m.Run()
}

// cluster is a namespace that takes restricted Pods alone, of a real API server. There is
// nobody but the test to make DaemonSets' Pods and to run them.
type cluster struct {
	*testing.T
	api    client.Client
	config Config
	meters *prometheus.Registry
	viewer *Viewer
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if apiServer == nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS must be set in CI")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set")
	}
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	api, err := client.New(apiServer, client.Options{Scheme: scheme})
	require.NoError(t, err)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "prepull-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	require.NoError(t, api.Create(t.Context(), namespace))
	c := &cluster{T: t, api: api, config: testConfig()}
	c.config.Namespace = namespace.Name
	return c
}

// start runs the controller of a leader until the function it returns is called.
func (c *cluster) start() (stop func()) {
	c.Helper()
	mgr, err := ctrl.NewManager(apiServer, ctrl.Options{
		Scheme: c.api.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"}, Controller: controllers.Controller{SkipNameValidation: ptr.To(true)},
	})
	require.NoError(c, err)
	c.meters = prometheus.NewRegistry()
	uncounted := func(context.Context) (map[string][]string, error) { return nil, nil }
	require.NoError(c, SetupWithManager(mgr, c.config, uncounted, c.meters))
	c.viewer = NewViewer(c.config, mgr.GetClient(), c.api, uncounted)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			assert.NoError(c, <-ended)
		}
	}
	c.Cleanup(stop)
	return stop
}

func (c *cluster) eventually(what string, is func() bool) {
	c.Helper()
	require.Eventually(c, is, time.Minute, 50*time.Millisecond, what)
}

func (c *cluster) daemonSets() []appsv1.DaemonSet {
	c.Helper()
	var all appsv1.DaemonSetList
	require.NoError(c, c.api.List(c.Context(), &all, client.InNamespace(c.config.Namespace)))
	return all.Items
}

// pod makes the Pod of a DaemonSet on a node, as that's controller does.
func (c *cluster) pod(d *appsv1.DaemonSet, node string) *corev1.Pod {
	c.Helper()
	pod := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
	pod.Namespace, pod.GenerateName = d.Namespace, node+"-"
	pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: on(nil, []string{node})}}
	require.NoError(c, c.api.Create(c.Context(), pod), "Pod Security takes it")
	return pod
}

func (c *cluster) isGated(pod *corev1.Pod) bool {
	c.Helper()
	require.NoError(c, c.api.Get(c.Context(), client.ObjectKeyFromObject(pod), pod))
	return imagestate.IsGated(pod)
}

// pulled is what scheduler and kubelet do: all images are there, but those that fail.
func (c *cluster) pulled(pod *corev1.Pod, failing ...string) {
	c.Helper()
	node := imagestate.NodeOf(pod)
	require.NoError(c, c.api.SubResource("binding").Create(c.Context(), pod, &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}}))
	require.NoError(c, c.api.Get(c.Context(), client.ObjectKeyFromObject(pod), pod))
	for _, container := range pod.Spec.Containers {
		state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
		for _, image := range failing {
			if container.Image == image {
				state = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such tag"}}
			}
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: container.Name, State: state})
	}
	require.NoError(c, c.api.Status().Update(c.Context(), pod))
}

// measured is the metric of an image.
func (c *cluster) measured(image, state string) float64 {
	c.Helper()
	families, err := c.meters.Gather()
	require.NoError(c, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "elastichub_prepull_nodes" && m.GetLabel()[0].GetValue() == image && m.GetLabel()[1].GetValue() == state {
				return m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func images(pod *corev1.PodSpec) (all []string) {
	for _, container := range pod.Containers {
		all = append(all, container.Image)
	}
	return all
}

// TestTheLeaderPulls follows a policy's image, from the policy to the nodes, to another one,
// and away.
func TestTheLeaderPulls(t *testing.T) {
	c := newCluster(t)
	release := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: c.config.Namespace, Name: c.config.Name}}
	release.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	release.Spec.Template.Labels = release.Spec.Selector.MatchLabels
	release.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	require.NoError(t, c.api.Create(t.Context(), release))
	p := policy("staff", "lab:3")
	p.Namespace, p.Spec.Default = c.config.Namespace, true
	p.Spec.CPU = v1alpha1.ResourceRange{Min: resource.MustParse("1"), Max: resource.MustParse("1")}
	p.Spec.Memory = v1alpha1.ResourceRange{Min: resource.MustParse("1Gi"), Max: resource.MustParse("1Gi")}
	p.Spec.ImagePullSecrets = []v1alpha1.PullSecret{{Name: "registry"}}
	require.NoError(t, c.api.Create(t.Context(), &p))
	// Somebody else's is none of ours.
	other := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: c.config.Namespace, Name: "other"}}
	other.Spec.Selector, other.Spec.Template = release.Spec.Selector, release.Spec.Template
	require.NoError(t, c.api.Create(t.Context(), other))

	stop := c.start()
	var d appsv1.DaemonSet
	look := func() bool {
		for _, one := range c.daemonSets() {
			if one.Name != "other" {
				d = one
				return true
			}
		}
		return false
	}
	c.eventually("a DaemonSet", look)
	require.Len(t, d.OwnerReferences, 1)
	assert.Equal(t, release.UID, d.OwnerReferences[0].UID)
	assert.Equal(t, []string{"lab:3"}, images(&d.Spec.Template.Spec))
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "registry"}}, d.Spec.Template.Spec.ImagePullSecrets)
	assert.Equal(t, appsv1.OnDeleteDaemonSetStrategyType, d.Spec.UpdateStrategy.Type)

	// Two nodes have their turn, and the third when one is done.
	pods := []*corev1.Pod{c.pod(&d, "a"), c.pod(&d, "b"), c.pod(&d, "c")}
	c.eventually("two turns", func() bool { return !c.isGated(pods[0]) && !c.isGated(pods[1]) })
	time.Sleep(4 * gathering)
	assert.True(t, c.isGated(pods[2]), "three at a time")
	c.pulled(pods[0], "lab:3")
	c.eventually("the third turn", func() bool { return !c.isGated(pods[2]) })
	c.pulled(pods[1])
	c.pulled(pods[2])
	c.eventually("what is told", func() bool {
		told, err := c.viewer.Images(t.Context())
		return err == nil && len(told) == 1 && told[0].Nodes == imagestate.Nodes{Total: 3, Present: 2, Failing: 1} && told[0].Why[0] == "Node a: It cannot be pulled (ErrImagePull): no such tag."
	})
	c.eventually("metrics", func() bool { return c.measured("lab:3", "present") == 2 && c.measured("lab:3", "failing") == 1 })

	// What somebody has changed is changed back.
	before := d.DeepCopy()
	d.Spec.Template.Spec.Containers[0].Image = "evil:1"
	require.NoError(t, c.api.Patch(t.Context(), &d, client.MergeFrom(before)))
	pods[2].Labels["touched"] = "now"
	require.NoError(t, c.api.Update(t.Context(), pods[2]))
	c.eventually("the image back", func() bool { return look() && images(&d.Spec.Template.Spec)[0] == "lab:3" })

	// Another image: nodes are replaced two at a time.
	former := p.DeepCopy()
	p.Spec.Images[0].Image = "lab:4"
	require.NoError(t, c.api.Patch(t.Context(), &p, client.MergeFrom(former)))
	c.eventually("the other image", func() bool { return look() && images(&d.Spec.Template.Spec)[0] == "lab:4" })
	assert.Len(t, d.Spec.Template.Spec.Containers, 1)
	alive := func() (n int) {
		var all corev1.PodList
		require.NoError(t, c.api.List(t.Context(), &all, client.InNamespace(c.config.Namespace)))
		for i := range all.Items {
			if all.Items[i].DeletionTimestamp == nil {
				n++
			}
		}
		return n
	}
	c.eventually("two replaced", func() bool { return alive() == 1 })
	time.Sleep(4 * gathering)
	assert.Equal(t, 1, alive(), "the third has to wait")

	// No policy, no DaemonSet; that of another stays.
	require.NoError(t, c.api.Delete(t.Context(), &p))
	c.eventually("nothing", func() bool { return !look() })
	assert.Len(t, c.daemonSets(), 1)
	stop()
}

// TestOffAgain: what was made goes when nothing is to be pulled any more.
func TestOffAgain(t *testing.T) {
	c := newCluster(t)
	gw := gateway()
	gw.Namespace = c.config.Namespace
	require.NoError(t, c.api.Create(t.Context(), &gw))
	stop := c.start()
	c.eventually("a DaemonSet", func() bool { return len(c.daemonSets()) == 1 })
	d := c.daemonSets()[0]
	assert.Equal(t, []string{service, "kernel:1"}, images(&d.Spec.Template.Spec))
	assert.Empty(t, d.OwnerReferences, "there is no Deployment")
	stop()
	c.config.Enabled = false
	c.start()
	c.eventually("nothing", func() bool { return len(c.daemonSets()) == 0 })
}

// TestANameThatIsTaken: nobody's DaemonSet is taken over.
func TestANameThatIsTaken(t *testing.T) {
	c := newCluster(t)
	gw := gateway()
	gw.Namespace = c.config.Namespace
	require.NoError(t, c.api.Create(t.Context(), &gw))
	plan := PlanOf(c.config, Sources{Gateways: []v1alpha1.JupyterGateway{gw}})
	foreign := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: c.config.Namespace, Name: daemonSetName(c.config, plan.Placements[0])}}
	foreign.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	foreign.Spec.Template.Labels = foreign.Spec.Selector.MatchLabels
	foreign.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
	require.NoError(t, c.api.Create(t.Context(), foreign))
	r := &reconciler{cfg: c.config, client: c.api, live: c.api, devices: func(context.Context) (map[string][]string, error) { return nil, nil }, now: time.Now}
	var err error
	r.metrics, err = newMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	_, err = r.Reconcile(t.Context(), ctrl.Request{})
	require.ErrorIs(t, err, errNameTaken)
	require.NoError(t, c.api.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign))
	assert.Empty(t, foreign.Labels)
}

// TestSizes: nodes tell them, by whatever name they call an image.
func TestSizes(t *testing.T) {
	c := newCluster(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.config.Namespace}}
	require.NoError(t, c.api.Create(t.Context(), node))
	t.Cleanup(func() { _ = c.api.Delete(context.Background(), node) })
	node.Status.Images = []corev1.ContainerImage{
		{Names: []string{"docker.io/jupyter/lab@sha256:ab", "docker.io/jupyter/lab:4"}, SizeBytes: 5}, {Names: []string{"quay.io/torch:2"}, SizeBytes: 7},
	}
	require.NoError(t, c.api.Status().Update(t.Context(), node))
	s := newSizes(c.api)
	wanted := func() []imagestate.Image {
		return []imagestate.Image{{Image: "jupyter/lab:4", On: node.Name}, {Image: "quay.io/torch:2"}, {Image: "absent:1", On: node.Name}, {Image: "nowhere:1", On: "no-such-node"}}
	}
	all := wanted()
	s.tell(t.Context(), all)
	assert.Equal(t, []int64{5, 7, 0, 0}, []int64{all[0].Bytes, all[1].Bytes, all[2].Bytes, all[3].Bytes})
	s.nodes = nil
	all = wanted()
	s.tell(t.Context(), all)
	assert.Zero(t, all[0].Bytes, "nobody may read nodes")
}
