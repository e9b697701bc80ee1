package spawner

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

// policyPod is what an administrator has moved in from KubeSpawner, who had a before-start
// script, a proxy beside the server, and volumes of several kinds.
const policyPod = `
labels: {team: ml, app: jupyterhub, owner: "{username}"}
annotations: {example.org/who: "{username} at {servername}"}
initContainers:
- name: prepare
  image: registry.example/prepare:1
  command: [sh, -c, "mkdir -p /home/jovyan/{username}"]
  volumeMounts: [{name: home, mountPath: /home/jovyan}, {name: shared-datasets, mountPath: /data, readOnly: true}]
- name: logs
  image: registry.example/logs:1
  restartPolicy: Always
containers:
- name: proxy
  image: registry.example/proxy:1
  env: [{name: WHO, value: "{username}"}]
  resources: {limits: {cpu: "1", memory: 256Mi}}
volumes:
- {name: scratch, emptyDir: {}}
- {name: settings, configMap: {name: settings}}
- {name: own, persistentVolumeClaim: {claimName: "data-{username}--{servername}"}}
- {name: key, secret: {secretName: "key-{username}"}}
- {name: all, projected: {sources: [{secret: {name: keys}}, {configMap: {name: settings}}, {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}
volumeMounts:
- {name: scratch, mountPath: /scratch}
- {name: own, mountPath: /own, subPath: "of/{username}"}
- {name: key, mountPath: /etc/key, readOnly: true}
securityContext: {readOnlyRootFilesystem: true}
podSecurityContext: {supplementalGroups: [3000]}
lifecycle: {postStart: {exec: {command: [before-start, "{username}"]}}, preStop: {sleep: {seconds: 2}}}
extraResources: {ephemeral-storage: 2Gi, example.org/nic: "1"}
`

func podOfPolicy(t *testing.T) *v1alpha1.PolicyPod {
	t.Helper()
	pod := &v1alpha1.PolicyPod{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(policyPod), pod))
	return pod
}

func shapedRequest(t *testing.T, user, server string) Request {
	req := testRequest(user, server, "s1")
	req.Pod = podOfPolicy(t)
	home := req.Storage.Home
	home.Labels, home.Annotations = map[string]string{"team": "ml", "owner": "{username}"}, map[string]string{"example.org/of": "{username}"}
	home.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "ssd"}}
	require.Empty(t, podrules.PolicyPodFaults(req.Pod, podrules.PolicyPodBounds{CPU: req.CPULimit, Memory: req.MemoryLimit, Storage: req.Storage}))
	require.Empty(t, podrules.HomeTemplateFaults(home, true))
	return req
}

func TestObjectsOfAServerWithAPolicysPod(t *testing.T) {
	nb := requested(shapedRequest(t, "Анна", "work"))
	require.Nil(t, refuse(nb))
	golden(t, "policy-pod.golden.yaml", claim(nb), deployment(testConfig(), nb, "", tokenAlone(nb)))
}

// TestTheConventionalLabelsOfAServersPod are those that dashboards, network policies and tools
// of JupyterHub look for, whatever a policy adds to them.
func TestTheConventionalLabelsOfAServersPod(t *testing.T) {
	for _, server := range []string{"", "my work"} {
		template := deployment(testConfig(), requested(shapedRequest(t, "Анна", server)), "", corev1.SecretKeySelector{}).Spec.Template
		for key, want := range map[string]string{
			"app.kubernetes.io/name": "jupyterhub", "app.kubernetes.io/managed-by": "elastichub", "app.kubernetes.io/component": "singleuser-server",
			"component": "singleuser-server", "hub.jupyter.org/network-access-hub": "true",
			"hub.jupyter.org/username": podrules.LabelValue("Анна"), "hub.jupyter.org/servername": podrules.LabelValue(server), "team": "ml",
		} {
			assert.Equal(t, want, template.Labels[key], key)
			assert.Contains(t, template.Labels, key)
		}
		assert.Equal(t, "Анна", template.Annotations["hub.jupyter.org/username"])
		assert.Equal(t, server, template.Annotations["hub.jupyter.org/servername"])
		assert.Contains(t, template.Annotations, "hub.jupyter.org/servername")
	}
}

