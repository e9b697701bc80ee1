package podspec

import (
	"slices"
	"strings"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/languages"
)

// launcherMarks betray a command written for Enterprise Gateway: its
// launchers, and placeholders that only its process proxies can fill.
var launcherMarks = []string{
	"kubeflow-launcher", "launch_kubernetes.py", "bootstrap-kernel.sh", "launch_ipykernel.py",
	"{port_range}", "{response_address}", "{public_key}", "RemoteProcessProxy.",
}

// IsLauncher reports whether a command is one of Enterprise Gateway's.
func IsLauncher(command []string) bool {
	return slices.ContainsFunc(command, func(arg string) bool {
		return slices.ContainsFunc(launcherMarks, func(mark string) bool { return strings.Contains(arg, mark) })
	})
}

// kernelArgv is the argv that the agent gets: the kernelspec's own, or the
// standard command of its language.
func kernelArgv(spec v1alpha1.JupyterKernelSpecSpec, kernelID string) ([]string, error) {
	if len(spec.Command) == 0 || IsLauncher(spec.Command) {
		argv := languages.Of(spec.Language).Command
		if argv == nil {
			return nil, invalid("spec.command", "there is no standard command for the language %q", spec.Language)
		}
		return slices.Clone(argv), nil
	}
	argv := make([]string, len(spec.Command))
	for i, arg := range spec.Command {
		argv[i] = strings.ReplaceAll(arg, "{kernel_id}", kernelID)
	}
	return argv, nil
}
