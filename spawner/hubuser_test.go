package spawner

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

func TestHubUserIsReadAsItIsWritten(t *testing.T) {
	for text, want := range map[string]HubUser{
		"":                               {},
		"17@2026-01-02T03:04:05Z":        {ID: 17, Created: 1767323045},
		"17@2026-01-02T03:04:05.999999Z": {ID: 17, Created: 1767323045},
		"17@2026-01-02T04:04:05+01:00":   {ID: 17, Created: 1767323045},
		"1@1970-01-01T00:00:00Z":         {ID: 1},
	} {
		got, err := ParseHubUser(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
		again, err := ParseHubUser(got.String())
		require.NoError(t, err, text)
		assert.Equal(t, got, again, text)
	}
	for _, text := range []string{"17", "@2026-01-02T03:04:05Z", "0@2026-01-02T03:04:05Z", "-1@2026-01-02T03:04:05Z", "17@yesterday", "17@", "x@2026-01-02T03:04:05Z"} {
		_, err := ParseHubUser(text)
		assert.Error(t, err, text)
	}
	one := HubUser{ID: 17, Created: 100}
	assert.True(t, one.Is(HubUser{ID: 17, Created: 101}), "a database may have rounded")
	assert.False(t, one.Is(HubUser{ID: 17, Created: 102}), "ids start again with a new database")
	assert.False(t, one.Is(HubUser{ID: 18, Created: 100}))
	assert.False(t, HubUser{}.Is(HubUser{}), "nobody is nobody's equal")
}

func TestWhoseAHomeIs(t *testing.T) {
	made := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	alice := HubUser{ID: 42, Created: made.Add(-time.Hour).Unix()}
	later := HubUser{ID: 42, Created: made.Add(time.Hour).Unix()}
	former := HubUser{ID: 17, Created: made.Add(-24 * time.Hour).Unix()}
	notes := func(pairs ...string) map[string]string {
		all := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = pairs[i+1]
		}
		return all
	}
	const name, owner, adopt, left = v1alpha1.LabelHubUsername, v1alpha1.AnnotationHubUser, v1alpha1.AnnotationAdopt, v1alpha1.AnnotationOwnerLeft
	for what, row := range map[string]struct {
		notes map[string]string
		who   HubUser
		more  requester
		want  ownership
	}{
		"no notes":                          {notes(), alice, requester{}, ownershipNone},
		"no notes, no Hub user":             {notes(), HubUser{}, requester{}, ownershipNone},
		"noted":                             {notes(owner, alice.String(), name, "alice"), alice, requester{}, ownershipOwn},
		"noted, renamed since":              {notes(owner, alice.String(), name, "alicia"), alice, requester{}, ownershipOwn},
		"another of another name":           {notes(owner, former.String(), name, "alicia"), alice, requester{}, ownershipOther},
		"another of this name":              {notes(owner, former.String(), name, "alice"), alice, requester{}, ownershipUnclear},
		"another whom the Hub knows":        {notes(owner, former.String(), name, "alice"), alice, requester{others: []HubUser{former}}, ownershipOther},
		"another who left":                  {notes(owner, former.String(), name, "alice", left, "2026-06-01T00:00:00Z"), alice, requester{}, ownershipOther},
		"the same id of another database":   {notes(owner, "42@2025-01-01T00:00:00Z", name, "alice"), alice, requester{}, ownershipUnclear},
		"handed over":                       {notes(owner, former.String(), name, "alice", adopt, "alice"), alice, requester{}, ownershipOwn},
		"handed over to somebody else":      {notes(owner, former.String(), name, "alice", adopt, "bob"), alice, requester{}, ownershipUnclear},
		"all handed over":                   {notes(owner, former.String(), name, "alice"), alice, requester{adoptBefore: made.Add(time.Minute)}, ownershipOwn},
		"made after all were handed over":   {notes(owner, former.String(), name, "alice"), alice, requester{adoptBefore: made}, ownershipUnclear},
		"handed over, of another name":      {notes(owner, former.String(), name, "bob"), alice, requester{adoptBefore: made.Add(time.Minute)}, ownershipOther},
		"of a former release":               {notes(name, "alice"), alice, requester{}, ownershipOwn},
		"of a former release, older than I": {notes(name, "alice"), later, requester{}, ownershipUnclear},
		"of a former release, another's":    {notes(name, "bob_1"), alice, requester{}, ownershipOther},
		"clocks that differ a little":       {notes(name, "alice"), HubUser{ID: 1, Created: made.Add(30 * time.Second).Unix()}, requester{}, ownershipOwn},
		"a user from before created":        {notes(name, "alice"), HubUser{ID: 1}, requester{}, ownershipOwn},
		"a Hub that does not say":           {notes(name, "alice", owner, former.String()), HubUser{}, requester{}, ownershipOwn},
		"a Hub that does not say, others":   {notes(name, "bob", owner, former.String()), HubUser{}, requester{}, ownershipOther},
		"a note that cannot be read":        {notes(name, "alice", owner, "x"), alice, requester{}, ownershipUnclear},
	} {
		who := row.more
		who.Key = Key{User: "alice", HubUser: row.who}
		assert.Equal(t, row.want, ownershipOf(row.notes, made, who), what)
	}
}

