package spawner

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const (
	tokenKey = "token"

	progressDeadlineSeconds = 600
)

func keyOf(nb *v1alpha1.JupyterNotebook) Key {
	return Key{User: nb.Spec.User, Server: nb.Spec.Server, HubUser: hubUserOf(nb)}
}

func meta(nb *v1alpha1.JupyterNotebook, name string) metav1.ObjectMeta {
	controller, block := true, true
	return metav1.ObjectMeta{
		Namespace: nb.Namespace, Name: name,
		Labels: objectLabels(nb.Name, keyOf(nb)),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "JupyterNotebook", Name: nb.Name, UID: nb.UID,
			Controller: &controller, BlockOwnerDeletion: &block,
		}},
	}
}

// selector matches notebook Pods only: kernel Pods bear the name of their
// notebook too, and a template may bear any label called "notebook".
func selector(nb *v1alpha1.JupyterNotebook) map[string]string {
	return map[string]string{
		v1alpha1.LabelNotebook:  nb.Name,
		v1alpha1.LabelComponent: v1alpha1.ComponentNotebook,
	}
}

// claim has no owner: it outlives its notebook.
func claim(nb *v1alpha1.JupyterNotebook) *corev1.PersistentVolumeClaim {
	home := nb.Spec.Storage.Home
	modes := home.AccessModes
	if len(modes) == 0 {
		modes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	}
	object := meta(nb, nb.HomeClaim())
	object.OwnerReferences = nil
	object.Labels = merged(home.Labels, object.Labels)
	object.Annotations = merged(home.Annotations, rawNames(keyOf(nb)))
	if template, ok := nb.Annotations[v1alpha1.AnnotationClaimTemplate]; ok && nb.Spec.User != "" {
		object.Annotations[v1alpha1.AnnotationClaimTemplate] = template
	}
	if home.OnRemoval != "" {
		metav1.SetMetaDataAnnotation(&object, v1alpha1.AnnotationOnRemoval, home.OnRemoval)
	}
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: object,
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      modes,
			StorageClassName: home.StorageClassName,
			Selector:         home.Selector,
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: home.Size.DeepCopy()},
			},
		},
	}
}

// rawNames are the unescaped names beside the slugs of the labels, and who the
// user is.
func rawNames(k Key) map[string]string {
	if k.User == "" {
		return nil
	}
	names := map[string]string{
		v1alpha1.LabelHubUsername:   k.User,
		v1alpha1.LabelHubServername: k.Server,
	}
	if k.HubUser.Known() {
		names[v1alpha1.AnnotationHubUser] = k.HubUser.String()
	}
	return names
}

// service has a cluster address rather than none: names of headless Services
// resolve only while a Pod is ready, and resolvers remember that they did not.
func service(nb *v1alpha1.JupyterNotebook) *corev1.Service {
	scheme, _, _ := strings.Cut(nb.Address(), ":") // meshes go by the name of a port
	return &corev1.Service{
		ObjectMeta: meta(nb, nb.Name),
		Spec: corev1.ServiceSpec{
			Selector: selector(nb),
			Ports: []corev1.ServicePort{{
				Name: scheme, Protocol: corev1.ProtocolTCP,
				Port: v1alpha1.NotebookPort, TargetPort: intstr.FromInt32(v1alpha1.NotebookPort),
			}},
		},
	}
}

// serverURL is how the Hub, anywhere in the cluster, reaches a notebook.
func serverURL(nb *v1alpha1.JupyterNotebook) string {
	return nb.Address()
}

// gatewaySecret holds the token of one start for the notebook's gateway.
func gatewaySecret(nb *v1alpha1.JupyterNotebook, token string) *corev1.Secret {
	object := meta(nb, nb.Name+gatewaySecretSuffix)
	object.Annotations = map[string]string{v1alpha1.AnnotationStart: nb.Spec.Start}
	return &corev1.Secret{ObjectMeta: object, Data: map[string][]byte{tokenKey: []byte(token)}}
}

// deployment is built anew for each generation of a notebook. authVersion is
// the auth Secret's resource version, empty without one; tokenIn is where the gateway's token is.
func deployment(cfg Config, nb *v1alpha1.JupyterNotebook, authVersion string, tokenIn corev1.SecretKeySelector) *appsv1.Deployment {
	replicas, revisions, deadline := int32(1), int32(0), int32(progressDeadlineSeconds)
	object := meta(nb, nb.Name)
	object.Annotations = map[string]string{
		v1alpha1.AnnotationGeneration: strconv.FormatInt(nb.Generation, 10),
		v1alpha1.AnnotationStart:      nb.Spec.Start,
	}
	return &appsv1.Deployment{
		ObjectMeta: object,
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			// The former Pod holds the home volume and the server's name.
			Strategy:                appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Selector:                &metav1.LabelSelector{MatchLabels: selector(nb)},
			RevisionHistoryLimit:    &revisions,
			ProgressDeadlineSeconds: &deadline,
			Template:                podTemplate(cfg, nb, authVersion, tokenIn),
		},
	}
}

// podLabels keeps a template's own labels where they are not ours.
func podLabels(nb *v1alpha1.JupyterNotebook, own map[string]string) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, own)
	maps.Copy(labels, objectLabels(nb.Name, keyOf(nb)))
	labels[v1alpha1.LabelComponentShort] = v1alpha1.ComponentNotebook
	labels[v1alpha1.LabelHubAccess] = "true"
	return labels
}

func podAnnotations(nb *v1alpha1.JupyterNotebook, own map[string]string, authVersion string) map[string]string {
	annotations := map[string]string{}
	maps.Copy(annotations, own)
	maps.Copy(annotations, rawNames(keyOf(nb)))
	annotations[v1alpha1.AnnotationStart] = nb.Spec.Start
	if authVersion != "" {
		annotations[v1alpha1.AnnotationAuthVersion] = authVersion
	}
	return annotations
}
