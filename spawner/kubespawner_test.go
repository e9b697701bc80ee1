package spawner

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// testdata/kubespawner.json is what _expand_user_properties and slugs.py of
// KubeSpawner's releases make of names: version, template, user, server, claim.
func TestEveryNameOfKubeSpawnersClaimsIsFound(t *testing.T) {
	text, err := os.ReadFile("testdata/kubespawner.json")
	require.NoError(t, err)
	var said struct {
		Claims [][5]string
		Labels [][2]string
	}
	require.NoError(t, json.Unmarshal(text, &said))
	require.Greater(t, len(said.Claims), 300)
	for _, row := range said.Claims {
		version, template, user, server, claim := row[0], row[1], row[2], row[3], row[4]
		found := kubeClaims("claim-{username}", Key{User: user, Server: server})
		i := slices.IndexFunc(found, func(c kubeClaim) bool { return c.name == claim })
		if assert.GreaterOrEqual(t, i, 0, "%s %s of %q %q: %s not in %v", version, template, user, server, claim, found) && found[i].certain {
			assert.Equal(t, server, found[i].server, "%q", row)
		}
	}
	for _, row := range said.Labels {
		assert.Equal(t, row[1], labelSlug(row[0]), "%q", row[0])
	}
	// A template of one's own, and what is no name of an object.
	names := kubeClaims("{username}-nb-pvc", Key{User: "alice@example.org"})
	for _, name := range []string{"alice-example-org---7a64adf2-nb-pvc", "alice-40example-2eorg-nb-pvc", "claim-alice-example-org---7a64adf2"} {
		assert.True(t, slices.ContainsFunc(names, func(c kubeClaim) bool { return c.name == name }), name)
	}
	assert.Len(t, kubeClaims("claim-{username}", Key{User: strings.Repeat("名", 100)}), 1, "the others are too long for a name")
}

// kubespawned makes a claim as KubeSpawner did, with its notes of a user and a server.
func (c *cluster) kubespawned(name, user, server string) {
	c.t.Helper()
	notes := map[string]string{v1alpha1.LabelHubUsername: user}
	if server != "" {
		notes[v1alpha1.LabelHubServername] = server
	}
	c.claimOf(name, notes)
	change(c, name, &corev1.PersistentVolumeClaim{}, func(claim *corev1.PersistentVolumeClaim) {
		claim.Labels = map[string]string{"component": "singleuser-storage", v1alpha1.LabelHubUsername: escapeSlug(user), v1alpha1.LabelManagedBy: "kubespawner"}
	})
}

func TestHomesOfKubeSpawnerAreFoundAndTakenOnce(t *testing.T) {
	c, s := people(t)
	const user, safe = "alice@example.org", "claim-alice-example-org---7a64adf2"
	for i, row := range []struct {
		name, user, server, template, claim string
		// noted: as KubeSpawner notes; otherwise the claim bears nothing.
		noted bool
	}{
		{"KubeSpawner 7", user, "", "claim-{username}", safe, true},
		{"before 7", "bob@example.org", "", "claim-{username}", "claim-bob-40example-2eorg", true},
		{"restored without its notes", "carol@example.org", "", "claim-{username}", "claim-carol-40example-2eorg", false},
		{"dashes for all else", "dave@example.org", "", "claim-{username}", "claim-dave-example-org", true},
		{"a template of one's own", "erin", "", "claim-{username}", "erin-nb-pvc", true},
		{"a policy that names no claim", "frank", "", "", "claim-frank", true},
		{"a named server's own", "grace", "gpu", "", "claim-gracegpu", true},
	} {
		if row.noted {
			c.kubespawned(row.claim, row.user, row.server)
		} else {
			c.claimOf(row.claim, nil)
		}
		who := hubUser(int64(i + 1))
		_, err := c.start(s, row.user, row.server, "s1", who, row.template)
		require.NoError(t, err, row.name)
		assert.Equal(t, row.claim, c.home(Name(Key{User: row.user, Server: row.server}), "s1"), row.name)
		var claim corev1.PersistentVolumeClaim
		require.NoError(t, c.get(row.claim, &claim))
		assert.Equal(t, who.String(), claim.Annotations[v1alpha1.AnnotationHubUser], row.name)
	}
	// Whoever gets the name next has a home of their own.
	newcomer := hubUser(99) // who is made but once
	_, err := c.start(s, "frank", "", "n1", newcomer, "")
	var unclear *UnclearOwnerError
	if err != nil {
		require.ErrorAs(t, err, &unclear)
	} else {
		c.eventually("another home", func() bool {
			nb := &v1alpha1.JupyterNotebook{}
			return c.get(ownName(Key{User: "frank", HubUser: newcomer}), nb) == nil && nb.HomeClaim() != "claim-frank"
		})
	}
}

