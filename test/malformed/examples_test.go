package malformed

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

const examples = "../../examples"

// manifests are the examples, in the order of their paths.
func manifests(t *testing.T) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(examples, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".yaml" {
			all = append(all, path)
		}
		return err
	}))
	require.Len(t, all, 24)
	return all
}

// TestExamples: every manifest that we show is taken, strictly, client-side and server-side,
// while all controllers run, and each object becomes what it is to be. The test plays the
// Deployment controller and the kubelet.
func TestExamples(t *testing.T) {
	w := newWorld(t)
	w.namespace = metav1.NamespaceDefault // the predecessor's manifests name it
	_, stop := w.serve()
	defer stop()
	for _, name := range []string{"my-token", "my-password", "gateway-client"} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Data: map[string][]byte{"token": []byte("t"), "password": []byte("p")}}
		require.NoError(t, w.api.Create(t.Context(), secret))
	}
	config := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(config, []byte(w.kubeconfig), 0o600))
	for _, how := range [][]string{{"apply"}, {"apply", "--server-side", "--force-conflicts"}} {
		arguments := append(how, "--kubeconfig", config, "-n", w.namespace, "--validate=strict")
		for _, file := range manifests(t) {
			arguments = append(arguments, "-f", file)
		}
		said, err := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), arguments...).CombinedOutput()
		require.NoError(t, err, "%s: %s", how, said)
	}
	for kind, count := range map[string]int{"JupyterNotebook": 8, "JupyterGateway": 7, "JupyterKernel": 2, "JupyterKernelSpec": 3, "JupyterKernelTemplate": 3, "GroupPolicy": 4} {
		names := w.names(kind)
		assert.Len(t, names, count, "%s %v", kind, names)
		for _, name := range names {
			w.eventually(kind+" "+name, func() bool {
				w.play(kind, name)
				return w.isGood(kind, name)
			})
		}
	}
}

func (w *world) names(kind string) []string {
	w.Helper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
	require.NoError(w, w.api.List(w.Context(), list, client.InNamespace(w.namespace)))
	var names []string
	for _, o := range list.Items {
		names = append(names, o.Name)
	}
	return names
}

// play has what was made for an object run.
func (w *world) play(kind, name string) {
	w.Helper()
	var d appsv1.Deployment
	switch kind {
	case "JupyterGateway":
		if w.has(name, &d) && d.Status.ReadyReplicas == 0 {
			d.Status.ObservedGeneration, d.Status.Replicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = d.Generation, *d.Spec.Replicas, *d.Spec.Replicas, *d.Spec.Replicas
			_ = w.api.Status().Update(w.Context(), &d) // or the next time
		}
	case "JupyterNotebook":
		var pod corev1.Pod
		if w.has(name, &d) && *d.Spec.Replicas == 1 && !w.has(name+"-pod", &pod) {
			pod = corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
			pod.Namespace, pod.Name, pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = w.namespace, name+"-pod", "1"
			controls := true
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name + "-1", UID: "rs-" + d.UID, Controller: &controls}}
			require.NoError(w, w.api.Create(w.Context(), &pod))
		}
		w.runs(name + "-pod")
	case "JupyterKernel":
		w.runs(name + "-1")
	}
}

func (w *world) runs(name string) {
	var pod corev1.Pod
	if w.has(name, &pod) && pod.Status.Phase != corev1.PodRunning {
		pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "127.0.0.1"
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		_ = w.api.Status().Update(w.Context(), &pod) // or the next time
	}
}

// isGood reports whether an object says that it is what it was made for.
func (w *world) isGood(kind, name string) bool {
	if kind == "JupyterNotebook" {
		var nb v1alpha1.JupyterNotebook
		if !w.has(name, &nb) || nb.Status.ObservedGeneration != nb.Generation {
			return false
		}
		if nb.Spec.Stopped {
			return nb.Status.Phase == v1alpha1.NotebookStopped
		}
		if nb.Spec.Gateway != nil && !meta.IsStatusConditionTrue(nb.Status.Conditions, "GatewayFound") {
			return false
		}
	}
	ready := w.ready(kind, name)
	return ready != nil && ready.Status == metav1.ConditionTrue
}