// TestNoTwoServersHaveOneVolume by which names people choose in the Hub.
func TestNoTwoServersHaveOneVolume(t *testing.T) {
	names := map[string]string{}
	users := []string{"a", "b", "a-b", "a--b", "a---b", "A", "gpu", "a--gpu", "x", "Анна", "{username}", "{servername}", "data-a"}
	for _, user := range users {
		for _, server := range []string{"", "b", "gpu", "a--b", "B", "x"} {
			nb := requested(shapedRequest(t, user, server))
			name := nb.Spec.Template.Spec.Volumes[2].PersistentVolumeClaim.ClaimName
			assert.NotContains(t, names, name, "%q %q", user, server)
			names[name] = user
			key := nb.Spec.Template.Spec.Volumes[3].Secret.SecretName
			assert.Equal(t, key, requested(shapedRequest(t, user, "other")).Spec.Template.Spec.Volumes[3].Secret.SecretName)
		}
		assert.LessOrEqual(t, len(userSlug(user)), podrules.MaxSlug)
	}
	assert.Equal(t, maxSlug, podrules.MaxSlug)
}

// TestAPolicysPodIsAdmitted by an API server whose namespace enforces Pod Security
// "restricted", from the start that JupyterHub asks for to the Pod of its Deployment.
func TestAPolicysPodIsAdmitted(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	label := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`))
	require.NoError(t, c.client.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}, label))
	c.gateway("default")
	service := c.replica(true)
	req := shapedRequest(t, "Анна", "work")
	req.PriorityClassName = "" // which nobody has made
	_, err := service.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment(Name(req.Key), "s1", 1)
	admit := func(change func(*corev1.PodTemplateSpec)) error {
		template := d.Spec.Template.DeepCopy()
		change(template)
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Namespace, pod.GenerateName = c.namespace, "pod-"
		return c.client.Create(t.Context(), pod, client.DryRunAll)
	}
	require.NoError(t, admit(func(*corev1.PodTemplateSpec) {}))
	err = admit(func(p *corev1.PodTemplateSpec) { p.Spec.Containers[1].SecurityContext = nil })
	require.True(t, apierrors.IsForbidden(err), "Pod Security is asked: %v", err)

	var home corev1.PersistentVolumeClaim
	require.NoError(t, c.get("home-"+Name(req.Key), &home))
	assert.Equal(t, userSlug("Анна"), home.Labels["owner"])
	assert.Equal(t, "Анна", home.Annotations["example.org/of"])
	assert.Equal(t, "singleuser-server", home.Labels[v1alpha1.LabelComponent])
	assert.Equal(t, map[string]string{"tier": "ssd"}, home.Spec.Selector.MatchLabels)
}

// TestAPolicysPodThatTheAPIServerRefuses is told to who starts it, in the API server's words.
func TestAPolicysPodThatTheAPIServerRefuses(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	service := c.replica(true)
	req := shapedRequest(t, "bob", "")
	req.Pod.Containers[0].LivenessProbe = &corev1.Probe{PeriodSeconds: -1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	_, err := service.Start(t.Context(), req)
	require.NoError(t, err)
	nb := c.notebook(Name(req.Key), inPhase(v1alpha1.NotebookFailed))
	assert.Contains(t, nb.Status.Message, "livenessProbe.periodSeconds")
}

// TestAContainerThatAPolicyAddsAndThatEnds is named, so that nobody looks for the fault in the server.
func TestAContainerThatAPolicyAddsAndThatEnds(t *testing.T) {
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Message: "no such bucket"}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "notebook"}}}}
	for name, want := range map[string]string{
		"prepare":  "The container prepare of the server's Pod ended again and again, with exit code 3: no such bucket",
		"notebook": "The server ended again and again, with exit code 3: no such bucket",
	} {
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: name, State: waiting, LastTerminationState: ended}}
		assert.Equal(t, want, phaseOfPod(observed{}, pod).message)
	}
}

// TestReservedLabelsOfAHome: whoever may write JupyterNotebooks decides about nobody's home.
func TestReservedLabelsOfAHome(t *testing.T) {
	for key, field := range map[string]string{v1alpha1.AnnotationAdopt: "annotations", v1alpha1.LabelHubUserID: "labels", "component": "labels"} {
		nb := requested(testRequest("alice", "", "s1"))
		if field == "labels" {
			nb.Spec.Storage.Home.Labels = map[string]string{key: "x"}
		} else {
			nb.Spec.Storage.Home.Annotations = map[string]string{key: "x"}
		}
		why := refuse(nb)
		require.NotNil(t, why, key)
		assert.Equal(t, fmt.Sprintf("spec.storage.home.%s[%s]: is elastichub's own.", field, key), why.message)
	}
	nb := requested(testRequest("alice", "", "s1"))
	nb.Spec.Storage.Home.Size, nb.Spec.Storage.Home.Labels = resource.MustParse("1Gi"), map[string]string{"team": "{username}"}
	assert.NotNil(t, refuse(nb), "in a notebook nothing is written out")
	nb.Spec.Storage.Home.StorageClassName, nb.Spec.Storage.Home.Labels = ptr.To("fast"), map[string]string{"team": "ml"}
	assert.Nil(t, refuse(nb))
}
