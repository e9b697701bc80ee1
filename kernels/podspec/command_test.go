package podspec

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inOwn is the sample in an environment of its user's own, which its policy allows.
func inOwn(change func(*Parts)) Parts {
	in := sample()
	in.Kernel.Spec.Environment = "/home/jovyan/envs/price $(HOME)"
	in.Policies[0].Spec.Kernels.Allowed = []string{"python-gpu"}
	in.Policies[0].Spec.Kernels.OwnEnvironments = new(true)
	change(&in)
	return in
}

// TestOwnEnvironment: the environment's Python in the kernelspec's Pod, and all else of
// that as it is.
func TestOwnEnvironment(t *testing.T) {
	in := inOwn(func(*Parts) {})
	pod, err := Build(testPods, in)
	require.NoError(t, err)
	command := KernelContainer(&pod.Spec).Command
	const dir = "/home/jovyan/envs/price $$(HOME)"
	assert.Equal(t, []string{dir + "/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"}, command[len(command)-5:])
	assert.Contains(t, strings.Join(command, "|"), "|--environment|"+dir+"|--image|"+KernelContainer(&pod.Spec).Image+"|")
	assert.Empty(t, in.warmClass(testPods, pod), "no warm Pod runs it")

	plain := in
	k := *in.Kernel
	k.Spec.Environment = ""
	plain.Kernel = &k
	without, err := Build(testPods, plain)
	require.NoError(t, err)
	assert.NotEmpty(t, plain.warmClass(testPods, without))
	KernelContainer(&pod.Spec).Command, KernelContainer(&without.Spec).Command = nil, nil
	assert.Equal(t, without, pod)

	for name, f := range map[string]func(*Parts){
		"an interpreter of the kernelspec's": func(p *Parts) {
			p.Spec.Spec.Command = []string{"/opt/conda/bin/python3.11", "-Xdev", "-m", "ipykernel_launcher", "-f", "{connection_file}", "--id={kernel_id}"}
		},
		"another policy's word": func(p *Parts) {
			p.Policies = append(p.Policies, p.Policies[0])
			p.Policies[0].Spec.Kernels.OwnEnvironments = nil
		},
		"a user without policies":   func(p *Parts) { p.Policies, p.Kernel.Spec.Policies = nil, nil },
		"a home in another place":   func(p *Parts) { p.Notebook.Spec.Storage.Home.MountPath, p.Kernel.Spec.Environment = "/work", "/work/e" },
		"a launcher in the command": func(p *Parts) { p.Spec.Spec.Command = []string{"kubeflow-launcher"} },
	} {
		_, err := Build(testPods, inOwn(f))
		assert.NoError(t, err, name)
	}
}

// TestOwnEnvironmentsThatNobodyMayHave, whoever wrote the object.
func TestOwnEnvironmentsThatNobodyMayHave(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Parts)
		says   string
	}{
		"no word of a policy":     {func(p *Parts) { p.Policies[0].Spec.Kernels.OwnEnvironments = nil }, "(kernels.ownEnvironments); an administrator"},
		"a policy says no":        {func(p *Parts) { p.Policies[0].Spec.Kernels.OwnEnvironments = new(false) }, "(kernels.ownEnvironments); an administrator"},
		"policies that are gone":  {func(p *Parts) { p.Policies = nil }, "(kernels.ownEnvironments); an administrator"},
		"allowed for another one": {func(p *Parts) { p.Policies[0].Spec.Kernels.Allowed = []string{"python-cpu"} }, `the kernel "python-gpu" run`},
		"no notebook":             {func(p *Parts) { p.Notebook = nil }, "needs a home on a volume"},
		"no home":                 {func(p *Parts) { p.Notebook.Spec.Storage.Home = nil }, "needs a home on a volume"},
		"another language":        {func(p *Parts) { p.Spec.Spec.Language, p.Spec.Spec.Command = "R", []string{"python3", "ir"} }, "not started by a Python"},
		"another command":         {func(p *Parts) { p.Spec.Spec.Command = []string{"/opt/start.sh", "{connection_file}"} }, "not started by a Python"},
		"up and away":             {func(p *Parts) { p.Kernel.Spec.Environment = "/home/jovyan/../root/env" }, "clean absolute path"},
		"relative":                {func(p *Parts) { p.Kernel.Spec.Environment = "env" }, "clean absolute path"},
		"a slash at the end":      {func(p *Parts) { p.Kernel.Spec.Environment = "/home/jovyan/env/" }, "clean absolute path"},
		"NUL":                     {func(p *Parts) { p.Kernel.Spec.Environment = "/home/jovyan/e\x00" }, "clean absolute path"},
		"very long":               {func(p *Parts) { p.Kernel.Spec.Environment = "/home/jovyan/" + strings.Repeat("e", 4096) }, "clean absolute path"},
		"the home itself":         {func(p *Parts) { p.Kernel.Spec.Environment = "/home/jovyan" }, "below /home/jovyan"},
		"another's home":          {func(p *Parts) { p.Kernel.Spec.Environment = "/home/jovyan2/env" }, "below /home/jovyan"},
		"a volume that is shared": {func(p *Parts) { p.Kernel.Spec.Environment = "/data/env" }, "below /home/jovyan"},
	} {
		_, err := Build(testPods, inOwn(c.change))
		var invalid *InvalidError
		require.ErrorAs(t, err, &invalid, name)
		assert.Equal(t, "spec.environment", invalid.Path, name)
		assert.Contains(t, err.Error(), c.says, name)
	}
}
