package kernels

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/gateways"
	"github.com/elastichub/elastichub/kernels/internal/kerneltest"
	"github.com/elastichub/elastichub/kernels/lifecycle"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/namespaces"
)

// startWatching looks after a team's namespace beside the release's own.
func startWatching(t *testing.T) (c *cluster, team kerneltest.Namespace) {
	t.Helper()
	team = kerneltest.NewNamespace(t)
	c = startCluster(t, func(cfg *Config) {
		scope, err := namespaces.New(cfg.Namespace, []string{team.Name})
		require.NoError(t, err)
		api, err := client.New(kerneltest.APIServer(t), client.Options{Scheme: kerneltest.Scheme})
		require.NoError(t, err)
		cfg.ClusterCapacity, cfg.Scope = false, scope
		cfg.Owner = namespaces.NewOwner(scope, api, api, time.Now)
	})
	return c, team
}

func teamNotebook(gateway, namespace string) *v1alpha1.JupyterNotebook {
	nb := &v1alpha1.JupyterNotebook{}
	nb.Name, nb.Spec.User, nb.Spec.Gateway = "nb", "ann", &corev1.ObjectReference{Name: gateway, Namespace: namespace}
	nb.Spec.KernelOptions = &v1alpha1.KernelOptions{Policies: []string{"research"}}
	return nb
}

// teamKernel is as a gateway makes it for that notebook.
func teamKernel(gatewayNamespace string) *v1alpha1.JupyterKernel {
	k := kerneltest.Kernel("8a2f5c5e-0000-4000-8000-000000000001", "shared", "python-cpu", func(k *v1alpha1.JupyterKernel) {
		k.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy}
		k.Spec.Notebook, k.Spec.GatewayNamespace = "nb", gatewayNamespace
	})
	return k
}

// TestAGatewayServesTheNamespacesThatItNames: the kernel of a team's notebook is in the
// team's namespace, of the gateway's kernelspec, under the release's policy; another of the
// same id is another.
func TestAGatewayServesTheNamespacesThatItNames(t *testing.T) {
	c, team := startWatching(t)
	policy := kerneltest.Policy("research", func(k *v1alpha1.PolicyKernels) { k.Allowed = []string{"python-cpu"} })
	policy.Spec.Env = []v1alpha1.PolicyEnv{{Name: "OF_POLICY", Value: "yes"}}
	c.create(policy, kerneltest.GPUSpec("python-cpu", 0))
	gw := c.gateway("shared", func(gw *v1alpha1.JupyterGateway) { gw.Spec.AllowedNamespaces = []string{team.Name, "is-not-there"} })
	team.Make(teamNotebook("shared", c.namespace))
	k := teamKernel(c.namespace)
	team.Make(k)
	c.create(kerneltest.Kernel(k.Name, "shared", "python-cpu"))

	pod := &corev1.Pod{}
	c.eventually("Pod beside its notebook", func() bool { return team.Find(podspec.PodName(k.Name, 1), pod) })
	assert.Equal(t, "gpu:test", podspec.KernelContainer(&pod.Spec).Image)
	assert.Contains(t, podspec.KernelContainer(&pod.Spec).Env, corev1.EnvVar{Name: "OF_POLICY", Value: "yes"})
	c.eventually("its Secret", func() bool { return team.Find(pod.Name, &corev1.Secret{}) })
	own := c.pod(k.Name, 1)
	assert.NotEqual(t, pod.UID, own.UID)

	name := "elastichub:" + c.namespace + ":shared"
	var role rbacv1.Role
	var binding rbacv1.RoleBinding
	require.True(t, team.Find(name, &role))
	require.True(t, team.Find(name, &binding))
	assert.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: "shared-gateway", Namespace: c.namespace}}, binding.Subjects)
	for _, rule := range role.Rules {
		assert.Equal(t, []string{"kubeflow.tkestack.io"}, rule.APIGroups, "no Secrets, no Pods")
	}
	var d appsv1.Deployment
	c.eventually("the gateway is told", func() bool {
		return c.get("shared", &d) && envOf(&d)["ELASTICHUB_GATEWAY_ALSO_SERVES"] == team.Name
	})
	assert.NotContains(t, envOf(&d), "ELASTICHUB_GATEWAY_POLICY_NAMESPACE")
	require.True(t, c.get("shared", gw))
	served := meta.FindStatusCondition(gw.Status.Conditions, gateways.ConditionNamespacesServed)
	require.NotNil(t, served)
	assert.Equal(t, "is-not-there: watchNamespaces of the release in "+c.namespace+" does not name it", served.Message)

	require.NoError(t, c.api.Delete(t.Context(), &role))
	c.eventually("the Role comes back", func() bool { return team.Find(name, &rbacv1.Role{}) })
	require.NoError(t, c.api.Delete(t.Context(), gw))
	c.eventually("no right is left", func() bool { return !team.Find(name, &rbacv1.Role{}) && !team.Find(name, &rbacv1.RoleBinding{}) })
	c.eventually("nor a kernel", func() bool {
		return !team.Find(k.Name, &v1alpha1.JupyterKernel{}) && !team.Find(pod.Name, &corev1.Pod{})
	})
}

