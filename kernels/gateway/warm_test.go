package gateway

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/podspec"
	"github.com/elastichub/elastichub/podrules"
	"github.com/elastichub/elastichub/test/pythontest"
)

// TestJupyterServerCanHaveAWarmKernel: what a real jupyter_server sends for a document of a
// notebook with a home is what a kernel that runs can be told, all of it.
func TestJupyterServerCanHaveAWarmKernel(t *testing.T) {
	t.Setenv("KERNEL_TOPIC", "a b")
	t.Setenv("JUPYTER_GATEWAY_ALLOWED_ENVS", podrules.EnvSession) // as servers of ours have it
	w := newWorld(t)
	j := w.jupyter(pythontest.Interpreter(t))
	var session struct{ Kernel kernelModel }
	j.call("PUT", "/api/contents/work%20dir", `{"type":"directory"}`, http.StatusCreated, nil)
	j.call("POST", "/api/sessions", `{"path":"work dir/a.ipynb","name":"a.ipynb","type":"notebook","kernel":{"name":"python-cpu"}}`, http.StatusCreated, &session)
	k := w.kernel(session.Kernel.ID)
	nb := &v1alpha1.JupyterNotebook{}
	require.NoError(t, w.api.Get(t.Context(), client.ObjectKey{Namespace: testNS, Name: "nb-alice"}, nb))
	home := filepath.Dir(k.Spec.WorkingDir)
	nb.Spec.Storage = &v1alpha1.NotebookStorage{Home: &v1alpha1.HomeVolume{Size: resource.MustParse("1Gi"), MountPath: home}}
	require.NoError(t, w.api.Update(t.Context(), nb))
	gw := &v1alpha1.JupyterGateway{}
	require.NoError(t, w.api.Get(t.Context(), client.ObjectKey{Namespace: testNS, Name: testGateway}, gw))

	pods := podspec.NewBuilder(podspec.Config{
		Image: "elastichub:test", KernelImage: "kernel:test", Keeps: true, Keep: podspec.Keep{Enabled: true, IdleSeconds: 300, TTL: time.Hour},
	})
	built, err := pods.Build(t.Context(), w.api, k)
	require.NoError(t, err)
	warm, err := pods.BuildWarm(t.Context(), w.api, gw, podspec.WarmWant{KernelSpec: "python-cpu", Policies: []string{"all"}, Notebook: nb}, podspec.NewWarmName())
	require.NoError(t, err)
	assert.Equal(t, built.Class(), warm.Annotations[v1alpha1.AnnotationWarm], "it is sent %v", k.Spec.Env)
	told, err := podspec.Told(t.Context(), w.api, built.Parts)
	require.NoError(t, err)
	assert.Equal(t, "a b", told.Variables["KERNEL_TOPIC"])
	assert.Contains(t, told.Variables[podrules.EnvSession], "work dir/a.ipynb")
	assert.Equal(t, &protocol.Directory{Path: filepath.Join(home, "work dir"), Roots: []string{home}}, told.Directory)
}
