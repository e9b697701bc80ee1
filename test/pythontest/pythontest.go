// Package pythontest gives tests a Python with what they run against.
package pythontest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/elastichub/elastichub/test/cache"
)

// Interpreter returns the path of a Python that has a real ipykernel, libzmq,
// jupyter_server and nbclient. Where that cannot be made the test is skipped,
// or fails with CI=true.
func Interpreter(t testing.TB) string {
	t.Helper()
	python, err := kernels()
	if err == nil {
		return python
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no Python with ipykernel and jupyter_server: %v", err)
	}
	t.Skipf("no Python with ipykernel and jupyter_server: %v", err)
	return ""
}

// kernels looks once: tests ask all the time, and packages wait for each other.
var kernels = sync.OnceValues(func() (string, error) {
	return Environment("kernels", "import ipykernel, zmq, jupyter_server, jupyter_server_terminals, nbclient",
		"ipykernel==7.*", "pyzmq==27.*", "jupyter_server==2.*", "nbclient")
})

// Environment returns the path of a Python in the virtual environment of that
// name in the tests' cache. Where it does not run check, a line of Python, the
// environment is made anew with the requirements.
func Environment(name, check string, requirements ...string) (python string, err error) {
	dir, unlock, err := cache.Lock("venvs", name)
	if err != nil {
		return "", err
	}
	defer unlock()
	python = filepath.Join(dir, "bin", "python")
	if exec.Command(python, "-c", check).Run() == nil {
		return python, nil
	}
	install := append([]string{python, "-m", "pip", "install", "--quiet"}, requirements...)
	for _, command := range [][]string{{"python3", "-m", "venv", "--clear", dir}, install} {
		if output, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %s: %w", command[0], output, err)
		}
	}
	return python, nil
}
