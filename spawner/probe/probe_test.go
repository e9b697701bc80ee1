package probe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/outbound"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/probe"
	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/pythontest"
)

// withExtension has serve run a server with elastichub's extension, alone in a namespace of processes, as
// it is in its container.
const withExtension = true

// serve runs a jupyter_server and returns its address, base URL included.
func serve(t *testing.T, token string, extended bool) string {
	t.Helper()
	command := []string{pythontest.Interpreter(t)}
	port := loopback.Port()
	home := t.TempDir()
	var output bytes.Buffer
	environment := append(os.Environ(), "HOME="+home, "JUPYTER_RUNTIME_DIR="+filepath.Join(home, "runtime"), "SHELL=/bin/sh")
	if extended {
		command = append([]string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"}, command...)
		python, err := filepath.Abs("../../python")
		require.NoError(t, err)
		config := "import elastichub.notebook\nelastichub.notebook.configure(c)\n"
		require.NoError(t, os.WriteFile(filepath.Join(home, "jupyter_server_config.py"), []byte(config), 0o600))
		environment = append(environment, "PYTHONPATH="+python, "JUPYTER_CONFIG_DIR="+home)
	}
	command = append(command, "-m", "jupyter_server", "--allow-root", "--no-browser",
		"--ServerApp.ip=127.0.0.1", fmt.Sprintf("--ServerApp.port=%d", port), "--ServerApp.port_retries=0",
		"--ServerApp.base_url=/user/alice/", "--IdentityProvider.token="+token, "--ServerApp.root_dir="+home)
	server := exec.Command(command[0], command[1:]...)
	server.Env = environment
	server.Stdout, server.Stderr = &output, &output
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL)
		_ = server.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	address := fmt.Sprintf("http://127.0.0.1:%d/user/alice/", port)
	require.Eventually(t, func() bool {
		answer, err := http.Get(address + "api")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	return address
}

func post(t *testing.T, address, path, token, body string, into any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "token "+token)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Less(t, answer.StatusCode, 300, "%s", text)
	require.NoError(t, json.Unmarshal(text, into))
}

func TestRealServer(t *testing.T) {
	const token = "of-this-start"
	address := serve(t, token, !withExtension)
	asker, err := probe.New()
	require.NoError(t, err)

	first, err := asker.Ask(t.Context(), spawner.Access{Address: address, Token: token})
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), first.Last, time.Minute)
	assert.Empty(t, first.Busy)
	again, err := asker.Ask(t.Context(), spawner.Access{Address: address, Token: token})
	require.NoError(t, err)
	assert.Equal(t, first, again, "asking is no activity")

	_, err = asker.Ask(t.Context(), spawner.Access{Address: address, Token: "another"})
	var status *outbound.StatusError
	require.ErrorAs(t, err, &status)
	assert.Equal(t, http.StatusForbidden, status.Code)

	// A terminal is activity.
	var terminal struct{ Name string }
	post(t, address, "api/terminals", token, "", &terminal)
	used, err := asker.Ask(t.Context(), spawner.Access{Address: address, Token: token})
	require.NoError(t, err)
	assert.True(t, used.Last.After(first.Last))

	// A kernel that starts is at work, then at rest.
	var kernel struct{ ID string }
	post(t, address, "api/kernels", token, `{"name":"python3"}`, &kernel)
	at, err := asker.Ask(t.Context(), spawner.Access{Address: address, Token: token})
	require.NoError(t, err)
	assert.Equal(t, []v1alpha1.NotebookBusy{{Kind: v1alpha1.BusyKernel, Name: kernel.ID}}, at.Busy)
}

