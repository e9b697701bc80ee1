package backup_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/backup"
	"github.com/elastichub/elastichub/test/apiserver"
)

func kernelSpec(namespace, name string) *v1alpha1.JupyterKernelSpec {
	ks := &v1alpha1.JupyterKernelSpec{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	ks.Spec.Language, ks.Spec.DisplayName, ks.Spec.Image = "python", name, "image"
	return ks
}

// TestRestore: the namespace is made, nothing that is there is changed unless that is asked for,
// and what the cluster's kinds do not take is refused alone, with the reason.
func TestRestore(t *testing.T) {
	_, api := apiserver.Start(t)
	ctx := t.Context()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "lent"}}
	require.NoError(t, api.Create(ctx, ns))
	require.NoError(t, api.Create(ctx, kernelSpec("lent", "changed")))
	going := kernelSpec("lent", "going")
	going.Finalizers = []string{"example.org/stays"}
	require.NoError(t, api.Create(ctx, going))
	require.NoError(t, api.Delete(ctx, going))
	nb := &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: "lent", Name: "nb"}}
	nb.Spec.Gateway = &corev1.ObjectReference{Name: "gw"}
	nb.Spec.Auth = &v1alpha1.JupyterAuth{Token: ptr("t0psecret")}
	require.NoError(t, api.Create(ctx, nb))
	k := &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Namespace: "lent", Name: "queued", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: v1alpha1.GroupVersion.String(), Kind: "JupyterNotebook", Name: "nb", UID: nb.UID},
	}}}
	k.Spec = v1alpha1.JupyterKernelCRDSpec{Gateway: "gw", KernelSpec: "changed", Notebook: "nb", User: "ann", Run: 1}
	require.NoError(t, api.Create(ctx, k))
	ended := k.DeepCopy()
	ended.Name, ended.ResourceVersion, ended.Spec.Shutdown = "ended", "", &v1alpha1.KernelShutdown{}
	require.NoError(t, api.Create(ctx, ended))

	contents, err := backup.Collect(ctx, api, backup.Wanted{Namespaces: []string{"lent"}})
	require.NoError(t, err)
	var archive bytes.Buffer
	require.NoError(t, backup.Write(&archive, contents, "test", time.Now()))
	contents, err = backup.Read(&archive)
	require.NoError(t, err)
	var names []string
	for _, o := range contents.Objects {
		names = append(names, o.GetName())
		assert.Empty(t, o.GetOwnerReferences())
		assert.Empty(t, o.GetUID())
		assert.NotContains(t, o.Object, "status")
	}
	assert.Equal(t, []string{"changed", "nb", "queued"}, names, "what is going is not in it")
	_, has, _ := unstructured.NestedString(contents.Objects[1].Object, "spec", "auth", "token")
	assert.False(t, has)
	assert.Equal(t, "{}", contents.Objects[2].GetAnnotations()[v1alpha1.AnnotationRestoreAs])

	// another namespace, which is made; its objects are those of the archive
	for _, o := range contents.Objects {
		o.SetNamespace("other")
	}
	contents.Manifest.Namespaces = []string{"other"}
	restore := func(options backup.Options) map[string]backup.Restored {
		t.Helper()
		report, err := backup.Restore(ctx, api, contents, options)
		require.NoError(t, err)
		all := map[string]backup.Restored{}
		for _, o := range report.Objects {
			all[o.Name] = o
		}
		return all
	}
	dry := restore(backup.Options{DryRun: true})
	require.True(t, isGone(t, api, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}))
	assert.Equal(t, dry, restore(backup.Options{}))
	for name, o := range restore(backup.Options{}) {
		assert.Equal(t, backup.There, o.Outcome, name)
	}

	there := kernelSpec("other", "changed")
	require.NoError(t, api.Get(ctx, client.ObjectKeyFromObject(there), there))
	there.Spec.DisplayName, there.Labels = "of today", map[string]string{"of": "others"}
	require.NoError(t, api.Update(ctx, there))
	assert.Equal(t, "another than in the archive", restore(backup.Options{})["changed"].Why)
	assert.Equal(t, backup.Overwritten, restore(backup.Options{Overwrite: true, DryRun: true})["changed"].Outcome)
	require.NoError(t, api.Get(ctx, client.ObjectKeyFromObject(there), there))
	assert.Equal(t, "of today", there.Spec.DisplayName)
	assert.Equal(t, backup.Overwritten, restore(backup.Options{Overwrite: true})["changed"].Outcome)
	require.NoError(t, api.Get(ctx, client.ObjectKeyFromObject(there), there))
	assert.Equal(t, "changed", there.Spec.DisplayName)
	assert.Equal(t, map[string]string{"of": "others"}, there.Labels)

	// of a newer schema: that object alone is refused, and the reason names the field
	newer := contents.Objects[0].DeepCopy()
	newer.SetName("newer")
	require.NoError(t, unstructured.SetNestedField(newer.Object, "x", "spec", "ofALaterRelease"))
	contents.Objects = append([]*unstructured.Unstructured{newer}, contents.Objects...)
	refused := restore(backup.Options{})
	assert.Equal(t, backup.Refused, refused["newer"].Outcome)
	assert.Contains(t, refused["newer"].Why, `unknown field "spec.ofALaterRelease"`)
	assert.Equal(t, backup.There, refused["changed"].Outcome)

	// a kind that this cluster has not: nothing is written
	unknown := contents.Objects[0].DeepCopy()
	unknown.SetAPIVersion("kubeflow.tkestack.io/v9")
	unknown.SetName("unknown")
	contents.Objects = append(contents.Objects, unknown)
	report, err := backup.Restore(ctx, api, contents, backup.Options{Overwrite: true})
	require.ErrorIs(t, err, backup.ErrNoKind)
	require.ErrorContains(t, err, "elastichub crds apply")
	assert.Empty(t, report.Objects)
}

