package kernels

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/gateways"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/skew"
)

func TestGatewayObjects(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	c.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}})
	gw := c.gateway("gw", func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.Image = "ghcr.io/skai-x/enterprise-gateway:2.6.0"
		gw.Spec.Kernels = []string{"absent"}
		gw.Spec.LogLevel = ptr.To[v1alpha1.LogLevel]("WARNING")
		gw.Spec.ClusterRole = ptr.To(c.namespace)
		gw.Spec.Auth = &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{{
			Name: "bench", TokenSecretRef: corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "bench-token"}, Key: "token"},
		}}}
	})
	var d appsv1.Deployment
	c.eventually("Deployment", func() bool { return c.get("gw", &d) })
	container := d.Spec.Template.Spec.Containers[0]
	assert.Equal(t, "elastichub:test", container.Image)
	assert.Equal(t, []string{"gateway"}, container.Args)
	env := map[string]string{}
	for _, e := range container.Env {
		env[e.Name] = e.Value
	}
	assert.Equal(t, map[string]string{
		"ELASTICHUB_GATEWAY_NAME": "gw", "ELASTICHUB_GATEWAY_NAMESPACE": c.namespace,
		"ELASTICHUB_GATEWAY_KEY_FILE":              "/etc/elastichub/gateway/key",
		"ELASTICHUB_GATEWAY_TOKEN_PUBLIC_KEY_FILE": "/etc/elastichub/tokens/public-key",
		"ELASTICHUB_GATEWAY_CLIENTS_DIR":           "/etc/elastichub/clients",
		"ELASTICHUB_GATEWAY_LISTEN":                ":8888", "ELASTICHUB_GATEWAY_METRICS_LISTEN": ":9090", "ELASTICHUB_LOG_LEVEL": "warn",
		"ELASTICHUB_GATEWAY_SERVICE_VERSION": skew.Release(),
		"GOMEMLIMIT":                         "966367638", // nine tenths of 1 GiB
	}, env)
	assert.Equal(t, int32(1), *d.Spec.Replicas)
	restricted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "restricted-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	require.NoError(t, c.api.Create(c.ctx, restricted))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "gw", Namespace: restricted.Name}, Spec: *d.Spec.Template.Spec.DeepCopy()}
	require.NoError(t, c.api.Create(c.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: pod.Spec.ServiceAccountName, Namespace: restricted.Name}}))
	require.NoError(t, c.api.Create(c.ctx, pod, client.DryRunAll), "Pod Security")
	var svc corev1.Service
	c.eventually("Service", func() bool { return c.get("gw", &svc) })
	assert.Equal(t, int32(8888), svc.Spec.Ports[0].Port)
	assert.Equal(t, d.Spec.Selector.MatchLabels, svc.Spec.Selector)
	var role rbacv1.Role
	require.True(t, c.get("gw-gateway", &role))
	assert.Equal(t, []rbacv1.PolicyRule{
		{APIGroups: []string{"kubeflow.tkestack.io"}, Resources: []string{"jupyternotebooks", "jupyterkernelspecs", "jupytergateways", "grouppolicies"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"kubeflow.tkestack.io"}, Resources: []string{"jupyterkernels"}, Verbs: []string{"get", "list", "watch", "create", "patch", "delete"}},
	}, role.Rules, "and nothing else, Secrets least of all")
	var binding, extra rbacv1.RoleBinding
	require.True(t, c.get("gw-gateway", &binding))
	assert.Equal(t, rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "gw-gateway"}, binding.RoleRef)
	require.True(t, c.get("gw-gateway-extra", &extra))
	assert.Equal(t, c.namespace, extra.RoleRef.Name)
	for _, o := range []client.Object{&d, &svc, &role, &binding, &extra} {
		assert.True(t, metav1.IsControlledBy(o, gw), "%T", o)
	}

	// kubectl rollout restart
	c.eventually("restart written", func() bool {
		require.True(t, c.get("gw", &d))
		metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, "kubectl.kubernetes.io/restartedAt", "2026-01-02T03:04:05Z")
		return c.api.Update(c.ctx, &d) == nil
	})

	condition := func(kind string, status metav1.ConditionStatus) func() bool {
		return func() bool {
			require.True(t, c.get("gw", gw))
			return meta.IsStatusConditionPresentAndEqual(gw.Status.Conditions, kind, status)
		}
	}
	c.eventually("replaced", condition(gateways.ConditionImageReplaced, metav1.ConditionTrue))
	c.eventually("missing", condition(gateways.ConditionKernelSpecMissing, metav1.ConditionTrue))
	c.eventually("token", condition(gateways.ConditionClientTokenMissing, metav1.ConditionTrue))
	c.eventually("not ready", condition(gateways.ConditionReady, metav1.ConditionFalse))
	assert.Equal(t, "http://gw."+c.namespace+".svc:8888", gw.Status.URL)

	// a kernelspec that comes later
	c.create(kerneltest.GPUSpec("absent", 0))
	c.eventually("found", func() bool {
		return c.get("gw", gw) && meta.FindStatusCondition(gw.Status.Conditions, gateways.ConditionKernelSpecMissing) == nil
	})

	// drift is reverted, also where nothing is wanted
	d.Spec.Replicas = ptr.To[int32](5)
	d.Spec.Template.Spec.HostNetwork = true
	d.Spec.Template.Spec.Containers[0].Env = append(d.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{Name: "X", Value: "y"})
	require.True(t, c.get("gw", &appsv1.Deployment{}))
	c.eventually("update", func() bool {
		var latest appsv1.Deployment
		require.True(t, c.get("gw", &latest))
		latest.Spec = *d.Spec.DeepCopy()
		return c.api.Update(t.Context(), &latest) == nil
	})
	c.eventually("revert", func() bool {
		return c.get("gw", &d) && *d.Spec.Replicas == 1 && !d.Spec.Template.Spec.HostNetwork && len(d.Spec.Template.Spec.Containers[0].Env) == len(env)
	})
	role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}})
	require.NoError(t, c.api.Update(t.Context(), &role))
	c.eventually("role reverted", func() bool { return c.get("gw-gateway", &role) && len(role.Rules) == 2 })
	require.NoError(t, c.api.Delete(t.Context(), &svc))
	c.eventually("Service again", func() bool { return c.get("gw", &svc) })

	// changes are followed; the key is not touched
	key, err := podspec.ReadGatewayKey(t.Context(), c.api, c.namespace, "gw")
	require.NoError(t, err)
	require.True(t, c.get("gw", gw))
	before := gw.DeepCopy()
	gw.Spec.Replicas, gw.Spec.Image, gw.Spec.ClusterRole = ptr.To[int32](2), "mirror/elastichub:2", nil
	require.NoError(t, c.api.Patch(t.Context(), gw, client.MergeFrom(before)))
	c.eventually("follows", func() bool {
		return c.get("gw", &d) && *d.Spec.Replicas == 2 && d.Spec.Template.Spec.Containers[0].Image == "mirror/elastichub:2" &&
			d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] == "2026-01-02T03:04:05Z" // a restart is not undone
	})
	c.gone(&extra)
	c.eventually("no replacement", func() bool {
		return c.get("gw", gw) && meta.FindStatusCondition(gw.Status.Conditions, gateways.ConditionImageReplaced) == nil
	})
	after, err := podspec.ReadGatewayKey(t.Context(), c.api, c.namespace, "gw")
	require.NoError(t, err)
	assert.Equal(t, key, after)

	// status follows the Deployment, and then nothing more is written
	d.Status.ReadyReplicas, d.Status.Replicas = 2, 2
	c.eventually("status", func() bool {
		require.True(t, c.get("gw", &d))
		d.Status.Replicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = 2, 2, 2
		return c.api.Status().Update(t.Context(), &d) == nil
	})
	c.eventually("ready", condition(gateways.ConditionReady, metav1.ConditionTrue))
	assert.Equal(t, int32(2), gw.Status.ReadyReplicas)
	version := gw.ResourceVersion
	c.create(kerneltest.GPUSpec("another", 0)) // makes the gateway reconcile
	var ks v1alpha1.JupyterKernelSpec
	c.eventually("kernelspec", func() bool {
		return c.get("another", &ks) && meta.IsStatusConditionTrue(ks.Status.Conditions, gateways.ConditionReady)
	})
	require.True(t, c.get("gw", gw))
	assert.Equal(t, version, gw.ResourceVersion)
}