func envOf(d *appsv1.Deployment) map[string]string {
	env := map[string]string{}
	for _, v := range d.Spec.Template.Spec.Containers[0].Env {
		env[v.Name] = v.Value
	}
	return env
}

// TestAGatewayServesNoOtherNamespace: a kernel that says so all the same gets no Pod until
// the gateway names its namespace.
func TestAGatewayServesNoOtherNamespace(t *testing.T) {
	c, team := startWatching(t)
	c.create(kerneltest.GPUSpec("python-cpu", 0))
	gw := c.gateway("shared")
	nb := teamNotebook("shared", c.namespace)
	nb.Spec.KernelOptions = nil
	team.Make(nb)
	k := teamKernel(c.namespace)
	team.Make(k)
	c.eventually("told", func() bool {
		if !team.Find(k.Name, k) {
			return false
		}
		resolved := meta.FindStatusCondition(k.Status.Conditions, lifecycle.ConditionResolved)
		return resolved != nil && resolved.Status == "False" && assert.Contains(t, resolved.Message, "its spec.allowedNamespaces does not name "+team.Name)
	})
	assert.False(t, team.Find(podspec.PodName(k.Name, 1), &corev1.Pod{}))
	require.True(t, c.get("shared", gw))
	before := gw.DeepCopy()
	gw.Spec.AllowedNamespaces = []string{team.Name}
	require.NoError(t, c.api.Patch(t.Context(), gw, client.MergeFrom(before)))
	c.eventually("Pod", func() bool { return team.Find(podspec.PodName(k.Name, 1), &corev1.Pod{}) })
}

// TestAGatewayOfATeamReadsTheReleasesPolicies: in another namespace than the release.
func TestAGatewayOfATeamReadsTheReleasesPolicies(t *testing.T) {
	c, team := startWatching(t)
	gw := &v1alpha1.JupyterGateway{}
	gw.Name = "theirs"
	team.Make(gw)
	var d appsv1.Deployment
	c.eventually("Deployment", func() bool { return team.Find("theirs", &d) })
	assert.Equal(t, c.namespace, envOf(&d)["ELASTICHUB_GATEWAY_POLICY_NAMESPACE"])
	var role rbacv1.Role
	require.True(t, c.get("elastichub:"+team.Name+":theirs", &role))
	assert.Equal(t, []rbacv1.PolicyRule{{
		APIGroups: []string{"kubeflow.tkestack.io"}, Resources: []string{"grouppolicies"}, Verbs: []string{"get", "list", "watch"},
	}}, role.Rules)
}

// TestTwoReleasesDoNotLookAfterOneNamespace: the first has it, the other leaves it alone,
// and a gateway says why it does not serve it.
func TestTwoReleasesDoNotLookAfterOneNamespace(t *testing.T) {
	c, team := startWatching(t)
	c.create(kerneltest.GPUSpec("python-cpu", 0))
	gw := &v1alpha1.JupyterGateway{}
	gw.Name = "theirs"
	team.Make(gw)
	c.eventually("the first serves", func() bool { return team.Find("theirs", &appsv1.Deployment{}) })

	second := startCluster(t, func(cfg *Config) {
		scope, err := namespaces.New(cfg.Namespace, []string{team.Name})
		require.NoError(t, err)
		cfg.ClusterCapacity, cfg.Scope = false, scope
		cfg.Owner = namespaces.NewOwner(scope, team.Client, team.Client, time.Now)
	})
	shared := second.gateway("shared", func(gw *v1alpha1.JupyterGateway) { gw.Spec.AllowedNamespaces = []string{team.Name} })
	second.eventually("it says whose the namespace is", func() bool {
		if !second.get("shared", shared) {
			return false
		}
		served := meta.FindStatusCondition(shared.Status.Conditions, gateways.ConditionNamespacesServed)
		return served != nil && served.Status == "False" && served.Message == team.Name+": the release of the namespace "+c.namespace+" looks after it"
	})
	c.stop() // else the first would repair it
	require.NoError(t, team.Delete(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: team.Name, Name: "theirs"}}))
	other := &v1alpha1.JupyterGateway{}
	other.Name = "other"
	team.Make(other)
	second.create(&v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: second.namespace, Name: "later"}})
	second.eventually("the second works on", func() bool { return second.get("later", &appsv1.Deployment{}) })
	assert.False(t, team.Find("theirs", &appsv1.Deployment{}))
	assert.False(t, team.Find("other", &appsv1.Deployment{}))
}