// TestWhoseStaticHomesAreIsKept: what notes them is in an archive, and one that is there by now is
// left as it is.
func TestWhoseStaticHomesAreIsKept(t *testing.T) {
	_, api := apiserver.Start(t)
	ctx := t.Context()
	require.NoError(t, api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shared"}}))
	note := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "home-ann", Labels: map[string]string{v1alpha1.LabelStaticHome: "homes"}, Annotations: map[string]string{v1alpha1.AnnotationHubUser: "17@2026-01-02T03:04:05Z"}},
		Data:       map[string]string{"claim": "homes", "subPath": "ann"},
	}
	require.NoError(t, api.Create(ctx, note))
	require.NoError(t, api.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shared", Name: "others"}}))
	contents, err := backup.Collect(ctx, api, backup.Wanted{Namespaces: []string{"shared"}})
	require.NoError(t, err)
	require.Len(t, contents.Objects, 1)

	note.Annotations[v1alpha1.AnnotationHubUser] = "18@2026-01-02T03:04:05Z"
	require.NoError(t, api.Update(ctx, note))
	report, err := backup.Restore(ctx, api, contents, backup.Options{})
	require.NoError(t, err)
	assert.Equal(t, backup.There, report.Objects[0].Outcome, report.Objects[0].Why)
	require.NoError(t, api.Delete(ctx, note))
	report, err = backup.Restore(ctx, api, contents, backup.Options{})
	require.NoError(t, err)
	assert.Equal(t, backup.Created, report.Objects[0].Outcome, report.Objects[0].Why)
	require.NoError(t, api.Get(ctx, client.ObjectKeyFromObject(note), note))
	assert.Equal(t, "17@2026-01-02T03:04:05Z", note.Annotations[v1alpha1.AnnotationHubUser])
	assert.Equal(t, "ann", note.Data["subPath"])
}

func isGone(t *testing.T, api client.Client, o client.Object) bool {
	t.Helper()
	err := api.Get(t.Context(), client.ObjectKeyFromObject(o), o)
	require.NoError(t, client.IgnoreNotFound(err))
	return err != nil
}

func ptr(s string) *string { return &s }
