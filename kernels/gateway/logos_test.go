package gateway

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

func dataURI(kind, content string) string {
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString([]byte(content))
}

func TestLogos(t *testing.T) {
	w := newWorld(t)
	own := &v1alpha1.JupyterKernelSpec{}
	require.NoError(t, w.api.Get(t.Context(), types.NamespacedName{Namespace: testNS, Name: "python-gpu"}, own))
	own.Spec.Logo = dataURI("image/png", "\x89PNG picture")
	require.NoError(t, w.api.Update(t.Context(), own))

	for path, want := range map[string]struct{ kind, content string }{
		"/kernelspecs/python-gpu/logo-64x64.png": {"image/png", "\x89PNG picture"},
		"/kernelspecs/python-cpu/logo-svg.svg":   {"image/svg+xml", string(badge("python"))},
	} {
		a := w.call("nb-alice", "GET", path, "")
		require.Equal(t, http.StatusOK, a.status, path)
		assert.Equal(t, want.content, string(a.body))
		assert.Equal(t, want.kind, a.header.Get("Content-Type"))
		assert.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
		assert.Contains(t, a.header.Get("Content-Security-Policy"), "sandbox")
	}
	var l specList
	w.call("nb-alice", "GET", "/api/kernelspecs", "").json(t, &l)
	for name, m := range l.Kernelspecs {
		require.Len(t, m.Resources, 1, name)
		for _, path := range m.Resources {
			assert.Equal(t, http.StatusOK, w.call("nb-alice", "GET", path, "").status, "what is listed is there")
		}
	}
	for _, path := range []string{"/kernelspecs/python-gpu/logo-svg.svg", "/kernelspecs/python-gpu/kernel.json", "/kernelspecs/none/logo-svg.svg", "/kernelspecs/python-gpu/..%2flogo-64x64.png"} {
		assert.Equal(t, http.StatusNotFound, w.call("nb-alice", "GET", path, "").status, path)
	}
	assert.Equal(t, http.StatusNotFound, w.call("nb-bob", "GET", "/kernelspecs/python-gpu/logo-64x64.png", "").status, "not his")
}

func TestLogoOf(t *testing.T) {
	for given, want := range map[string]bool{
		dataURI("image/svg+xml", "<svg/>"):                            true,
		dataURI("image/png", strings.Repeat("x", maxLogo)):            true,
		dataURI("image/png", strings.Repeat("x", maxLogo+1)):          false,
		dataURI("image/gif", "x"):                                     false,
		dataURI("text/html", "<script/>"):                             false,
		dataURI("image/png", ""):                                      false,
		"data:image/png;base64,!!!!":                                  false,
		"data:image/png,plain":                                        false,
		"https://example.org/logo.png":                                false,
		"data:image/svg+xml;base64," + strings.Repeat("A", maxLogo*2): false,
	} {
		ks := &v1alpha1.JupyterKernelSpec{}
		ks.Name, ks.Spec.Logo = "k", given
		_, ok := logoOf(ks)
		assert.Equal(t, want, ok, "%.60s", given)
		assert.Equal(t, want, len(resourcesOf(ks)) == 1)
	}
}

func TestBadgesAreWellFormed(t *testing.T) {
	for language, letters := range map[string]string{
		"python": "Py", "r": "R", "julia": "Jl", "c++": "C++", "ocaml": "Oc", `<script>"&'`: "Sc", "日本": "?", "": "Py", "%s%n": "Sn",
	} {
		var svg struct {
			Text string `xml:"text"`
		}
		require.NoError(t, xml.Unmarshal(badge(language), &svg), language)
		assert.Equal(t, letters, svg.Text, language)
	}
	assert.NotEqual(t, badge("ocaml"), badge("octave"))
}
