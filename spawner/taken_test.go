package spawner

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/webhooks"
)

// hard plays the controller of quotas, and waits until the API server minds what it says of Pods.
func (c *cluster) hard(quota *corev1.ResourceQuota, pods string) {
	c.t.Helper()
	hard := corev1.ResourceList{corev1.ResourcePods: resource.MustParse(pods)}
	change(c, quota.Name, quota, func(q *corev1.ResourceQuota) { q.Spec.Hard = hard })
	c.eventually("written", func() bool { // the API server counts up in it
		if c.get(quota.Name, quota) != nil {
			return false
		}
		quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}}
		return c.client.Status().Update(c.t.Context(), quota) == nil
	})
	c.eventually("the API server minds the quota", func() bool {
		probe := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "probe"}}
		probe.Spec.Containers = []corev1.Container{{Name: "probe", Image: "probe"}}
		return apierrors.IsForbidden(c.client.Create(c.t.Context(), probe, client.DryRunAll)) == (pods == "0")
	})
}

// replicaFailure plays the controllers of a Deployment whose ReplicaSet may not make its Pod, or may.
func (c *cluster) replicaFailure(d *appsv1.Deployment, message string) {
	c.t.Helper()
	c.eventually("told", func() bool {
		if c.get(d.Name, d) != nil {
			return false
		}
		d.Status.ObservedGeneration, d.Status.Conditions = d.Generation, nil
		if message != "" {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: message, LastTransitionTime: metav1.Now()}}
		}
		return c.client.Status().Update(c.t.Context(), d) == nil
	})
}

// TestAServerWaitsForAQuota before it has a Deployment, and when its Pod is to be made anew. To wait writes
// nothing, and it goes on as soon as there is room.
func TestAServerWaitsForAQuota(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "team"}}
	require.NoError(t, c.client.Create(t.Context(), quota))
	c.hard(quota, "0")
	counts := counted(c)
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err, "others may make room")
	state := c.phase(s, req.Key, v1alpha1.NotebookPending)
	const waits = "Waiting: the quota team of its namespace leaves too little: it asks for 1 more of pods, of which 0 of 0 are used. " +
		"Choose less, stop what is not needed there, or have an administrator raise the quota."
	c.eventually("told", func() bool {
		state, err = s.State(t.Context(), req.Key)
		return err == nil && state.Reason == string(ReasonQuotaExceeded)
	})
	assert.Equal(t, waits, state.Message)
	assert.True(t, apierrors.IsNotFound(c.get("jupyter-alice", &appsv1.Deployment{})), "nobody else tries")
	counts.rest(t)
	counts.take()
	time.Sleep(12 * time.Second)
	writes, reads := counts.take()
	assert.Empty(t, writes, "to wait writes nothing")
	assert.GreaterOrEqual(t, reads[aboutPods], 1, "it is asked for")
	assert.LessOrEqual(t, reads[aboutPods], 4)

	c.hard(quota, "5")
	d := c.deployment("jupyter-alice", "s1", 1)
	pod := c.pod(d)
	c.ready(pod)
	c.phase(s, req.Key, v1alpha1.NotebookReady)

	// It is preempted, and then others have its place.
	c.podStatus(pod, func(s *corev1.PodStatus) {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "PreemptionByScheduler", LastTransitionTime: metav1.Now()})
		s.Phase = corev1.PodFailed
	})
	const taken = "The server's Pod was taken away: a Pod of higher priority needed its place on its node (preemption; its own priority is 7)."
	nb := c.notebook("jupyter-alice", func(nb *v1alpha1.JupyterNotebook) bool {
		return apimeta.IsStatusConditionTrue(nb.Status.Conditions, ConditionPodTaken)
	})
	assert.Equal(t, "Preempted", apimeta.FindStatusCondition(nb.Status.Conditions, ConditionPodTaken).Reason)
	assert.Equal(t, taken+" The server is being created.", nb.Status.Message)
	c.end(pod)
	c.hard(quota, "0")
	c.replicaFailure(d, `pods "jupyter-alice-1" is forbidden: exceeded quota: team, requested: pods=1, used: pods=0, limited: pods=0`)
	nb = c.notebook("jupyter-alice", func(nb *v1alpha1.JupyterNotebook) bool { return nb.Status.Reason == string(ReasonQuotaExceeded) })
	assert.Equal(t, v1alpha1.NotebookPending, nb.Status.Phase, "it has not failed: the Hub would forget it")
	assert.Equal(t, taken+" "+waits, nb.Status.Message)
	assert.Empty(t, d.Annotations[v1alpha1.AnnotationTriedAgain])
	generation := d.Generation
	c.hard(quota, "5")
	c.eventually("the ReplicaSet is made to try again", func() bool { return c.get(d.Name, d) == nil && d.Annotations[v1alpha1.AnnotationTriedAgain] != "" })
	assert.Greater(t, d.Generation, generation)
	assert.Nil(t, madeAs(d), "what was made is known")
	c.replicaFailure(d, "")
	pod = c.pod(d)
	c.ready(pod)
	c.phase(s, req.Key, v1alpha1.NotebookReady)
	nb = c.notebook("jupyter-alice", func(nb *v1alpha1.JupyterNotebook) bool {
		return apimeta.IsStatusConditionFalse(nb.Status.Conditions, ConditionPodTaken)
	})
	assert.Equal(t, taken, apimeta.FindStatusCondition(nb.Status.Conditions, ConditionPodTaken).Message, "of the last time")
	assert.Equal(t, "The server answers.", nb.Status.Message)
}

