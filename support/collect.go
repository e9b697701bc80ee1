package support

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/doctor"
	"github.com/elastichub/elastichub/doctor/gather"
)

// Options say of what an archive is made.
type Options struct {
	Release, Namespace string
	Version            string // of this program
	Since              time.Duration
	LogBytes           int64 // of each container, the last
}

// Made says what an archive holds.
type Made struct {
	Files, Bytes int
	Names        map[string]string // what stands for each user
	Missing      []string          // what could not be read, and why
}

const (
	metricsPort      = "metrics" // of the service's Pods, and of gateways'
	componentService = "service" // the chart's
)

// kinds are the objects in an archive. Those of the whole cluster are Nodes alone.
var kinds = []schema.GroupVersionResource{
	v1alpha1.GroupVersion.WithResource("grouppolicies"),
	v1alpha1.GroupVersion.WithResource("jupyternotebooks"),
	v1alpha1.GroupVersion.WithResource("jupytergateways"),
	v1alpha1.GroupVersion.WithResource("jupyterkernels"),
	v1alpha1.GroupVersion.WithResource("jupyterkernelspecs"),
	v1alpha1.GroupVersion.WithResource("jupyterkerneltemplates"),
	{Version: "v1", Resource: "secrets"},
	{Version: "v1", Resource: "configmaps"},
	{Version: "v1", Resource: "pods"},
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "persistentvolumeclaims"},
	{Version: "v1", Resource: "resourcequotas"},
	{Version: "v1", Resource: "limitranges"},
	{Version: "v1", Resource: "events"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	{Version: "v1", Resource: "nodes"},
}

// Collect writes a gzipped tar archive. What cannot be read is left out and said in it; an error is one
// of writing, or of a cluster that cannot be asked at all.
func Collect(ctx context.Context, config *rest.Config, options Options, out io.Writer) (Made, error) {
	c := &collector{Options: options, config: config, objects: map[string][]unstructured.Unstructured{}, made: Made{}}
	var err error
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return Made{}, err
	}
	if c.typed, err = kubernetes.NewForConfig(config); err != nil {
		return Made{}, err
	}
	picture, err := gather.Gather(ctx, config, gather.Options{Release: options.Release, Namespace: options.Namespace})
	if err != nil {
		return Made{}, err
	}
	for _, kind := range kinds {
		c.list(ctx, kind)
	}
	users, secrets := c.known()
	c.scrubber = NewScrubber(users, secrets)
	c.made.Names = c.scrubber.Stands()

	zipped := gzip.NewWriter(out)
	c.archive = tar.NewWriter(zipped)
	for _, write := range []func() error{
		func() error { return c.doctor(picture) },
		c.writeObjects,
		func() error { return c.programs(ctx) },
		c.readme,
		c.archive.Close,
		zipped.Close,
	} {
		if err := write(); err != nil {
			return c.made, err
		}
	}
	return c.made, nil
}

type collector struct {
	Options
	config   *rest.Config
	dynamic  dynamic.Interface
	typed    kubernetes.Interface
	objects  map[string][]unstructured.Unstructured // by resource
	scrubber *Scrubber
	archive  *tar.Writer
	made     Made
}

func (c *collector) missing(what string, err error) {
	c.made.Missing = append(c.made.Missing, fmt.Sprintf("%s: %v", what, err))
}

func (c *collector) list(ctx context.Context, kind schema.GroupVersionResource) {
	var objects dynamic.ResourceInterface = c.dynamic.Resource(kind)
	if kind.Resource != "nodes" {
		objects = c.dynamic.Resource(kind).Namespace(c.Namespace)
	}
	found, err := objects.List(ctx, metav1.ListOptions{})
	if err != nil {
		c.missing(kind.Resource, err)
		return
	}
	c.objects[kind.Resource] = found.Items
}

// known are all users that objects name, and all values of Secrets.
func (c *collector) known() (users []string, secrets [][]byte) {
	for _, objects := range c.objects {
		for _, o := range objects {
			user, _, _ := unstructured.NestedString(o.Object, "spec", "user")
			users = append(users, user, o.GetLabels()[v1alpha1.LabelHubUsername], o.GetAnnotations()[v1alpha1.LabelHubUsername])
		}
	}
	for _, o := range c.objects["secrets"] {
		var secret corev1.Secret
		if err := fromUnstructured(o, &secret); err != nil {
			continue
		}
		for _, value := range secret.Data {
			secrets = append(secrets, value)
		}
	}
	return users, secrets
}

func (c *collector) doctor(picture doctor.Picture) error {
	var report strings.Builder
	if err := doctor.Diagnose(picture).WriteText(&report); err != nil {
		return err
	}
	about := fmt.Sprintf("elastichub %s, Kubernetes %s, release %s\n\n", c.Version, picture.Kubernetes, c.Release)
	return c.write("doctor.txt", about+report.String())
}