// people is a cluster with a gateway and a Service that leads.
func people(t *testing.T) (*cluster, *Service) {
	c := newCluster(t)
	c.gateway("default")
	return c, c.replica(true)
}

func hubUser(id int64) HubUser { return HubUser{ID: id, Created: time.Now().Add(-time.Hour).Unix()} }

func (c *cluster) start(s *Service, user, server, start string, who HubUser, template string, others ...HubUser) (State, error) {
	c.t.Helper()
	req := testRequest(user, server, start)
	req.HubUser, req.Others, req.ServersPerUser = who, others, 2
	req.Storage.Home.Claim = template
	return s.Start(c.t.Context(), req)
}

// home waits for the home of a start's Pod.
func (c *cluster) home(notebook, start string) string {
	c.t.Helper()
	d := c.deployment(notebook, start, 1)
	for _, volume := range d.Spec.Template.Spec.Volumes {
		if volume.Name == "home" {
			return volume.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}

// stopped stops a server and waits for its end.
func (c *cluster) stopped(s *Service, k Key, notebook, start string) {
	c.t.Helper()
	require.NoError(c.t, s.Stop(c.t.Context(), k))
	c.deployment(notebook, start, 0)
	c.phase(s, k, v1alpha1.NotebookStopped)
}

func TestARenamedUserKeepsServerHomeAndKernels(t *testing.T) {
	for what, template := range map[string]string{"claim of the server": "", "claim of the user": "claim-{username}"} {
		t.Run(what, func(t *testing.T) {
			c, s := people(t)
			who := hubUser(17)
			_, err := c.start(s, "alice", "", "s1", who, template)
			require.NoError(t, err)
			home := c.home("jupyter-alice", "s1")
			c.ready(c.pod(c.deployment("jupyter-alice", "s1", 1)))
			renamed := Key{User: "alicia", HubUser: who}
			state := c.phase(s, renamed, v1alpha1.NotebookReady)
			assert.Equal(t, "alice", state.User, "it runs on under the name it was started with")
			n, err := s.Running(t.Context(), Key{User: "alicia", Server: "two", HubUser: who})
			require.NoError(t, err)
			assert.Equal(t, 1, n)

			// A newcomer gets the name while it runs: another server, another home.
			newcomer := hubUser(42)
			_, err = c.start(s, "alice", "", "n1", newcomer, template)
			var unclear *UnclearOwnerError
			require.ErrorAs(t, err, &unclear)
			assert.True(t, unclear.Owner.Is(who))
			_, err = c.start(s, "alice", "", "n1", newcomer, template, who)
			require.NoError(t, err)
			theirs := c.phase(s, Key{User: "alice", HubUser: newcomer}, v1alpha1.NotebookStarting)
			assert.Equal(t, "n1", theirs.Start)
			own := ownName(Key{User: "alice", HubUser: newcomer})
			assert.NotEqual(t, home, c.home(own, "n1"))
			state, err = s.State(t.Context(), renamed)
			require.NoError(t, err)
			assert.Equal(t, "s1", state.Start, "untouched")

			// Stopped and started under the new name: the same object, the same files.
			var before, after v1alpha1.JupyterNotebook
			require.NoError(t, c.get("jupyter-alice", &before))
			pods := &corev1.PodList{}
			require.NoError(t, c.client.List(t.Context(), pods))
			for i := range pods.Items {
				if pods.Items[i].Namespace == c.namespace && pods.Items[i].Labels[v1alpha1.LabelNotebook] == "jupyter-alice" {
					c.end(&pods.Items[i])
				}
			}
			c.stopped(s, renamed, "jupyter-alice", "s1")
			_, err = c.start(s, "alicia", "", "s2", who, template)
			require.NoError(t, err)
			assert.Equal(t, home, c.home("jupyter-alice", "s2"))
			require.NoError(t, c.get("jupyter-alice", &after))
			assert.Equal(t, before.UID, after.UID, "kernels belong to it")
			assert.Equal(t, "alicia", after.Spec.User)
			assert.Equal(t, "alicia", after.Labels[v1alpha1.LabelHubUsername])
			var claim corev1.PersistentVolumeClaim
			require.NoError(t, c.get(home, &claim))
			assert.Equal(t, "alicia", claim.Annotations[v1alpha1.LabelHubUsername])
			require.True(t, apierrors.IsNotFound(c.get("jupyter-alicia", &v1alpha1.JupyterNotebook{})), "no second object")
		})
	}
}

func TestADeletedUsersHomeIsNobodysAndANewcomersIsEmpty(t *testing.T) {
	c, s := people(t)
	who, newcomer := hubUser(17), hubUser(42)
	_, err := c.start(s, "alice", "", "s1", who, "claim-{username}")
	require.NoError(t, err)
	require.Equal(t, "claim-alice", c.home("jupyter-alice", "s1"))
	require.NoError(t, s.Remove(t.Context(), Key{User: "alice", HubUser: who}))
	c.eventually("gone", func() bool {
		return apierrors.IsNotFound(c.client.Delete(t.Context(), &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "jupyter-alice"}}))
	})
	var claim corev1.PersistentVolumeClaim
	require.NoError(t, c.get("claim-alice", &claim), "a home of all servers is kept")
	assert.NotEmpty(t, claim.Annotations[v1alpha1.AnnotationOwnerLeft])

	_, err = c.start(s, "alice", "", "n1", newcomer, "claim-{username}")
	require.NoError(t, err)
	c.eventually("a home of their own", func() bool {
		nb := &v1alpha1.JupyterNotebook{}
		return c.get("jupyter-alice", nb) == nil && nb.Spec.Start == "n1" && nb.HomeClaim() == "claim-alice---"+podrules.Digest(hashDigits, newcomer.String())
	})
}

