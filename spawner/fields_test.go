package spawner

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules/podrulestest"
)

// fieldRow is an edit of one field, and what is to come of it beside what its effect says.
type fieldRow struct {
	edit func(*v1alpha1.JupyterNotebookSpec)
	then func(c *cluster, nb *v1alpha1.JupyterNotebook) bool
	// stopped: the server is stopped, started with the edit, and has a Pod with it.
	stopped bool
}

func conditionIs(kind string, status metav1.ConditionStatus, reason Reason) func(*cluster, *v1alpha1.JupyterNotebook) bool {
	return func(_ *cluster, nb *v1alpha1.JupyterNotebook) bool {
		found := apimeta.FindStatusCondition(nb.Status.Conditions, kind)
		return found != nil && found.Status == status && found.Reason == string(reason)
	}
}

func (c *cluster) claimHas(nb *v1alpha1.JupyterNotebook, size string) bool {
	var claim corev1.PersistentVolumeClaim
	return c.get(nb.HomeClaim(), &claim) == nil && claim.Spec.Resources.Requests.Storage().String() == size
}

// credential is in a Secret that the test makes.
var credential = &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "environment"}, Key: "k"}

var notebookFields = map[string]fieldRow{
	"gateway":                {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Gateway.Name = "other" }},
	"auth.mode":              {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Auth.Mode = v1alpha1.AuthDisable }},
	"auth.token":             {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Auth.Token = ptr.To("other") }},
	"auth.password":          {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Auth.Password = ptr.To("other") }},
	"auth.tokenSecretRef":    {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Auth.TokenSecretRef = credential }},
	"auth.passwordSecretRef": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Auth.PasswordSecretRef = credential }},
	"template":               {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Template.Spec.Containers[0].Image = "notebook:2" }},
	"stopped": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Stopped = true }, then: func(c *cluster, nb *v1alpha1.JupyterNotebook) bool {
		c.deployment(nb.Name, nb.Spec.Start, 0)
		return nb.Status.Phase == v1alpha1.NotebookStopping || nb.Status.Phase == v1alpha1.NotebookStopped
	}},
	"user":                   {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.User = "bob" }, stopped: true},
	"server":                 {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Server = "gpu" }, stopped: true},
	"start":                  {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Start = "s2" }},
	"sslSecret":              {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.SSLSecret = "environment" }},
	"envSecret":              {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.EnvSecret = "environment" }},
	"storage.home.claim":     {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Home.Claim = "another" }},
	"storage.home.mountPath": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Home.MountPath = "/home/other" }},
	"storage.home.static.claim": {edit: func(s *v1alpha1.JupyterNotebookSpec) {
		*s.Storage.Home = v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: s.Storage.Home.Claim, SubPath: "alice"}}
	}},
	"storage.home.static.subPath": {edit: func(s *v1alpha1.JupyterNotebookSpec) {
		*s.Storage.Home = v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: s.Storage.Home.Claim, SubPath: "homes/bob"}}
	}},
	"storage.home.size": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Home.Size = resource.MustParse("2Gi") },
		then: func(c *cluster, nb *v1alpha1.JupyterNotebook) bool { return c.claimHas(nb, "2Gi") }},
	"storage.home.storageClassName": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Home.StorageClassName = ptr.To("other") },
		then: conditionIs(ConditionHome, metav1.ConditionFalse, ReasonClaimDiffers)},
	"storage.home.accessModes": {edit: func(s *v1alpha1.JupyterNotebookSpec) {
		s.Storage.Home.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	}, then: conditionIs(ConditionHome, metav1.ConditionFalse, ReasonClaimDiffers)},
	"storage.home.onRemoval": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Home.OnRemoval = v1alpha1.HomeKeep },
		then: func(c *cluster, nb *v1alpha1.JupyterNotebook) bool {
			var claim corev1.PersistentVolumeClaim
			return c.get(nb.HomeClaim(), &claim) == nil && claim.Annotations[v1alpha1.AnnotationOnRemoval] == v1alpha1.HomeKeep
		}},
	"storage.home.labels": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Home.Labels = map[string]string{"team": "blue"} },
		then: conditionIs(ConditionHome, metav1.ConditionFalse, ReasonClaimDiffers)},
	"storage.home.annotations": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Home.Annotations = map[string]string{"team": "blue"} },
		then: conditionIs(ConditionHome, metav1.ConditionFalse, ReasonClaimDiffers)},
	"storage.home.selector": {edit: func(s *v1alpha1.JupyterNotebookSpec) {
		s.Storage.Home.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "blue"}}
	}, then: conditionIs(ConditionHome, metav1.ConditionFalse, ReasonClaimDiffers)},
	"storage.shared[].name":      {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Shared[0].Name = "other" }},
	"storage.shared[].claim":     {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Shared[0].Claim = "other" }},
	"storage.shared[].mountPath": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Shared[0].MountPath = "/other" }},
	"storage.shared[].readOnly":  {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.Storage.Shared[0].ReadOnly = true }},
	"idleStop.seconds": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.IdleStop = &v1alpha1.IdleStop{Seconds: ptr.To[int64](7200)} },
		then: func(_ *cluster, nb *v1alpha1.JupyterNotebook) bool { return nb.Status.StopCause == v1alpha1.StopIdle }},
	"idleStop.snoozeMaxSeconds": {edit: func(s *v1alpha1.JupyterNotebookSpec) {
		s.IdleStop = &v1alpha1.IdleStop{Seconds: ptr.To[int64](7200), SnoozeMaxSeconds: ptr.To[int64](60)}
	}, then: func(_ *cluster, nb *v1alpha1.JupyterNotebook) bool { return nb.Status.SnoozedSeconds == 60 }},
	"maxRunSeconds": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.MaxRunSeconds = 7200 },
		then: func(_ *cluster, nb *v1alpha1.JupyterNotebook) bool { return nb.Status.StopCause == v1alpha1.StopMaxRun }},
	"serversPerUser": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.ServersPerUser = 1 },
		then: conditionIs(ConditionReady, metav1.ConditionFalse, ReasonTooManyServers)},
	"imageChannel": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.ImageChannel = "gone" },
		then: conditionIs(ConditionImage, metav1.ConditionFalse, ReasonImageWithdrawn)},
	"serviceAccountTokens[].audience":          {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.ServiceAccountTokens[0].Audience = "bank" }},
	"serviceAccountTokens[].expirationSeconds": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.ServiceAccountTokens[0].ExpirationSeconds = 7200 }},
	"serviceAccountTokens[].path":              {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.ServiceAccountTokens[0].Path = "bank" }},
	"kernelOptions.policies": {edit: func(s *v1alpha1.JupyterNotebookSpec) {
		s.KernelOptions.Policies = append(s.KernelOptions.Policies, "more")
	}},
	"kernelOptions.groups":             {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.KernelOptions.Groups = []string{"more"} }},
	"kernelOptions.idleTimeoutSeconds": {edit: func(s *v1alpha1.JupyterNotebookSpec) { s.KernelOptions.IdleTimeoutSeconds = ptr.To[int64](9) }},
}

