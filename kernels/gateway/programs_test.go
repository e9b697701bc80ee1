package gateway

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/test/lockedbuffer"
	"github.com/elastichub/elastichub/test/loopback"
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

// programs run notebooks on kernels of the gateway that none but they have started.
type programs struct {
	t      *testing.T
	w      *world
	python string
	home   string
	// env is all that a program is told.
	env []string
	// seen are the kernels that there have been, which end with their programs.
	seen map[string]v1alpha1.JupyterKernel
}

func (p *programs) look() (running int) {
	var list v1alpha1.JupyterKernelList
	require.NoError(p.t, p.w.api.List(p.t.Context(), &list, client.InNamespace(testNS)))
	for _, k := range list.Items {
		p.seen[k.Name] = k
	}
	return len(list.Items)
}

// notebook writes one that tells by a file whose child its kernel is: agents run in
// this process here, and a kernel beside them would be the program's own.
func (p *programs) notebook(name, kernel string) {
	code := fmt.Sprintf("import os; open(%q, 'w').write(str(os.getppid())); print(6 * 7)", filepath.Join(p.home, name+".ran"))
	text := fmt.Sprintf(`{"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "execution_count": null, "source": %q}],
			"metadata": {"kernelspec": {"name": %q, "display_name": "K", "language": "python"}}, "nbformat": 4, "nbformat_minor": 5}`, code, kernel)
	require.NoError(p.t, os.WriteFile(filepath.Join(p.home, name+".ipynb"), []byte(text), 0o600))
}

// ran checks where the notebook ran.
func (p *programs) ran(t *testing.T, name string) {
	t.Helper()
	parent, err := os.ReadFile(filepath.Join(p.home, name+".ran"))
	require.NoError(t, err)
	assert.Equal(t, strconv.Itoa(os.Getpid()), string(parent), "it ran on a kernel of the gateway")
	require.Len(t, p.seen, 1)
	for _, k := range p.seen {
		assert.Equal(t, "alice", k.Spec.User)
		assert.Equal(t, "python-cpu", k.Spec.KernelSpec)
	}
	require.Eventually(t, func() bool { return p.look() == 0 }, time.Minute, 20*time.Millisecond, "and ended it")
	clear(p.seen)
}

// run gives what a program has said.
func (p *programs) run(t *testing.T, words ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(filepath.Dir(p.python), words[0]), words[1:]...)
	cmd.Dir, cmd.Env = p.home, p.env
	out := &lockedbuffer.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	ended := atomic.Bool{}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait(); ended.Store(true) }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	for !ended.Load() {
		p.look()
		time.Sleep(10 * time.Millisecond)
	}
	require.NoError(t, <-done, out.String())
	return out.String()
}

// words are the command lines of the programs, for a notebook of the program's name.
var words = map[string][]string{
	"execute":   {"jupyter-execute", "--inplace", "execute.ipynb"},
	"papermill": {"papermill", "papermill.ipynb", "papermill.ipynb"},
	"nbconvert": {"jupyter-nbconvert", "--to", "notebook", "--execute", "--inplace", "nbconvert.ipynb"},
	"nbclient":  {"python", "-c", "import nbformat, nbclient\nnb = nbformat.read('nbclient.ipynb', 4)\nnbclient.execute(nb)\nnbformat.write(nb, 'nbclient.ipynb')"},
}

// runs has a program run a notebook whose kernel has that name.
func (p *programs) runs(t *testing.T, program, kernel string) {
	t.Helper()
	p.notebook(program, kernel)
	told := p.run(t, words[program]...)
	p.ran(t, program)
	instead := strings.Contains(told, "there is no kernel python3 here: python-cpu is started in its place")
	assert.Equal(t, kernel == "python3", instead, told)
	text, err := os.ReadFile(filepath.Join(p.home, program+".ipynb"))
	require.NoError(t, err)
	assert.Contains(t, string(text), `"42\n"`)
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
	p := &programs{t: t, w: w, python: python, home: home, seen: map[string]v1alpha1.JupyterKernel{}}
	p.env = append(os.Environ(), "PYTHONPATH="+extensionSource(t), "HOME="+home, "JUPYTER_CONFIG_DIR="+home, "JUPYTER_PATH="+kernels, "JUPYTER_RUNTIME_DIR="+home,
		"JUPYTER_GATEWAY_URL="+w.url, "JUPYTER_GATEWAY_AUTH_TOKEN="+w.tokens["nb-alice"], "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")

	// The other programs are run in TestProgramsInPodsWithoutHub.
	t.Run("execute", func(t *testing.T) { p.runs(t, "execute", "python-cpu") })
	t.Run("execute, made elsewhere", func(t *testing.T) { p.runs(t, "execute", "python3") })
	t.Run("scheduler", func(t *testing.T) {
		p.notebook("scheduler", "python3")
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
			p.look()
			j.call("GET", "/scheduler/jobs/"+made.ID, "", http.StatusOK, &job)
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, "COMPLETED", job.Status, job.Message)
		p.ran(t, "scheduler")
	})
}

