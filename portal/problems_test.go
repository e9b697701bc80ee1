package portal

import (
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
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/signin"
)

// described has every declared error of the rooms below, and what becomes of it.
var described = map[string]struct {
	err    error
	status int
}{
	"signin.ErrSignedOut":     {signin.ErrSignedOut, http.StatusUnauthorized},
	"signin.ErrForbidden":     {signin.ErrForbidden, http.StatusForbidden},
	"signin.ErrAttempt":       {signin.ErrAttempt, http.StatusBadRequest},
	"signin.ErrUnavailable":   {signin.ErrUnavailable, http.StatusServiceUnavailable},
	"signin.ErrCrossSite":     {signin.ErrCrossSite, http.StatusForbidden},
	"holdings.ErrQuery":       {holdings.ErrQuery, http.StatusBadRequest},
	"acts.ErrNotRunning":      {acts.ErrNotRunning, http.StatusConflict},
	"acts.ErrOfHub":           {acts.ErrOfHub, http.StatusConflict},
	"groups.ErrUnavailable":   {groups.ErrUnavailable, http.StatusServiceUnavailable},
	"groups.ErrOneUser":       {groups.ErrOneUser, http.StatusServiceUnavailable},
	"groups.ErrSignInAgain":   {groups.ErrSignInAgain, http.StatusForbidden},
	"groups.ErrSignInExpired": {groups.ErrSignInExpired, http.StatusForbidden},
	// Nobody is told: who is unknown is no administrator, and policies are not asked for.
	"groups.ErrUnknownUser":   {groups.ErrUnknownUser, http.StatusInternalServerError},
	"groups.ErrNoPolicy":      {groups.ErrNoPolicy, http.StatusInternalServerError},
	"groups.ErrInvalidPolicy": {groups.ErrInvalidPolicy, http.StatusInternalServerError},
}

func TestDescribe(t *testing.T) {
	for name, want := range described {
		p, _ := describe(fmt.Errorf("bind secret=hunter2: %w", want.err))
		assert.Equal(t, want.status, p.Status, name)
		assert.NotContains(t, p.Title+p.Detail, "hunter2")
	}
	p, again := describe(fmt.Errorf("write: %w", apierrors.NewServiceUnavailable("10.0.0.1")))
	assert.Equal(t, http.StatusServiceUnavailable, p.Status)
	assert.True(t, again)
	assert.NotContains(t, p.Detail, "10.0.0.1")
	p, _ = describe(errors.New("dial tcp 10.0.0.1:389"))
	assert.Equal(t, http.StatusInternalServerError, p.Status)
	assert.NotContains(t, p.Detail, "10.0.0.1")
}

// TestEveryDeclaredErrorIsDescribed reads the sources, so that a new error cannot be
// forgotten here.
func TestEveryDeclaredErrorIsDescribed(t *testing.T) {
	for dir, name := range map[string]string{"../groups": "groups", "signin": "signin", "holdings": "holdings"} {
		declared := 0
		sources, err := filepath.Glob(dir + "/*.go")
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
							assert.Contains(t, described, name+"."+ident.Name)
						}
					}
				}
			}
		}
		assert.NotZero(t, declared, name)
	}
}
