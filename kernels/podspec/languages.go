package podspec

import (
	"slices"
	"strings"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// standardCommands start a kernel of a language, by the language in lower
// case. They are the argv of the kernelspecs that the kernels install.
var standardCommands = map[string][]string{
	"python":     {"python3", "-m", "ipykernel_launcher", "-f", protocol.ConnectionFile},
	"r":          {"R", "--slave", "-e", "IRkernel::main()", "--args", protocol.ConnectionFile},
	"julia":      {"julia", "-i", "--color=yes", "-e", "import IJulia; IJulia.run_kernel()", protocol.ConnectionFile},
	"bash":       {"python3", "-m", "bash_kernel", "-f", protocol.ConnectionFile},
	"typescript": {"deno", "jupyter", "--kernel", "--conn", protocol.ConnectionFile},
	"go":         {"gonb", "--kernel", protocol.ConnectionFile},
}

// launcherMarks betray a command written for Enterprise Gateway: its
// launchers, and placeholders that only its process proxies can fill.
var launcherMarks = []string{
	"kubeflow-launcher", "launch_kubernetes.py", "bootstrap-kernel.sh", "launch_ipykernel.py",
	"{port_range}", "{response_address}", "{public_key}", "RemoteProcessProxy.",
}

// IsLauncher tells whether a command is one of Enterprise Gateway's.
func IsLauncher(command []string) bool {
	return slices.ContainsFunc(command, func(arg string) bool {
		return slices.ContainsFunc(launcherMarks, func(mark string) bool { return strings.Contains(arg, mark) })
	})
}

// kernelArgv is the argv that the agent gets. A kernelspec without language
// and command is Python, as it was for elastic-jupyter-operator.
func kernelArgv(spec v1alpha1.JupyterKernelSpecSpec, kernelID string) ([]string, error) {
	if len(spec.Command) == 0 || IsLauncher(spec.Command) {
		language := strings.ToLower(spec.Language)
		if language == "" {
			language = "python"
		}
		argv, ok := standardCommands[language]
		if !ok {
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