func extensionSource(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("../../python")
	require.NoError(t, err)
	return source
}

// TestProgramsInPodsWithoutHub: what `kubectl exec` starts in a notebook without a Hub has the
// image's variables and the Pod's, and nothing from the server. The server has the image's
// configuration and the files of its auth Secret, whatever its users sign in with, and nobody
// has opened a page.
func TestProgramsInPodsWithoutHub(t *testing.T) {
	python := runners(t)
	w := newWorld(t)
	w.server.timing = defaultTiming
	w.controllers(python, nil)
	for _, row := range []struct {
		auth     string
		local    string
		programs map[string]string
	}{
		// A server with kernels of its own has a python3 among them.
		{"disabled", "true", map[string]string{"nbconvert": "python-cpu"}},
		{"token", "false", map[string]string{"execute": "python3"}},
		{"password", "false", map[string]string{"papermill": "python3", "nbclient": "python-cpu"}},
	} {
		t.Run(row.auth, func(t *testing.T) {
			p := &programs{t: t, w: w, python: python, home: t.TempDir(), seen: map[string]v1alpha1.JupyterKernel{}}
			p.env = podEnvironment(t, w, python, p.home, row.auth)
			p.env = append(p.env, "ELASTICHUB_LOCAL_KERNELS="+row.local)
			server := exec.Command(python, "-m", "jupyter_server", "--allow-root", "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port="+strconv.Itoa(loopback.Port()))
			server.Dir, server.Env = p.home, p.env
			out := &lockedbuffer.Buffer{}
			server.Stdout, server.Stderr = out, out
			server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			require.NoError(t, server.Start())
			t.Cleanup(func() {
				_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL)
				_ = server.Wait()
				if t.Failed() {
					t.Log(out)
				}
			})
			require.Eventually(t, func() bool {
				_, err := os.Stat(filepath.Join(p.home, "elastichub", "kernels", "python-cpu", "kernel.json"))
				return err == nil
			}, time.Minute, 50*time.Millisecond)
			for program, kernel := range row.programs {
				p.runs(t, program, kernel)
			}
		})
	}
}

// podEnvironment is the environment of a notebook's container: the variables of images/notebook
// and those that the spawner's golden files have, which are of a notebook without a Hub. Files of
// image and Pod are put below the home.
func podEnvironment(t *testing.T, w *world, python, home, auth string) []string {
	t.Helper()
	env := []string{"PYTHONPATH=" + extensionSource(t), "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1"}
	image, err := os.ReadFile("../../images/notebook/Dockerfile")
	require.NoError(t, err)
	here := strings.NewReplacer("/opt/venv/bin", filepath.Dir(python), "/home/jovyan", home, "/tmp/", home+"/")
	for _, variable := range regexp.MustCompile(`(?m)^(?:ENV|   ) ([A-Z_]+)=(\S+)`).FindAllStringSubmatch(string(image), -1) {
		env = append(env, variable[1]+"="+here.Replace(variable[2]))
	}
	require.Contains(t, env, "JUPYTER_PATH="+home+"/elastichub")
	config, err := os.ReadFile("../../images/notebook/jupyter_server_config.py")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".jupyter"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".jupyter", "jupyter_server_config.py"), config, 0o600))

	var pod corev1.PodSpec
	for _, document := range goldenDocuments(t, "ejo-gateway-only.golden.yaml") {
		var d appsv1.Deployment
		require.NoError(t, yaml.Unmarshal([]byte(document), &d))
		if len(d.Spec.Template.Spec.Containers) > 0 {
			pod = d.Spec.Template.Spec
		}
	}
	require.Len(t, pod.Containers, 1)
	files := filepath.Join(home, "auth")
	for _, variable := range pod.Containers[0].Env {
		switch variable.Name {
		case "JUPYTER_GATEWAY_URL":
			variable.Value = w.url
		case "JUPYTER_GATEWAY_AUTH_TOKEN":
			variable.Value = w.tokens["nb-alice"]
		case "JUPYTER_CONFIG_PATH":
			variable.Value = files
		}
		env = append(env, variable.Name+"="+variable.Value)
	}
	require.NoError(t, os.MkdirAll(files, 0o700))
	var secret corev1.Secret
	require.NoError(t, yaml.Unmarshal([]byte(goldenDocuments(t, "auth-"+auth+".golden.yaml")[0]), &secret))
	require.NotEmpty(t, secret.Data)
	for name, data := range secret.Data {
		require.NoError(t, os.WriteFile(filepath.Join(files, name), data, 0o600))
	}
	return env
}

// goldenDocuments are those of a file that the spawner's tests keep.
func goldenDocuments(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../spawner/testdata", file))
	require.NoError(t, err)
	return strings.Split(strings.TrimPrefix(string(text), "---\n"), "---\n")
}
