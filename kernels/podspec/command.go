package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/podrules"
)

// kernelArgv is the argv that the agent gets: the kernelspec's own, or the
// standard command of its language.
func kernelArgv(spec v1alpha1.JupyterKernelSpecSpec, kernelID string) ([]string, error) {
	argv := languages.Argv(spec.Language, spec.Command)
	if argv == nil {
		return nil, invalid("spec.command", "there is no standard command for the language %q", spec.Language)
	}
	return filled(argv, kernelID), nil
}

func filled(argv []string, kernelID string) []string {
	for i, arg := range argv {
		argv[i] = strings.ReplaceAll(arg, "{kernel_id}", kernelID)
	}
	return argv
}

// command is kernelArgv for a kernel, with its user's own Python in the place of the
// image's if it has an environment, and the arguments of run-kernel that say so.
func (in Parts) command(main *corev1.Container) (argv, runKernel []string, err error) {
	dir := in.Kernel.Spec.Environment
	if dir == "" {
		argv, err := kernelArgv(in.Spec.Spec, in.Kernel.Name)
		return argv, nil, within(err, "JupyterKernelSpec "+in.Spec.Name)
	}
	refused := func(why string) error {
		return invalid("spec.environment", "%s", why).in(objectName(in.Kernel))
	}
	if len(in.Kernel.Spec.Policies) > 0 && !v1alpha1.OpenEnvironments(in.Policies, in.Spec.Name) {
		return nil, nil, refused(podrules.EnvironmentsClosed(in.Spec.Name))
	}
	if fault := podrules.EnvironmentFault(in.Notebook, dir); fault != "" {
		return nil, nil, refused(fault)
	}
	argv, ok := languages.With(podrules.Literal(dir)+"/bin/python", in.Spec.Spec.Language, in.Spec.Spec.Command)
	if !ok {
		return nil, nil, refused(podrules.EnvironmentsUnknown(in.Spec.Name))
	}
	return filled(argv, in.Kernel.Name), []string{"--environment", podrules.Literal(dir), "--image", podrules.Literal(main.Image)}, nil
}
