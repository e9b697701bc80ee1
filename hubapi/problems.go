package hubapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/clusterfault"
	"github.com/elastichub/elastichub/forms"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/skew"
	"github.com/elastichub/elastichub/spawner"
)

// problem is RFC 9457's, as application/problem+json.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Instance is the request id, also in the X-Request-Id header and the log.
	Instance string       `json:"instance"`
	Errors   []fieldFault `json:"errors,omitempty"`
	// Form is the form as it was entered, with the errors at its fields, for
	// who asked for it.
	Form string `json:"form,omitempty"`
	// Owner is the Hub user whom a home was made for, where that is the question.
	Owner string `json:"owner,omitempty"`
}

// fieldFault is one fault of one field.
type fieldFault struct {
	// Pointer is a JSON pointer (RFC 6901) into the request's body.
	Pointer string `json:"pointer"`
	Field   string `json:"field"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

const (
	problemType = "urn:elastichub:problem:"
	// retryAfterSeconds is what a client is told when a dependency is down.
	retryAfterSeconds = 5
)

// row is what one error looks like from outside. The detail is fixed text,
// written for the person who waits: an error's own text stays in the log.
type row struct {
	err    error
	status int
	kind   string
	title  string
	detail string
	retry  bool
}

// Errors of the HTTP edge itself.
var (
	errUnauthenticated = errors.New("hubapi: no valid bearer token")
	errNoRoute         = errors.New("hubapi: no such route")
	errMethod          = errors.New("hubapi: method not allowed")
	errTooLarge        = errors.New("hubapi: body too large")
	errMediaType       = errors.New("hubapi: body is not application/json")
	errTooManyBodies   = errors.New("hubapi: too many bodies at a time")
	errTooManyStreams  = errors.New("hubapi: too many event streams")
	errDraining        = errors.New("hubapi: shutting down")
)

// malformed is the error for a request that cannot be read. Its text is
// written here and is safe to show.
type malformed struct{ detail string }

func (e *malformed) Error() string { return "hubapi: malformed request: " + e.detail }

// locatedFaults says in which member of the body the fields of a forms.Invalid are.
type locatedFaults struct {
	part string
	// form is the page that shows them, empty if nobody asked for it.
	form string
	err  error
}

func (e *locatedFaults) Error() string { return e.err.Error() }
func (e *locatedFaults) Unwrap() error { return e.err }

func inBody(part string, err error) error { return &locatedFaults{part: part, err: err} }

// inLanguage is an error whose problem has its detail in the reader's language.
type inLanguage struct {
	detail string
	err    error
}

func (e *inLanguage) Error() string { return e.err.Error() }
func (e *inLanguage) Unwrap() error { return e.err }

// rows are tried in order: a lookup that failed because the directory did not
// answer in time is the directory's fault before it is a deadline's.
var rows = []row{
	{errUnauthenticated, http.StatusUnauthorized, "unauthenticated", "Authentication required", "A valid bearer token is required.", false},
	{errNoRoute, http.StatusNotFound, "no-route", "No such resource", "", false},
	{errMethod, http.StatusMethodNotAllowed, "method", "Method not allowed", "", false},
	{errTooLarge, http.StatusRequestEntityTooLarge, "too-large", "Request too large", "A request body may have at most 1 MiB.", false},
	{errMediaType, http.StatusUnsupportedMediaType, "media-type", "Unsupported media type", "The body must be application/json.", false},
	{errTooManyBodies, http.StatusServiceUnavailable, "too-many-bodies", "Too many large requests", "The service has as many large requests in its memory as it may have at a time. Please try again in a moment.", true},
	{errTooManyStreams, http.StatusServiceUnavailable, "too-many-streams", "Too many event streams", "", true},
	{errDraining, http.StatusServiceUnavailable, "draining", "Shutting down", "", true},

	{groups.ErrUnknownUser, http.StatusNotFound, "unknown-user", "Unknown user", "The directory does not know this user.", false},
	{groups.ErrNoPolicy, http.StatusForbidden, "no-policy", "No policy for this user", "No policy allows your groups a server. Ask an administrator for access.", false},
	{groups.ErrInvalidPolicy, http.StatusInternalServerError, "invalid-policy", "Invalid policy", "The policy for your groups has a fault that an administrator must correct.", false},
	{groups.ErrSignInAgain, http.StatusForbidden, "sign-in-again", "Sign in again", "What your sign-in said of your groups is missing or too old. Please log out and in again.", false},
	{groups.ErrUnavailable, http.StatusServiceUnavailable, "directory-unavailable", "Directory unavailable", "The directory that knows your groups does not answer at the moment. Running servers are not affected. Please try again in a minute.", true},

	{spawner.ErrNotFound, http.StatusNotFound, "no-server", "No such server", "There is no such server.", false},
	{spawner.ErrInvalid, http.StatusUnprocessableEntity, "invalid-request", "Invalid request", "The request cannot be carried out.", false},
	{spawner.ErrTooManyServers, http.StatusConflict, "too-many-servers", "Too many servers", "You run as many servers as you may have. Stop one first.", false},
	{spawner.ErrNameTaken, http.StatusConflict, "name-taken", "Name is taken", "Something that is not this server has its name. An administrator can help.", false},
	{spawner.ErrRunning, http.StatusConflict, "running", "Server runs", "The server runs. Stop it first.", false},
	{spawner.ErrOtherHost, http.StatusServiceUnavailable, "other-host", "Another host", "The server's certificate is not for the host that the server has now. Please try again in a moment.", true},
	{spawner.ErrRemoving, http.StatusServiceUnavailable, "removing", "Being removed", "The former server is still being removed. Please try again in a moment.", true},
	{spawner.ErrNotSynced, http.StatusServiceUnavailable, "not-synced", "State not known yet", "The service has just started and does not know the servers yet.", true},

	{context.DeadlineExceeded, http.StatusGatewayTimeout, "deadline", "Took too long", "The request took too long. Please try again.", true},
	{context.Canceled, statusClientGone, "cancelled", "Request cancelled", "", false},
}

// ownerUnclear says what an administrator needs to decide whose a home is.
func ownerUnclear(e *spawner.UnclearOwnerError) string {
	whose := "was made for a user of that name before there was this one"
	if e.Owner.Known() {
		whose = "was made for another user of that name, " + e.Owner.String() + " in the Hub's database"
	}
	home, kind := "volume "+e.Claim, "persistentvolumeclaim"
	if e.Static != "" {
		home, kind = "directory "+e.Static, "configmap"
	}
	return "The home " + home + " of " + e.User + " " + whose +
		", so it is neither given to you nor left aside. If it is yours, an administrator hands it over with: " +
		"kubectl annotate " + kind + " " + e.Claim + " " + v1alpha1.AnnotationAdopt + "=" + shellWord(e.User)
}

// otherHomes says what to do where another spawner has left homes.
func otherHomes(e *spawner.OtherHomesError) string {
	return "Your policy names the home volume " + e.Wanted + ", which would be new and empty, and there are homes of " + e.User +
		" from another spawner: " + strings.Join(e.Found, ", ") + ". An administrator says which of them it is with: " +
		"kubectl annotate persistentvolumeclaim " + e.Found[0] + " " + v1alpha1.AnnotationAdopt + "=" + shellWord(e.User) +
		"; or, of each that is none, with: kubectl annotate persistentvolumeclaim " + e.Found[0] + " " + v1alpha1.AnnotationOwnerLeft + "=yes"
}

// tooFarApart says what an administrator has to do.
func tooFarApart(e *skew.ApartError) string {
	follows := "elastichub in the Hub's environment (pip install elastichub==" + e.OneRelease + ")"
	if !e.OtherIsOlder() {
		follows = "the notebook service (helm upgrade) to " + e.OtherRelease
	}
	return e.Error() + ". Running servers are not affected. An administrator must bring up " + follows + "."
}

// shellWord is text as one word of a shell.
func shellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// statusClientGone is never seen by anyone but the log and the metrics.
const statusClientGone = 499

// fieldFaults are faults of choices in one part of the request's body.
func fieldFaults(part string, fields []forms.FieldError) []fieldFault {
	var faults []fieldFault
	for _, f := range fields {
		path := []string{part}
		if f.Field != "" {
			path = append(path, f.Field)
		}
		faults = append(faults, fieldFault{Pointer: pointer(path...), Field: f.Field, Code: f.Code, Message: f.Message})
	}
	return faults
}

// describe maps an error to its problem. Unknown errors become a 500 that
// says nothing of them.
func describe(err error) (p problem, retry bool) {
	var invalid *forms.Invalid
	if errors.As(err, &invalid) {
		placed := &locatedFaults{part: "options"}
		errors.As(err, &placed)
		p = problem{Type: problemType + "invalid-options", Title: "Invalid options", Status: http.StatusUnprocessableEntity,
			Detail: "Some choices are not within what you may have.", Form: placed.form}
		p.Errors = fieldFaults(placed.part, invalid.Fields)
		return p, false
	}
	var faults *invalidStart
	if errors.As(err, &faults) {
		return problem{Type: problemType + "invalid-request", Title: "Invalid request", Status: http.StatusUnprocessableEntity,
			Detail: "The request cannot be carried out.", Errors: faults.faults}, false
	}
	var unclear *spawner.UnclearOwnerError
	if errors.As(err, &unclear) {
		return problem{Type: problemType + "owner-unclear", Title: "Whose home is it?", Status: http.StatusConflict,
			Detail: ownerUnclear(unclear), Owner: unclear.Owner.String()}, false
	}
	var several *spawner.OtherHomesError
	if errors.As(err, &several) {
		return problem{Type: problemType + "owner-unclear", Title: "Which home is it?", Status: http.StatusConflict, Detail: otherHomes(several)}, false
	}
	var apart *skew.ApartError
	if errors.As(err, &apart) {
		return problem{Type: problemType + "too-far-apart", Title: "Releases too far apart", Status: http.StatusConflict, Detail: tooFarApart(apart)}, false
	}
	var unreadable *malformed
	if errors.As(err, &unreadable) {
		return problem{Type: problemType + "malformed", Title: "Malformed request", Status: http.StatusBadRequest, Detail: unreadable.detail}, false
	}
	for _, r := range rows {
		if errors.Is(err, r.err) {
			p = problem{Type: problemType + r.kind, Title: r.title, Status: r.status, Detail: r.detail}
			var translated *inLanguage
			if errors.As(err, &translated) {
				p.Detail = translated.detail
			}
			return p, r.retry
		}
	}
	if clusterfault.Passes(err) || clusterfault.Lost(err) {
		return problem{Type: problemType + "cluster-busy", Title: "The cluster is busy", Status: http.StatusServiceUnavailable,
			Detail: "The cluster does not take the request at the moment. Running servers are not affected. Please try again in a minute."}, true
	}
	return problem{Type: problemType + "internal", Title: "Internal error", Status: http.StatusInternalServerError,
		Detail: "Something went wrong. The request id helps an administrator to find out what."}, false
}

// fail ends the request with err's problem. The error is logged, once, by the
// access log.
func fail(c *gin.Context, err error) {
	p, retry := describe(err)
	p.Instance = "urn:elastichub:request:" + requestID(c)
	body, marshalErr := json.Marshal(p)
	if marshalErr != nil {
		// Strings and ints only: cannot happen short of a programming error.
		panic(marshalErr)
	}
	if retry {
		c.Header("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	_ = c.Error(err)
	c.Data(p.Status, "application/problem+json", body)
	c.Abort()
}
