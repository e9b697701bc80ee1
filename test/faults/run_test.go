//go:build e2e

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/client"
)

// binary builds the command as a laptop has it, and returns how it is run: its exit
// status and what it printed.
func binary(t *testing.T, env ...string) func(args ...string) (code int, out, errs string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "elastichub")
	built, err := exec.Command("go", "build", "-o", path, "../../cmd/elastichub").CombinedOutput()
	require.NoError(t, err, string(built))
	return func(args ...string) (int, string, string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Env = append(os.Environ(), env...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(t, err)
		}
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}
}

// TestRunFromALaptop: a token of the Hub, its proxy, the server's start, a run that is
// waited for and one that goes on when its terminal is gone.
func TestRunFromALaptop(t *testing.T) {
	d := demo(t)
	const user = "analyst"
	g := client.Gateway{URL: d.HubURL + "/hub/api", Token: d.hubToken}
	hub := func(method, path string, into any) int {
		status, err := g.Call(context.Background(), method, path, map[string]any{}, into)
		require.NoError(t, err)
		return status
	}
	gone := func() bool {
		var model struct{ Servers map[string]any }
		return hub("GET", "/users/"+user, &model) == 200 && len(model.Servers) == 0
	}
	require.Contains(t, []int{201, 409}, hub("POST", "/users/"+user, nil))
	hub("DELETE", "/users/"+user+"/server", nil)
	require.Eventually(t, gone, 2*time.Minute, time.Second)
	t.Cleanup(func() { hub("DELETE", "/users/"+user+"/server", nil) })
	var made struct{ ID, Token string }
	require.Equal(t, 201, hub("POST", "/users/"+user+"/tokens", &made))
	t.Cleanup(func() { hub("DELETE", "/users/"+user+"/tokens/"+made.ID, nil) })
	elastichub := binary(t, "JUPYTERHUB_API_TOKEN="+made.Token, "JUPYTERHUB_API_URL="+d.HubURL)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}

	hello := file("hello.py", "import os\nprint('as', os.environ['JUPYTERHUB_USER'])\n# %%\n6 * 7\n")
	code, out, errs := elastichub("run", "--kernel", "python-cpu", hello)
	assert.Equal(t, 3, code, out)
	assert.Contains(t, errs, "--start starts it")

	to := filepath.Join(t.TempDir(), "out.ipynb")
	code, out, errs = elastichub("run", "--start", "--kernel", "python-cpu", "--output", to, hello)
	require.Equal(t, 0, code, errs)
	assert.Equal(t, "as "+user+"\n42\n", out)
	text, err := os.ReadFile(to)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"as `+user+`\n"`)

	code, _, errs = elastichub("run", "--kernel", "python-cpu", file("f.py", "1 / 0\n"))
	assert.Equal(t, 1, code, errs)
	assert.Contains(t, errs, "ZeroDivisionError")
	code, _, errs = elastichub("run", "--kernel", "no-such-kernel", hello)
	assert.Equal(t, 4, code, errs)

	code, out, errs = elastichub("run", "--detach", "--kernel", "python-cpu", file("long.py", "import time\nfor i in range(60): print(i, flush=True); time.sleep(.25)\n# %%\n6 * 7\n"))
	require.Equal(t, 0, code, errs)
	id := strings.TrimSpace(out)
	code, out, errs = elastichub("logs", id)
	assert.Equal(t, 0, code, errs)
	assert.NotContains(t, out, "59\n")
	code, out, errs = elastichub("logs", id, "--follow")
	require.Equal(t, 0, code, errs)
	var want strings.Builder
	for i := range 60 {
		fmt.Fprintln(&want, i)
	}
	assert.Equal(t, want.String()+"42\n", out)
}

// TestDoctorOfTheDemo: the demo is a good installation, but for an engine of
// NetworkPolicies, which its cluster does not have.
func TestDoctorOfTheDemo(t *testing.T) {
	d := demo(t)
	began := time.Now()
	_, out, errs := binary(t)("doctor", "-n", d.Namespace, "--output", "json")
	var report struct {
		Problems   []struct{ Check, What string }
		NotChecked []string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report), errs)
	for _, p := range report.Problems {
		assert.Equal(t, "network-policies", p.Check, p.What)
	}
	t.Logf("%s with the build, not checked: %q", time.Since(began), report.NotChecked)
}
