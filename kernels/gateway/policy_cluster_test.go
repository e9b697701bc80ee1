package gateway

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/helm"
	"github.com/elastichub/elastichub/tracing"
)

// limitGateways applies the chart's admission policy, as a release in the site's
// namespace has it, and waits until the API server follows it.
func (s *site) limitGateways() {
	s.t.Helper()
	out, err := helm.Run(s.t, "template", "elastichub", "../../charts/elastichub", "--namespace", s.namespace, "--kube-version", "1.34",
		"--values", "../../charts/elastichub/testdata/smallest.yaml", "--show-only", "templates/admissionpolicy.yaml")
	require.NoError(s.t, err, out)
	for text := range strings.SplitSeq(out, "\n---\n") {
		o := &unstructured.Unstructured{}
		require.NoError(s.t, yaml.UnmarshalStrict([]byte(text), &o.Object))
		s.create(o)
		s.t.Cleanup(func() { _ = s.api.Delete(context.Background(), o) })
	}
	foreign := s.honest("nobody's")
	foreign.Spec.Gateway = "other"
	require.Eventually(s.t, func() bool {
		err := s.account().Create(s.t.Context(), foreign.DeepCopy(), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy")
	}, 30*time.Second, 100*time.Millisecond, "the policy is never in force")
}

// account is the API server as whoever has the gateway's account meets it.
func (s *site) account() client.Client {
	s.t.Helper()
	config := rest.CopyConfig(apiServer.rest)
	config.Impersonate = rest.ImpersonationConfig{UserName: s.user(), Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: s.api.Scheme()})
	require.NoError(s.t, err)
	return c
}

// honest is a kernel of the site's notebook as its gateway makes it.
func (s *site) honest(name string) *v1alpha1.JupyterKernel {
	gw, ks := &v1alpha1.JupyterGateway{ObjectMeta: s.meta("gw")}, &v1alpha1.JupyterKernelSpec{ObjectMeta: s.meta("python-gpu")}
	k := newKernel(gw, ks, Identity{User: "alice", HubUserID: "7", Notebook: "nb", NotebookUID: "c9b8", Policies: []string{"p"}},
		wishes{kernelID: uuid.NewString(), workingDir: "/home/jovyan", env: []corev1.EnvVar{{Name: "KERNEL_A", Value: name}}})
	return k
}

