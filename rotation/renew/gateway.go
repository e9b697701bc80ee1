package renew

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// gateways select the Deployments of gateways.
var gateways = fmt.Sprintf("%s=%s,%s=%s", v1alpha1.LabelComponent, v1alpha1.ComponentGateway, v1alpha1.LabelManagedBy, v1alpha1.ManagedBy)

// gateway is the Deployment of a gateway of the release, NAME or NAMESPACE/NAME.
func (s Site) gateway(ctx context.Context, d *appsv1.Deployment, named string) (*appsv1.Deployment, error) {
	namespaces, err := s.watched(ctx, d)
	if err != nil {
		return nil, err
	}
	namespace, name, both := strings.Cut(named, "/")
	if !both {
		namespace, name = s.Namespace, named
	}
	var there []string
	for _, watched := range namespaces {
		found, err := s.API.AppsV1().Deployments(watched).List(ctx, metav1.ListOptions{LabelSelector: gateways})
		if err != nil {
			return nil, fmt.Errorf("gateways cannot be looked for: %w", err)
		}
		for i := range found.Items {
			gateway := &found.Items[i]
			if gateway.Namespace == namespace && gateway.Name == name {
				return gateway, nil
			}
			there = append(there, gateway.Namespace+"/"+gateway.Name)
		}
	}
	slices.Sort(there)
	if len(there) == 0 {
		return nil, errors.New("the release has no gateway")
	}
	if named == "" {
		return nil, fmt.Errorf("name the gateway: there are %s", strings.Join(there, ", "))
	}
	return nil, fmt.Errorf("there is no gateway %.300s: there are %s", named, strings.Join(there, ", "))
}

// keyVolume is that of a gateway's Pods with its key.
const keyVolume = "key"

// keyOf is the name of the Secret with a gateway's key.
func keyOf(gateway *appsv1.Deployment) string {
	for _, volume := range gateway.Spec.Template.Spec.Volumes {
		if volume.Name == keyVolume && volume.Secret != nil {
			return volume.Secret.SecretName
		}
	}
	return ""
}

// checkGateway refuses to take a key away from processes that read it once. Those that give no
// answer are awaited later.
func (r Renewal) checkGateway(ctx context.Context, readers []Reader) error {
	if !r.Secret.ofGateway {
		return nil
	}
	for _, reader := range readers {
		seen, err := r.Ask(ctx, reader)
		if _, knows := seen[string(r.Secret.Name)]; errors.Is(err, ErrOld) || err == nil && !knows {
			return fmt.Errorf("the Pod %s of the gateway is of a former release and reads its key once: upgrade first, or wait until it has been replaced", reader)
		}
	}
	return nil
}

// served are the namespaces in which a gateway's kernels are.
func served(gateway *appsv1.Deployment) []string {
	all := []string{gateway.Namespace}
	for _, container := range gateway.Spec.Template.Spec.Containers {
		for _, v := range container.Env {
			if v.Name == "ELASTICHUB_GATEWAY_ALSO_SERVES" && v.Value != "" {
				all = append(all, strings.Split(v.Value, ",")...)
			}
		}
	}
	return all
}

// kernels are the Pods of a gateway's kernels that run; those of them whose agents read their
// secret once, as those of former releases do, are deaf.
func (s Site) kernels(ctx context.Context, gateway *appsv1.Deployment) (follow, deaf []corev1.Pod, err error) {
	selector := fmt.Sprintf("%s=%s,%s=%s", v1alpha1.LabelComponent, v1alpha1.ComponentKernel, v1alpha1.LabelGateway, gateway.Spec.Template.Labels[v1alpha1.LabelGateway])
	for _, namespace := range served(gateway) {
		found, err := s.API.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, nil, fmt.Errorf("list Pods: %w", err)
		}
		for _, pod := range found.Items {
			switch {
			case pod.DeletionTimestamp != nil, pod.Status.Phase == corev1.PodSucceeded, pod.Status.Phase == corev1.PodFailed, ownedByGateway(&pod):
			case slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
				return v.Secret != nil && v.Secret.SecretName == pod.Name && len(v.Secret.Items) == 0
			}):
				follow = append(follow, pod)
			default:
				deaf = append(deaf, pod)
			}
		}
	}
	return follow, deaf, nil
}

// ownedByGateway: a Pod that is kept ready for somebody. Another is made in its place.
func ownedByGateway(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "JupyterGateway"
}

func (r Renewal) announceKernels(ctx context.Context, gateway *appsv1.Deployment) error {
	follow, deaf, err := r.Site.kernels(ctx, gateway)
	if err != nil {
		return err
	}
	switch all := len(follow) + len(deaf); {
	case all == 0:
		r.say("No kernel of the gateway runs.")
	case len(deaf) == 0:
		r.say("Kernels that run: %d, whose agents all read their secrets again.", all)
	case r.CutOff:
		r.say("Kernels that run: %d. %d of them have agents of a former release, and end.", all, len(deaf))
	default:
		r.say("Kernels that run: %d. %d of them have agents of a former release, and end when the former key's time is over, unless they are parked or restarted before.", all, len(deaf))
	}
	return nil
}

// awaitAgents has the service give the agents of kernels that run their secrets of a new key,
// and waits until it has. The kubelet brings them at once, since it changes their Pods.
func (r Renewal) awaitAgents(ctx context.Context, gateway *appsv1.Deployment, key, step string) error {
	raw, err := hex.DecodeString(key)
	if err != nil {
		return fmt.Errorf("the new key is damaged: %w", err)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{v1alpha1.AnnotationSecretsRead: step}}})
	if err != nil {
		return err
	}
	_, err = r.Site.API.AppsV1().Deployments(gateway.Namespace).Patch(ctx, gateway.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("have the service look at the gateway: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	for {
		follow, _, err := r.Site.kernels(ctx, gateway)
		if err != nil {
			return err
		}
		var without []string
		for _, pod := range follow {
			if pod.Annotations[v1alpha1.AnnotationAgentKey] != keys.ID(raw) {
				without = append(without, pod.Namespace+"/"+pod.Name)
			}
		}
		if len(without) == 0 {
			r.say("The agents of the %d kernels that run were given secrets of the new key, which they read within seconds.", len(follow))
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: agents of %s", ErrReaders, strings.Join(without, ", "))
		case <-time.After(askEvery):
		}
	}
}
