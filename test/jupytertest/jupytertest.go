// Package jupytertest runs a real jupyter_server for tests.
package jupytertest

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/lockedbuffer"
	"github.com/elastichub/elastichub/test/loopback"
)

// Token is the server's.
const Token = "jupyter-token"

// Options of a server.
type Options struct {
	// Python is that of pythontest.Interpreter.
	Python string
	// Home is where its files are, and all of its directories.
	Home string
	// Base is the path below which it answers, such as /user/alice/.
	Base string
	// Config are lines of its configuration.
	Config []string
	// Env is put over the process's environment; the extension is on PYTHONPATH.
	Env []string
}

// Server is a running jupyter_server.
type Server struct {
	// URL has no / at its end.
	URL string
	// End ends it as a drain does.
	End func()
}

// Start runs one, and waits until it answers. It ends with the test.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	address := loopback.Address()
	ip, port, _ := strings.Cut(address, ":")
	cmd := exec.Command(o.Python, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip="+ip, "--ServerApp.port="+port,
		"--ServerApp.port_retries=0", "--IdentityProvider.token="+Token, "--ServerApp.root_dir="+o.Home, "--ServerApp.disable_check_xsrf=True",
		"--ServerApp.base_url="+o.Base)
	require.NoError(t, os.WriteFile(filepath.Join(o.Home, "jupyter_server_config.py"), []byte(strings.Join(o.Config, "\n")), 0o600))
	cmd.Env = append(os.Environ(), "PYTHONPATH="+source(t), "PYTHONDONTWRITEBYTECODE=1", "HOME="+o.Home, "JUPYTER_CONFIG_DIR="+o.Home,
		"JUPYTER_DATA_DIR="+o.Home, "JUPYTER_RUNTIME_DIR="+o.Home, "no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
	cmd.Env = append(cmd.Env, o.Env...)
	logs := &lockedbuffer.Buffer{}
	cmd.Stdout, cmd.Stderr = logs, logs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	s := &Server{URL: strings.TrimSuffix("http://"+address+o.Base, "/"), End: func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		<-exited
	}}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
		if t.Failed() {
			t.Logf("jupyter_server:\n%s", logs)
		}
	})
	require.Eventually(t, func() bool {
		resp, err := http.Get(s.URL + "/api")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, 3*time.Minute, 100*time.Millisecond, "jupyter_server does not come up") // others may need the machine
	return s
}

// source is the directory of the Python distribution.
func source(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	require.NoError(t, err)
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), "python")
}
