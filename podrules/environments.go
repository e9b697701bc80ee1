package podrules

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// maxEnvironmentPath is Linux's PATH_MAX.
const maxEnvironmentPath = 4096

// EnvironmentFault tells why a directory cannot be the environment of a kernel of the
// notebook, for its user; empty if it can. Whether anything is there, nobody looks.
func EnvironmentFault(nb *v1alpha1.JupyterNotebook, dir string) string {
	if nb == nil || nb.Spec.Storage == nil || nb.Spec.Storage.Home == nil {
		return "An environment of your own needs a home on a volume, and there is none."
	}
	if len(dir) > maxEnvironmentPath || !utf8.ValidString(dir) || strings.ContainsFunc(dir, func(r rune) bool { return r < 0x20 || r == 0x7f }) ||
		!path.IsAbs(dir) || path.Clean(dir) != dir {
		return "The directory of an environment must be a clean absolute path."
	}
	home := nb.Spec.Storage.Home.Path()
	if !strings.HasPrefix(dir, strings.TrimSuffix(home, "/")+"/") {
		return fmt.Sprintf("An environment of your own has to be in your home, below %s: kernels see nothing else of the notebook.", home)
	}
	return ""
}

// EnvironmentsClosed is what a user reads whose policies open no environments to a kernelspec.
func EnvironmentsClosed(kernelSpec string) string {
	return fmt.Sprintf("Your policies do not let the kernel %q run in environments of your own (kernels.ownEnvironments); an administrator can allow it.", kernelSpec)
}

// EnvironmentsUnknown is what a user reads where the command of a kernelspec is no Python's.
func EnvironmentsUnknown(kernelSpec string) string {
	return fmt.Sprintf("The kernel %q is not started by a Python, so that it cannot run in an environment of Python's.", kernelSpec)
}
