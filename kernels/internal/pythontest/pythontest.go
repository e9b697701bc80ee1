// Package pythontest gives tests a Python with a real ipykernel, libzmq,
// jupyter_server and nbclient.
package pythontest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// What tests run against.
var requirements = []string{"ipykernel==7.*", "pyzmq==27.*", "jupyter_server==2.*", "nbclient"}

// Interpreter returns the path of a Python that has the requirements. The
// first caller on a machine makes a virtual environment for it in
// ${ELASTICHUB_CACHE:-~/.cache/elastichub}/venvs/kernels. Where that cannot
// be made the test is skipped, or fails with CI=true.
func Interpreter(t testing.TB) string {
	t.Helper()
	python, err := prepare()
	if err == nil {
		return python
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no Python with ipykernel and jupyter_server: %v", err)
	}
	t.Skipf("no Python with ipykernel and jupyter_server: %v", err)
	return ""
}

func prepare() (string, error) {
	cache := os.Getenv("ELASTICHUB_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache", "elastichub")
	}
	venvs := filepath.Join(cache, "venvs")
	if err := os.MkdirAll(venvs, 0o755); err != nil {
		return "", err
	}
	// Packages are tested in parallel by several processes; one makes it.
	lock, err := os.OpenFile(filepath.Join(venvs, "kernels.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	dir := filepath.Join(venvs, "kernels")
	python := filepath.Join(dir, "bin", "python")
	if exec.Command(python, "-c", "import ipykernel, zmq, jupyter_server, nbclient").Run() == nil {
		return python, nil
	}
	if err := run("python3", "-m", "venv", "--clear", dir); err != nil {
		return "", err
	}
	return python, run(python, append([]string{"-m", "pip", "install", "--quiet"}, requirements...)...)
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}
