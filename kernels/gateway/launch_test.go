package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// only returns the one kernel there is.
func (w *world) only() string {
	w.t.Helper()
	var list v1alpha1.JupyterKernelList
	require.Eventually(w.t, func() bool {
		return w.api.List(context.Background(), &list) == nil && len(list.Items) == 1
	}, patience, time.Millisecond)
	return list.Items[0].Name
}

// TestAClientIsAnsweredWhenItsKernelRuns: Enterprise Gateway's clients send
// their first cell with the answer. A notebook server is answered at once.
func TestAClientIsAnsweredWhenItsKernelRuns(t *testing.T) {
	for _, path := range []string{"/api/kernels", "/api/sessions"} {
		for phase, state := range map[v1alpha1.KernelPhase]string{v1alpha1.KernelReady: `"idle"`, v1alpha1.KernelDead: `"dead"`} {
			t.Run(path+" "+string(phase), func(t *testing.T) {
				w := newWorld(t)
				w.server.timing.launch = time.Hour
				answered := make(chan answer, 1)
				go func() { answered <- w.call("ci", "POST", path, `{"path":"a","name":"python-cpu"}`) }()
				id := w.only()
				w.phase(id, v1alpha1.KernelStarting, 1, "")
				select {
				case a := <-answered:
					require.Fail(t, "answered", "%s", a.body)
				case <-time.After(100 * time.Millisecond):
				}
				w.phase(id, phase, 1, "")
				a := <-answered
				assert.Equal(t, http.StatusCreated, a.status)
				assert.Contains(t, string(a.body), `"execution_state":`+state)
			})
		}
	}
	w := newWorld(t)
	w.server.timing.launch = time.Hour
	w.start("nb-alice", "python-cpu") // who would wait for ever
}

// TestALaunchIsNotAwaitedForEver: it is answered all the same, unless the client has gone.
func TestALaunchIsNotAwaitedForEver(t *testing.T) {
	w := newWorld(t)
	assert.Contains(t, string(w.call("ci", "POST", "/api/kernels", `{}`).body), `"execution_state":"starting"`)
	w.call("ci", "DELETE", "/api/kernels/"+w.only(), "")

	w.server.timing.launch = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "POST", w.url+"/api/kernels", strings.NewReader("{}"))
	require.NoError(t, err)
	req.Header.Set("Authorization", "token "+ciToken)
	gone := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		gone <- err
	}()
	w.only()
	cancel()
	require.Error(t, <-gone)
	require.Eventually(t, func() bool {
		var list v1alpha1.JupyterKernelList
		return w.api.List(context.Background(), &list) == nil && len(list.Items) == 0
	}, patience, time.Millisecond, "who has gone never learns the id")
}
