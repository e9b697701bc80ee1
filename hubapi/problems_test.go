package hubapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/spawner"
)

// contractProblem is a kind of problem as testdata/contract/problems.json has
// it, which the Python tests read too: what the service answers, and what the
// Hub makes of it.
type contractProblem struct {
	Kind   string `json:"kind"`
	Status int    `json:"status"`
	// Retry: the answer has a Retry-After.
	Retry bool `json:"retry"`
	// Hub is for the Python class: the status of a refused start, the reason in
	// the Hub's metrics, and whether the class asks again by itself.
	Hub struct {
		Status int    `json:"status"`
		Reason string `json:"reason"`
		Again  bool   `json:"again"`
	} `json:"hub"`
}

func contractProblems(t *testing.T) map[string]contractProblem {
	t.Helper()
	text, err := os.ReadFile("../testdata/contract/problems.json")
	require.NoError(t, err)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var all []contractProblem
	require.NoError(t, decoder.Decode(&all))
	byKind := map[string]contractProblem{}
	for _, p := range all {
		require.NotContains(t, byKind, p.Kind)
		byKind[p.Kind] = p
	}
	return byKind
}

// described has every error that a request can end with, by its kind.
var described = []struct {
	name string
	err  error
	kind string
}{
	{"groups.ErrUnknownUser", groups.ErrUnknownUser, "unknown-user"},
	{"groups.ErrNoPolicy", groups.ErrNoPolicy, "no-policy"},
	{"groups.ErrInvalidPolicy", groups.ErrInvalidPolicy, "invalid-policy"},
	{"groups.ErrUnavailable", groups.ErrUnavailable, "directory-unavailable"},
	{"groups.ErrOneUser", groups.ErrOneUser, "directory-unavailable"},
	{"groups.ErrSignInAgain", groups.ErrSignInAgain, "sign-in-again"},
	{"groups.ErrSignInExpired", groups.ErrSignInExpired, "sign-in-again"},
	{"spawner.ErrNotFound", spawner.ErrNotFound, "no-server"},
	{"spawner.ErrInvalid", spawner.ErrInvalid, "invalid-request"},
	{"spawner.ErrTooManyServers", spawner.ErrTooManyServers, "too-many-servers"},
	{"spawner.ErrNameTaken", spawner.ErrNameTaken, "name-taken"},
	{"spawner.ErrRunning", spawner.ErrRunning, "running"},
	{"several homes", &spawner.OtherHomesError{Wanted: "claim-alice", Found: []string{"claim-alice--gpu"}, User: "alice"}, "owner-unclear"},
	{"unclear owner", &spawner.UnclearOwnerError{Claim: "claim-alice", User: "alice"}, "owner-unclear"},
	{"spawner.ErrOtherHost", spawner.ErrOtherHost, "other-host"},
	{"spawner.ErrRemoving", spawner.ErrRemoving, "removing"},
	{"spawner.ErrNotSynced", spawner.ErrNotSynced, "not-synced"},
	{"deadline", context.DeadlineExceeded, "deadline"},
	{"an overloaded API server", apierrors.NewTooManyRequests("dial tcp 10.0.0.1", 1), "cluster-busy"},
	{"an API server out of reach", &url.Error{Op: "Get", URL: "https://10.0.0.1", Err: syscall.ECONNREFUSED}, "cluster-busy"},
	{"races that were all lost", apierrors.NewConflict(schema.GroupResource{}, "hunter2", errors.New("changed")), "cluster-busy"},
	{"directory's deadline", fmt.Errorf("%w: %w", groups.ErrUnavailable, context.DeadlineExceeded), "directory-unavailable"},
	{"cancelled", context.Canceled, "cancelled"},
	{"malformed", &malformed{"The body is no JSON."}, "malformed"},
	{"too far apart", &skew.ApartError{One: skew.Service, Other: skew.Hub, OneRelease: "0.4.0", OtherRelease: "0.2.0"}, "too-far-apart"},
	{"invalid options", &forms.Invalid{}, "invalid-options"},
	{"no token", errUnauthenticated, "unauthenticated"},
	{"no route", errNoRoute, "no-route"},
	{"method", errMethod, "method"},
	{"too large", errTooLarge, "too-large"},
	{"media type", errMediaType, "media-type"},
	{"too many bodies", errTooManyBodies, "too-many-bodies"},
	{"too many streams", errTooManyStreams, "too-many-streams"},
	{"draining", errDraining, "draining"},
	{"unknown", errors.New("dial tcp 10.0.0.1:389: password hunter2"), "internal"},
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	problems := contractProblems(t)
	for _, want := range described {
		t.Run(want.name, func(t *testing.T) {
			t.Parallel()
			p, retry := describe(fmt.Errorf("bind uid=hub,dc=example secret=hunter2: %w", want.err))
			require.Contains(t, problems, want.kind)
			assert.Equal(t, problems[want.kind].Status, p.Status)
			assert.Equal(t, problemType+want.kind, p.Type)
			assert.Equal(t, problems[want.kind].Retry, retry)
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

// TestProblemsOfTheContract: the contract has no kind that no error has, none
// is missing there, and each has an exchange that Python's client understands.
func TestProblemsOfTheContract(t *testing.T) {
	t.Parallel()
	problems := contractProblems(t)
	kinds := map[string]bool{}
	for _, d := range described {
		kinds[d.kind] = true
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys(kinds)), slices.Collect(maps.Keys(problems)))
	for _, r := range rows {
		assert.True(t, kinds[r.kind], "%s: no error of described ends so", r.kind)
	}

	text, err := os.ReadFile("../testdata/contract/exchanges.json")
	require.NoError(t, err)
	withoutExchange := map[string]string{
		"too-far-apart": "the client is of the service's release", "no-route": "the client knows the routes", "method": "the client knows the routes", "media-type": "the client sends JSON",
		"too-large": "a mebibyte of text in the contract", "too-many-bodies": "mebibytes of bodies", "too-many-streams": "thousands of streams", "cancelled": "nobody reads it",
	}
	for kind := range problems {
		recorded := strings.Contains(string(text), `"`+problemType+kind+`"`)
		assert.NotEqual(t, withoutExchange[kind] == "", !recorded, "%s: an exchange, or a reason why there is none", kind)
		assert.True(t, kind == "cancelled" || strings.Contains(string(OpenAPI), kind), "%s is in the OpenAPI document", kind)
	}
}

// TestEveryDeclaredErrorIsDescribed reads the sources, so that a new error
// cannot be forgotten here.
func TestEveryDeclaredErrorIsDescribed(t *testing.T) {
	t.Parallel()
	// The controllers ask the Hub, and no request waits for that.
	listed := map[string]bool{"spawner.ErrHubUser": true, "spawner.ErrHubScopes": true}
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
