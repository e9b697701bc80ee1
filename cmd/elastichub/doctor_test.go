package main

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/apiserver"
)

// TestDoctor: what the exit status says, of a real API server and of none.
func TestDoctor(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("KUBEBUILDER_ASSETS is not set: a kube-apiserver is needed")
		}
		t.Skip("KUBEBUILDER_ASSETS is not set: no kube-apiserver")
	}
	environment := apiserver.Environment()
	_, err := environment.Start()
	require.NoError(t, err)
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			assert.NoError(t, environment.Stop())
		}
	})
	const values = "{image: {name: a}, notebooks: {image: b}, kernels: {image: c}, groups: {file: \"users: {}\"}, networkPolicy: {enabled: false}}"
	kubeconfig := writeConfig(t, string(environment.KubeConfig))
	run := func(values string, more ...string) (int, string, string) {
		var out, errs bytes.Buffer
		command := doctorCommand()
		command.SilenceErrors, command.SilenceUsage = true, true
		command.SetOut(&out)
		command.SetErr(&errs)
		command.SetArgs(append([]string{"--kubeconfig", kubeconfig, "-n", "default", "-f", writeConfig(t, values)}, more...))
		err := command.ExecuteContext(t.Context())
		var exit exitCode
		if err != nil && !errors.As(err, &exit) {
			return -1, out.String(), err.Error()
		}
		return int(exit), out.String(), errs.String()
	}
	const notInstalled = "not checked: the release elastichub is not in the namespace default: its account, its Secrets and its kinds\n"
	code, out, _ := run(values)
	assert.Equal(t, notInstalled+"no problem found\n", out)
	assert.Equal(t, 0, code)
	code, out, _ = run("{}", "-f", writeConfig(t, values), "-f", writeConfig(t, "networkPolicy: {enabled: true}"), "--output", "json")
	assert.Contains(t, out, `"check": "network-policies"`)
	assert.Equal(t, 1, code)
	code, _, errs := run("a: [")
	assert.Contains(t, errs, "error converting YAML")
	assert.Equal(t, -1, code)
	code, _, errs = run(values, "--output", "yaml")
	assert.Contains(t, errs, `"yaml" is not one of`)
	assert.Equal(t, -1, code)

	require.NoError(t, environment.Stop())
	stopped = true
	code, out, errs = run(values)
	assert.Empty(t, out)
	assert.Contains(t, errs, "the cluster cannot be asked")
	assert.Equal(t, 2, code)
	kubeconfig = "/nowhere"
	code, _, errs = run(values)
	assert.Contains(t, errs, "the cluster cannot be asked")
	assert.Equal(t, 2, code)
}