// TestAServerWithTheExtension: it says until when it is to be kept, and is told of its stop,
// as python/tests/test_keeping.py has it at a real one.
func TestAServerWithTheExtension(t *testing.T) {
	told := make(chan string, 1)
	said := `{"snoozedUntil": null, "stopAt": null, "canKeep": false}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch strings.TrimPrefix(r.URL.Path, "/user/alice/") {
		case "api/status":
			_, _ = io.WriteString(w, `{"last_activity":"2026-01-02T03:04:05.000006Z"}`)
		case "api/terminals", "api/kernels":
			_, _ = io.WriteString(w, "[]")
		case "elastichub/v1/activity":
			if r.Method == http.MethodPut {
				body, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				told <- r.Header.Get("Authorization") + " " + string(body)
				said = "{}"
			}
			_, _ = io.WriteString(w, said)
		}
	}))
	defer server.Close()
	asker, err := probe.New()
	require.NoError(t, err)
	address := server.URL + "/user/alice/"
	activity, err := asker.Ask(t.Context(), spawner.Access{Address: address, Token: "of-this-start"})
	require.NoError(t, err)
	assert.Zero(t, activity.KeepUntil)
	said = `{"snoozedUntil": "2026-01-02T05:00:00Z", "stopAt": null, "canKeep": false}`
	activity, err = asker.Ask(t.Context(), spawner.Access{Address: address, Token: "of-this-start"})
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, 1, 2, 5, 0, 0, 0, time.UTC), activity.KeepUntil)
	assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), activity.Last, "as jupyter_server says it")
	said = `{"lastActivity": "2026-01-02T04:05:06.5Z", "snoozedUntil": null, "busy": [
		{"kind": "terminal", "name": "1 (sleep)", "since": "2026-01-02T03:00:00.25Z"}, {"kind": "process", "name": "` + strings.Repeat("é", 300) + `"}]}`
	activity, err = asker.Ask(t.Context(), spawner.Access{Address: address, Token: "of-this-start"})
	require.NoError(t, err)
	since := metav1.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	assert.Equal(t, spawner.Activity{Last: time.Date(2026, 1, 2, 4, 5, 6, 5e8, time.UTC), Busy: []v1alpha1.NotebookBusy{
		{Kind: "terminal", Name: "1 (sleep)", Since: &since}, {Kind: "process", Name: strings.Repeat("é", 253)},
	}}, activity)
	said = `{"lastActivity": "2026-01-02T04:05:06Z", "busy": [` + strings.Repeat(`{"kind": "process"}, `, 99) + `{"kind": "process"}]}`
	activity, err = asker.Ask(t.Context(), spawner.Access{Address: address, Token: "of-this-start"})
	require.NoError(t, err)
	assert.Len(t, activity.Busy, v1alpha1.MaxBusy)
	for _, bad := range []string{
		`{"snoozedUntil": "soon"}`, `{"lastActivity": "2026-01-02T04:05:06Z", "busy": 7}`, `{"lastActivity": 7}`,
		`{"lastActivity": "2026-01-02T04:05:06Z", "busy": [{"name": "x"}]}`, `{"lastActivity": "2026-01-02T04:05:06Z", "busy": [{"kind": "x", "since": "then"}]}`,
	} {
		said = bad
		_, err = asker.Ask(t.Context(), spawner.Access{Address: address, Token: "of-this-start"})
		require.Error(t, err, "nothing is concluded from %s", bad)
	}

	stopAt := time.Date(2026, 1, 2, 4, 0, 0, 0, time.FixedZone("x", 3600))
	warning := spawner.Forewarning{StopAt: stopAt, Cause: v1alpha1.StopIdle, IdleSince: stopAt.Add(-time.Hour), Keep: 90 * time.Minute}
	require.NoError(t, asker.Forewarn(t.Context(), spawner.Access{Address: address, Token: "of-this-start"}, warning))
	head, body, _ := strings.Cut(<-told, " {")
	assert.Equal(t, "token of-this-start", head)
	assert.JSONEq(t, `{"stopAt": "2026-01-02T03:00:00Z", "cause": "Idle", "idleSince": "2026-01-02T02:00:00Z", "keepSeconds": 5400}`, "{"+body)
	require.NoError(t, asker.Forewarn(t.Context(), spawner.Access{Address: address}, spawner.Forewarning{StopAt: stopAt, Cause: v1alpha1.StopMaxRun, IdleSince: stopAt}))
	assert.JSONEq(t, `{"stopAt": "2026-01-02T03:00:00Z", "cause": "MaxRun", "keepSeconds": 0}`, strings.TrimSpace(<-told))
}

func TestAnswersThatSayNothing(t *testing.T) {
	asker, err := probe.New()
	require.NoError(t, err)
	const good = `{"last_activity":"2026-01-02T03:04:05.000006Z"}`
	for name, answers := range map[string]map[string]string{
		"not JSON":       {"status": "hello"},
		"no time":        {"status": "{}"},
		"a wrong time":   {"status": `{"last_activity":"yesterday"}`},
		"too long":       {"status": `{"x":"` + strings.Repeat("x", 1<<20) + `"}`},
		"wrong kernels":  {"status": good, "terminals": "[]", "kernels": `{}`},
		"no kernels":     {"status": good, "terminals": "[]"},
		"wrong terminal": {"status": good, "terminals": `[{"last_activity":7}]`, "kernels": "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, ok := answers[strings.TrimPrefix(r.URL.Path, "/api/")]
				if !ok {
					http.NotFound(w, r)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, body)
			}))
			defer server.Close()
			_, err := asker.Ask(t.Context(), spawner.Access{Address: server.URL})
			assert.Error(t, err)
		})
	}
	t.Run("a redirect to a login page is not followed", func(t *testing.T) {
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}))
		defer server.Close()
		_, err := asker.Ask(t.Context(), spawner.Access{Address: server.URL, Token: "secret"})
		assert.Error(t, err)
		assert.Equal(t, 1, asked)
	})
	t.Run("a server that hangs", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		defer server.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := asker.Ask(ctx, spawner.Access{Address: server.URL})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("no terminals at all", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch {
			case strings.HasSuffix(r.URL.Path, "terminals"):
				http.NotFound(w, r)
			case strings.HasSuffix(r.URL.Path, "kernels"):
				_, _ = io.WriteString(w, "[]")
			default:
				_, _ = io.WriteString(w, good)
			}
		}))
		defer server.Close()
		activity, err := asker.Ask(t.Context(), spawner.Access{Address: server.URL})
		require.NoError(t, err)
		assert.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), activity.Last)
		assert.Empty(t, activity.Busy)
	})
}
