package runkernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// faulty is what is wrong with an environment, in whole sentences for its user.
type faulty string

func (f faulty) Error() string { return string(f) }

// checkEnvironment tells its user why a Python environment cannot run in this container,
// and what to do about it. It goes by what lies in the directory: nothing of it is run.
// An environment that it finds no fault with may still fail, and then Python says why.
// The error is a faulty.
func checkEnvironment(dir, image string) error {
	name := homeName(dir)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return faulty(fmt.Sprintf("The environment %s is not there: make it again, or choose another kernel.", name))
	}
	python := filepath.Join(dir, "bin", "python")
	made := madeWith(dir)
	real, missing := follow(python)
	switch {
	case real == "" && missing == "":
		return faulty(fmt.Sprintf("The environment %s cannot be used: its bin/python cannot be read.", name))
	case missing == python:
		return faulty(fmt.Sprintf("The environment %s has no bin/python: it is none of Python's, or was not made to the end.", name))
	case missing != "":
		return faulty(fmt.Sprintf("The environment %s was made with %s at %s, which the kernel's image %s does not have%s. %s",
			name, said(made, "a Python"), missing, image, itHas(), remedy(name, made)))
	}
	if version := versionOf(real); made != "" && version != "" && version != made {
		return faulty(fmt.Sprintf("The environment %s was made with Python %s, and what is at %s in the kernel's image %s is Python %s. %s",
			name, made, real, image, version, remedy(name, made)))
	}
	if lacksIPykernel(dir) {
		return faulty(fmt.Sprintf("The environment %s has no ipykernel, without which it is no kernel. Install it in a terminal: uv pip install --python %s ipykernel",
			name, quoted(name)))
	}
	return nil
}

// cannotStart is what an environment's user reads whose Python the system does not start.
func cannotStart(dir, image string, err error) error {
	return faulty(fmt.Sprintf("The environment %s cannot run in the kernel's image %s: it was made for another kind of machine or system (%s).",
		homeName(dir), image, err))
}

func said(version, otherwise string) string {
	if version == "" {
		return otherwise
	}
	return "Python " + version
}

// remedy is what works in every image: a Python that is in the home, too.
func remedy(name, version string) string {
	if version == "" {
		version = "3.12"
	}
	return fmt.Sprintf("Make it anew with a Python that is in the home, too: uv venv --clear --managed-python --python %s %s && uv pip install --python %s ipykernel",
		version, quoted(name), quoted(name))
}

var plain = regexp.MustCompile(`^[A-Za-z0-9~/._-]+$`)

// quoted is a path for a shell, in which ~ is the home.
func quoted(name string) string {
	if plain.MatchString(name) {
		return name
	}
	rest, inHome := strings.CutPrefix(name, "~/")
	word := "'" + strings.ReplaceAll(rest, "'", `'\''`) + "'"
	if inHome {
		return "~/" + word
	}
	return word
}

// homeName is a directory as its user calls it.
func homeName(dir string) string {
	home, err := os.UserHomeDir()
	if rest, ok := strings.CutPrefix(dir, strings.TrimSuffix(home, "/")+"/"); err == nil && ok {
		return "~/" + rest
	}
	return dir
}

// mostLinks bounds a chain of links, as the kernel does.
const mostLinks = 40

// follow follows links, and returns what is at their end, or else which file is missing
// there; neither if it cannot be told.
func follow(file string) (real, missing string) {
	for range mostLinks {
		target, err := os.Readlink(file)
		if err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(file), target)
			}
			file = target
			continue
		}
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return "", file
		} else if err != nil {
			return "", ""
		}
		return file, ""
	}
	return "", ""
}

// madeVersion is how venv and virtualenv, with uv, write it.
var madeVersion = regexp.MustCompile(`(?m)^version(?:_info)?\s*=\s*(\d+\.\d+)`)

// madeWith is the version of the Python that made a virtual environment, such as 3.12;
// empty if nothing says it.
func madeWith(dir string) string {
	config, err := os.ReadFile(filepath.Join(dir, "pyvenv.cfg"))
	if err != nil {
		return ""
	}
	if found := madeVersion.FindSubmatch(config); found != nil {
		return string(found[1])
	}
	return ""
}

var versionName = regexp.MustCompile(`^python(\d+\.\d+)$`)

// versionOf is what the name of an interpreter says of its version.
func versionOf(python string) string {
	if found := versionName.FindStringSubmatch(filepath.Base(python)); found != nil {
		return found[1]
	}
	return ""
}

// usualPythons are where images have one.
var usualPythons = []string{"/usr/bin/python3", "/usr/local/bin/python3", "/opt/conda/bin/python3", "/opt/venv/bin/python3"}

// itHas says which Python this container has.
func itHas() string {
	for _, python := range usualPythons {
		if real, _ := follow(python); real != "" {
			return fmt.Sprintf(" (it has %s at %s)", said(versionOf(real), "a Python"), python)
		}
	}
	return ""
}

// lacksIPykernel reports whether an environment certainly has none. One that sees the
// image's packages may have it from there.
func lacksIPykernel(dir string) bool {
	config, err := os.ReadFile(filepath.Join(dir, "pyvenv.cfg"))
	if err == nil && regexp.MustCompile(`(?m)^include-system-site-packages\s*=\s*true`).Match(config) {
		return false
	}
	libraries, err := filepath.Glob(filepath.Join(globbed(dir), "lib", "python*", "site-packages"))
	if err != nil || len(libraries) == 0 {
		return false // it is none that is known here
	}
	for _, each := range libraries {
		if _, err := os.Stat(filepath.Join(each, "ipykernel_launcher.py")); err == nil {
			return false
		}
		if links, _ := filepath.Glob(filepath.Join(globbed(each), "*ipykernel*")); len(links) > 0 {
			return false // installed to be edited, elsewhere
		}
	}
	return true
}

// globbed is a path as a pattern.
func globbed(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// inEnvironment is an environment of variables as after the activation of a Python
// environment: what a cell starts, such as pip, is its own.
func inEnvironment(environ []string, dir string) []string {
	search := ""
	kept := make([]string, 0, len(environ)+2)
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		switch name {
		case "PATH":
			search = value // a later one counts
		case "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV":
		default:
			kept = append(kept, e)
		}
	}
	kept = append(kept, "PATH="+strings.TrimSuffix(filepath.Join(dir, "bin")+":"+search, ":"))
	if _, err := os.Stat(filepath.Join(dir, "conda-meta")); err == nil {
		return append(kept, "CONDA_PREFIX="+dir, "CONDA_DEFAULT_ENV="+filepath.Base(dir))
	}
	return append(kept, "VIRTUAL_ENV="+dir)
}