// fullNotebook has every field that shapes its Pod.
func fullNotebook(namespace, name string) *v1alpha1.JupyterNotebook {
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	nb.Spec = v1alpha1.JupyterNotebookSpec{
		Gateway: &corev1.ObjectReference{Name: "default"}, Auth: &v1alpha1.JupyterAuth{Mode: v1alpha1.AuthEnable, Token: ptr.To("t0ken")},
		User: "ann", Server: name, Start: "s1",
		Storage: &v1alpha1.NotebookStorage{
			Home:   &v1alpha1.HomeVolume{Claim: "home-of-" + name, Size: resource.MustParse("1Gi"), StorageClassName: ptr.To("grows")},
			Shared: []v1alpha1.SharedVolume{{Name: "data", Claim: "data", MountPath: "/data"}},
		},
		KernelOptions:        &v1alpha1.KernelOptions{Policies: []string{"lab"}},
		ServiceAccountTokens: []v1alpha1.ServiceAccountToken{{Audience: "vault", Path: "vault", ExpirationSeconds: 3600}},
		Template:             &v1alpha1.PodTemplate{},
	}
	nb.Labels = notebookLabels(name, keyOf(nb)) // or it counts among nobody's
	nb.Spec.Template.Spec.ServiceAccountName = "lab"
	nb.Spec.Template.Spec.Containers = []corev1.Container{{Name: "notebook", Image: "notebook:1"}}
	return nb
}