// TestAServerThatNeverFits is refused before anything is made, by field and bound; one that was asked for in
// another way is told so, and starts once it fits.
func TestAServerThatNeverFits(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	limits := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "limits"}}
	limits.Spec.Limits = []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")}}}
	require.NoError(t, c.client.Create(t.Context(), limits))
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	var err error
	c.eventually("the API server minds it", func() bool {
		err = c.client.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "probe"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "probe", Image: "probe", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}},
		}}}}, client.DryRunAll)
		return err != nil
	})
	_, err = s.Start(t.Context(), req)
	var unfit *UnfitError
	require.ErrorAs(t, err, &unfit)
	assert.Equal(t, "memory", unfit.Resource)
	assert.True(t, unfit.TooMuch)
	assert.Contains(t, unfit.Clause, "a LimitRange of its namespace does not allow it: memory for each Container has to be at most 512Mi, and the limit is ")
	assert.True(t, apierrors.IsNotFound(c.get("jupyter-alice", &v1alpha1.JupyterNotebook{})))

	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "n1"}, Spec: v1alpha1.JupyterNotebookSpec{Template: &v1alpha1.PodTemplate{}}}
	nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "i", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Gi")}}}}
	require.NoError(t, c.client.Create(t.Context(), nb))
	now := c.notebook("n1", inPhase(v1alpha1.NotebookFailed))
	assert.Equal(t, string(ReasonPodRefused), now.Status.Reason)
	assert.Equal(t, "The cluster refuses the server's Pod: a LimitRange of its namespace does not allow it: memory for each Container has to be at most 512Mi, and the limit is 2Gi. "+
		"Choose another size, or ask an administrator.", now.Status.Message)
	assert.True(t, apierrors.IsNotFound(c.get("n1", &appsv1.Deployment{})))
	require.NoError(t, c.client.Delete(t.Context(), limits))
	c.deployment("n1", "", 1)
}

// TestAServerWithASidecar: a webhook changes Deployment, Service and Pod, and nobody repairs that.
func TestAServerWithASidecar(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	webhooks.Mutate(t, c.client, c.namespace, "", "pods", func() *corev1.Pod { return &corev1.Pod{} }, webhooks.Sidecar)
	webhooks.Mutate(t, c.client, c.namespace, "apps", "deployments", func() *appsv1.Deployment { return &appsv1.Deployment{} }, func(d *appsv1.Deployment) {
		metav1.SetMetaDataAnnotation(&d.ObjectMeta, "mesh.example.org/seen", time.Now().String()) // another one each time
		metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, "mesh.example.org/inject", "true")
		d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "mesh.example.org/node", Operator: corev1.TolerationOpExists}}
	})
	webhooks.Mutate(t, c.client, c.namespace, "", "services", func() *corev1.Service { return &corev1.Service{} }, func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP // ours has none
	})
	webhooks.Minded(t, c.client, c.namespace)
	counts := counted(c)
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment("jupyter-alice", "s1", 1)
	assert.Equal(t, "true", d.Spec.Template.Annotations["mesh.example.org/inject"])
	pod := c.pod(d)
	require.Equal(t, "mesh", pod.Spec.Containers[0].Name)
	c.podStatus(pod, func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.ContainerStatuses = []corev1.ContainerStatus{{Name: "mesh", Image: "i", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}, {Name: "notebook", Image: "i", Ready: true}}
	})
	c.eventually("told", func() bool {
		state, err := s.State(t.Context(), req.Key)
		return err == nil && state.Message == "The server is ready, but the container mesh of its Pod is not."
	})
	c.ready(pod)
	c.phase(s, req.Key, v1alpha1.NotebookReady)
	counts.rest(t)
	counts.take()
	nb, svc := &v1alpha1.JupyterNotebook{}, &corev1.Service{}
	require.NoError(t, c.get("jupyter-alice", svc))
	assert.Equal(t, corev1.ServiceAffinityClientIP, svc.Spec.SessionAffinity)
	generation := d.Generation
	for range 3 { // everybody looks again
		change(c, "jupyter-alice", nb, func(nb *v1alpha1.JupyterNotebook) {
			metav1.SetMetaDataAnnotation(&nb.ObjectMeta, "test/looked", time.Now().String())
		})
		change(c, pod.Name, pod, func(p *corev1.Pod) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, "test/looked", time.Now().String()) })
		time.Sleep(time.Second)
	}
	writes, _ := counts.take()
	assert.Empty(t, writes, "nobody has changed anything of theirs")
	require.NoError(t, c.get("jupyter-alice", d))
	assert.Equal(t, generation, d.Generation, "no roll")

	// What somebody edits is taken back once, and the webhook's is in it again.
	change(c, "jupyter-alice", d, func(d *appsv1.Deployment) { d.Spec.Paused = true })
	c.eventually("taken back", func() bool { return c.get("jupyter-alice", d) == nil && !d.Spec.Paused })
	counts.rest(t)
	counts.take()
	change(c, pod.Name, pod, func(p *corev1.Pod) { metav1.SetMetaDataAnnotation(&p.ObjectMeta, "test/looked", "again") })
	time.Sleep(time.Second)
	writes, _ = counts.take()
	assert.Empty(t, writes)
}

