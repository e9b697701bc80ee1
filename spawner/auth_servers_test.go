package spawner

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/loopback"
	"github.com/elastichub/elastichub/test/pythontest"
)

// jupyter is a real server that was given the files of an auth Secret.
type jupyter struct {
	t      *testing.T
	url    string
	output *bytes.Buffer
}

// startJupyter runs a server below /base/, as the Pod does.
func startJupyter(t *testing.T, python, module, option string, files map[string][]byte) *jupyter {
	t.Helper()
	home, dir := t.TempDir(), t.TempDir()
	for name, data := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	port := loopback.Port()
	j := &jupyter{t: t, url: fmt.Sprintf("http://127.0.0.1:%d/base/", port), output: &bytes.Buffer{}}
	server := exec.Command(python, "-m", module, "--allow-root", "--no-browser",
		"--"+option+".ip=127.0.0.1", fmt.Sprintf("--%s.port=%d", option, port), "--"+option+".port_retries=0", "--"+option+".base_url=/base/")
	server.Dir = home
	server.Env = append(os.Environ(), "HOME="+home, "JUPYTER_RUNTIME_DIR="+filepath.Join(home, "runtime"), "JUPYTER_CONFIG_PATH="+dir, "SHELL=/bin/sh")
	server.Stdout, server.Stderr = j.output, j.output
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL)
		_ = server.Wait()
		if t.Failed() {
			t.Log(j.output.String())
		}
	})
	require.Eventually(t, func() bool {
		answer, err := http.Get(j.url + "api")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	return j
}

// ask gives the status of an answer, and whether it set a login cookie.
func (j *jupyter) ask(client *http.Client, method, path, token string) (status int, login bool) {
	j.t.Helper()
	r, err := http.NewRequestWithContext(j.t.Context(), method, j.url+path, http.NoBody)
	require.NoError(j.t, err)
	if token != "" {
		r.Header.Set("Authorization", "token "+token)
	}
	answer, err := client.Do(r)
	require.NoError(j.t, err)
	answer.Body.Close()
	for _, cookie := range answer.Cookies() {
		login = login || strings.HasPrefix(cookie.Name, "username-")
	}
	return answer.StatusCode, login
}

func (j *jupyter) status(path, token string) int {
	j.t.Helper()
	status, _ := j.ask(http.DefaultClient, http.MethodGet, path, token)
	return status
}

// signIn fills the login form in and says what files are then answered with.
func (j *jupyter) signIn(password string) int {
	j.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(j.t, err)
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(j.url + "login")
	require.NoError(j.t, err)
	answer.Body.Close()
	at, err := url.Parse(j.url)
	require.NoError(j.t, err)
	form := url.Values{"password": {password}}
	for _, cookie := range jar.Cookies(at) {
		if cookie.Name == "_xsrf" {
			form.Set("_xsrf", cookie.Value)
		}
	}
	require.NotEmpty(j.t, form.Get("_xsrf"))
	answer, err = client.PostForm(j.url+"login", form)
	require.NoError(j.t, err)
	answer.Body.Close()
	status, _ := j.ask(client, http.MethodGet, "api/contents", "")
	return status
}

// serverOne is a Python with the last jupyter_server 1 and the last classic notebook.
func serverOne(t *testing.T) string {
	t.Helper()
	python, err := pythontest.Environment("jupyter-server-1", "import jupyter_server, notebook, argon2; assert jupyter_server.__version__[:2] == '1.'; assert notebook.__version__[:2] == '6.'",
		"jupyter_server==1.24.*", "notebook==6.5.*")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	require.NoError(t, err)
	return python
}

// TestServersTakeTheirCredentials: what the Pod is given is taken by every kind of Jupyter
// server. Right credentials are let in, wrong ones are not; elastichub's own token opens
// what tells of activity, and nothing else.
func TestServersTakeTheirCredentials(t *testing.T) {
	two, one := pythontest.Interpreter(t), serverOne(t)
	const own = "elastichub-own"
	for _, kind := range []struct{ name, python, module, option string }{
		{"jupyter_server 2", two, "jupyter_server", "ServerApp"}, {"jupyter_server 1", one, "jupyter_server", "ServerApp"}, {"notebook 6", one, "notebook", "NotebookApp"},
	} {
		for name, found := range map[string]credentials{
			"token and password": {token: text("right"), password: text("geheim ä")},
			"password":           {password: text("geheim ä")},
			"disabled":           {token: text(""), password: text("")},
			"nothing":            {},
		} {
			t.Run(kind.name+", "+name, func(t *testing.T) {
				t.Parallel()
				nb := sample(t, "ejo-template.yaml")
				j := startJupyter(t, kind.python, kind.module, kind.option, authSecret(nb, found, own).Data)
				closed := http.StatusForbidden
				if name == "disabled" {
					closed = http.StatusOK
				}
				assert.Equal(t, closed, j.status("api/contents", ""))
				assert.Equal(t, closed, j.status("api/contents", "wrong"))
				assert.Equal(t, closed, j.status("api/contents", own), "not with elastichub's own token")
				if name == "token and password" {
					assert.Equal(t, http.StatusOK, j.status("api/contents", "right"))
				} else {
					assert.Equal(t, closed, j.status("api/contents", "right"))
				}
				if found.password != nil && *found.password != "" {
					assert.Equal(t, http.StatusOK, j.signIn("geheim ä"))
					assert.Equal(t, http.StatusForbidden, j.signIn("wrong"))
				}

				for _, path := range []string{"api/status", "api/kernels", "api/sessions"} {
					status, login := j.ask(http.DefaultClient, http.MethodGet, path, own)
					assert.Equal(t, http.StatusOK, status, path)
					assert.False(t, login && closed != http.StatusOK, "no cookie that opens more: %s", path)
					assert.Equal(t, closed, j.status(path, own+"x"), path)
				}
				status, _ := j.ask(http.DefaultClient, http.MethodPut, "elastichub/v1/activity", own)
				assert.Equal(t, http.StatusNotFound, status, "let through; the extension is not installed here")
				if closed != http.StatusOK {
					for _, row := range [][2]string{{http.MethodPost, "api/kernels"}, {http.MethodDelete, "api/kernels/x"}, {http.MethodGet, "api/contents/elastichub/v1/x"}, {http.MethodGet, "api/status/../contents"}} {
						status, _ := j.ask(http.DefaultClient, row[0], row[1], own)
						assert.GreaterOrEqual(t, status, http.StatusForbidden, row)
						assert.NotEqual(t, http.StatusCreated, status, row)
					}
				}
				assert.NotContains(t, j.output.String(), "elastichub cannot ask")
			})
		}
	}
}