func TestGatewayTakesNothingFromOthers(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	theirs := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "gw"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}}}
	c.create(theirs)
	c.gateway("gw")
	var gw v1alpha1.JupyterGateway
	c.eventually("said", func() bool {
		return c.get("gw", &gw) && meta.IsStatusConditionTrue(gw.Status.Conditions, gateways.ConditionNameTaken)
	})
	require.True(t, c.get("gw", theirs))
	assert.Equal(t, int32(1), theirs.Spec.Ports[0].Port)
}

func TestKernelSpecConditions(t *testing.T) {
	c := startCluster(t, func(cfg *Config) { cfg.ClusterCapacity = false })
	ks := kerneltest.GPUSpec("eg", 0)
	ks.Spec.Template = &corev1.ObjectReference{Name: "tmpl", Namespace: c.namespace}
	ks.Spec.Command = []string{"kubeflow-launcher", "--RemoteProcessProxy.kernel-id", "{kernel_id}"}
	foreign := kerneltest.GPUSpec("foreign", 0)
	foreign.Spec.Template = &corev1.ObjectReference{Name: "tmpl", Namespace: "elsewhere"}
	c.create(ks, foreign)
	is := func(name, kind string, status metav1.ConditionStatus, reason string) func() bool {
		return func() bool {
			var ks v1alpha1.JupyterKernelSpec
			require.True(t, c.get(name, &ks))
			cond := meta.FindStatusCondition(ks.Status.Conditions, kind)
			return cond != nil && cond.Status == status && cond.Reason == reason
		}
	}
	c.eventually("template missing", is("eg", gateways.ConditionReady, metav1.ConditionFalse, "TemplateMissing"))
	c.eventually("launcher", is("eg", gateways.ConditionCommandReplaced, metav1.ConditionTrue, "EnterpriseGatewayLauncher"))
	c.eventually("foreign", is("foreign", gateways.ConditionReady, metav1.ConditionFalse, "Invalid"))
	c.create(&v1alpha1.JupyterKernelTemplate{ObjectMeta: metav1.ObjectMeta{Name: "tmpl"}})
	c.eventually("template found", is("eg", gateways.ConditionReady, metav1.ConditionTrue, "Usable"))
}

