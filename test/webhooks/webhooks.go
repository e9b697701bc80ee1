// Package webhooks runs admission webhooks for tests: real servers that a real API server asks. What they
// concern is in one namespace.
package webhooks

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	registration "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Name is what the API server calls each of them in what it says.
const Name = "hook.test.elastichub.io"

// timeoutSeconds is how long the API server waits for one.
const timeoutSeconds = 1

// rule is about creations and changes of a resource of a group.
func rule(group, resource string) []registration.RuleWithOperations {
	return []registration.RuleWithOperations{{
		Operations: []registration.OperationType{registration.Create, registration.Update},
		Rule:       registration.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}}
}

// serve answers reviews until the test ends, or end is called.
func serve(t testing.TB, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) (config registration.WebhookClientConfig, end func()) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		review.Response = answer(review.Request)
		review.Response.UID, review.Request = review.Request.UID, nil
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	return registration.WebhookClientConfig{
		URL: ptr.To(server.URL + "/"), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}, server.Close
}

// install has the API server ask from now on, until the test ends.
func install(t testing.TB, api client.Client, config client.Object) {
	t.Helper()
	require.NoError(t, api.Create(t.Context(), config))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = api.Delete(ctx, config)
	})
}

func here(namespace string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
}

// Mutate changes resources of a group in a namespace when they are made, and those of others than Pods
// when they are changed, too. The API server minds it a moment later.
func Mutate[T client.Object](t testing.TB, api client.Client, namespace, group, resource string, made func() T, change func(T)) {
	t.Helper()
	MutateLabelled(t, api, namespace, nil, group, resource, made, change)
}

// MutateLabelled is Mutate of those alone that have all of these labels.
func MutateLabelled[T client.Object](t testing.TB, api client.Client, namespace string, labels map[string]string, group, resource string, made func() T, change func(T)) {
	t.Helper()
	config, _ := serve(t, func(req *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		object := made()
		if err := json.Unmarshal(req.Object.Raw, object); err != nil {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: err.Error()}}
		}
		change(object)
		changed, err := json.Marshal(object)
		var members map[string]json.RawMessage
		if err == nil {
			err = json.Unmarshal(changed, &members)
		}
		var patch []map[string]any
		for _, member := range []string{"metadata", "spec"} {
			patch = append(patch, map[string]any{"op": "replace", "path": "/" + member, "value": members[member]})
		}
		text, err2 := json.Marshal(patch)
		if err != nil || err2 != nil {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "not encoded"}}
		}
		return &admissionv1.AdmissionResponse{Allowed: true, Patch: text, PatchType: ptr.To(admissionv1.PatchTypeJSONPatch)}
	})
	rules := rule(group, resource)
	if resource == "pods" { // most of them cannot be changed
		rules[0].Operations = []registration.OperationType{registration.Create}
	}
	install(t, api, &registration.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + resource}, Webhooks: []registration.MutatingWebhook{{
		Name: Name, ClientConfig: config, Rules: rules, NamespaceSelector: here(namespace), AdmissionReviewVersions: []string{"v1"},
		ObjectSelector: &metav1.LabelSelector{MatchLabels: labels},
		SideEffects:    ptr.To(registration.SideEffectClassNone), FailurePolicy: ptr.To(registration.Fail), TimeoutSeconds: ptr.To[int32](timeoutSeconds),
	}}})
}

// Refuse says no to new resources of a group in a namespace, with a status code and words.
func Refuse(t testing.TB, api client.Client, namespace, group, resource string, code int32, why string) {
	t.Helper()
	config, _ := serve(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		result := &metav1.Status{Code: code, Message: why}
		if code == http.StatusConflict {
			result.Reason = metav1.StatusReasonConflict
		}
		return &admissionv1.AdmissionResponse{Result: result}
	})
	validate(t, api, namespace, group, resource, config)
}

// Away is a webhook for new resources of a group in a namespace that is not there, or hangs, until back is
// called.
func Away(t testing.TB, api client.Client, namespace, group, resource string, hangs bool) (back func()) {
	t.Helper()
	config, end := serve(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		time.Sleep(2 * timeoutSeconds * time.Second)
		return &admissionv1.AdmissionResponse{Allowed: true}
	})
	if !hangs {
		end()
	}
	made := validate(t, api, namespace, group, resource, config)
	return func() {
		t.Helper()
		require.NoError(t, api.Delete(t.Context(), made))
	}
}

func validate(t testing.TB, api client.Client, namespace, group, resource string, config registration.WebhookClientConfig) client.Object {
	t.Helper()
	rules := rule(group, resource)
	rules[0].Operations = []registration.OperationType{registration.Create}
	made := &registration.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + resource}, Webhooks: []registration.ValidatingWebhook{{
		Name: Name, ClientConfig: config, Rules: rules, NamespaceSelector: here(namespace), AdmissionReviewVersions: []string{"v1"},
		SideEffects: ptr.To(registration.SideEffectClassNone), FailurePolicy: ptr.To(registration.Fail), TimeoutSeconds: ptr.To[int32](timeoutSeconds),
	}}}
	install(t, api, made)
	return made
}

// Sidecar puts what a service mesh puts into a Pod: an init container, a container before all others with
// resources of its own, a label, an annotation, a toleration, a variable; and it has all others run
// their images from a mirror.
func Sidecar(pod *corev1.Pod) {
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Labels["mesh.example.org/tls"], pod.Annotations["mesh.example.org/status"] = "on", `{"containers":["mesh"]}`
	restricted := func(name string) corev1.Container {
		return corev1.Container{Name: name, Image: "mesh.example.org/" + name, SecurityContext: &corev1.SecurityContext{
			RunAsNonRoot: ptr.To(true), AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		c.Image = "mirror.example.org/" + c.Image
		c.Env = append(c.Env, corev1.EnvVar{Name: "MESH", Value: "on"})
	}
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, restricted("mesh-init"))
	pod.Spec.Containers = append([]corev1.Container{restricted("mesh")}, pod.Spec.Containers...)
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: "mesh.example.org/node", Operator: corev1.TolerationOpExists})
}

// Minded waits until the API server asks: until a Pod that is tried, and not made, is no longer taken as it is.
func Minded(t testing.TB, api client.Client, namespace string) {
	t.Helper()
	require.Eventually(t, func() bool {
		probe := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probe"}}
		probe.Spec.Containers = []corev1.Container{{Name: "probe", Image: "probe"}}
		return api.Create(t.Context(), probe, client.DryRunAll) != nil || len(probe.Spec.Containers) > 1
	}, time.Minute, 50*time.Millisecond)
}
