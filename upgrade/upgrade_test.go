package upgrade

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	chart "github.com/elastichub/elastichub/charts/elastichub"
)

const ns = "lab"

// changed are the chart's definitions with some of them otherwise.
func changed(t *testing.T, otherwise map[string]string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	names, err := fs.Glob(chart.CRDs, "crds/*.yaml")
	require.NoError(t, err)
	for _, file := range names {
		as, err := chart.CRDs.ReadFile(file)
		require.NoError(t, err)
		files[file] = &fstest.MapFile{Data: as}
	}
	for name, text := range otherwise {
		require.Contains(t, files, "crds/"+name+".yaml")
		files["crds/"+name+".yaml"] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// deployment is a service's or a gateway's that has rolled out.
func deployment(t *testing.T, c client.Client, name, image string, labels map[string]string) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: image}}},
			},
		},
	}
	require.NoError(t, c.Create(t.Context(), d))
	rolledOut(t, c, d)
	return d
}

// rolledOut is what the controllers say of Deployments, of which an API server alone has none.
func rolledOut(t *testing.T, c client.Client, d *appsv1.Deployment) {
	t.Helper()
	n := *d.Spec.Replicas
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	require.NoError(t, c.Status().Update(t.Context(), d))
}

func serviceLabels(release string) map[string]string {
	return map[string]string{
		labelName: "elastichub", labelInstance: "elastichub", v1alpha1.LabelComponent: "service",
		labelVersion: release, labelChart: "elastichub-" + release,
	}
}

var gatewayLabels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentGateway}

// versions are those of all that an upgrade could touch.
func versions(t *testing.T, c client.Client) map[string]string {
	t.Helper()
	all := map[string]string{}
	for kind, list := range map[string]client.ObjectList{
		"kind": &apiextensionsv1.CustomResourceDefinitionList{}, "deployment": &appsv1.DeploymentList{}, "secret": &corev1.SecretList{},
		"gateway": &v1alpha1.JupyterGatewayList{}, "notebook": &v1alpha1.JupyterNotebookList{}, "configmap": &corev1.ConfigMapList{},
	} {
		require.NoError(t, c.List(t.Context(), list))
		var items []client.Object
		switch l := list.(type) {
		case *apiextensionsv1.CustomResourceDefinitionList:
			for i := range l.Items {
				items = append(items, &l.Items[i])
			}
		case *appsv1.DeploymentList:
			for i := range l.Items {
				items = append(items, &l.Items[i])
			}
		case *corev1.SecretList:
			for i := range l.Items {
				items = append(items, &l.Items[i])
			}
		case *corev1.ConfigMapList:
			for i := range l.Items {
				items = append(items, &l.Items[i])
			}
		case *v1alpha1.JupyterGatewayList:
			for i := range l.Items {
				items = append(items, &l.Items[i])
			}
		case *v1alpha1.JupyterNotebookList:
			for i := range l.Items {
				items = append(items, &l.Items[i])
			}
		}
		for _, o := range items {
			is := o.GetResourceVersion()
			if kind == "kind" { // the API server writes the status of these by itself
				is = fmt.Sprint(o.GetGeneration(), o.GetAnnotations())
			}
			all[kind+" "+o.GetNamespace()+"/"+o.GetName()] = is
		}
	}
	return all
}

