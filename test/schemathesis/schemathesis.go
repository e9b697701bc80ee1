// Package schemathesis tries an API with what its OpenAPI document allows, and
// with what it does not.
package schemathesis

import (
	"bytes"
	"cmp"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Program is the environment's variable that has the path of the program. Tests
// are skipped without it: test/clients/run.sh sets it.
const Program = "SCHEMATHESIS"

// settings: what does not fit the document may be refused for its size, too, a
// policy for the rules of its kind, and a reason in which nothing can be read, which the
// document leaves to them. No version that is made up is a notebook's, what was made for a user
// wants a reason, and no made-up text is a certificate.
const settings = `
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 413, 415, 422, 428, 429]

[[operations]]
include-operation-id = ["makePolicy", "changePolicy", "deletePolicy", "moveKernel", "makeNotebook", "start"]

[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]

[[operations]]
include-operation-id = ["startNotebook", "stopNotebook", "deleteNotebook", "stopServer", "snoozeServer"]

[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 412, 422, 429]
`

// Run tries every operation of document with 500 examples, or as many as
// SCHEMATHESIS_EXAMPLES says, always the same.
func Run(t *testing.T, document []byte, api http.Handler, token string, args ...string) {
	t.Helper()
	program := os.Getenv(Program)
	if program == "" {
		t.Skip(Program + " is not set; see test/clients/run.sh")
	}
	path := filepath.Join(t.TempDir(), "openapi.yaml")
	require.NoError(t, os.WriteFile(path, document, 0o600))
	server := httptest.NewServer(api)
	defer server.Close()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"run", path, "--url", server.URL,
		"--header", "Authorization: Bearer " + token, "--max-examples", cmp.Or(os.Getenv("SCHEMATHESIS_EXAMPLES"), "500"), "--seed", "1",
		"--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--no-color"}, args...)...)
	cmd.Dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(cmd.Dir, "schemathesis.toml"), []byte(settings), 0o600))
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
	out, err := cmd.CombinedOutput()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	t.Logf("%s", bytes.Join(lines[max(0, len(lines)-400):], []byte("\n")))
	require.NoError(t, err, "what schemathesis found is above")
	for _, line := range lines {
		if text := string(line); strings.Contains(text, "test cases:") || strings.Contains(text, "Test cases:") {
			t.Log(text)
		}
	}
}
