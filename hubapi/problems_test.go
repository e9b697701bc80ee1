package hubapi

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/spawner"
)

var described = []struct {
	name   string
	err    error
	status int
	kind   string
	retry  bool
}{
	{"groups.ErrUnknownUser", groups.ErrUnknownUser, http.StatusNotFound, "unknown-user", false},
	{"groups.ErrNoPolicy", groups.ErrNoPolicy, http.StatusForbidden, "no-policy", false},
	{"groups.ErrInvalidPolicy", groups.ErrInvalidPolicy, http.StatusInternalServerError, "invalid-policy", false},
	{"groups.ErrUnavailable", groups.ErrUnavailable, http.StatusServiceUnavailable, "directory-unavailable", true},
	{"groups.ErrSignInAgain", groups.ErrSignInAgain, http.StatusForbidden, "sign-in-again", false},
	{"groups.ErrSignInExpired", groups.ErrSignInExpired, http.StatusForbidden, "sign-in-again", false},
	{"spawner.ErrNotFound", spawner.ErrNotFound, http.StatusNotFound, "no-server", false},
	{"spawner.ErrInvalid", spawner.ErrInvalid, http.StatusUnprocessableEntity, "invalid-request", false},
	{"spawner.ErrTooManyServers", spawner.ErrTooManyServers, http.StatusConflict, "too-many-servers", false},
	{"spawner.ErrNameTaken", spawner.ErrNameTaken, http.StatusConflict, "name-taken", false},
	{"spawner.ErrRunning", spawner.ErrRunning, http.StatusConflict, "running", false},
	{"unclear owner", &spawner.UnclearOwnerError{Claim: "claim-alice", User: "alice"}, http.StatusConflict, "owner-unclear", false},
	{"spawner.ErrRemoving", spawner.ErrRemoving, http.StatusServiceUnavailable, "removing", true},
	{"spawner.ErrNotSynced", spawner.ErrNotSynced, http.StatusServiceUnavailable, "not-synced", true},
	{"deadline", context.DeadlineExceeded, http.StatusGatewayTimeout, "deadline", true},
	{"directory's deadline", fmt.Errorf("%w: %w", groups.ErrUnavailable, context.DeadlineExceeded), http.StatusServiceUnavailable, "directory-unavailable", true},
	{"unknown", errors.New("dial tcp 10.0.0.1:389: password hunter2"), http.StatusInternalServerError, "internal", false},
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, want := range described {
		t.Run(want.name, func(t *testing.T) {
			t.Parallel()
			p, retry := describe(fmt.Errorf("bind uid=hub,dc=example secret=hunter2: %w", want.err))
			assert.Equal(t, want.status, p.Status)
			assert.Equal(t, problemType+want.kind, p.Type)
			assert.Equal(t, want.retry, retry)
			assert.NotEmpty(t, p.Title)
			assert.Empty(t, p.Errors)
			for _, text := range []string{p.Title, p.Detail} {
				assert.NotContains(t, text, "hunter2")
				assert.NotContains(t, text, "10.0.0.1")
				assert.NotContains(t, text, "dc=example")
			}
		})
	}
}

// TestEveryDeclaredErrorIsDescribed reads the sources, so that a new error
// cannot be forgotten here.
func TestEveryDeclaredErrorIsDescribed(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, row := range described {
		listed[row.name] = true
	}
	for _, name := range []string{"groups", "forms", "spawner"} {
		declared := 0
		sources, err := filepath.Glob("../" + name + "/*.go")
		require.NoError(t, err)
		for _, source := range sources {
			file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
			require.NoError(t, err)
			for _, declaration := range file.Decls {
				values, ok := declaration.(*ast.GenDecl)
				if !ok || values.Tok != token.VAR {
					continue
				}
				for _, spec := range values.Specs {
					for _, ident := range spec.(*ast.ValueSpec).Names {
						if strings.HasPrefix(ident.Name, "Err") {
							declared++
							assert.True(t, listed[name+"."+ident.Name], "%s.%s has no row", name, ident.Name)
						}
					}
				}
			}
		}
		if name != "forms" { // its only error is the type Invalid
			assert.NotZero(t, declared, "no errors found in %s: is this test still looking in the right place?", name)
		}
	}
}

func TestDescribeInvalidOptions(t *testing.T) {
	t.Parallel()
	fault := &forms.Invalid{Fields: []forms.FieldError{
		{Field: "cpu", Code: forms.AboveMax, Message: "At most 2."},
		{Field: "a/b~c", Code: forms.Unknown, Message: "There is no such option."},
		{Code: forms.Malformed, Message: "The options must be one JSON object."},
	}}
	p, retry := describe(inBody("form", fault))
	assert.False(t, retry)
	assert.Equal(t, http.StatusUnprocessableEntity, p.Status)
	assert.Equal(t, []fieldFault{
		{Pointer: "/form/cpu", Field: "cpu", Code: "above_max", Message: "At most 2."},
		{Pointer: "/form/a~1b~0c", Field: "a/b~c", Code: "unknown", Message: "There is no such option."},
		{Pointer: "/form", Field: "", Code: "malformed", Message: "The options must be one JSON object."},
	}, p.Errors)
}