func TestAStartWithHomesOfKubeSpawnerThatCannotBeToldIsRefused(t *testing.T) {
	c, s := people(t)
	const template = "claim-{username}"
	// Two that could be it.
	c.kubespawned("claim-alice-40example-2eorg", "alice@example.org", "")
	c.kubespawned("claim-alice-example-org---7a64adf2", "alice@example.org", "")
	// One of a named server alone, where the policy has one home for all servers.
	c.kubespawned("claim-bob--gpu", "bob", "gpu")
	// One whose name could be another user's.
	c.claimOf("claim-carol-example-org", nil)
	for user, found := range map[string][]string{
		"alice@example.org": {"claim-alice-40example-2eorg", "claim-alice-example-org---7a64adf2"},
		"bob":               {"claim-bob--gpu"},
		"carol@example.org": {"claim-carol-example-org"},
	} {
		_, err := c.start(s, user, "", "s1", hubUser(int64(len(user))), template)
		var several *OtherHomesError
		require.ErrorAs(t, err, &several, user)
		assert.Equal(t, found, several.Found)
		assert.Equal(t, claimOfName(template, user, ""), several.Wanted)
		require.True(t, apierrors.IsNotFound(c.get(Name(Key{User: user}), &v1alpha1.JupyterNotebook{})), "nothing half made")
	}
	// An administrator says which, or that it is none.
	var claim corev1.PersistentVolumeClaim
	change(c, "claim-alice-40example-2eorg", &claim, func(claim *corev1.PersistentVolumeClaim) {
		claim.Annotations[v1alpha1.AnnotationAdopt] = "alice@example.org"
	})
	_, err := c.start(s, "alice@example.org", "", "s2", hubUser(1), template)
	require.NoError(t, err)
	assert.Equal(t, "claim-alice-40example-2eorg", c.home(Name(Key{User: "alice@example.org"}), "s2"))
	change(c, "claim-bob--gpu", &claim, func(claim *corev1.PersistentVolumeClaim) { claim.Annotations[v1alpha1.AnnotationOwnerLeft] = "yes" })
	_, err = c.start(s, "bob", "", "s2", hubUser(3), template)
	require.NoError(t, err)
	assert.Equal(t, "claim-bob", c.home("jupyter-bob", "s2"))
	// Somebody else's is nobody's question.
	c.kubespawned("claim-dave-2dexample", "dave-2dexample", "")
	_, err = c.start(s, "dave-example", "", "s1", hubUser(4), template)
	require.NoError(t, err)
	assert.Equal(t, "claim-dave-example", c.home("jupyter-dave-example", "s1"))
	// Nor does a Hub that does not say who its users are give an empty home.
	c.kubespawned("claim-erin-40x", "erin@x", "")
	_, err = c.start(s, "erin@x", "", "s1", HubUser{}, template)
	require.NoError(t, err)
	assert.Equal(t, "claim-erin-40x", c.home(Name(Key{User: "erin@x"}), "s1"))
}
