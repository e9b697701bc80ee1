package runkernel

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree makes files of a home; a value that begins with -> is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	for name, content := range files {
		file := filepath.Join(home, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		if target, link := strings.CutPrefix(content, "->"); link {
			require.NoError(t, os.Symlink(strings.ReplaceAll(target, "HOME", home), file))
		} else {
			require.NoError(t, os.WriteFile(file, []byte(content), 0o755))
		}
	}
	return home
}

// TestWhatIsWrongWithAnEnvironment says it for what people have, by how it lies on disk.
func TestWhatIsWrongWithAnEnvironment(t *testing.T) {
	const launcher = "lib/python3.12/site-packages/ipykernel_launcher.py"
	for name, c := range map[string]struct {
		files map[string]string
		dir   string
		says  []string // none: it is good
	}{
		"of uv, with its own Python": {map[string]string{
			"py/bin/python3.12": "", "e/bin/python": "->HOME/py/bin/python3.12", "e/pyvenv.cfg": "version_info = 3.12.9\n", "e/" + launcher: "",
		}, "e", nil},
		"of conda": {map[string]string{"e/bin/python3.12": "", "e/bin/python": "->python3.12", "e/conda-meta/history": "", "e/" + launcher: ""}, "e", nil},
		"with the image's packages": {map[string]string{
			"e/bin/python": "", "e/pyvenv.cfg": "include-system-site-packages = true\nversion = 3.12.1\n", "e/lib/python3.12/site-packages/x": "",
		}, "e", nil},
		"installed to be edited": {map[string]string{"e/bin/python": "", "e/lib/python3.12/site-packages/__editable__.ipykernel-7.pth": ""}, "e", nil},
		"a Python that the image lacks": {map[string]string{
			"e/bin/python": "->python3", "e/bin/python3": "->/none/python3.12", "e/pyvenv.cfg": "home = /none\nversion = 3.12.3\n", "e/" + launcher: "",
		}, "e", []string{
			"The environment ~/e was made with Python 3.12 at /none/python3.12, which the kernel's image img does not have",
			"uv venv --clear --managed-python --python 3.12 ~/e && uv pip install --python ~/e ipykernel",
		}},
		"nothing says its version": {map[string]string{"e/bin/python": "->/none/python3"}, "e", []string{"made with a Python at /none/python3", "--python 3.12 ~/e"}},
		"another Python by the same name": {map[string]string{
			"usr/python3": "->python3.11", "usr/python3.11": "", "e/bin/python": "->HOME/usr/python3", "e/pyvenv.cfg": "version = 3.12.3\n", "e/" + launcher: "",
		}, "e", []string{"~/e was made with Python 3.12, and what is at ", "/usr/python3.11 in the kernel's image img is Python 3.11.", "--python 3.12 ~/e"}},
		"no ipykernel": {map[string]string{"e/bin/python": "", "e/lib/python3.12/site-packages/x": ""}, "e", []string{
			"The environment ~/e has no ipykernel", "uv pip install --python ~/e ipykernel",
		}},
		"an odd name": {map[string]string{"it's [mine]/bin/python": "", "it's [mine]/lib/python3.12/site-packages/x": ""}, "it's [mine]", []string{
			`uv pip install --python ~/'it'\''s [mine]' ipykernel`,
		}},
		"half made":   {map[string]string{"e/pyvenv.cfg": ""}, "e", []string{"The environment ~/e has no bin/python"}},
		"gone":        {nil, "e", []string{"The environment ~/e is not there"}},
		"a file":      {map[string]string{"e": ""}, "e", []string{"The environment ~/e is not there"}},
		"in a circle": {map[string]string{"e/bin/python": "->python"}, "e", []string{"The environment ~/e cannot be used"}},
	} {
		t.Run(name, func(t *testing.T) {
			home := tree(t, c.files)
			err := checkEnvironment(filepath.Join(home, c.dir), "img")
			if c.says == nil {
				assert.NoError(t, err)
				return
			}
			require.Error(t, err)
			for _, text := range c.says {
				assert.Contains(t, err.Error(), text)
			}
			assert.LessOrEqual(t, len(err.Error()), 512, "or the cell shows a part of it")
		})
	}
}

func TestAnEnvironmentIsActivated(t *testing.T) {
	home := tree(t, map[string]string{"c/conda-meta/history": "", "v/pyvenv.cfg": ""})
	given := []string{"PATH=/first", "A=b", "PYTHONHOME=/usr", "VIRTUAL_ENV=/opt/venv", "PATH=/usr/bin:/bin", "CONDA_PREFIX=/opt/conda"}
	assert.Equal(t, []string{"A=b", "PATH=" + home + "/v/bin:/usr/bin:/bin", "VIRTUAL_ENV=" + home + "/v"}, inEnvironment(given, home+"/v"))
	assert.Equal(t, []string{"A=b", "PATH=" + home + "/c/bin:/usr/bin:/bin", "CONDA_PREFIX=" + home + "/c", "CONDA_DEFAULT_ENV=c"}, inEnvironment(given, home+"/c"))
	assert.Equal(t, []string{"PATH=/e/bin", "VIRTUAL_ENV=/e"}, inEnvironment(nil, "/e"))
}

// TestAnEnvironmentOfAnotherMachine is not started by the system, whose own words are few.
func TestAnEnvironmentOfAnotherMachine(t *testing.T) {
	t.Setenv("HOME", "/home/jovyan")
	assert.EqualError(t, cannotStart("/home/jovyan/e", "img", errors.Join(syscall.ENOEXEC)),
		"The environment ~/e cannot run in the kernel's image img: it was made for another kind of machine or system (exec format error).")
}
