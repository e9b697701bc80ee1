package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/elastichub/elastichub/clusterfault"
	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/holdings"
	"github.com/elastichub/elastichub/portal/signin"
)

// problem is RFC 9457's, as application/problem+json.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Faults are those of a policy or a notebook, each at its field.
	Faults []fault `json:"faults,omitempty"`
	// Instance is the request id, also in the X-Request-Id header and the log.
	Instance string `json:"instance"`
}

const (
	problemType = "urn:elastichub:problem:"
	// retryAfterSeconds is what a client is told when something does not answer.
	retryAfterSeconds = 5
)

// Errors of this room.
var (
	errNoRoute        = errors.New("portal: no such route")
	errMethod         = errors.New("portal: method not allowed")
	errTooLarge       = errors.New("portal: body too large")
	errMediaType      = errors.New("portal: body is of another media type")
	errNoAdmin        = errors.New("portal: not an administrator")
	errNotFound       = errors.New("portal: no such object, or somebody else's")
	errConflict       = errors.New("portal: the object has changed")
	errTooManyStreams = errors.New("portal: too many event streams")
	errRunning        = errors.New("portal: the kernel runs or waits")
	errNotOwner       = errors.New("portal: not the owner")
	errNotOffered     = errors.New("portal: the kernel cannot return as that")
	errNothingToKeep  = errors.New("portal: nothing that would end for idleness")
	errReadOnly       = errors.New("portal: policies are not changed here")
	errManaged        = errors.New("portal: another tool manages the policy")
	errAccountsOnly   = errors.New("portal: for accounts of Kubernetes only")
	errTaken          = errors.New("portal: there is a notebook of this name")
	errUnreadable     = errors.New("portal: the object cannot be read")
	errOtherVersion   = errors.New("portal: the object is of another version than the request names")
	errNoReason       = errors.New("portal: no reason given for what is another person's")
)

// malformed is the error for a request that cannot be read. Its text is
// written here and is safe to show.
type malformed struct{ detail string }

func (e *malformed) Error() string { return "portal: malformed request: " + e.detail }

// row is what one error looks like from outside: fixed text, in English; pages have
// it in their reader's language. An error's own text stays in the log.
type row struct {
	err    error
	status int
	kind   string
	title  string
	detail string
	retry  bool
}

var rows = []row{
	{signin.ErrSignedOut, http.StatusUnauthorized, "unauthenticated", "Not signed in", "Sign in, or show a token.", false},
	{signin.ErrForbidden, http.StatusForbidden, "not-allowed", "Not allowed", "This account, or this token, may not use the console.", false},
	{signin.ErrCrossSite, http.StatusForbidden, "cross-site", "Not from one of our pages", "The request does not come from one of our pages. Reload the page and try again.", false},
	{signin.ErrAttempt, http.StatusBadRequest, "sign-in-failed", "Sign-in failed", "The sign-in failed or took too long. Please try again.", false},
	{signin.ErrUnavailable, http.StatusServiceUnavailable, "provider-unavailable", "Sign-in is not available", "Who you are cannot be checked at the moment. Please try again in a minute.", true},

	{errNoRoute, http.StatusNotFound, "no-route", "No such page", "There is nothing at this address.", false},
	{errMethod, http.StatusMethodNotAllowed, "method", "Method not allowed", "This address does not take this method.", false},
	{errTooLarge, http.StatusRequestEntityTooLarge, "too-large", "Too large", "The request is too large.", false},
	{errMediaType, http.StatusUnsupportedMediaType, "media-type", "Media type", "The body is of another media type than this address takes.", false},
	{errNoAdmin, http.StatusForbidden, "no-administrator", "For administrators", "Only administrators may see this.", false},
	{errNotFound, http.StatusNotFound, "not-found", "Not found", "There is nothing of that name, or it is not yours.", false},
	{errConflict, http.StatusConflict, "conflict", "Changed meanwhile", "It has changed meanwhile. Look again.", false},
	{errOtherVersion, http.StatusPreconditionFailed, "other-version", "Another version", "It has changed since the version that If-Match names. Look again.", false},
	{errTaken, http.StatusConflict, "name-taken", "The name is taken", "There is a notebook of this name.", false},
	{errUnreadable, http.StatusConflict, "unreadable", "It cannot be read", "Its object has values that cannot be read, as its status says. Mend or delete it with kubectl.", false},
	{errAccountsOnly, http.StatusForbidden, "accounts-only", "For accounts of Kubernetes", "Only an account of Kubernetes that may create JupyterNotebooks makes one here: show its token. What a user of the Hub may start is started there.", false},
	{acts.ErrOfHub, http.StatusConflict, "of-hub", "A server of the Hub", "It is a server of the Hub, which alone makes, starts and deletes it.", false},
	{acts.ErrNotRunning, http.StatusConflict, "not-running", "Not running", "It neither runs nor waits.", false},
	{acts.ErrNotWaiting, http.StatusConflict, "not-waiting", "Not waiting", "The kernel does not wait in the queue.", false},
	{acts.ErrNoPlace, http.StatusBadRequest, "malformed", "Malformed request", "A kernel is moved to first, last or turn.", false},
	{errRunning, http.StatusConflict, "running", "It runs or waits", "The kernel runs or waits. Release it first; then it can return as another.", false},
	{errNotOwner, http.StatusForbidden, "not-owner", "For its owner", "Only its owner brings a kernel back.", false},
	{errNotOffered, http.StatusUnprocessableEntity, "not-offered", "Not offered", "The kernel cannot return as that: it is not allowed for you, not offered by its gateway, or of another language.", false},
	{errNothingToKeep, http.StatusConflict, "nothing-to-keep", "Nothing to keep", "It does not run, or nothing ends it for idleness.", false},
	{errReadOnly, http.StatusForbidden, "read-only", "Policies are not changed here", "Policies are changed as objects, with kubectl or by Git: portal.policies.edit is off.", false},
	{errManaged, http.StatusConflict, "managed", "Managed by another tool", "Helm or another tool manages this policy and would undo the change. Change it where that tool has it from.", false},
	{errNoReason, http.StatusUnprocessableEntity, "reason-required", "A reason is required", "Say why: it is another person's, or a policy.", false},
	{errTooManyStreams, http.StatusServiceUnavailable, "too-many-streams", "Too many streams", "Too many pages follow what happens. Look again by yourself.", true},
	{holdings.ErrQuery, http.StatusBadRequest, "malformed", "Malformed request", "There is no such sort key, or no such place in a list.", false},

	{groups.ErrSignInAgain, http.StatusForbidden, "sign-in-again", "Sign in again", "What your sign-in said of your groups is missing or too old. Log out of the Hub and in again.", false},
	{groups.ErrUnavailable, http.StatusServiceUnavailable, "directory-unavailable", "Directory unavailable", "The directory that knows your groups does not answer at the moment. Please try again in a minute.", true},

	{context.DeadlineExceeded, http.StatusGatewayTimeout, "deadline", "Took too long", "The request took too long. Please try again.", true},
	{context.Canceled, statusClientGone, "cancelled", "Request cancelled", "", false},
}

