package gateway

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/lockedbuffer"
	"github.com/elastichub/elastichub/test/pythontest"
)

// runners is the path of a Python with the programs that run notebooks.
func runners(t *testing.T) string {
	t.Helper()
	python, err := pythontest.Environment("runners", "import papermill, nbconvert, nbclient, jupyter_scheduler, ipykernel, jupyter_server",
		"papermill==2.*", "nbconvert==7.*", "nbclient", "jupyter-scheduler==2.*", "ipykernel==7.*", "pyzmq==27.*", "jupyter_server==2.*")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("no Python with papermill: %v", err)
	}
	if err != nil {
		t.Skipf("no Python with papermill: %v", err)
	}
	return python
}

// TestProgramsThatRunNotebooks in the notebook server's terminal, or in the server itself as
// jupyter-scheduler does, run on kernels of the gateway, also where the notebook was made
// elsewhere. All are real, and so are the gateway, its agents and the kernels.
func TestProgramsThatRunNotebooks(t *testing.T) {
	python := runners(t)
	w := newWorld(t)
	w.server.timing = defaultTiming
	w.controllers(python, nil)
	home := t.TempDir()
	j := w.jupyterAt(home, python, "import elastichub.notebook", "elastichub.notebook.configure(c)",
		"c.ServerApp.jpserver_extensions.update({'jupyter_scheduler': True})",
		"c.SchedulerApp.db_url = 'sqlite:///"+home+"/scheduler.sqlite'")
	var kernels string
	require.Eventually(t, func() bool {
		found, err := filepath.Glob(filepath.Join(home, "elastichub", "*", "kernels", "python3", "kernel.json"))
		if len(found) == 1 {
			kernels = filepath.Dir(filepath.Dir(filepath.Dir(found[0])))
		}
		return err == nil && len(found) == 1
	}, time.Minute, 50*time.Millisecond)
	source, err := filepath.Abs("../../python")
	require.NoError(t, err)

	// seen are the kernels that there have been, which end with their programs.
	seen := map[string]v1alpha1.JupyterKernel{}
	look := func() (running int) {
		var list v1alpha1.JupyterKernelList
		require.NoError(t, w.api.List(t.Context(), &list, client.InNamespace(testNS)))
		for _, k := range list.Items {
			seen[k.Name] = k
		}
		return len(list.Items)
	}
	// notebook writes one that tells by a file whose child its kernel is: agents run in
	// this process here, and a kernel beside them would be the program's own.
	notebook := func(name, kernel string) {
		code := fmt.Sprintf("import os; open(%q, 'w').write(str(os.getppid())); print(6 * 7)", filepath.Join(home, name+".ran"))
		text := fmt.Sprintf(`{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": null, "source": %q}],
			"metadata": {"kernelspec": {"name": %q, "display_name": "K", "language": "python"}}, "nbformat": 4, "nbformat_minor": 5}`, code, kernel)
		require.NoError(t, os.WriteFile(filepath.Join(home, name+".ipynb"), []byte(text), 0o600))
	}
	ran := func(name string) {
		t.Helper()
		parent, err := os.ReadFile(filepath.Join(home, name+".ran"))
		require.NoError(t, err)
		assert.Equal(t, strconv.Itoa(os.Getpid()), string(parent), "it ran on a kernel of the gateway")
		require.Len(t, seen, 1)
		for _, k := range seen {
			assert.Equal(t, "alice", k.Spec.User)
			assert.Equal(t, "python-cpu", k.Spec.KernelSpec)
		}
		require.Eventually(t, func() bool { return look() == 0 }, time.Minute, 20*time.Millisecond, "and ended it")
		clear(seen)
	}
	terminal := func(words ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(filepath.Dir(python), words[0]), words[1:]...)
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "PYTHONPATH="+source, "HOME="+home, "JUPYTER_CONFIG_DIR="+home, "JUPYTER_PATH="+kernels, "JUPYTER_RUNTIME_DIR="+home,
			"JUPYTER_GATEWAY_URL="+w.url, "JUPYTER_GATEWAY_AUTH_TOKEN="+w.tokens["nb-alice"], "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
		out := &lockedbuffer.Buffer{}
		cmd.Stdout, cmd.Stderr = out, out
		require.NoError(t, cmd.Start())
		ended := atomic.Bool{}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait(); ended.Store(true) }()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		for !ended.Load() {
			look()
			time.Sleep(10 * time.Millisecond)
		}
		require.NoError(t, <-done, out.String())
		return out.String()
	}

	for _, row := range []struct {
		name, kernel string
		words        []string
	}{
		{"execute", "python-cpu", []string{"jupyter-execute", "--inplace", "execute.ipynb"}},
		{"elsewhere", "python3", []string{"jupyter-execute", "--inplace", "elsewhere.ipynb"}},
		{"papermill", "python3", []string{"papermill", "papermill.ipynb", "papermill.ipynb"}},
		{"nbconvert", "python3", []string{"jupyter-nbconvert", "--to", "notebook", "--execute", "--inplace", "nbconvert.ipynb"}},
		{"nbclient", "python-cpu", []string{"python", "-c", "import nbformat, nbclient\nnb = nbformat.read('nbclient.ipynb', 4)\nnbclient.execute(nb)\nnbformat.write(nb, 'nbclient.ipynb')"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			notebook(row.name, row.kernel)
			told := terminal(row.words...)
			ran(row.name)
			instead := strings.Contains(told, "there is no kernel python3 here: python-cpu is started in its place")
			assert.Equal(t, row.kernel == "python3", instead, told)
			text, err := os.ReadFile(filepath.Join(home, row.name+".ipynb"))
			require.NoError(t, err)
			assert.Contains(t, string(text), `"42\n"`)
		})
	}
	t.Run("scheduler", func(t *testing.T) {
		notebook("scheduler", "python3")
		var environments []struct{ Name string }
		j.call("GET", "/scheduler/runtime_environments", "", http.StatusOK, &environments)
		require.NotEmpty(t, environments)
		var made struct {
			ID string `json:"job_id"`
		}
		j.call("POST", "/scheduler/jobs", fmt.Sprintf(`{"input_uri": "scheduler.ipynb", "name": "job", "runtime_environment_name": %q, "output_formats": ["ipynb"]}`,
			environments[0].Name), http.StatusOK, &made)
		var job struct {
			Status  string
			Message string `json:"status_message"`
		}
		for until := time.Now().Add(2 * time.Minute); !strings.HasPrefix(job.Status, "COMPLETED") && job.Status != "FAILED" && time.Now().Before(until); {
			look()
			j.call("GET", "/scheduler/jobs/"+made.ID, "", http.StatusOK, &job)
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, "COMPLETED", job.Status, job.Message)
		ran("scheduler")
	})
}