// claimOf makes a claim as somebody else did.
func (c *cluster) claimOf(name string, annotations map[string]string) {
	c.t.Helper()
	require.NoError(c.t, c.client.Create(c.t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: name, Annotations: annotations},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}))
}

func TestAHomeWhoseOwnerCannotBeToldIsNeitherGivenNorPassedBy(t *testing.T) {
	c, s := people(t)
	const template = "claim-{username}"
	// KubeSpawner's, of a Hub whose database was made anew since.
	c.claimOf("claim-alice", map[string]string{v1alpha1.LabelHubUsername: "alice"})
	newcomer := HubUser{ID: 1, Created: time.Now().Add(time.Hour).Unix()}
	_, err := c.start(s, "alice", "", "s1", newcomer, template)
	var unclear *UnclearOwnerError
	require.ErrorAs(t, err, &unclear)
	assert.Equal(t, "claim-alice", unclear.Claim)
	assert.False(t, unclear.Owner.Known())
	require.True(t, apierrors.IsNotFound(c.get("jupyter-alice", &v1alpha1.JupyterNotebook{})), "nothing half made")
	require.True(t, apierrors.IsNotFound(c.get("jupyter-alice-env", &corev1.Secret{})), "nothing half made")

	// An administrator hands it over.
	var claim corev1.PersistentVolumeClaim
	change(c, "claim-alice", &claim, func(claim *corev1.PersistentVolumeClaim) { claim.Annotations[v1alpha1.AnnotationAdopt] = "alice" })
	_, err = c.start(s, "alice", "", "s2", newcomer, template)
	require.NoError(t, err)
	assert.Equal(t, "claim-alice", c.home("jupyter-alice", "s2"))
	require.NoError(t, c.get("claim-alice", &claim))
	assert.Equal(t, newcomer.String(), claim.Annotations[v1alpha1.AnnotationHubUser])
	assert.NotContains(t, claim.Annotations, v1alpha1.AnnotationAdopt)

	// One whose owner was a user when it was made needs no word, nor does one that bears no name.
	c.claimOf("claim-bob", map[string]string{v1alpha1.LabelHubUsername: "bob"})
	c.claimOf("claim-carol", nil)
	for _, user := range []string{"bob", "carol"} {
		_, err = c.start(s, user, "", "s1", hubUser(int64(len(user))), template)
		require.NoError(t, err)
		assert.Equal(t, "claim-"+user, c.home("jupyter-"+user, "s1"))
	}
	// One that names somebody else was never this user's.
	c.claimOf("claim-dave", map[string]string{v1alpha1.LabelHubUsername: "da_ve"})
	dave := hubUser(9)
	_, err = c.start(s, "dave", "", "s1", dave, template)
	require.NoError(t, err)
	assert.Equal(t, "claim-dave---"+podrules.Digest(hashDigits, dave.String()), c.home("jupyter-dave", "s1"))
}

