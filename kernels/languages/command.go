package languages

import (
	"regexp"
	"slices"
	"strings"
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

// Argv is the argv of a kernelspec's kernels: the command that it names, or the standard
// one of its language where it names none or a launcher; nil if there is no such.
func Argv(language string, command []string) []string {
	if len(command) == 0 || IsLauncher(command) {
		return slices.Clone(Of(language).Command)
	}
	return slices.Clone(command)
}

var pythonName = regexp.MustCompile(`^(.*/)?python[0-9.]*$`)

// With is the argv of a kernelspec's kernels with another Python than its image's;
// false where its kernel is not Python's, or not started by a Python: then nobody knows
// what it would be with another.
func With(interpreter, language string, command []string) ([]string, bool) {
	argv := Argv(language, command)
	if Name(language) != Python || len(argv) == 0 || !pythonName.MatchString(argv[0]) {
		return nil, false
	}
	argv[0] = interpreter
	return argv, true
}
