package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/namespaces"
)

// TestAGatewayOfAnotherNamespace is refused unless the release looks after that and the
// gateway says so; whether one that is missing would, nobody knows.
func TestAGatewayOfAnotherNamespace(t *testing.T) {
	t.Parallel()
	scheme := runtime.NewScheme()
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	gateway := func(name string, allowed ...string) *v1alpha1.JupyterGateway {
		return &v1alpha1.JupyterGateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: name}, Spec: v1alpha1.JupyterGatewaySpec{AllowedNamespaces: allowed}}
	}
	scope, err := namespaces.New("hub", []string{"shared", "team"})
	require.NoError(t, err)
	c := &controller{
		cfg:    Config{Namespace: "hub", Scope: scope},
		client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(gateway("open", "team"), gateway("closed")).Build(),
	}
	for _, row := range []struct{ namespace, name, says string }{
		{"", "own", ""},
		{"team", "own", ""},
		{"shared", "open", ""},
		{"shared", "missing", ""},
		{"shared", "closed", "spec.gateway: the JupyterGateway shared/closed does not serve the namespace team until its spec.allowedNamespaces names that."},
		{"kube-system", "open", "spec.gateway.namespace is kube-system, and the release of the namespace hub does not look after that one: its watchNamespaces does not name it, or another release does."},
	} {
		nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "nb"}}
		nb.Spec.Gateway = &corev1.ObjectReference{Namespace: row.namespace, Name: row.name}
		why, err := c.gatewayRefusal(t.Context(), nb)
		require.NoError(t, err)
		if row.says == "" {
			assert.Nil(t, why, row)
			continue
		}
		require.NotNil(t, why, row)
		assert.Equal(t, refusal{ReasonGatewayRefused, row.says}, *why)
	}
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "nb"}}
	nb.Spec.Gateway = &corev1.ObjectReference{Namespace: "shared", Name: "open"}
	assert.Equal(t, "http://open.shared.svc:8888", gatewayEnv(nb, tokenAlone(nb))[0].Value)
}