// TestAWebhookThatRefusesAServer is quoted, with whatever status code it refuses.
func TestAWebhookThatRefusesAServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	webhooks.Refuse(t, c.client, c.namespace, "apps", "deployments", http.StatusConflict, "no servers on Sundays")
	c.eventually("the API server asks", func() bool {
		probe := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "probe"}}
		probe.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		probe.Spec.Template.Labels = probe.Spec.Selector.MatchLabels
		probe.Spec.Template.Spec.Containers = []corev1.Container{{Name: "probe", Image: "probe"}}
		return c.client.Create(t.Context(), probe, client.DryRunAll) != nil
	})
	counts := counted(c)
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	state := c.phase(s, req.Key, v1alpha1.NotebookFailed)
	assert.Equal(t, "The cluster refuses the server's Deployment: the cluster's admission webhook "+webhooks.Name+" does not allow it: no servers on Sundays.", state.Message)
	time.Sleep(time.Second)
	assert.LessOrEqual(t, counts.of("POST deployments"), 2, "it is not tried without end")
}

// TestTakenAwayIsTold in the status of a server whose Pod is made anew, and only of the present start.
func TestTakenAwayIsTold(t *testing.T) {
	evicted := func(o *observed) {
		o.pods[0].Status.Phase, o.pods[0].Status.Reason = corev1.PodFailed, "Evicted"
		o.pods[0].Status.Message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container notebook was using 3Gi, request is 1Gi, has larger consumption of memory. "
		o.pods[0].Spec.NodeName = "n1"
	}
	const why = "The server's Pod was taken away: the node n1 ran short of memory (50Mi were left, and it keeps 100Mi free). Its container notebook used 3Gi and had asked for 1Gi."
	o := starting(evicted)
	status, _ := decide(o)
	assert.Equal(t, why+" The server is being created.", status.Message)
	taken := apimeta.FindStatusCondition(status.Conditions, ConditionPodTaken)
	require.NotNil(t, taken)
	assert.Equal(t, "NodePressure", taken.Reason)

	ready := o.pods[0].DeepCopy()
	ready.Name, ready.UID, ready.Status = "jupyter-alice-1-3", types.UID("next"), corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	ready.CreationTimestamp = metav1.NewTime(noon)
	o.notebook.Status, o.pods, o.now = status, append(o.pods, *ready), noon.Add(time.Minute)
	status, _ = decide(o)
	assert.Equal(t, "The server answers.", status.Message)
	taken = apimeta.FindStatusCondition(status.Conditions, ConditionPodTaken)
	assert.Equal(t, metav1.ConditionFalse, taken.Status)
	assert.Equal(t, why, taken.Message)

	o.notebook.Status = status
	o.pods[1].Status.Conditions[0].Status = corev1.ConditionFalse // it has nothing to do with the Pod of then
	status, _ = decide(o)
	assert.Equal(t, "The server is starting.", status.Message)

	o = starting(evicted, func(o *observed) { o.pods[0].Annotations[v1alpha1.AnnotationStart] = "s0" })
	status, _ = decide(o)
	assert.Nil(t, apimeta.FindStatusCondition(status.Conditions, ConditionPodTaken))
}
