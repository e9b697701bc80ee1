package spawner

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// TestDirectoriesOfKubeSpawnerAreFound: testdata/kubespawner.json has what its releases make of
// {username} in the name of a claim, which is what they make of it in a path.
func TestDirectoriesOfKubeSpawnerAreFound(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/kubespawner.json")
	require.NoError(t, err)
	var said struct {
		Claims [][5]string `json:"claims"`
	}
	require.NoError(t, json.Unmarshal(text, &said))
	found := map[string]int{}
	for _, row := range said.Claims {
		version, template, user, server, claim := row[0], row[1], row[2], row[3], row[4]
		mark := v1alpha1.EscapedUsernameMark
		if strings.HasPrefix(version, "7") {
			mark = v1alpha1.SafeUsernameMark
		}
		if strings.Contains(template, "legacy") || server != "" || len(safeSlug(user)) > kubeSlugLength-len("--") {
			continue
		}
		got := directory("claim-"+mark, Key{User: user}, "")
		assert.Equal(t, strings.TrimRight(claim, "-"), strings.TrimRight(got, "-"), "%s of %q", version, user)
		found[mark]++
	}
	assert.Len(t, found, 2)

	for _, row := range []struct{ subPath, user, server, want string }{
		{"{username}", "alice", "", "alice"},
		{"{username}", "alice", "lab", "alice"},
		{"homes/{username}/{servername}", "alice", "", "homes/alice"},
		{"homes/{username}/{servername}", "alice", "lab", "homes/alice/lab"},
		{"{safe_username}", "alice@example.org", "", "alice-example-org---7a64adf2"},
		{"{escaped_username}", "alice@example.org", "", "alice-40example-2eorg"},
		{"{escaped_username}", "../..", "", "-2e-2e-2f-2e-2e"},
		{"{safe_username}", "..", "", "x---" + directory("{safe_username}", Key{User: ".."}, "")[4:]},
		{"u-{username}", "a--b", "", "u-" + userSlug("a--b")},
	} {
		assert.Equal(t, row.want, directory(row.subPath, Key{User: row.user, Server: row.server}, ""), "%+v", row)
	}
	long := directory("{escaped_username}", Key{User: strings.Repeat("名", 60)}, "")
	assert.LessOrEqual(t, len(long), maxPathPart)
	assert.NotEqual(t, long, directory("{escaped_username}", Key{User: strings.Repeat("名", 61)}, ""))
}

// FuzzDirectoriesOfTwoUsers: no two users have one, and none is in another's.
func FuzzDirectoriesOfTwoUsers(f *testing.F) {
	f.Add("alice", "Alice", "a", "b")
	f.Add("a-b", "a--b", "", "x")
	f.Add("a", "a/b", "", "b")
	f.Add("..", ".", "", "")
	f.Fuzz(func(t *testing.T, one, other, server, another string) {
		if one == "" || other == "" || one == other {
			return
		}
		for _, subPath := range []string{"{username}", "{escaped_username}", "x/{username}/y/{servername}"} {
			a := directory(subPath, Key{User: one, Server: server}, "")
			b := directory(subPath, Key{User: other, Server: another}, "")
			assert.False(t, a == b || strings.HasPrefix(a+"/", b+"/") || strings.HasPrefix(b+"/", a+"/"), "%q %q: %q %q", one, other, a, b)
			for part := range strings.SplitSeq(a, "/") {
				assert.True(t, part != "" && part != "." && part != ".." && len(part) <= maxPathPart, a)
			}
		}
	})
}

// startStatic starts a server whose home is a directory of the claim "homes".
func (c *cluster) startStatic(s *Service, user, server, start string, who HubUser, subPath string, others ...HubUser) (State, error) {
	c.t.Helper()
	req := testRequest(user, server, start)
	req.HubUser, req.Others, req.ServersPerUser = who, others, 2
	req.Storage.Home = &v1alpha1.HomeVolume{Static: &v1alpha1.StaticHome{Claim: "homes", SubPath: subPath}}
	return s.Start(c.t.Context(), req)
}

// directory waits for the home of a start's Pod.
func (c *cluster) directory(notebook, start string) string {
	c.t.Helper()
	d := c.deployment(notebook, start, 1)
	require.Equal(c.t, "homes", c.home(notebook, start))
	for _, m := range d.Spec.Template.Spec.Containers[0].VolumeMounts {
		if m.Name == "home" {
			require.Equal(c.t, v1alpha1.DefaultHome, m.MountPath)
			return m.SubPath
		}
	}
	return ""
}

// directoryAsked is the home of a start by its notebook: where one of the name was before, nobody
// collects what is left of that.
func (c *cluster) directoryAsked(notebook, start string) string {
	c.t.Helper()
	nb := c.notebook(notebook, func(nb *v1alpha1.JupyterNotebook) bool { return nb.Spec.Start == start })
	require.Equal(c.t, "homes", nb.HomeClaim())
	return nb.Spec.Storage.Home.Static.SubPath
}

func (c *cluster) directoryNotes() map[string]corev1.ConfigMap {
	c.t.Helper()
	var all corev1.ConfigMapList
	require.NoError(c.t, c.client.List(c.t.Context(), &all, client.InNamespace(c.namespace), client.HasLabels{v1alpha1.LabelStaticHome}))
	notes := map[string]corev1.ConfigMap{}
	for _, note := range all.Items {
		notes[note.Data[homeSubPathKey]] = note
	}
	return notes
}

