package agent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/runkernel"
	"github.com/elastichub/elastichub/test/pythontest"
)

// venv makes a virtual environment as its user would, in a home, with the packages of
// the interpreter that the tests use.
func venv(t *testing.T, home string) string {
	t.Helper()
	python := pythontest.Interpreter(t)
	dir := filepath.Join(home, "envs", "price model")
	out, err := exec.Command(python, "-m", "venv", "--without-pip", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	where := `import sysconfig; print(sysconfig.get_paths()["purelib"])`
	theirs, err := exec.Command(python, "-c", where).Output()
	require.NoError(t, err)
	own, err := exec.Command(filepath.Join(dir, "bin", "python"), "-c", where).Output()
	require.NoError(t, err)
	entries, err := os.ReadDir(strings.TrimSpace(string(theirs)))
	require.NoError(t, err)
	for _, e := range entries { // as installed packages look, and not as a path that leads to others
		if !strings.HasPrefix(e.Name(), "pip") {
			require.NoError(t, os.Symlink(filepath.Join(strings.TrimSpace(string(theirs)), e.Name()), filepath.Join(strings.TrimSpace(string(own)), e.Name())))
		}
	}
	return dir
}

func inOwnEnvironment(t *testing.T, home, dir string, change func(*agent.Config)) *running {
	t.Helper()
	argv := []string{dir + "/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"}
	return startContainer(t, runkernel.Config{State: home, Environment: dir, Image: "registry/gpu:1"}, argv, change)
}

// TestAKernelInAnEnvironmentOfTheUsersOwn: what a cell starts is the environment's, too, and
// variables outlive parking.
func TestAKernelInAnEnvironmentOfTheUsersOwn(t *testing.T) {
	home := t.TempDir()
	dir := venv(t, home)
	t.Setenv("PYTHONHOME", "") // of an image
	r := inOwnEnvironment(t, home, dir, kept(t, 1, nil))
	g := r.connect("s1")
	assert.Equal(t, dir+"\n"+dir+"\n"+dir+"/bin/python3\nFalse\n", g.run(
		"import os, shutil, sys\nprint(sys.prefix, os.environ['VIRTUAL_ENV'], shutil.which('python3'), 'PYTHONHOME' in os.environ, sep='\\n')"))
	g.run("prices = [3, 4]")
	assert.Contains(t, r.parkedWith(), "are kept")

	r = inOwnEnvironment(t, home, dir, kept(t, 2, nil))
	assert.Equal(t, "[3, 4] "+dir+"\n", r.connect("s1").run("print(prices, sys.prefix)"))
}

// TestAnEnvironmentThatIsBroken is told so, by its name and with what helps.
func TestAnEnvironmentThatIsBroken(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "env")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pyvenv.cfg"), []byte("home = /usr/bin\nversion = 3.99.1\n"), 0o644))
	require.NoError(t, os.Symlink("/nowhere/bin/python3.99", filepath.Join(dir, "bin", "python")))
	r := inOwnEnvironment(t, "", dir, func(c *agent.Config) { c.StartTimeout = time.Minute })
	result := r.ended()
	assert.Equal(t, protocol.ReasonStartFailed, result.Reason)
	assert.True(t, strings.HasPrefix(result.Message, "The environment "+dir+" was made with Python 3.99 at /nowhere/bin/python3.99, which the kernel's image registry/gpu:1 does not have"), result.Message)
}