// TestEveryFieldOfANotebookIsLive: an edit of it does what docs/kinds.md says.
func TestEveryFieldOfANotebookIsLive(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.gateway("default")
	for _, o := range []*corev1.ServiceAccount{{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "lab", Annotations: map[string]string{
		v1alpha1.AnnotationForPolicies: "*", v1alpha1.AnnotationTokenAudiences: "vault,bank",
	}}}} {
		require.NoError(t, c.client.Create(t.Context(), o))
	}
	require.NoError(t, c.client.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "environment"}, StringData: map[string]string{"k": "other"}}))
	require.NoError(t, c.client.Create(t.Context(), &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "grows"}, Provisioner: "example.org/x", AllowVolumeExpansion: ptr.To(true)}))
	t.Cleanup(func() {
		_ = c.client.Delete(context.Background(), &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "grows"}})
	})
	c.replica(true)
	made := 0
	documented := podrulestest.Documented(t, "..", "JupyterNotebook", v1alpha1.JupyterNotebookSpec{})
	podrulestest.EachField(t, documented, notebookFields, func(t *testing.T, field string, effect podrulestest.Effect, row fieldRow) {
		c := *c
		c.t = t
		made++
		nb := fullNotebook(c.namespace, fmt.Sprintf("n%d", made))
		nb.Annotations = map[string]string{v1alpha1.AnnotationSnoozeUntil: "2100-01-01T00:00:00Z"}
		require.NoError(t, c.client.Create(t.Context(), nb))
		d := c.deployment(nb.Name, "s1", 1)
		c.bind(nb)
		pod := c.pod(d)
		c.ready(pod)
		c.notebook(nb.Name, inPhase(v1alpha1.NotebookReady))
		before := *d.Spec.Template.DeepCopy()
		if row.stopped {
			change(&c, nb.Name, nb, func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Stopped = true })
			c.deployment(nb.Name, "s1", 0)
			c.end(pod)
			c.notebook(nb.Name, inPhase(v1alpha1.NotebookStopped))
		}
		change(&c, nb.Name, nb, func(nb *v1alpha1.JupyterNotebook) {
			row.edit(&nb.Spec)
			if row.stopped {
				nb.Spec.Stopped, nb.Spec.Start = false, "s2" // the Hub's: a start of its that has ended never runs again
			}
		})
		c.notebook(nb.Name, func(nb *v1alpha1.JupyterNotebook) bool {
			return nb.Status.ObservedGeneration == nb.Generation && (row.then == nil || row.then(&c, nb))
		})
		require.NoError(t, c.get(nb.Name, d))
		switch effect {
		case podrulestest.NewPod, podrulestest.NextStart:
			c.eventually("built", func() bool { // credentials are taken out of it, which is another generation
				return c.get(nb.Name, nb) == nil && c.get(nb.Name, d) == nil && generationOf(d) == nb.Generation &&
					(effect == podrulestest.NextStart || !equality.Semantic.DeepEqual(before, d.Spec.Template))
			})
		case podrulestest.AtOnce:
			require.NotNil(t, row.then, "what is at once?")
			assert.Equal(t, before, d.Spec.Template)
		case podrulestest.NextRun, podrulestest.NewVolume, podrulestest.Never:
			assert.Equal(t, before, d.Spec.Template)
			c.notebook(nb.Name, inPhase(v1alpha1.NotebookReady))
		default:
			t.Fatalf("no such effect: %q", effect)
		}
	})
}

func generationOf(d *appsv1.Deployment) int64 {
	generation, _ := strconv.ParseInt(d.Annotations[v1alpha1.AnnotationGeneration], 10, 64)
	return generation
}

// bind has a claim bound, as the volume controller does: only then it may grow.
func (c *cluster) bind(nb *v1alpha1.JupyterNotebook) {
	c.t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	change(c, nb.HomeClaim(), claim, func(claim *corev1.PersistentVolumeClaim) { claim.Spec.VolumeName = "pv-" + nb.Name })
	claim.Status.Phase, claim.Status.Capacity = corev1.ClaimBound, claim.Spec.Resources.Requests
	require.NoError(c.t, c.client.Status().Update(c.t.Context(), claim))
}
