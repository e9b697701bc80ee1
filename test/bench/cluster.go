package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// cluster is a gateway of the bench's own on the cluster of the demo, so that
// the demo's objects stay as they are.
type cluster struct {
	b         *bench
	api       client.Client
	namespace string
	server    *server
}

const (
	// clusterName is the name of everything that is made on the cluster.
	clusterName = "bench"
	// clusterLight is the kernelspec of the synthetic kernel; that of
	// clusterName is an ipykernel.
	clusterLight = "bench-light"
	clusterToken = "bench-0123456789abcdef"
	// demoSpec is the demo's kernelspec whose image the bench's takes.
	demoSpec = "python-cpu"
	// benchLabel is on the bench's own Pods.
	benchLabel = "elastichub-bench"
	warmPrefix = "warm-" // of the names of Pods of a warm pool
)

// newCluster makes a gateway and waits for it. The caller closes it.
func newCluster(ctx context.Context, b *bench) (_ *cluster, err error) {
	c := &cluster{b: b, namespace: os.Getenv("ELASTICHUB_DEMO_NAMESPACE")}
	if c.namespace == "" {
		return nil, errors.New("ELASTICHUB_DEMO_NAMESPACE is not set: run.sh takes it from make env")
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if c.api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	var theirs v1alpha1.JupyterKernelSpec
	if err := c.api.Get(ctx, c.key(demoSpec), &theirs); err != nil {
		return nil, err
	}
	c.close() // what an earlier run may have left
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	requests := &corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("32Mi")}}
	spec := &v1alpha1.JupyterKernelSpec{ObjectMeta: c.meta(), Spec: v1alpha1.JupyterKernelSpecSpec{
		Language: "python", DisplayName: "Bench", Image: theirs.Spec.Image, Resources: requests}}
	light := &v1alpha1.JupyterKernelSpec{ObjectMeta: c.meta(), Spec: v1alpha1.JupyterKernelSpecSpec{
		Language: "none", DisplayName: "Synthetic", Image: b.image, Resources: requests, Command: []string{"/kernel", "{connection_file}"}}}
	light.Name = clusterLight
	secret := &corev1.Secret{ObjectMeta: c.meta(), StringData: map[string]string{"token": clusterToken}}
	never := int32(0)
	gateway := &v1alpha1.JupyterGateway{ObjectMeta: c.meta(), Spec: v1alpha1.JupyterGatewaySpec{
		Kernels: []string{clusterName, clusterLight}, CullIdleTimeout: &never,
		Auth: &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{{Name: clusterName, TokenSecretRef: corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: clusterName}, Key: "token"}}}},
	}}
	for _, o := range []client.Object{secret, spec, light, gateway} {
		if err := c.api.Create(ctx, o); err != nil {
			return nil, err
		}
	}
	b.say("  waiting for a gateway of its own")
	return c, c.until(ctx, 90*time.Second, func() error {
		var service corev1.Service
		if err := c.api.Get(ctx, c.key(clusterName), &service); err != nil {
			return err
		}
		c.server = &server{name: "elastichub", url: fmt.Sprintf("http://%s:%d", service.Spec.ClusterIP, v1alpha1.GatewayPort), token: clusterToken}
		return c.server.call(ctx, http.MethodGet, "/api/kernelspecs/"+clusterName, nil, nil)
	})
}

func (c *cluster) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: clusterName, Namespace: c.namespace}
}

func (c *cluster) key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: c.namespace, Name: name}
}

// close removes everything and waits until the Pods are gone.
func (c *cluster) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	in, own := client.InNamespace(c.namespace), client.MatchingLabels{benchLabel: clusterName}
	faults := []error{
		c.removeKernels(ctx),
		c.api.DeleteAllOf(ctx, &corev1.Pod{}, in, own, client.GracePeriodSeconds(0)),
		client.IgnoreNotFound(c.api.Delete(ctx, &v1alpha1.JupyterGateway{ObjectMeta: c.meta()}, client.PropagationPolicy(metav1.DeletePropagationBackground))),
		client.IgnoreNotFound(c.api.Delete(ctx, &v1alpha1.JupyterKernelSpec{ObjectMeta: c.meta()})),
		client.IgnoreNotFound(c.api.Delete(ctx, &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Name: clusterLight, Namespace: c.namespace}})),
		client.IgnoreNotFound(c.api.Delete(ctx, &corev1.Secret{ObjectMeta: c.meta()})),
	}
	faults = append(faults, c.until(ctx, time.Minute, func() error { return c.none(ctx, client.MatchingLabels{v1alpha1.LabelGateway: clusterName}) }))
	if err := errors.Join(faults...); err != nil {
		c.b.say("  clean up: %v", err)
	}
}

// removeKernels deletes the bench's kernels and waits for the end of their Pods.
func (c *cluster) removeKernels(ctx context.Context) error {
	kernels, err := c.kernels(ctx)
	if err != nil {
		return err
	}
	for i := range kernels {
		if err := client.IgnoreNotFound(c.api.Delete(ctx, &kernels[i], client.PropagationPolicy(metav1.DeletePropagationBackground))); err != nil {
			return err
		}
	}
	return c.until(ctx, 2*time.Minute, func() error {
		return c.none(ctx, client.MatchingLabels{v1alpha1.LabelGateway: clusterName, v1alpha1.LabelComponent: v1alpha1.ComponentKernel}, warmPrefix)
	})
}

// none fails as long as there are Pods with labels, apart from those whose
// names begin with one of some prefixes.
func (c *cluster) none(ctx context.Context, labels client.MatchingLabels, but ...string) error {
	pods, err := c.pods(ctx, labels)
	if err != nil {
		return err
	}
	n := 0
	for _, pod := range pods {
		apart := false
		for _, prefix := range but {
			apart = apart || strings.HasPrefix(pod.Name, prefix)
		}
		if !apart {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("%d Pods are still there", n)
	}
	return nil
}

func (c *cluster) pods(ctx context.Context, labels client.MatchingLabels) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := c.api.List(ctx, &list, client.InNamespace(c.namespace), labels)
	return list.Items, err
}

// kernels are those of the bench's gateway.
func (c *cluster) kernels(ctx context.Context) ([]v1alpha1.JupyterKernel, error) {
	var list v1alpha1.JupyterKernelList
	if err := c.api.List(ctx, &list, client.InNamespace(c.namespace)); err != nil {
		return nil, err
	}
	var own []v1alpha1.JupyterKernel
	for _, k := range list.Items {
		if k.Spec.Gateway == clusterName {
			own = append(own, k)
		}
	}
	return own, nil
}

const pollEvery = 200 * time.Millisecond

// until calls probe until it succeeds or patience is over.
func (c *cluster) until(ctx context.Context, patience time.Duration, probe func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := probe()
		if err == nil || errors.Is(err, errHopeless) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pollEvery):
		}
	}
}

// errHopeless ends waiting.
var errHopeless = errors.New("will not come")

func podReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