// TestGatewaysAreGivenTheMetricsToken: by a Secret that may come later, and only if one is named.
func TestGatewaysAreGivenTheMetricsToken(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "metrics-token"} {
		c := startCluster(t, func(cfg *Config) { cfg.MetricsToken = secret })
		c.gateway("gw", func(*v1alpha1.JupyterGateway) {})
		var d appsv1.Deployment
		c.eventually("Deployment", func() bool { return c.get("gw", &d) })
		pod := d.Spec.Template.Spec
		var file, dir string
		for _, e := range pod.Containers[0].Env {
			if e.Name == "ELASTICHUB_GATEWAY_METRICS_TOKEN_FILE" {
				file = e.Value
			}
		}
		for _, v := range pod.Volumes {
			if v.Secret == nil || v.Secret.SecretName != "metrics-token" {
				continue
			}
			assert.True(t, *v.Secret.Optional, "kernels come first")
			assert.Equal(t, []corev1.KeyToPath{{Key: "token", Path: "token"}}, v.Secret.Items)
			for _, m := range pod.Containers[0].VolumeMounts {
				if m.Name == v.Name {
					dir = m.MountPath
				}
			}
		}
		if secret == "" {
			assert.Equal(t, [2]string{}, [2]string{file, dir})
			continue
		}
		require.NotEmpty(t, dir)
		assert.Equal(t, dir+"/token", file)
	}
}

// TestGatewaysArePulledWithTheServicesSecrets: their image is the service's, wherever that is.
func TestGatewaysArePulledWithTheServicesSecrets(t *testing.T) {
	t.Parallel()
	c := startCluster(t, func(cfg *Config) { cfg.PullSecrets = []string{"registry"} })
	c.gateway("gw")
	var d appsv1.Deployment
	c.eventually("Deployment", func() bool { return c.get("gw", &d) })
	assert.Equal(t, []corev1.LocalObjectReference{{Name: "registry"}}, d.Spec.Template.Spec.ImagePullSecrets)
}

// TestAClientsPolicyThatIsMissingIsTold: by each name, for as long as there is none.
func TestAClientsPolicyThatIsMissingIsTold(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	policy := func(name string) *v1alpha1.GroupPolicy {
		one := resource.MustParse("1")
		return &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GroupPolicySpec{
			Groups: []string{"g"}, CPU: v1alpha1.ResourceRange{Min: one, Max: one}, Memory: v1alpha1.ResourceRange{Min: one, Max: one},
			Images: []v1alpha1.ImageChannel{{ID: "a", Image: "x"}},
		}}
	}
	c.create(policy("there"), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "token"}, Data: map[string][]byte{"token": []byte("0123456789abcdef")}}) // else it is looked again after a while
	secret := corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "token"}, Key: "token"}
	gw := c.gateway("gw", func(gw *v1alpha1.JupyterGateway) {
		gw.Spec.Auth = &v1alpha1.GatewayAuth{Clients: []v1alpha1.GatewayClient{
			{Name: "ci", Policies: []string{"there", "late", "never"}, TokenSecretRef: secret},
			{Name: "bench", Policies: []string{"late"}, TokenSecretRef: secret},
			{Name: "free", TokenSecretRef: secret},
		}}
	})
	told := func(message string) func() bool {
		return func() bool {
			require.True(t, c.get("gw", gw))
			found := meta.FindStatusCondition(gw.Status.Conditions, gateways.ConditionClientPolicyMissing)
			if message == "" {
				return found == nil && gw.Status.ObservedGeneration == gw.Generation
			}
			return found != nil && found.Status == metav1.ConditionTrue && found.Reason == string(gateways.ReasonNotFound) && found.Message == message
		}
	}
	c.eventually("two clients", told("GroupPolicy: late (client ci), never (client ci), late (client bench)"))
	c.create(policy("late"))
	c.eventually("one client", told("GroupPolicy: never (client ci)"))
	require.NoError(t, c.api.Delete(t.Context(), &v1alpha1.GroupPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "there"}}))
	c.eventually("another", told("GroupPolicy: there (client ci), never (client ci)"))
	before := gw.DeepCopy()
	gw.Spec.Auth.Clients[0].Policies = []string{"late"}
	require.NoError(t, c.api.Patch(t.Context(), gw, client.MergeFrom(before)))
	c.eventually("none", told(""))
}
