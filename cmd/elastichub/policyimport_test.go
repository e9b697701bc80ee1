package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func runImport(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, faults bytes.Buffer
	root := command()
	root.SetArgs(append([]string{"policy", "import"}, args...))
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&faults)
	err = root.ExecuteContext(t.Context())
	return out.String(), faults.String(), err
}

func TestPolicyImport(t *testing.T) {
	const one = "groups: {default: {cpu: {min: 1, max: 2}, mem: {min: 1, max: 2}}}"
	const profile = "[{display_name: A, default: true, kubespawner_override: {image: i:1, cpu_limit: 1, mem_limit: 1G}}]"

	stdout, stderr, err := runImport(t, profile, "-", "--kernel", "python")
	require.NoError(t, err)
	assert.Empty(t, stderr)
	assert.Contains(t, stdout, "kind: GroupPolicy")
	assert.Contains(t, stdout, "- python")

	file := filepath.Join(t.TempDir(), "formConf.yaml")
	require.NoError(t, os.WriteFile(file, []byte(one), 0o600))
	written := file + ".out"
	stdout, stderr, err = runImport(t, "", file, "--image", "stable=lab:1", "-o", written)
	assert.Equal(t, exitIncomplete, err)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "not carried over: rights of single users")
	text, err := os.ReadFile(written)
	require.NoError(t, err)
	assert.Contains(t, string(text), "image: lab:1")

	for _, args := range [][]string{{file}, {file, "--image", "lab:1"}, {file + ".none"}} {
		stdout, _, err = runImport(t, "", args...)
		require.Error(t, err, args)
		assert.NotEqual(t, exitIncomplete, err, args)
		assert.Empty(t, stdout)
	}
	_, _, err = runImport(t, strings.Repeat("#", 2<<20), "-")
	assert.ErrorContains(t, err, "too long")
}
