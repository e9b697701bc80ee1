package policystatus

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/internal/policytest"
	"github.com/elastichub/elastichub/health/healthtest"
	"github.com/elastichub/elastichub/namespaces"
	"github.com/elastichub/elastichub/test/apiserver"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

func TestRealAPIServer(t *testing.T) {
	config, c := apiserver.Start(t)
	t.Run("schema", func(t *testing.T) { schemaRefuses(t, c) })
	t.Run("examples", func(t *testing.T) { examplesAreAccepted(t, c) })
	t.Run("controller", func(t *testing.T) { statusIsWritten(t, config, c) })
}

// schemaRefuses holds the same policies against the CRD's schema that
// groups.ValidatePolicy is tested with.
func schemaRefuses(t *testing.T, c client.Client) {
	for i, row := range policytest.Rows() {
		t.Run(row.Name, func(t *testing.T) {
			p := policytest.Policy(fmt.Sprintf("p%d", i), 0, "a")
			p.Namespace = "default"
			row.Spoil(&p.Spec)
			err := c.Create(t.Context(), &p)
			if !row.Schema {
				assert.NoError(t, err, "the schema has become stricter: say so in the table")
				return
			}
			require.True(t, apierrors.IsInvalid(err), "%v", err)
			// For a reason that ValidatePolicy has too.
			var paths []string
			for _, cause := range err.(apierrors.APIStatus).Status().Details.Causes {
				paths = append(paths, cause.Field)
			}
			found := false
			for _, fault := range groups.ValidatePolicy(p) {
				found = found || touches(paths, fault.Field)
			}
			assert.True(t, found, "%v", paths)
		})
	}
}

// touches reports whether one path is the other, or lies within it.
func touches(paths []string, want string) bool {
	for _, p := range paths {
		if p == "<nil>" { // rules that were not tried after these faults
			continue
		}
		if p == want || strings.HasPrefix(want, p) && p != "spec" || strings.HasPrefix(p, want) || p == "spec" && want == "spec.groups" {
			return true
		}
	}
	return false
}