// TestWhatAStolenGatewayCannotWrite: everything that its account could use against
// others, tried with the account itself.
func TestWhatAStolenGatewayCannotWrite(t *testing.T) {
	s := newSite(t)
	thief := s.account()
	for name, change := range map[string]func(k *v1alpha1.JupyterKernel){
		"a template that mounts the signing seed": func(k *v1alpha1.JupyterKernel) {
			k.Spec.KernelSpec = ""
			k.Spec.Template = &v1alpha1.PodTemplate{}
			k.Spec.Template.Spec = corev1.PodSpec{
				Containers: []corev1.Container{{Name: "c", Image: "i"}},
				Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "elastichub-signing"}}}},
			}
		},
		"an empty template": func(k *v1alpha1.JupyterKernel) { k.Spec.Template = &v1alpha1.PodTemplate{} },
		"a variable from a Secret": func(k *v1alpha1.JupyterKernel) {
			k.Spec.Env = append(k.Spec.Env, corev1.EnvVar{Name: "KERNEL_S", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "elastichub-signing"}, Key: "seed"}}})
		},
		"a variable from a ConfigMap": func(k *v1alpha1.JupyterKernel) {
			k.Spec.Env = []corev1.EnvVar{{Name: "KERNEL_S", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "k"}}}}
		},
		"a variable from its Pod": func(k *v1alpha1.JupyterKernel) {
			k.Spec.Env[0] = corev1.EnvVar{Name: "KERNEL_S", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}}
		},
		"another gateway's kernel":    func(k *v1alpha1.JupyterKernel) { k.Spec.Gateway = "other" },
		"a kernel of no gateway":      func(k *v1alpha1.JupyterKernel) { k.Spec.Gateway = "" },
		"one that passes for kubectl": func(k *v1alpha1.JupyterKernel) { delete(k.Labels, v1alpha1.LabelManagedBy) },
		"no labels at all":            func(k *v1alpha1.JupyterKernel) { k.Labels = nil },
		"one that outlives its notebook": func(k *v1alpha1.JupyterKernel) {
			k.OwnerReferences = nil
		},
		"one that belongs to another notebook": func(k *v1alpha1.JupyterKernel) { k.OwnerReferences[0].Name = "nb2" },
		"one that belongs to a Secret":         func(k *v1alpha1.JupyterKernel) { k.OwnerReferences[0].Kind = "Secret" },
		"one that cannot be removed":           func(k *v1alpha1.JupyterKernel) { k.Finalizers = []string{"example.org/for-ever"} },
		"an annotation of the controllers":     func(k *v1alpha1.JupyterKernel) { k.Annotations = map[string]string{v1alpha1.AnnotationPolicies: "[]"} },
	} {
		k := s.honest(name)
		change(k)
		err := thief.Create(t.Context(), k)
		assert.True(t, refusedByPolicy(err), "%s: %v", name, err)
	}
	// Fields that this release's kind does not have must not be opened by the next one's.
	for field, value := range map[string]any{"queuePriority": 1, "queueMove": map[string]any{"by": "root"}, "park": map[string]any{"force": true}, "shutdown": map[string]any{"by": "x"}} {
		require.NoError(t, s.tryUnknown(thief, field, value))
	}

	k := s.honest("kept")
	require.NoError(t, thief.Create(t.Context(), k), "the gateway's own work")
	other := s.honest("other's")
	other.Spec.Gateway = "other"
	require.NoError(t, s.api.Create(t.Context(), other), "an administrator's")
	for name, patch := range map[string]string{
		"the user":             `{"spec":{"user":"bob"}}`,
		"no user":              `{"spec":{"user":null}}`,
		"the policies":         `{"spec":{"policies":["everything"]}}`,
		"no policies":          `{"spec":{"policies":null}}`,
		"no idle time":         `{"spec":{"idleTimeoutSeconds":0}}`,
		"the notebook":         `{"spec":{"notebook":"nb2"}}`,
		"the gateway":          `{"spec":{"gateway":"other"}}`,
		"a template":           `{"spec":{"template":{"spec":{"containers":[{"name":"c"}]}}}}`,
		"a Secret":             `{"spec":{"env":[{"name":"KERNEL_S","valueFrom":{"secretKeyRef":{"name":"elastichub-signing","key":"seed"}}}]}}`,
		"the label":            `{"metadata":{"labels":{"app.kubernetes.io/managed-by":null}}}`,
		"whose it is":          `{"metadata":{"labels":{"elastichub.io/hub-user-id":"8"}}}`,
		"its owners":           `{"metadata":{"ownerReferences":null}}`,
		"a finalizer":          `{"metadata":{"finalizers":["example.org/for-ever"]}}`,
		"a foreign annotation": `{"metadata":{"annotations":{"elastichub.io/policies":"[]"}}}`,
		"a place in the queue": `{"spec":{"queuePriority":1}}`,
		"why it has the place": `{"spec":{"queueMove":{"run":1,"by":"root"}}}`,
		"the user, with a run": `{"spec":{"run":2,"user":"bob"}}`,
	} {
		err := thief.Patch(t.Context(), k.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch)))
		// Whose a kernel is, the kind itself does not let anybody change.
		assert.True(t, refusedByPolicy(err) || apierrors.IsInvalid(err), "%s: %v", name, err)
	}
	assert.True(t, refusedByPolicy(thief.Patch(t.Context(), other.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"run":2}}`)))), "another gateway's kernel is not woken")
	assert.True(t, refusedByPolicy(thief.Delete(t.Context(), other.DeepCopy())), "nor removed")
	var secret corev1.Secret
	assert.True(t, apierrors.IsForbidden(thief.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "elastichub-signing"}, &secret)))

	// With rights that an administrator adds by spec.clusterRole the policy still holds.
	s.create(&rbacv1.Role{ObjectMeta: s.meta("more"), Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"jupyterkernels/status"}, Verbs: []string{"*"}}}})
	s.create(&rbacv1.RoleBinding{ObjectMeta: s.meta("more"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "more"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: s.user(), APIGroup: rbacv1.GroupName}}})
	require.Eventually(t, func() bool {
		err := thief.Status().Patch(t.Context(), k.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"status":{"phase":"Ready"}}`)))
		return err != nil && strings.Contains(err.Error(), "belongs to the controllers")
	}, 10*time.Second, 100*time.Millisecond, "the status is not its to write")
}