// statusClientGone is never seen by anyone but the log and the metrics.
const statusClientGone = 499

// describe maps an error to its problem. Unknown errors become a 500 that says
// nothing of them.
func describe(err error) (p problem, retry bool) {
	var invalid *invalidPolicy
	if errors.As(err, &invalid) {
		return problem{Type: problemType + "invalid-policy", Title: "Invalid policy", Status: http.StatusUnprocessableEntity,
			Detail: "The policy would have faults.", Faults: invalid.faults}, false
	}
	var faulty *invalidNotebook
	if errors.As(err, &faulty) {
		return problem{Type: problemType + "invalid-notebook", Title: "Invalid notebook", Status: http.StatusUnprocessableEntity,
			Detail: "The notebook would have faults.", Faults: faulty.faults}, false
	}
	var unreadable *malformed
	if errors.As(err, &unreadable) {
		return problem{Type: problemType + "malformed", Title: "Malformed request", Status: http.StatusBadRequest, Detail: unreadable.detail}, false
	}
	var used *usedUp
	if errors.As(err, &used) {
		return problem{Type: problemType + "snooze-used-up", Title: "Kept for as long as is allowed", Status: http.StatusConflict,
			Detail: fmt.Sprintf("It may be kept by hand for %s of a run in all, and has been.", used.bound)}, false
	}
	var lacks *lacking
	if errors.As(err, &lacks) {
		return problem{Type: problemType + "no-right", Title: "No right", Status: http.StatusForbidden,
			Detail: "This account of Kubernetes may not " + lacks.right.String() + "."}, false
	}
	for _, r := range rows {
		if errors.Is(err, r.err) {
			return problem{Type: problemType + r.kind, Title: r.title, Status: r.status, Detail: r.detail}, r.retry
		}
	}
	if clusterfault.Passes(err) || clusterfault.Lost(err) {
		return problem{Type: problemType + "cluster-busy", Title: "The cluster is busy", Status: http.StatusServiceUnavailable,
			Detail: "The cluster does not take the request at the moment. Please try again in a minute."}, true
	}
	return problem{Type: problemType + "internal", Title: "Internal error", Status: http.StatusInternalServerError,
		Detail: "Something went wrong. The request id helps an administrator to find out what."}, false
}

// fail ends a request with its error's problem, unless an answer has begun.
func (p *Portal) fail(r *request, err error) {
	if r.w.code != 0 {
		return
	}
	problem, retry := describe(err)
	problem.Instance = "urn:elastichub:request:" + r.id
	if retry {
		r.w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	if !r.isAPI() && !p.config.APIOnly {
		p.failPage(r, err, problem.Status, strings.TrimPrefix(problem.Type, problemType))
		return
	}
	if problem.Status == http.StatusUnauthorized {
		r.w.Header().Set("WWW-Authenticate", `Bearer realm="elastichub"`)
	}
	body, marshalErr := json.Marshal(problem)
	if marshalErr != nil {
		// Strings and ints only: cannot happen short of a programming error.
		panic(marshalErr)
	}
	r.w.Header().Set("Content-Type", "application/problem+json")
	r.w.WriteHeader(problem.Status)
	_, _ = r.w.Write(body)
}
