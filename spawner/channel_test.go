package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestImageCurrent(t *testing.T) {
	policies := func(lists ...[]v1alpha1.ImageChannel) []v1alpha1.GroupPolicy {
		var all []v1alpha1.GroupPolicy
		for _, images := range lists {
			all = append(all, v1alpha1.GroupPolicy{Spec: v1alpha1.GroupPolicySpec{Images: images}})
		}
		return all
	}
	type channels = []v1alpha1.ImageChannel
	for _, row := range []struct {
		name     string
		policies []v1alpha1.GroupPolicy
		want     Reason
		message  string
	}{
		{"the same", policies(channels{{ID: "stable", Image: "nb:1"}}), ReasonImageCurrent, ""},
		{"hidden, the same", policies(channels{{ID: "stable", Image: "nb:1", Hidden: true}}), ReasonImageCurrent, ""},
		{"a new image", policies(channels{{ID: "stable", Image: "nb:2"}}), ReasonImageChanged, "The image stable has a new version. Restart the server to use it."},
		{"another channel", policies(channels{{ID: "next", Image: "nb:1"}}), ReasonImageWithdrawn, "The image stable is no longer on offer. The server keeps it until it is stopped."},
		{"no policy left", nil, ReasonImageWithdrawn, "The image stable is no longer on offer. The server keeps it until it is stopped."},
		{"redirect", policies(channels{{ID: "stable", Image: "nb:1", Redirect: &v1alpha1.ChannelRedirect{To: "next"}}}), ReasonImageRedirected, "Please choose the image next instead of stable at the next start."},
		{"redirect in words", policies(channels{{ID: "stable", Image: "nb:1", Redirect: &v1alpha1.ChannelRedirect{To: "next", Message: "Python 3.9 ends."}}}), ReasonImageRedirected, "Python 3.9 ends."},
		{"the first policy counts", policies(channels{{ID: "stable", Image: "nb:2"}}, channels{{ID: "stable", Image: "nb:1"}}), ReasonImageChanged, "The image stable has a new version. Restart the server to use it."},
		{"a visible one before a hidden one", policies(channels{{ID: "stable", Image: "nb:2", Hidden: true}}, channels{{ID: "stable", Image: "nb:1"}}), ReasonImageCurrent, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			reason, message := imageCurrent("stable", "nb:1", row.policies)
			assert.Equal(t, row.want, reason)
			assert.Equal(t, row.message, message)
		})
	}
}

// TestPolicyChangesLeaveRunningServersAlone: a smaller policy, a new image and
// a redirect are told, and touch nothing that runs.
func TestPolicyChangesLeaveRunningServersAlone(t *testing.T) {
	c := newCluster(t)
	c.gateway("default")
	policy := &v1alpha1.GroupPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "ml"},
		Spec: v1alpha1.GroupPolicySpec{
			Groups: []string{"ml-research"}, ServersPerUser: 2,
			CPU:    v1alpha1.ResourceRange{Min: resource.MustParse("1"), Max: resource.MustParse("4")},
			Memory: v1alpha1.ResourceRange{Min: resource.MustParse("1Gi"), Max: resource.MustParse("8Gi")},
			Images: []v1alpha1.ImageChannel{{ID: "stable", Image: "registry.example/lab:stable"}, {ID: "next", Image: "registry.example/lab:next"}},
		},
	}
	require.NoError(t, c.client.Create(t.Context(), policy))
	s := c.replica(true)
	req := testRequest("alice", "", "s1")
	_, err := s.Start(t.Context(), req)
	require.NoError(t, err)
	d := c.deployment("jupyter-alice", "s1", 1)
	c.ready(c.pod(d))
	state := c.phase(s, req.Key, v1alpha1.NotebookReady)
	assert.Empty(t, state.ImageNotice)

	policy.Spec.ServersPerUser = 1
	policy.Spec.CPU.Max, policy.Spec.Memory.Max = resource.MustParse("1"), resource.MustParse("1Gi")
	policy.Spec.Images[0].Image = "registry.example/lab:2"
	policy.Spec.Images[0].Redirect = &v1alpha1.ChannelRedirect{To: "next"}
	require.NoError(t, c.client.Update(t.Context(), policy))
	c.eventually("told", func() bool {
		state, err = s.State(t.Context(), req.Key)
		return err == nil && state.ImageNotice == "Please choose the image next instead of stable at the next start."
	})
	assert.Equal(t, v1alpha1.NotebookReady, state.Phase)
	require.NoError(t, c.client.Delete(t.Context(), policy))
	c.eventually("told again", func() bool {
		state, err = s.State(t.Context(), req.Key)
		return err == nil && state.ImageNotice == "The image stable is no longer on offer. The server keeps it until it is stopped."
	})
	after := c.deployment("jupyter-alice", "s1", 1)
	assert.Equal(t, d.Generation, after.Generation, "the Deployment was not written")
	assert.Equal(t, d.Spec, after.Spec)
	assert.Equal(t, v1alpha1.NotebookReady, c.phase(s, req.Key, v1alpha1.NotebookReady).Phase)
}
