package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// withHome gives a notebook a home, and opens its policy to environments if open says so.
func (w *world) withHome(notebook, policy string, open *bool) {
	w.t.Helper()
	nb := &v1alpha1.JupyterNotebook{}
	key := w.meta(notebook)
	require.NoError(w.t, w.api.Get(context.Background(), client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, nb))
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{}}
	require.NoError(w.t, w.api.Update(context.Background(), nb))
	if policy == "" {
		return
	}
	p := &v1alpha1.GroupPolicy{}
	require.NoError(w.t, w.api.Get(context.Background(), client.ObjectKey{Namespace: testNS, Name: policy}, p))
	p.Spec.Kernels.OwnEnvironments = open
	require.NoError(w.t, w.api.Update(context.Background(), p))
}

func inEnvironment(name, dir string) string {
	raw, _ := json.Marshal(map[string]any{"name": name, "env": map[string]string{"KERNEL_OWN_ENVIRONMENT": dir}})
	return string(raw)
}

// TestAnEnvironmentOfTheUsersOwn: the kernelspec says where it may be, the object gets it,
// and who reads the kernel learns it.
func TestAnEnvironmentOfTheUsersOwn(t *testing.T) {
	w := newWorld(t)
	w.withHome("nb-alice", "all", new(true))
	w.withHome("plain", "", nil)
	for _, who := range []string{"nb-alice", "plain"} { // whom no policy bounds, too
		var m specModel
		w.call(who, "GET", "/api/kernelspecs/python-gpu", "").json(t, &m)
		assert.Equal(t, "/home/jovyan", m.Spec.Metadata["elastichub"].(map[string]any)["environmentsBelow"], who)
		a := w.call(who, "POST", "/api/kernels", inEnvironment("python-gpu", "/home/jovyan/envs/a b"))
		require.Equal(t, http.StatusCreated, a.status, "%s: %s", who, a.body)
		var k kernelModel
		a.json(t, &k)
		assert.Equal(t, "python-gpu", k.Name)
		assert.Equal(t, "/home/jovyan/envs/a b", k.Environment)
		spec := w.kernel(k.ID).Spec
		assert.Equal(t, "/home/jovyan/envs/a b", spec.Environment)
		for _, v := range spec.Env {
			assert.NotEqual(t, "KERNEL_OWN_ENVIRONMENT", v.Name)
		}
		assert.Equal(t, http.StatusNotFound, w.call("nb-bob", "GET", "/api/kernels/"+k.ID, "").status, "nobody else sees it")
	}
}

func TestEnvironmentsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.withHome("nb-alice", "all", new(true))
	w.withHome("nb-bob", "few", new(false))
	for name, c := range map[string]struct {
		who, kernel, dir string
		status           int
		says             string
	}{
		"policy says no": {"nb-bob", "python-cpu", "/home/jovyan/e", 403, `Your policies do not let the kernel "python-cpu" run in environments of your own (kernels.ownEnvironments); an administrator can allow it.`},
		"a client":       {"ci", "python-cpu", "/home/jovyan/e", 400, "An environment of your own needs a home on a volume, and there is none."},
		"no home":        {"plain", "python-cpu", "/home/jovyan/e", 400, "An environment of your own needs a home on a volume, and there is none."},
		"up and away":    {"nb-alice", "python-cpu", "/home/jovyan/../bob/e", 400, "The directory of an environment must be a clean absolute path."},
		"elsewhere":      {"nb-alice", "python-cpu", "/opt/venv", 400, "An environment of your own has to be in your home, below /home/jovyan: kernels see nothing else of the notebook."},
	} {
		a := w.call(c.who, "POST", "/api/kernels", inEnvironment(c.kernel, c.dir))
		assert.Equal(t, c.status, a.status, name)
		assert.Equal(t, c.says, a.problem(t).Message, name)
	}
	var m specModel
	for _, who := range []string{"nb-bob", "ci", "plain"} {
		w.call(who, "GET", "/api/kernelspecs/python-cpu", "").json(t, &m)
		assert.NotContains(t, m.Spec.Metadata["elastichub"], "environmentsBelow", who)
	}
	var list v1alpha1.JupyterKernelList
	require.NoError(t, w.api.List(context.Background(), &list))
	assert.Empty(t, list.Items)
}