func TestARenamedServerKeepsItsObjectAndHome(t *testing.T) {
	c, s := people(t)
	who := hubUser(17)
	one, two := Key{User: "alice", Server: "one", HubUser: who}, Key{User: "alice", Server: "two", HubUser: who}
	_, err := c.start(s, "alice", "one", "s1", who, "")
	require.NoError(t, err)
	home := c.home("jupyter-alice--one", "s1")
	require.ErrorIs(t, s.Rename(t.Context(), one, "two"), ErrRunning)
	c.stopped(s, one, "jupyter-alice--one", "s1")
	require.NoError(t, s.Rename(t.Context(), one, "two"))
	_, err = s.State(t.Context(), one)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.State(t.Context(), two)
	require.NoError(t, err)

	// The former name is free, and somebody's own server of that name is another.
	_, err = c.start(s, "alice", "one", "s2", who, "")
	require.NoError(t, err)
	own := ownName(one)
	assert.NotEqual(t, home, c.home(own, "s2"))
	require.ErrorIs(t, s.Rename(t.Context(), two, "one"), ErrNameTaken)

	_, err = c.start(s, "alice", "two", "s3", who, "")
	require.NoError(t, err)
	assert.Equal(t, home, c.home("jupyter-alice--one", "s3"))
	require.NoError(t, s.Rename(t.Context(), Key{User: "alice", Server: "never", HubUser: who}, "other"), "nothing to rename")

	// kubectl delete keeps the home, and so does a rename after it.
	c.stopped(s, two, "jupyter-alice--one", "s3")
	require.NoError(t, c.client.Delete(t.Context(), &v1alpha1.JupyterNotebook{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "jupyter-alice--one"}}))
	c.eventually("known to be gone", func() bool { _, err := s.State(t.Context(), two); return err != nil })
	require.NoError(t, s.Rename(t.Context(), two, "three"))
	require.NoError(t, s.Stop(t.Context(), one))
	_, err = c.start(s, "alice", "three", "s4", who, "")
	require.NoError(t, err)
	assert.Equal(t, home, c.home("jupyter-alice--three", "s4"))
	require.NoError(t, s.Remove(t.Context(), Key{User: "alice", Server: "three", HubUser: who}))
	var claim corev1.PersistentVolumeClaim
	require.NoError(t, c.get(home, &claim))
	assert.NotNil(t, claim.DeletionTimestamp, "made for this server")
}