// TestUpgradeOnAnAPIServer: what is against an upgrade is named and nothing is touched; a dry
// run writes nothing; then the kinds are applied, and the roll of somebody else is awaited.
func TestUpgradeOnAnAPIServer(t *testing.T) {
	t.Parallel()
	c, _ := apiServer(t)
	require.NoError(t, c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))
	// The kinds of before, without what the new ones bring.
	const gateways, policies = "kubeflow.tkestack.io_jupytergateways", "kubeflow.tkestack.io_grouppolicies"
	var out bytes.Buffer
	require.NoError(t, ApplyKinds(t.Context(), c, chart.CRDs, RefuseNewer, &out))
	require.NoError(t, c.Create(t.Context(), &v1alpha1.JupyterGateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "default"}, Spec: v1alpha1.JupyterGatewaySpec{Replicas: ptr.To(int32(40))},
	}))
	policy := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(`{apiVersion: kubeflow.tkestack.io/v1alpha1, kind: GroupPolicy, metadata: {namespace: default, name: elsewhere}, spec: {groups: [a], cpu: {min: 500m, max: "2"}, memory: {min: 1Gi, max: 4Gi}, images: [{id: a, displayName: A, image: registry/lab:1}]}}`), &policy.Object))
	require.NoError(t, c.Create(t.Context(), policy))
	service := deployment(t, c, "elastichub", "registry/elastichub:0.1.0", serviceLabels("0.1.0"))
	gateway := deployment(t, c, "default", "registry/elastichub:0.1.0", gatewayLabels)

	run := func(kinds fs.FS, ours string, dry bool) (string, error) {
		out.Reset()
		u := &Upgrade{API: c, Namespace: ns, Release: "elastichub", Ours: ours, Kinds: kinds, DryRun: dry, Patience: 2 * time.Minute, Out: &out}
		err := u.Run(t.Context())
		return out.String(), err
	}
	// An object that is over a new bound, one of another namespace against a new rule, and a newer kind.
	text := kindFile(t, gateways)
	smaller := otherwise(t, text, "                  Example: 2.\n                format: int32\n                maximum: 2147483647\n                minimum: 0\n                type: integer\n              resources:",
		"                  Example: 2.\n                format: int32\n                maximum: 20\n                minimum: 0\n                type: integer\n              resources:")
	rule := otherwise(t, kindFile(t, policies), "rule: (has(self.default) && self.default) || (has(self.groups) && size(self.groups)", "rule: (has(self.default) && self.default) || false && (has(self.groups) && size(self.groups)")
	const specs = "jupyterkernelspecs.kubeflow.tkestack.io"
	crd := &apiextensionsv1.CustomResourceDefinition{}
	release := func(is string) {
		require.NoError(t, c.Get(t.Context(), client.ObjectKey{Name: specs}, crd))
		patch := client.MergeFrom(crd.DeepCopy())
		crd.Annotations[v1alpha1.AnnotationRelease] = is
		require.NoError(t, c.Patch(t.Context(), crd, patch))
	}
	release("9.0.0")
	before := versions(t, c)
	said, err := run(changed(t, map[string]string{gateways: smaller, policies: rule}), "0.2.0", false)
	require.ErrorIs(t, err, ErrAgainst)
	assert.Contains(t, said, "Against the upgrade:")
	assert.Contains(t, said, "the new kind would refuse JupyterGateway lab/default: spec.replicas: Invalid value: 40: spec.replicas in body should be less than or equal to 20")
	assert.Contains(t, said, "the new kind would refuse GroupPolicy default/elsewhere: spec: Invalid value")
	assert.Contains(t, said, "the definition "+specs+" is of 9.0.0, and this is 0.2.0")
	assert.Equal(t, before, versions(t, c), "nothing is touched")
	release("0.1.0")

	// What gets a field is told.
	more := otherwise(t, text, "              logLevel:\n", "              newField:\n                type: string\n              logLevel:\n")
	before = versions(t, c)
	said, err = run(changed(t, map[string]string{gateways: more}), "0.2.0", true)
	require.NoError(t, err)
	assert.Contains(t, said, "elastichub 0.1.0 runs (elastichub-0.1.0), and this is 0.2.0.")
	assert.Contains(t, said, "Kind "+gatewaysKind+" gets spec.newField.")
	assert.Contains(t, said, "4 kinds stay as they are.")
	assert.Contains(t, said, "The 2 objects that are stored are all taken.")
	assert.Contains(t, said, "the gateways roll, too: lab/default.")
	assert.Contains(t, said, "nothing was changed")
	assert.Equal(t, before, versions(t, c), "a dry run writes nothing")

	// The kinds first; the roll is somebody else's, and awaited when this runs again.
	said, err = run(changed(t, map[string]string{gateways: more}), "0.2.0", false)
	require.NoError(t, err)
	assert.Equal(t, 6, strings.Count(said, "Kind applied: "))
	assert.Contains(t, said, "the release that runs is 0.1.0 still")
	service.Labels = serviceLabels("0.2.0")
	service.Spec.Template.Spec.Containers[0].Image = "registry/elastichub:0.2.0"
	require.NoError(t, c.Update(t.Context(), service))
	rolled := make(chan struct{})
	go func() {
		defer close(rolled)
		time.Sleep(1500 * time.Millisecond)
		rolledOut(t, c, service)
		time.Sleep(1500 * time.Millisecond)
		gateway.Spec.Template.Spec.Containers[0].Image = "registry/elastichub:0.2.0"
		assert.NoError(t, c.Update(t.Context(), gateway))
		rolledOut(t, c, gateway)
	}()
	said, err = run(chart.CRDs, "0.2.0", false)
	<-rolled
	require.NoError(t, err)
	assert.Contains(t, said, "Rolled out: service lab/elastichub\nRolled out: gateway lab/default\nelastichub 0.2.0 runs")

	gateway.Spec.Template.Spec.Containers[0].Image = "registry/elastichub:0.3.0"
	require.NoError(t, c.Update(t.Context(), gateway))
	u := &Upgrade{API: c, Namespace: ns, Release: "elastichub", Ours: "0.2.0", Kinds: chart.CRDs, Patience: time.Second, Out: &out}
	err = u.Run(t.Context())
	require.ErrorIs(t, err, ErrUnfinished)
	assert.ErrorContains(t, err, "gateway lab/default: has not been looked at yet")
	u.Release = "another"
	assert.ErrorContains(t, u.Run(t.Context()), "there is no release another of elastichub in the namespace lab")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u.Release = "elastichub"
	err = u.Run(ctx)
	require.Error(t, err)
	assert.NotErrorIs(t, err, ErrAgainst)
	assert.NotErrorIs(t, err, ErrUnfinished)
}