func TestAStaticHomeIsAPersonsAndNotAName(t *testing.T) {
	c, s := people(t)
	alice := hubUser(17)
	_, err := c.startStatic(s, "alice", "", "s1", alice, "{username}")
	require.NoError(t, err)
	c.notebook("jupyter-alice", func(nb *v1alpha1.JupyterNotebook) bool {
		return nb.Status.Reason == string(ReasonWaitingForVolume) && strings.Contains(nb.Status.Message, "homes")
	})
	var none corev1.PersistentVolumeClaim
	assert.True(t, apierrors.IsNotFound(c.get("homes", &none)), "it is not made")
	c.claimOf("homes", nil)
	assert.Equal(t, "alice", c.directory("jupyter-alice", "s1"))
	require.Contains(t, c.directoryNotes(), "alice")
	c.stopped(s, Key{User: "alice", HubUser: alice}, "jupyter-alice", "s1")

	// renamed, with the server's object and without it
	_, err = c.startStatic(s, "alicia", "", "s2", alice, "{username}")
	require.NoError(t, err)
	assert.Equal(t, "alice", c.directory("jupyter-alice", "s2"))
	assert.Equal(t, "alicia", c.directoryNotes()["alice"].Annotations[v1alpha1.LabelHubUsername])
	require.NoError(t, s.Remove(t.Context(), Key{User: "alicia", HubUser: alice}))
	assert.NotEmpty(t, c.directoryNotes()["alice"].Annotations[v1alpha1.AnnotationOwnerLeft], "its owner has left")
	require.NoError(t, c.get("homes", &none), "nothing is deleted")
	c.eventually("removed", func() bool { return apierrors.IsNotFound(c.get("jupyter-alice", &v1alpha1.JupyterNotebook{})) })
	_, err = c.startStatic(s, "alicia", "", "s3", alice, "{username}")
	require.NoError(t, err)
	assert.Equal(t, "alice", c.directory("jupyter-alicia", "s3"))
	assert.Empty(t, c.directoryNotes()["alice"].Annotations[v1alpha1.AnnotationOwnerLeft], "and is back")

	// somebody else gets the freed name
	bob := hubUser(18)
	_, err = c.startStatic(s, "alice", "", "s4", bob, "{username}", alice)
	require.NoError(t, err)
	at := c.directoryAsked("jupyter-alice", "s4")
	assert.True(t, strings.HasPrefix(at, "alice---"), at)

	// one of the same name whom nobody knows
	carol := hubUser(19)
	_, err = c.startStatic(s, "carol", "", "s5", carol, "{username}")
	require.NoError(t, err)
	require.NoError(t, c.client.Delete(t.Context(), c.notebook("jupyter-carol", func(*v1alpha1.JupyterNotebook) bool { return true })))
	c.eventually("removed", func() bool { return apierrors.IsNotFound(c.get("jupyter-carol", &v1alpha1.JupyterNotebook{})) })
	anew := hubUser(20)
	_, err = c.startStatic(s, "carol", "", "s6", anew, "{username}")
	var unclear *UnclearOwnerError
	require.ErrorAs(t, err, &unclear)
	assert.Equal(t, "homes/{username}", unclear.Static)
	change(c, unclear.Claim, &corev1.ConfigMap{}, func(note *corev1.ConfigMap) { note.Annotations[v1alpha1.AnnotationAdopt] = "carol" })
	_, err = c.startStatic(s, "carol", "", "s7", anew, "{username}")
	require.NoError(t, err)
	assert.Equal(t, "carol", c.directoryAsked("jupyter-carol", "s7"))
	assert.Equal(t, anew.String(), c.directoryNotes()["carol"].Annotations[v1alpha1.AnnotationHubUser])
}

func TestStaticHomesOfNamedServers(t *testing.T) {
	c, s := people(t)
	c.claimOf("homes", nil)
	alice := hubUser(17)
	const each = "homes/{username}/{servername}"
	_, err := c.startStatic(s, "alice", "lab", "s1", alice, each)
	require.NoError(t, err)
	assert.Equal(t, "homes/alice/lab", c.directory("jupyter-alice--lab", "s1"))
	_, err = c.startStatic(s, "alice", "", "s2", alice, each)
	require.NoError(t, err)
	assert.Equal(t, "homes/alice", c.directory("jupyter-alice", "s2"))
	c.stopped(s, Key{User: "alice", Server: "lab", HubUser: alice}, "jupyter-alice--lab", "s1")
	require.NoError(t, s.Rename(t.Context(), Key{User: "alice", Server: "lab", HubUser: alice}, "other"))
	_, err = c.startStatic(s, "alice", "other", "s3", alice, each)
	require.NoError(t, err)
	assert.Equal(t, "homes/alice/lab", c.directory("jupyter-alice--lab", "s3"), "it stays that server's")
	require.NoError(t, s.Remove(t.Context(), Key{User: "alice", Server: "other", HubUser: alice}))
	notes := c.directoryNotes()
	assert.NotEmpty(t, notes["homes/alice/lab"].Annotations[v1alpha1.AnnotationOwnerLeft])
	assert.Empty(t, notes["homes/alice"].Annotations[v1alpha1.AnnotationOwnerLeft])
}
