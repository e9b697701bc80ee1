package spawner

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func TestRunningCountsWhatTheLimitCounts(t *testing.T) {
	s := newSnapshot("ns")
	put := func(user, server string, change func(*v1alpha1.JupyterNotebook)) {
		nb := &v1alpha1.JupyterNotebook{}
		nb.Spec.User, nb.Spec.Server, nb.Spec.Start = user, server, "s"
		nb.Namespace, nb.Name = "ns", Name(Key{User: user, Server: server})
		if change != nil {
			change(nb)
		}
		s.put(nb)
	}
	_, err := s.running(Key{User: "a"})
	assert.ErrorIs(t, err, ErrNotSynced)
	s.synced = func() bool { return true }
	put("a", "", nil)
	put("a", "two", nil)
	put("a", "stopped", func(nb *v1alpha1.JupyterNotebook) { nb.Spec.Stopped = true })
	put("a", "failed", func(nb *v1alpha1.JupyterNotebook) { nb.Status.Phase, nb.Status.Start = v1alpha1.NotebookFailed, "s" })
	put("a", "going", func(nb *v1alpha1.JupyterNotebook) { nb.DeletionTimestamp = &metav1.Time{} })
	put("b", "", nil)
	put("ünal", "", nil)
	for user, want := range map[string]int{"A": 2, "Ünal": 1, "Unal": 0} {
		got, err := s.running(Key{User: user})
		assert.NoError(t, err)
		assert.Equal(t, want, got, "other spelling %s", user)
	}
	for except, want := range map[string]int{"": 1, "two": 1, "stopped": 2, "new": 2} {
		got, err := s.running(Key{User: "a", Server: except})
		assert.NoError(t, err)
		assert.Equal(t, want, got, "without %q", except)
	}
}
