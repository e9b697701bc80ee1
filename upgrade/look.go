package upgrade

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/namespaces"
)

// Labels of the chart.
const (
	labelVersion   = "app.kubernetes.io/version"
	labelChart     = "helm.sh/chart"
	labelInstance  = "app.kubernetes.io/instance"
	labelName      = "app.kubernetes.io/name"
	serviceSection = "service"
)

// Workload is a Deployment of ours.
type Workload struct {
	Namespace, Name string
	Image           string
	// Own: its JupyterGateway names that image, which no upgrade changes.
	Own bool
	// Waits says what it is not yet; empty: all of its Pods are of its template and serve.
	Waits string
}

func (w Workload) String() string { return w.Namespace + "/" + w.Name }

// Picture is what there is before anything is touched.
type Picture struct {
	// Running is the release that runs, as the label of its Deployment says, and Chart the label of its chart.
	Running, Chart string
	Service        Workload
	Definitions    []Definition
	// Objects is how many there are of the kinds, in all namespaces.
	Objects int
	Refused []Refused
	// Gateways are those of the namespaces that the release looks after.
	Gateways []Workload
	// Agents are the images of the agents of kernels that run, by the kernel's Pod.
	Agents map[string]string
	// Warm are kernels that nobody has, and Notebooks servers that run.
	Warm, Notebooks int
	// Plan is what Helm would do; nil: it was not asked.
	Plan *Plan
}