func TestAServerOfAFormerReleaseIsFoundAndNoted(t *testing.T) {
	c, s := people(t)
	_, err := c.start(s, "alice", "", "s1", HubUser{}, "claim-{username}")
	require.NoError(t, err)
	c.home("jupyter-alice", "s1")
	who := hubUser(17)
	state, err := s.State(t.Context(), Key{User: "alice", HubUser: who})
	require.NoError(t, err)
	assert.Equal(t, "s1", state.Start)
	_, err = c.start(s, "alice", "", "s2", who, "claim-{username}")
	require.NoError(t, err)
	assert.Equal(t, "claim-alice", c.home("jupyter-alice", "s2"))
	var claim corev1.PersistentVolumeClaim
	require.NoError(t, c.get("claim-alice", &claim))
	assert.Equal(t, who.String(), claim.Annotations[v1alpha1.AnnotationHubUser])
}

func TestAStoppedServersEnvironmentIsForgotten(t *testing.T) {
	c, s := people(t)
	k := Key{User: "alice", HubUser: hubUser(17)}
	_, err := c.start(s, "alice", "", "s1", k.HubUser, "")
	require.NoError(t, err)
	c.deployment("jupyter-alice", "s1", 1)
	require.NoError(t, c.get("jupyter-alice-env", &corev1.Secret{}))
	c.stopped(s, k, "jupyter-alice", "s1")
	require.True(t, apierrors.IsNotFound(c.get("jupyter-alice-env", &corev1.Secret{})), "it held a token")
	// kubectl cannot start it: the Hub would not know, and has revoked the token.
	var nb v1alpha1.JupyterNotebook
	change(c, "jupyter-alice", &nb, func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Stopped = false })
	c.eventually("said so", func() bool {
		is := apimeta.FindStatusCondition(nb.Status.Conditions, ConditionHub)
		return c.get("jupyter-alice", &nb) == nil && is != nil && strings.Contains(is.Message, "start it on the Hub's page")
	})
	_, err = c.start(s, "alice", "", "s2", k.HubUser, "")
	require.NoError(t, err)
	c.deployment("jupyter-alice", "s2", 1)
	var env corev1.Secret
	require.NoError(t, c.get("jupyter-alice-env", &env))
	assert.Equal(t, "secret-of-s2", string(env.Data["JUPYTERHUB_API_TOKEN"]))
}

// TestAHomeOfAnotherEscapeSchemeIsNotGivenAway: KubeSpawner called bob_1's claim
// claim-bob-5f1, which is what bob-5f1's is called here.
func TestAHomeOfAnotherEscapeSchemeIsNotGivenAway(t *testing.T) {
	c, s := people(t)
	const template = "claim-{username}"
	claim := func(user string, labels, annotations map[string]string) {
		name := claimOfName(template, user, "")
		c.claimOf(name, annotations)
		var made corev1.PersistentVolumeClaim
		require.NoError(t, c.get(name, &made))
		made.Labels = labels
		require.NoError(t, c.client.Update(t.Context(), &made))
	}
	named := func(label string) map[string]string { return map[string]string{v1alpha1.LabelHubUsername: label} }
	who := hubUser(17)

	claim("bob-5f1", named("bob-5f1"), named("bob_1"))
	_, err := c.start(s, "bob-5f1", "", "s1", who, template)
	require.NoError(t, err)
	assert.Equal(t, "claim-bob-5f1---"+podrules.Digest(hashDigits, who.String()), c.home("jupyter-bob-5f1", "s1"), "an empty one of their own")

	var unclear *UnclearOwnerError
	claim("eve-2e", named("eve-2e"), nil) // of eve., in a release that wrote no annotations
	_, err = c.start(s, "eve-2e", "", "s1", hubUser(18), template)
	require.ErrorAs(t, err, &unclear)
	claim("zo-c3-ab", named("zo-c3-ab"), nil) // of zoë
	_, err = c.start(s, "zo-c3-ab", "", "s1", hubUser(19), template)
	require.ErrorAs(t, err, &unclear)
	claim("mallory", named("alice"), named("alice"))
	_, err = c.start(s, "mallory", "", "s1", HubUser{}, template)
	require.ErrorAs(t, err, &unclear, "nor to a Hub that does not say who its users are")

	claim("carol", named("carol"), nil)
	_, err = c.start(s, "carol", "", "s1", hubUser(20), template)
	require.NoError(t, err)
	assert.Equal(t, "claim-carol", c.home("jupyter-carol", "s1"))
}
