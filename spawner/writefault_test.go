package spawner

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/health/healthtest"
)

// refuseServices has the API server refuse new Services of the namespace, by an admission
// policy, or fail at them, by a webhook that is not there; until done is called.
func (c *cluster) refuseServices(fail bool) (done func()) {
	c.t.Helper()
	services := admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{admissionv1.Create},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"services"}},
	}
	here := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: c.namespace}}
	name := metav1.ObjectMeta{Name: c.namespace + "-services"}
	var made []client.Object
	if fail {
		none := admissionv1.SideEffectClassNone
		made = append(made, &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: name, Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "services.test.elastichub.io", ClientConfig: admissionv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")}, SideEffects: &none,
			Rules: []admissionv1.RuleWithOperations{services}, NamespaceSelector: here, AdmissionReviewVersions: []string{"v1"},
		}}})
	} else {
		made = append(made, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: name, Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: services}}},
			Validations:      []admissionv1.Validation{{Expression: "false", Message: "no more Services in this namespace"}},
		}}, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: name, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name.Name, MatchResources: &admissionv1.MatchResources{NamespaceSelector: here},
			ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		}})
	}
	for _, object := range made {
		require.NoError(c.t, c.client.Create(c.t.Context(), object))
	}
	c.eventually("Services are refused", func() bool {
		probe := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "probe"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		return c.client.Create(c.t.Context(), probe, client.DryRunAll) != nil
	})
	return func() {
		for _, object := range made {
			require.NoError(c.t, c.client.Delete(c.t.Context(), object))
		}
	}
}

// TestWhatTheClusterDoesNotTakeIsToldAndTriedAgain: before a server runs and while it does.
func TestWhatTheClusterDoesNotTakeIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		fail   bool
		phase  v1alpha1.NotebookPhase
		reason Reason
		begins string
		says   string
	}{
		"a policy refuses it": {false, v1alpha1.NotebookFailed, ReasonRefused, "The cluster refuses the server's Service: ", "no more Services in this namespace."},
		"an error":            {true, v1alpha1.NotebookPending, ReasonClusterError, "The cluster could not make the server's Service, and is asked again: ", "the cluster's admission webhook services.test.elastichub.io does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.gateway("default")
			done := c.refuseServices(row.fail)
			c.replica(true)
			nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "n1"}}
			nb.Spec.Gateway = &corev1.ObjectReference{Name: "default"}
			require.NoError(t, c.client.Create(t.Context(), nb))

			isTold := func(nb *v1alpha1.JupyterNotebook) bool { return nb.Status.Reason == string(row.reason) }
			told := c.notebook("n1", isTold)
			assert.Contains(t, told.Status.Message, row.says)
			assert.True(t, len(told.Status.Message) > len(row.begins) && told.Status.Message[:len(row.begins)] == row.begins, told.Status.Message)
			assert.Equal(t, ".", told.Status.Message[len(told.Status.Message)-1:], "a sentence")
			assert.Equal(t, row.phase, told.Status.Phase)
			ready := apimeta.FindStatusCondition(told.Status.Conditions, ConditionReady)
			require.NotNil(t, ready)
			assert.Equal(t, metav1.ConditionFalse, ready.Status)
			assert.Equal(t, string(row.reason), ready.Reason)
			time.Sleep(5 * time.Second) // two tries more
			done()
			d := c.deployment("n1", "", 1)
			assert.EventuallyWithT(t, func(check *assert.CollectT) {
				assert.ElementsMatch(check, []string{string(row.reason) + "!", "Starting"}, healthtest.Told(t, c.client, told), "told once")
			}, 30*time.Second, 50*time.Millisecond)
			c.ready(c.pod(d))
			now := c.notebook("n1", inPhase(v1alpha1.NotebookReady))
			assert.Equal(t, v1alpha1.OutcomeReady, now.Status.Progress[len(now.Status.Progress)-1].Outcome)

			done = c.refuseServices(row.fail)
			svc := &corev1.Service{}
			require.NoError(t, c.get("n1", svc))
			require.NoError(t, c.client.Delete(t.Context(), svc))
			assert.Equal(t, v1alpha1.NotebookPending, c.notebook("n1", isTold).Status.Phase, "nobody can reach it")
			require.NoError(t, c.get("n1", d))
			assert.EqualValues(t, 1, *d.Spec.Replicas, "its Pod stays")
			done()
			c.notebook("n1", inPhase(v1alpha1.NotebookReady))
			require.NoError(t, c.get("n1", svc))
		})
	}
}

// TestWriteFaults: what another pass cures says nothing to anybody.
func TestWriteFaults(t *testing.T) {
	services := schema.GroupResource{Resource: "services"}
	for name, row := range map[string]struct {
		err    error
		phase  v1alpha1.NotebookPhase
		reason Reason
	}{
		"a quota":            {apierrors.NewForbidden(services, "n1", errors.New("exceeded quota: q")), v1alpha1.NotebookFailed, ReasonRefused},
		"not valid":          {apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "n1", nil), v1alpha1.NotebookFailed, ReasonRefused},
		"no addresses left":  {apierrors.NewInternalError(errors.New("failed to allocate a serviceIP: range is full")), v1alpha1.NotebookPending, ReasonClusterError},
		"a lost race":        {apierrors.NewConflict(services, "n1", errors.New("x")), "", ""},
		"made meanwhile":     {apierrors.NewAlreadyExists(services, "n1"), "", ""},
		"too many questions": {apierrors.NewTooManyRequests("x", 1), "", ""},
		"no API server":      {errors.New("connection refused"), "", ""},
		"told already":       {pending(ReasonNameTaken, "x"), v1alpha1.NotebookPending, ReasonNameTaken},
	} {
		err := writeFault(row.err, "Service")
		var stop *stopError
		if row.phase == "" {
			assert.False(t, errors.As(err, &stop), name)
			require.ErrorIs(t, err, row.err, name)
			continue
		}
		require.ErrorAs(t, err, &stop, name)
		assert.Equal(t, row.phase, stop.phase, name)
		assert.Equal(t, row.reason, stop.reason, name)
	}
	require.NoError(t, writeFault(nil, "Service"))
}

func TestRetryAfter(t *testing.T) {
	now := time.Now()
	for since, want := range map[time.Duration]time.Duration{0: secretRetry, time.Second: secretRetry, 10 * time.Second: 10 * time.Second, time.Hour: refusedRetryMost} {
		o := starting(func(o *observed) {
			o.now, o.blocked = now, &blocked{v1alpha1.NotebookFailed, ReasonRefused, "m"}
			o.notebook.Status.Conditions = []metav1.Condition{{Type: ConditionReady, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(now.Add(-since))}}
		})
		assert.Equal(t, want, retryAfter(o), since)
	}
}