// look reads it.
func (u *Upgrade) look(ctx context.Context) (*Picture, error) {
	p := &Picture{Agents: map[string]string{}}
	service, err := u.service(ctx)
	if err != nil {
		return nil, err
	}
	p.Running, p.Chart, p.Service = service.Labels[labelVersion], service.Labels[labelChart], workload(service)
	if p.Definitions, err = readDefinitions(ctx, u.API, u.Kinds); err != nil {
		return nil, err
	}
	for i := range p.Definitions {
		d := &p.Definitions[i]
		if later(d.Of(), u.Ours) {
			continue // it is not to be applied
		}
		if err := d.foresee(ctx, u.API); err != nil {
			return nil, err
		}
		count, refused, err := stored(ctx, u.API, *d)
		if err != nil {
			return nil, err
		}
		p.Objects += count
		p.Refused = append(p.Refused, refused...)
	}
	if p.Gateways, err = u.gateways(ctx); err != nil {
		return nil, err
	}
	if err := u.pods(ctx, p); err != nil {
		return nil, err
	}
	if u.Helm != nil {
		if p.Plan, err = u.Helm.Plan(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// service is the Deployment of the release.
func (u *Upgrade) service(ctx context.Context) (*appsv1.Deployment, error) {
	var found appsv1.DeploymentList
	err := u.API.List(ctx, &found, client.InNamespace(u.Namespace), client.MatchingLabels{
		labelName: v1alpha1.ManagedBy, v1alpha1.LabelComponent: serviceSection, labelInstance: u.Release,
	})
	if err != nil {
		return nil, fmt.Errorf("the release cannot be looked for: %w", err)
	}
	if len(found.Items) != 1 {
		return nil, fmt.Errorf("there is no release %s of elastichub in the namespace %s: name it with --release and -n, or install it with Helm", u.Release, u.Namespace)
	}
	return &found.Items[0], nil
}

// watched are the namespaces that the release looks after: their Leases say so.
func (u *Upgrade) watched(ctx context.Context) ([]string, error) {
	var leases coordinationv1.LeaseList
	if err := u.API.List(ctx, &leases, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}); err != nil {
		return nil, fmt.Errorf("list Leases in all namespaces: %w", err)
	}
	all := []string{u.Namespace}
	for _, l := range leases.Items {
		if l.Name == namespaces.LeaseName && l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity == u.Namespace {
			all = append(all, l.Namespace)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (u *Upgrade) gateways(ctx context.Context) ([]Workload, error) {
	watched, err := u.watched(ctx)
	if err != nil {
		return nil, err
	}
	var all []Workload
	for _, namespace := range watched {
		var found appsv1.DeploymentList
		err := u.API.List(ctx, &found, client.InNamespace(namespace), client.MatchingLabels{
			v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentGateway,
		})
		if err != nil {
			return nil, fmt.Errorf("list Deployments in %s: %w", namespace, err)
		}
		named, err := u.images(ctx, namespace)
		if err != nil {
			return nil, err
		}
		for i := range found.Items {
			w := workload(&found.Items[i])
			w.Own = w.Image == named[w.Name]
			all = append(all, w)
		}
	}
	return all, nil
}

// images are those that JupyterGateways of a namespace name, by the name of each.
func (u *Upgrade) images(ctx context.Context, namespace string) (map[string]string, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("JupyterGatewayList"))
	if err := u.API.List(ctx, list, client.InNamespace(namespace)); err != nil && !meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("list JupyterGateways in %s: %w", namespace, err)
	}
	named := map[string]string{}
	for i := range list.Items {
		named[list.Items[i].GetName()], _, _ = unstructured.NestedString(list.Items[i].Object, "spec", "image") // no text: no image
	}
	return named, nil
}

// workload is what of a Deployment is looked at.
func workload(d *appsv1.Deployment) Workload {
	w := Workload{Namespace: d.Namespace, Name: d.Name}
	if containers := d.Spec.Template.Spec.Containers; len(containers) > 0 {
		w.Image = containers[0].Image
	}
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	switch {
	case s.ObservedGeneration < d.Generation:
		w.Waits = "has not been looked at yet"
	case s.UpdatedReplicas < want || s.Replicas > s.UpdatedReplicas:
		w.Waits = fmt.Sprintf("%d of %d Pods are new, and %d former ones are there", s.UpdatedReplicas, want, s.Replicas-s.UpdatedReplicas)
	case s.AvailableReplicas < want:
		w.Waits = fmt.Sprintf("%d of %d Pods serve", s.AvailableReplicas, want)
	}
	return w
}

// ourPods selects those of notebook servers and kernels, and KubeSpawner's.
var ourPods = func() labels.Selector {
	in, err := labels.NewRequirement(v1alpha1.LabelComponent, selection.In, []string{v1alpha1.ComponentNotebook, v1alpha1.ComponentKernel})
	if err != nil {
		panic(err) // the names are ours
	}
	return labels.NewSelector().Add(*in)
}()

// pods counts the Pods that are not touched, and those that are kept ready.
func (u *Upgrade) pods(ctx context.Context, p *Picture) error {
	watched, err := u.watched(ctx)
	if err != nil {
		return err
	}
	for _, namespace := range watched {
		var pods corev1.PodList
		if err := u.API.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: ourPods}); err != nil {
			return fmt.Errorf("list Pods in %s: %w", namespace, err)
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
				continue
			}
			owner := metav1.GetControllerOf(pod)
			switch {
			case pod.Labels[v1alpha1.LabelComponent] == v1alpha1.ComponentNotebook && pod.Labels[v1alpha1.LabelNotebook] != "":
				p.Notebooks++
			case pod.Labels[v1alpha1.LabelComponent] == v1alpha1.ComponentKernel && pod.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedBy:
				if owner != nil && owner.Kind == "JupyterGateway" {
					p.Warm++
					continue
				}
				p.Agents[pod.Namespace+"/"+pod.Name] = agentImage(pod)
			}
		}
	}
	return nil
}

// agentImage is what the agent of a kernel's Pod runs; empty: it has none.
func agentImage(pod *corev1.Pod) string {
	at := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == v1alpha1.AgentContainer })
	if at < 0 {
		return ""
	}
	return pod.Spec.Containers[at].Image
}

// mentioned is a list in a sentence, cut where it is long.
func mentioned(all []string) string {
	const most = 8
	if len(all) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}
