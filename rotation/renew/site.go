package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/rotation"
)

// Site is a release in a cluster.
type Site struct {
	API       kubernetes.Interface
	Namespace string
	Release   string
}

// Ports at which processes say what they have read.
const (
	servicePort = 8080
	gatewayPort = 9090
)

// Reader is a Pod that reads a secret.
type Reader struct {
	Namespace, Pod string
	Port           int32
}

func (r Reader) String() string { return r.Namespace + "/" + r.Pod }

// serviceLabels select the release's service.
func (s Site) serviceLabels() string {
	return "app.kubernetes.io/name=elastichub,app.kubernetes.io/component=service,app.kubernetes.io/instance=" + s.Release
}

// deployment is that of the service.
func (s Site) deployment(ctx context.Context) (*appsv1.Deployment, error) {
	found, err := s.API.AppsV1().Deployments(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: s.serviceLabels()})
	if err != nil {
		return nil, fmt.Errorf("the release cannot be looked for: %w", err)
	}
	if len(found.Items) != 1 {
		return nil, fmt.Errorf("there is no release %s of elastichub in the namespace %s: name it with --release and -n", s.Release, s.Namespace)
	}
	return &found.Items[0], nil
}

// mounted is the name of the Secret that the service has a secret in, as its Pods mount it.
// both reports whether they mount what is beside the value, too.
func mounted(d *appsv1.Deployment, secret Secret) (name string, both bool) {
	dir, _, _ := strings.Cut(secret.path, "/")
	for _, volume := range d.Spec.Template.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.Secret == nil {
				continue
			}
			for _, item := range source.Secret.Items {
				switch item.Path {
				case secret.path:
					name = source.Secret.Name
				case dir + "/" + rotation.KeyMark:
					both = true
				}
			}
		}
	}
	return name, both
}

// find is the Secret with a secret's value.
func (s Site) find(ctx context.Context, d *appsv1.Deployment, secret Secret) (*corev1.Secret, error) {
	name, both := "", true
	switch {
	case secret.ofGateway:
		name = keyOf(d)
	case secret.path != "":
		name, both = mounted(d, secret)
	default:
		name = d.Name + "-" + string(secret.Name)
	}
	if name == "" {
		return nil, fmt.Errorf("the release has no %s: it does without %s", secret.Name, secret.What)
	}
	if !both {
		return nil, errors.New("the service of this release takes one value only: upgrade it first, or it would take the new one for the only one")
	}
	found, err := s.API.CoreV1().Secrets(d.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("the release has no %s: there is no Secret %s", secret.Name, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the Secret %s: %w", name, err)
	}
	if secret.ofGateway {
		if found.Immutable != nil && *found.Immutable {
			return nil, fmt.Errorf("the Secret %s is of a former release and cannot be changed: a service of this release makes another with the same key within a minute, and gateways are made anew with it", name)
		}
		return found, nil
	}
	if found.Labels["app.kubernetes.io/name"] != "elastichub" || found.Labels["app.kubernetes.io/instance"] != s.Release {
		return nil, &OwnersError{Secret: name, Key: secret.key, atOnce: secret.atOnce}
	}
	if found.Immutable != nil && *found.Immutable {
		return nil, fmt.Errorf("the Secret %s is immutable", name)
	}
	return found, nil
}

// OwnersError: the values name a Secret that is not ours, and whoever made it would write
// over what we write.
type OwnersError struct {
	Secret, Key string
	atOnce      bool
}

func (e *OwnersError) Error() string {
	if e.atOnce {
		return fmt.Sprintf("the Secret %s is not the chart's: change it where it is made, its keys token and sha256 together", e.Secret)
	}
	return fmt.Sprintf("the Secret %s is not the chart's, and is rotated where it is made: write the new value as the key next, wait two minutes, then write it as the key %s "+
		"and the former one as the key former, with the time until which that counts as former-until (RFC 3339), and take next away. The service reads each step without a restart", e.Secret, e.Key)
}

// readers are the Pods that read a secret, and run.
func (s Site) readers(ctx context.Context, d *appsv1.Deployment, secret Secret) ([]Reader, error) {
	if secret.ofGateway {
		return s.pods(ctx, d.Namespace, metav1.FormatLabelSelector(d.Spec.Selector), gatewayPort)
	}
	if secret.path == "" {
		return nil, nil
	}
	all, err := s.pods(ctx, s.Namespace, metav1.FormatLabelSelector(d.Spec.Selector), servicePort)
	if err != nil || !secret.gateways {
		return all, err
	}
	namespaces, err := s.watched(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, namespace := range namespaces {
		gateways, err := s.pods(ctx, namespace, fmt.Sprintf("%s=%s,%s=%s", v1alpha1.LabelComponent, v1alpha1.ComponentGateway, v1alpha1.LabelManagedBy, v1alpha1.ManagedBy), gatewayPort)
		if err != nil {
			return nil, err
		}
		all = append(all, gateways...)
	}
	return all, nil
}

// pods are those of a namespace that run and are not about to end: one that starts reads
// what is there then.
func (s Site) pods(ctx context.Context, namespace, selector string, port int32) ([]Reader, error) {
	found, err := s.API.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	var all []Reader
	for i := range found.Items {
		pod := &found.Items[i]
		ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		if pod.DeletionTimestamp == nil && ready {
			all = append(all, Reader{Namespace: pod.Namespace, Pod: pod.Name, Port: port})
		}
	}
	return all, nil
}

// watched are the namespaces of the release, as its configuration has them.
func (s Site) watched(ctx context.Context, d *appsv1.Deployment) ([]string, error) {
	config, err := s.API.CoreV1().ConfigMaps(s.Namespace).Get(ctx, d.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the release's configuration: %w", err)
	}
	var said struct {
		WatchNamespaces []string `json:"watchNamespaces"`
	}
	if err := yaml.Unmarshal([]byte(config.Data["config.yaml"]), &said); err != nil {
		return nil, fmt.Errorf("read the release's configuration: %w", err)
	}
	if slices.Contains(said.WatchNamespaces, "*") {
		return []string{metav1.NamespaceAll}, nil
	}
	all := append([]string{s.Namespace}, said.WatchNamespaces...)
	slices.Sort(all)
	return slices.Compact(all), nil
}

// notebooks are the notebook servers that run; those of them that do not read their
// token again are deaf.
func (s Site) notebooks(ctx context.Context, d *appsv1.Deployment) (all []corev1.Pod, deaf int, err error) {
	namespaces, err := s.watched(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	for _, namespace := range namespaces {
		found, err := s.API.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
			LabelSelector: fmt.Sprintf("%s=%s,%s", v1alpha1.LabelComponent, v1alpha1.ComponentNotebook, v1alpha1.LabelNotebook),
		})
		if err != nil {
			return nil, 0, fmt.Errorf("list Pods: %w", err)
		}
		for _, pod := range found.Items {
			if pod.DeletionTimestamp != nil {
				continue
			}
			all = append(all, pod)
			if !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == v1alpha1.VolumeGatewayToken }) {
				deaf++
			}
		}
	}
	return all, deaf, nil
}
