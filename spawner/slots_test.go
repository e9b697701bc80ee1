package spawner

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

func TestTakenSlots(t *testing.T) {
	now := time.Unix(1000, 0)
	young, old := now.Add(-slotGrace/2), now.Add(-slotGrace)
	notebook := func(start string, change func(*v1alpha1.JupyterNotebook)) v1alpha1.JupyterNotebook {
		nb := v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: v1alpha1.JupyterNotebookSpec{Start: start}}
		if change != nil {
			change(&nb)
		}
		return nb
	}
	stopped := func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Stopped = true }
	failed := func(nb *v1alpha1.JupyterNotebook) {
		nb.Status.Phase, nb.Status.Start = v1alpha1.NotebookFailed, nb.Spec.Start
	}
	deleting := func(nb *v1alpha1.JupyterNotebook) { nb.DeletionTimestamp = &metav1.Time{Time: now} }
	for _, row := range []struct {
		name     string
		slot     *slot
		notebook []v1alpha1.JupyterNotebook
		want     bool
	}{
		{"nothing", nil, nil, false},
		{"runs without a slot", nil, []v1alpha1.JupyterNotebook{notebook("s1", nil)}, true},
		{"runs with an old slot", &slot{Start: "s1", Since: old}, []v1alpha1.JupyterNotebook{notebook("s1", nil)}, true},
		{"runs, confirmed", &slot{Start: "s1", Since: old, Confirmed: old}, []v1alpha1.JupyterNotebook{notebook("s1", nil)}, true},
		{"stopped", &slot{Start: "s1", Since: young, Confirmed: young}, []v1alpha1.JupyterNotebook{notebook("s1", stopped)}, false},
		{"stopped before it was confirmed", &slot{Start: "s1", Since: young}, []v1alpha1.JupyterNotebook{notebook("s1", stopped)}, false},
		{"failed", &slot{Start: "s1", Since: young, Confirmed: young}, []v1alpha1.JupyterNotebook{notebook("s1", failed)}, false},
		{"being deleted", &slot{Start: "s1", Since: young, Confirmed: young}, []v1alpha1.JupyterNotebook{notebook("s1", deleting)}, false},
		{"notebook still to come", &slot{Start: "s1", Since: young}, nil, true},
		{"notebook never came", &slot{Start: "s1", Since: old}, nil, false},
		{"a clock ahead of ours", &slot{Start: "s1", Since: now.Add(time.Minute)}, nil, true},
		{"notebook gone", &slot{Start: "s1", Since: young, Confirmed: young}, nil, false},
		{"next start of a stopped one", &slot{Start: "s2", Since: young}, []v1alpha1.JupyterNotebook{notebook("s1", stopped)}, true},
		{"next start that never came", &slot{Start: "s2", Since: old}, []v1alpha1.JupyterNotebook{notebook("s1", stopped)}, false},
		{"next start of a running one", &slot{Start: "s2", Since: old}, []v1alpha1.JupyterNotebook{notebook("s1", nil)}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := slots{}
			if row.slot != nil {
				s["n"] = *row.slot
			}
			assert.Equal(t, row.want, s.inUse(row.notebook, now)["n"])
		})
	}
}

func TestSlotsAreOwnedAndGivenBack(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	s := c.replica(true)
	read := func(user string) (*corev1.ConfigMap, slots) {
		cm, held, err := s.slots.read(t.Context(), user)
		require.NoError(t, err)
		return cm, held
	}
	_, err := s.Start(t.Context(), testRequest("Zoë", "", "s1"))
	require.NoError(t, err)
	key := Key{User: "Zoë"}
	c.deployment(Name(key), "s1", 1)
	var nb v1alpha1.JupyterNotebook
	require.NoError(t, c.get(Name(key), &nb))
	cm, held := read("Zoë")
	assert.Equal(t, Name(Key{User: "zoë"})+"-servers", cm.Name)
	assert.Equal(t, "zoë", cm.Annotations[v1alpha1.LabelHubUsername])
	require.Len(t, cm.OwnerReferences, 1)
	assert.Equal(t, nb.UID, cm.OwnerReferences[0].UID)
	assert.Nil(t, cm.OwnerReferences[0].Controller)
	require.Len(t, held, 1)
	assert.Equal(t, "s1", held[nb.Name].Start)
	assert.False(t, held[nb.Name].Confirmed.IsZero())

	// The slot was lost, and another server has taken the place.
	require.NoError(t, s.slots.release(t.Context(), key.User, Name(key), "s1"))
	require.NoError(t, c.client.Create(t.Context(), &v1alpha1.JupyterNotebook{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "other", Labels: map[string]string{v1alpha1.LabelHubUsername: podrules.LabelValue("Zoë")}},
		Spec:       v1alpha1.JupyterNotebookSpec{User: "Zoë", Template: &v1alpha1.PodTemplate{}},
	}))
	late := requested(testRequest("Zoë", "late", "s1"))
	late.Namespace, late.UID, late.Generation = c.namespace, "", 0
	late.Labels = map[string]string{v1alpha1.LabelHubUsername: podrules.LabelValue("Zoë")}
	secret := envSecret(s.cfg, testRequest("Zoë", "late", "s1"), Name(Key{User: "Zoë", Server: "late"}))
	require.NoError(t, c.client.Create(t.Context(), secret))
	require.NoError(t, c.client.Create(t.Context(), late))
	state := c.phase(s, Key{User: "Zoë", Server: "late"}, v1alpha1.NotebookFailed)
	assert.Equal(t, "TooManyServers", state.Reason)
	assert.Equal(t, "As many servers run as the policy allows, 1. Stop one of them first.", state.Message)
	assert.True(t, apierrors.IsNotFound(c.get("home-"+late.Name, &corev1.PersistentVolumeClaim{})), "not even a volume")

	require.NoError(t, s.Remove(t.Context(), key))
	_, held = read("Zoë")
	assert.NotContains(t, held, Name(key))

	// The slots of a start that never came to anything is swept, others are not.
	require.NoError(t, s.slots.reserve(t.Context(), Key{User: "yan"}, "jupyter-yan", "s1", 1))
	later := s.slots
	later.now = func() time.Time { return time.Now().Add(slotGrace - time.Second) }
	require.NoError(t, later.sweep(t.Context()))
	cm, _ = read("yan")
	assert.NotEmpty(t, cm.UID)
	later.now = func() time.Time { return time.Now().Add(2 * slotGrace) }
	require.NoError(t, later.sweep(t.Context()))
	cm, _ = read("yan")
	assert.Empty(t, cm.UID)
	cm, _ = read("Zoë")
	assert.NotEmpty(t, cm.UID)

	// What bears the name but is not ours is not touched.
	require.NoError(t, c.client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: slotsName("xenia")}}))
	_, err = s.Start(t.Context(), testRequest("xenia", "", "s1"))
	assert.ErrorIs(t, err, ErrNameTaken)
}
