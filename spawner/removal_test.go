package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestWhatARemovalDoes(t *testing.T) {
	t.Parallel()
	const forAll = "claim-{username}"
	for _, row := range []struct {
		template, of, removed string
		onRemoval             string
		want                  claimRemoval
	}{
		{"", "", "", "", removalDeletes},
		{"", "", "", v1alpha1.HomeKeep, removalKeeps},
		{"", "", "", v1alpha1.HomeDelete, removalDeletes},
		{"", "one", "one", "", removalDeletes},
		{"", "one", "one", v1alpha1.HomeKeep, removalKeeps},
		{"", "one", "two", v1alpha1.HomeDelete, removalOthers},
		{"", "one", "", v1alpha1.HomeDelete, removalKeeps}, // "one" has a removal of its own
		{forAll, "", "", "", removalKeeps},
		{forAll, "", "", v1alpha1.HomeKeep, removalKeeps},
		{forAll, "", "", v1alpha1.HomeDelete, removalDeletes},
		{forAll, "one", "one", v1alpha1.HomeDelete, removalOthers}, // the user stays
	} {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy},
			Annotations: map[string]string{v1alpha1.AnnotationClaimTemplate: row.template, v1alpha1.LabelHubServername: row.of},
		}}
		k := Key{User: "alice", Server: row.removed}
		assert.Equal(t, row.want, removalOf(claim, k, row.onRemoval), "%+v", row)
		claim.Labels = nil
		assert.NotEqual(t, removalDeletes, removalOf(claim, k, row.onRemoval), "one that others made: %+v", row)
	}
}

func TestThePolicySaysWhatARemovalDoesToAHome(t *testing.T) {
	c, s := people(t)
	start := func(user string, who HubUser, start, template, onRemoval string) {
		req := testRequest(user, "", start)
		req.HubUser, req.Storage.Home.Claim, req.Storage.Home.OnRemoval = who, template, onRemoval
		_, err := s.Start(t.Context(), req)
		require.NoError(t, err)
		c.home("jupyter-"+user, start)
	}
	claimSays := func(name, want string) {
		c.eventually(name+" says "+want, func() bool {
			var claim corev1.PersistentVolumeClaim
			return c.get(name, &claim) == nil && claim.Annotations[v1alpha1.AnnotationOnRemoval] == want
		})
	}
	gone := func(name string) bool {
		var claim corev1.PersistentVolumeClaim
		err := c.get(name, &claim)
		return apierrors.IsNotFound(err) || err == nil && claim.DeletionTimestamp != nil
	}
	alice, bob, carol := hubUser(17), hubUser(18), hubUser(19)

	start("alice", alice, "s1", "claim-{username}", "")
	start("alice", alice, "s2", "claim-{username}", v1alpha1.HomeDelete)
	claimSays("claim-alice", v1alpha1.HomeDelete)
	require.NoError(t, s.Remove(t.Context(), Key{User: "alice", HubUser: alice}))
	assert.True(t, gone("claim-alice"))

	start("bob", bob, "s1", "", v1alpha1.HomeKeep)
	claimSays("home-jupyter-bob", v1alpha1.HomeKeep)
	// With kubectl: the claim alone knows.
	require.NoError(t, c.client.Delete(t.Context(), &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "jupyter-bob"}}))
	require.NoError(t, s.Remove(t.Context(), Key{User: "bob", HubUser: bob}))
	var claim corev1.PersistentVolumeClaim
	require.NoError(t, c.get("home-jupyter-bob", &claim))
	assert.Nil(t, claim.DeletionTimestamp)
	assert.NotEmpty(t, claim.Annotations[v1alpha1.AnnotationOwnerLeft])

	start("carol", carol, "s1", "", v1alpha1.HomeKeep)
	claimSays("home-jupyter-carol", v1alpha1.HomeKeep)
	start("carol", carol, "s2", "", "")
	claimSays("home-jupyter-carol", "")
	require.NoError(t, s.Remove(t.Context(), Key{User: "carol", HubUser: carol}))
	assert.True(t, gone("home-jupyter-carol"))
}