// refusedByPolicy: not by the schema, and not for want of a right.
func refusedByPolicy(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy")
}

// tryUnknown creates a kernel with a field that the kind may not have yet: what the
// API server keeps of it must not be more than nothing.
func (s *site) tryUnknown(c client.Client, field string, value any) error {
	k := s.honest(field)
	o := &unstructured.Unstructured{Object: map[string]any{}}
	raw, err := yaml.Marshal(k)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(raw, &o.Object); err != nil {
		return err
	}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("JupyterKernel"))
	if err := unstructured.SetNestedField(o.Object, normal(value), "spec", field); err != nil {
		return err
	}
	err = c.Create(s.t.Context(), o)
	if refusedByPolicy(err) {
		return nil // the kind has the field
	}
	_, kept, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", field)
	assert.False(s.t, kept, "%s was kept", field)
	return err
}

func normal(value any) any {
	if n, is := value.(int); is {
		return int64(n)
	}
	return value
}

// TestAGatewayMayDoItsWork: what it writes is what the policy lets through.
func TestAGatewayMayDoItsWork(t *testing.T) {
	s := newSite(t)
	gateway := s.account()
	ofNotebook, ofClient := s.honest("1"), newKernel(
		&v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Name: "gw", Namespace: s.namespace, UID: "a7"}},
		&v1alpha1.JupyterKernelSpec{ObjectMeta: s.meta("python-gpu")}, Identity{User: "batch"}, wishes{})
	ctx := tracing.WithRequest(t.Context(), "a-request")
	for _, k := range []*v1alpha1.JupyterKernel{ofNotebook, ofClient} {
		store := &store{namespace: s.namespace, gateway: "gw", api: gateway, cache: s.api, now: time.Now, unseen: map[types.NamespacedName]unseen{}, perUser: 10, resting: newResting(time.Now)}
		require.NoError(t, store.create(ctx, Identity{User: k.Spec.User}, k))
		assert.Equal(t, "a-request", k.Annotations[v1alpha1.AnnotationRequest], "the policy lets it through")
		require.NoError(t, gateway.Patch(t.Context(), k.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"elastichub.io/traceparent":"00-1-2-01"}}}`))))
		require.NoError(t, gateway.Get(t.Context(), client.ObjectKeyFromObject(k), k))
		require.NoError(t, store.wake(ctx, k))
		require.NoError(t, store.interrupted(t.Context(), k, time.Now()))
		require.NoError(t, store.interrupted(t.Context(), k, time.Now()), "again")
		require.NoError(t, store.pageOpen(t.Context(), k, time.Now()))
		for _, patch := range []string{
			`{"spec":{"kernelSpec":"python-cpu","run":2}}`, `{"spec":{"env":[{"name":"KERNEL_B","value":"2"}],"workingDir":"/home/jovyan/b"}}`,
			`{"spec":{"env":null}}`, `{"metadata":{"annotations":{"elastichub.io/snooze-until":"2026-01-01T00:00:00Z"}}}`,
			`{"metadata":{"annotations":{"elastichub.io/snooze-until":null}}}`,
			`{"spec":{"session":{"id":"1"},"park":{"run":1},"shutdown":{"by":"x"}}}`,
		} {
			require.NoError(t, gateway.Patch(t.Context(), k.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch))), patch)
		}
		require.NoError(t, store.remove(t.Context(), k))
	}
	var found admissionv1.ValidatingAdmissionPolicy
	require.NoError(t, s.api.Get(t.Context(), client.ObjectKey{Name: s.namespace + "-elastichub-gateways"}, &found))
	if checked := found.Status.TypeChecking; checked != nil {
		assert.Empty(t, checked.ExpressionWarnings)
	}
}
