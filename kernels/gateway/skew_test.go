package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/skew"
)

// TestNotebookServersTooFarApartAreRefused with both releases and what to do, on every route.
// Whoever tells nothing is served: most clients of a gateway are no part of elastichub.
func TestNotebookServersTooFarApartAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := func(who, told, method, path string) answer {
		req, err := http.NewRequest(method, w.url+path, strings.NewReader(`{}`))
		require.NoError(t, err)
		req.Header.Set("Authorization", "token "+w.tokens[who])
		if told != "" {
			req.Header.Set(skew.Header, told)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return answer{resp.StatusCode, resp.Header, raw}
	}
	for _, told := range []string{"", "nonsense", "0.1.0; protocol=1", skew.Here(skew.GatewayProtocol).String()} {
		a := ask("nb-alice", told, http.MethodGet, "/api/kernels")
		assert.Equal(t, http.StatusOK, a.status, told)
		assert.Equal(t, skew.Here(skew.GatewayProtocol), skew.Parse(a.header.Get(skew.Header)))
	}
	assert.Equal(t, http.StatusOK, ask("ci", "", http.MethodGet, "/api/kernels").status)
	for _, path := range []string{"/api", "/api/kernels", "/api/kernelspecs", "/api/sessions", "/api/kernels/k/channels", "/api/kernels/k/ports/8080/"} {
		a := ask("nb-bob", "9.9.0; protocol=9", http.MethodGet, path)
		assert.Equal(t, http.StatusConflict, a.status, path)
		p := a.problem(t)
		assert.Equal(t, string(kindApart), p.Reason)
		for _, part := range []string{"9.9.0", skew.Release(), "An administrator must bring the gateway up to 9.9.0."} {
			assert.Contains(t, p.Message, part)
		}
	}
	assert.Contains(t, explain(apart(&skew.ApartError{
		One: skew.Gateway, Other: skew.Wheel, OneRelease: "0.4.0", OtherRelease: "0.2.0",
	})).message, "restart your server")
	rec := httptest.NewRecorder()
	w.server.health().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, skew.Path, nil))
	assert.Contains(t, rec.Body.String(), `"9.9.0":1`)
	assert.NotContains(t, rec.Body.String(), "bob")
}

// TestAnAgentTooFarApartIsNotSpokenTo: the cell that waits says why, and what becomes of it; when
// the leader has parked the kernel it comes back for that cell.
func TestAnAgentTooFarApartIsNotSpokenTo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.start("nb-alice", "python-cpu")
	former := w.agent(id, 1)
	former.mu.Lock()
	former.told = "9.9.0; protocol=99"
	former.mu.Unlock()
	w.phase(id, v1alpha1.KernelReady, 1, former.ip)
	p := w.open("nb-alice", id, "s", wire.SubprotocolV1)
	p.execute("1")
	notice := p.next(wire.TypeDisplayData)
	text := plainText(notice)
	for !strings.Contains(text, "9.9.0") {
		notice = p.next(wire.TypeUpdateDisplayData)
		text = plainText(notice)
	}
	assert.Contains(t, text, skew.Release())
	assert.Contains(t, text, "comes back for this cell")
	assert.Empty(t, former.got, "nothing was sent to it")

	w.status(id, func(s *v1alpha1.JupyterKernelStatus) {
		s.Phase, s.Cause, s.PodIP, s.Message = v1alpha1.KernelParked, v1alpha1.CauseIdle, "", text
	})
	require.Eventually(t, func() bool { return w.kernel(id).Spec.Run == 2 }, patience, 20*time.Millisecond)
	next := w.agent(id, 2)
	w.phase(id, v1alpha1.KernelReady, 2, next.ip)
	m := <-next.got
	assert.Equal(t, wire.TypeExecuteRequest, m.Type())
}

// TestAGatewayTooFarFromItsServiceDoesNotStart, and says why.
func TestAGatewayTooFarFromItsServiceDoesNotStart(t *testing.T) {
	t.Parallel()
	cfg := Default()
	cfg.Namespace, cfg.Name, cfg.KeyFile, cfg.TokenKeyFile = "lab", "gw", "k", "t"
	for _, told := range []string{"", skew.Release(), "0.1.0"} {
		cfg.ServiceVersion = told
		require.NoError(t, cfg.Validate(), told)
	}
	cfg.ServiceVersion = "9.9.0"
	err := cfg.Validate()
	require.ErrorContains(t, err, "the kernel gateway is elastichub "+skew.Release())
	require.ErrorContains(t, err, "the notebook service is 9.9.0")
}