// examplesAreAccepted keeps examples/policies usable as they are.
func examplesAreAccepted(t *testing.T, c client.Client) {
	files, err := filepath.Glob(filepath.Join("..", "..", "examples", "policies", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for i, document := range strings.Split(string(text), "\n---\n") {
			var p v1alpha1.GroupPolicy
			require.NoError(t, v1alpha1.UnmarshalStrict([]byte(document), &p), "%s %d", file, i)
			assert.Empty(t, groups.ValidatePolicy(p), "%s %s", file, p.Name)
			p.Namespace = "default"
			assert.NoError(t, c.Create(t.Context(), &p), "%s %s", file, p.Name)
		}
	}
}

func statusIsWritten(t *testing.T, config *rest.Config, c client.Client) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "policies-"}}
	require.NoError(t, c.Create(t.Context(), namespace))
	apiserver.Run(t, config, c.Scheme(), namespace.Name, func(mgr ctrl.Manager) error {
		return SetupWithManager(mgr, namespaces.Only(namespace.Name))
	})

	p := policytest.Policy("research", 0, "a")
	p.Namespace, p.Spec.ServersPerUser = namespace.Name, 2
	require.NoError(t, c.Create(t.Context(), &p))
	read := func() v1alpha1.GroupPolicyStatus {
		require.NoError(t, c.Get(t.Context(), client.ObjectKeyFromObject(&p), &p))
		return p.Status
	}
	until := func(what string, is func(v1alpha1.GroupPolicyStatus) bool) {
		t.Helper()
		require.Eventually(t, func() bool { return is(read()) }, time.Minute, 20*time.Millisecond, what)
	}
	until("valid", func(s v1alpha1.GroupPolicyStatus) bool {
		return meta.IsStatusConditionTrue(s.Conditions, "Valid") && s.ObservedGeneration == p.Generation
	})
	judged := func() string { return healthtest.Judged(t, c, "../../docs", "GroupPolicy", namespace.Name, "research") }
	assert.Equal(t, "Current Healthy", judged())
	// What others write stays.
	p.Status.GPUs, p.Status.Queued = 3, 4
	require.NoError(t, c.Status().Update(t.Context(), &p))

	make := func(name, user string) *v1alpha1.JupyterNotebook {
		nb := &v1alpha1.JupyterNotebook{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: name},
			Spec: v1alpha1.JupyterNotebookSpec{User: user, Template: &v1alpha1.PodTemplate{},
				KernelOptions: &v1alpha1.KernelOptions{Policies: []string{"research", "staff"}}},
		}
		require.NoError(t, c.Create(t.Context(), nb))
		return nb
	}
	first := make("n1", "alice")
	make("n2", "alice")
	make("n3", "bob")
	until("counted", func(s v1alpha1.GroupPolicyStatus) bool { return s.Servers == 3 && s.Users == 2 && s.UsersAtLimit == 1 })
	assert.EqualValues(t, 3, read().GPUs)
	assert.EqualValues(t, 4, read().Queued)
	first.Spec.Stopped = true
	require.NoError(t, c.Update(t.Context(), first))
	until("a stopped one does not count", func(s v1alpha1.GroupPolicyStatus) bool { return s.Servers == 2 && s.UsersAtLimit == 0 })
	require.NoError(t, c.DeleteAllOf(t.Context(), &v1alpha1.JupyterNotebook{}, client.InNamespace(namespace.Name)))
	until("none", func(s v1alpha1.GroupPolicyStatus) bool { return s.Servers == 0 && s.Users == 0 })

	// A fault that the schema lets through.
	p.Spec.CPU.Default = new(resource.MustParse("1500m"))
	p.Spec.Groups = []string{"cn=a,b"}
	require.NoError(t, c.Update(t.Context(), &p))
	until("invalid", func(s v1alpha1.GroupPolicyStatus) bool { return meta.IsStatusConditionFalse(s.Conditions, "Valid") })
	assert.Equal(t, "Failed Degraded", judged())
	assert.EventuallyWithT(t, func(check *assert.CollectT) {
		assert.Equal(check, []string{v1alpha1.ReasonPolicyValid, v1alpha1.ReasonPolicyInvalid + "!"}, healthtest.Told(t, c, &p))
	}, 30*time.Second, 50*time.Millisecond)
	said := meta.FindStatusCondition(read().Conditions, "Valid").Message
	assert.Contains(t, said, "spec.groups[0]")
	assert.Contains(t, said, "spec.cpu.default")

	// One older than the schema: numbers that a client had as text.
	raw := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "GroupPolicy",
		"metadata": map[string]any{"name": "numbers", "namespace": namespace.Name},
		"spec": map[string]any{
			"default": true, "cpu": map[string]any{"min": int64(1), "max": int64(4)}, "memory": map[string]any{"min": "1Gi", "max": int64(8 << 30)},
			"images": []any{map[string]any{"id": "a", "image": "i"}},
		},
	}}
	assert.NoError(t, c.Create(t.Context(), raw), "quantities may be numbers")
	raw.SetName("wrong")
	raw.SetResourceVersion("")
	require.NoError(t, unstructured.SetNestedField(raw.Object, int64(5), "spec", "cpu", "min"))
	assert.True(t, apierrors.IsInvalid(c.Create(t.Context(), raw)))
}

func TestStatusOfManyFaults(t *testing.T) {
	var faults field.ErrorList
	for i := range 3000 {
		faults = append(faults, field.Invalid(field.NewPath("spec").Index(i), "й", "no"))
	}
	s := status(&v1alpha1.GroupPolicy{}, nil, faults, time.Unix(1, 0))
	assert.LessOrEqual(t, len(s.Conditions[0].Message), maxMessage)
	assert.True(t, strings.HasSuffix(s.Conditions[0].Message, " …"))
}