func (c *collector) writeObjects() error {
	for _, kind := range kinds {
		var text strings.Builder
		for _, o := range c.objects[kind.Resource] {
			one, err := yaml.Marshal(presentable(&o))
			if err != nil {
				return err
			}
			text.WriteString("---\n")
			text.Write(one)
		}
		if text.Len() == 0 {
			continue
		}
		if err := c.write("objects/"+kind.Resource+".yaml", text.String()); err != nil {
			return err
		}
	}
	return nil
}

// programs writes logs and figures of the Pods of the service and of gateways. What notebooks
// and kernels print is their users'.
func (c *collector) programs(ctx context.Context) error {
	for _, o := range c.objects["pods"] {
		var pod corev1.Pod
		if err := fromUnstructured(o, &pod); err != nil {
			return err
		}
		if component := pod.Labels[v1alpha1.LabelComponent]; component != componentService && component != v1alpha1.ComponentGateway {
			continue
		}
		if err := c.logs(ctx, &pod); err != nil {
			return err
		}
		if !offersMetrics(&pod) {
			continue
		}
		path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:%s/proxy/metrics", pod.Namespace, pod.Name, metricsPort)
		text, err := c.typed.CoreV1().RESTClient().Get().AbsPath(path).DoRaw(ctx)
		if err != nil {
			c.missing("metrics of "+pod.Name, err)
			continue
		}
		if err := c.write("metrics/"+pod.Name+".txt", string(text)); err != nil {
			return err
		}
	}
	return nil
}

func offersMetrics(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(container corev1.Container) bool {
		return slices.ContainsFunc(container.Ports, func(port corev1.ContainerPort) bool { return port.Name == metricsPort })
	})
}

// logs writes what each container said last, and what it said before it was started again.
func (c *collector) logs(ctx context.Context, pod *corev1.Pod) error {
	seconds := int64(c.Since.Seconds())
	for _, status := range pod.Status.ContainerStatuses {
		for _, former := range []bool{false, true} {
			if former && status.RestartCount == 0 {
				continue
			}
			asked := &corev1.PodLogOptions{Container: status.Name, Previous: former, SinceSeconds: &seconds, Timestamps: true}
			name := "logs/" + pod.Name + "/" + status.Name
			if former {
				name += "-former"
			}
			text, err := c.tail(ctx, pod, asked)
			if err != nil {
				c.missing(name, err)
				continue
			}
			if err := c.write(name+".log", text); err != nil {
				return err
			}
		}
	}
	return nil
}

// tail is the end of a log, in whole lines.
func (c *collector) tail(ctx context.Context, pod *corev1.Pod, asked *corev1.PodLogOptions) (string, error) {
	stream, err := c.typed.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, asked).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	kept, err := lastBytes(stream, c.LogBytes)
	return string(kept), err
}

func (c *collector) readme() error {
	slices.Sort(c.made.Missing)
	var text strings.Builder
	fmt.Fprintf(&text, "Made by elastichub %s on %s, of the release %s in the namespace %s.\n\n",
		c.Version, time.Now().UTC().Format(time.RFC3339), c.Release, c.Namespace)
	text.WriteString("doctor.txt: what elastichub doctor says.\nobjects/: the objects of the namespace, and the nodes.\n" +
		"logs/, metrics/: of the service and of gateways.\n\n" +
		"Values of Secrets, of environment variables and of ConfigMaps that the chart has not made are left out, as are names of\n" +
		"notebooks, and what notebooks and kernels print. \"user-N\" stands for a user. Directory groups, policies, images and\n" +
		"nodes have their names.\n")
	if _, read := c.objects["secrets"]; !read {
		text.WriteString("\nThe Secrets could not be read, so that only what looks like a secret was taken out of logs.\n")
	}
	for i, missing := range c.made.Missing {
		if i == 0 {
			text.WriteString("\nCould not be read:\n")
		}
		fmt.Fprintf(&text, "- %s\n", missing)
	}
	return c.write("README.txt", text.String())
}

// write adds a file. Its text, and its name, are without names of users.
func (c *collector) write(name, text string) error {
	text = c.scrubber.Text(text)
	header := &tar.Header{Name: "elastichub-support/" + c.scrubber.Text(name), Mode: 0o600, Size: int64(len(text)), ModTime: time.Now()}
	if err := c.archive.WriteHeader(header); err != nil {
		return err
	}
	c.made.Files++
	c.made.Bytes += len(text)
	_, err := io.WriteString(c.archive, text)
	return err
}
