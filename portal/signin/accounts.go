package signin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

// Audience is what a token of Kubernetes has to be made for, to be shown here.
const Audience = "elastichub"

const (
	// reviewFresh is how long the API server's word on a token, and on what its owner may
	// do, is believed; refusedFresh is that of one that was refused, which may be good soon.
	reviewFresh  = 30 * time.Second
	refusedFresh = 5 * time.Second
	// reviewTime bounds one question, waiting for its turn included.
	reviewTime = 5 * time.Second
	// What all callers of this replica together may ask of the API server, in a second and
	// at once: anybody can show what looks like a token.
	reviewsPerSecond = 20
	reviewsAtOnce    = 40
	// maxToken is more than the API server makes.
	maxToken = 16 << 10
)

// Account is one that the API server knows by its token.
type Account struct {
	// Name is that of Kubernetes, such as system:serviceaccount:NAMESPACE:NAME.
	Name string

	user  authenticationv1.UserInfo
	token [sha256.Size]byte
	until time.Time // when its token ends
}

// Right is a verb on a kind of objects. An empty Group is the core's.
type Right struct{ Verb, Group, Resource, Subresource string }

func (r Right) String() string {
	kind := r.Resource
	if r.Subresource != "" {
		kind += "/" + r.Subresource
	}
	return r.Verb + " " + kind
}

// Accounts asks the API server whose a token is, and what its owner may do in a namespace,
// and remembers the answers for a moment.
type Accounts struct {
	namespace string
	tokens    authenticationclient.TokenReviewInterface
	access    authorizationclient.LocalSubjectAccessReviewInterface
	now       func() time.Time

	mu    sync.Mutex
	known map[question]reviewed
}

// question is one about a token: whose it is, where right is empty, or whether its owner
// has the right on the object of that name, or on all.
type question struct {
	token [sha256.Size]byte
	right Right
	name  string
}

// reviewed is the answer: of whose it is, the account, nil for a token that is refused.
type reviewed struct {
	account *Account
	allowed bool
	at      time.Time
}

// NewAccounts prepares to ask, with a client that is bounded apart from all others.
func NewAccounts(config *rest.Config, namespace string, now func() time.Time) (*Accounts, error) {
	own := rest.CopyConfig(config)
	own.RateLimiter, own.QPS, own.Burst = nil, reviewsPerSecond, reviewsAtOnce
	http, err := rest.HTTPClientFor(own)
	if err != nil {
		return nil, err
	}
	tokens, err := authenticationclient.NewForConfigAndClient(own, http)
	if err != nil {
		return nil, err
	}
	access, err := authorizationclient.NewForConfigAndClient(own, http)
	if err != nil {
		return nil, err
	}
	return &Accounts{
		namespace: namespace, tokens: tokens.TokenReviews(), access: access.LocalSubjectAccessReviews(namespace), now: now, known: map[question]reviewed{},
	}, nil
}

// check is who has the token. Errors: ErrSignedOut, ErrUnavailable.
func (a *Accounts) check(ctx context.Context, token string, claims claims) (Person, error) {
	if len(token) > maxToken || claims.ends(a.now()) {
		return Person{}, fmt.Errorf("%w: the token is over, or too long", ErrSignedOut)
	}
	of := question{token: sha256.Sum256([]byte(token))}
	answer, err := a.answer(ctx, of, func(ctx context.Context) (reviewed, error) { return a.review(ctx, of.token, token, claims) })
	if err != nil {
		return Person{}, err
	}
	if answer.account == nil {
		return Person{}, fmt.Errorf("%w: the API server refuses the token", ErrSignedOut)
	}
	return Person{Account: answer.account}, nil
}

func (a *Accounts) review(ctx context.Context, hash [sha256.Size]byte, token string, claims claims) (reviewed, error) {
	review, err := a.tokens.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return reviewed{}, err
	}
	// An authenticator that knows no audiences names none.
	if !review.Status.Authenticated || !slices.Contains(review.Status.Audiences, Audience) || review.Status.User.Username == "" {
		return reviewed{}, nil
	}
	return reviewed{allowed: true, account: &Account{Name: review.Status.User.Username, user: review.Status.User, token: hash, until: claims.end()}}, nil
}

// may reports whether an account has a right on the object of that name; empty: on all.
// Error: ErrUnavailable.
func (a *Accounts) may(ctx context.Context, account *Account, right Right, name string) (bool, error) {
	answer, err := a.answer(ctx, question{account.token, right, name}, func(ctx context.Context) (reviewed, error) {
		extra := map[string]authorizationv1.ExtraValue{}
		for key, values := range account.user.Extra {
			extra[key] = authorizationv1.ExtraValue(values)
		}
		review, err := a.access.Create(ctx, &authorizationv1.LocalSubjectAccessReview{
			ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace},
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User: account.user.Username, UID: account.user.UID, Groups: account.user.Groups, Extra: extra,
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: a.namespace, Verb: right.Verb, Group: right.Group, Resource: right.Resource, Subresource: right.Subresource, Name: name,
				},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return reviewed{}, err
		}
		return reviewed{allowed: review.Status.Allowed && !review.Status.Denied}, nil
	})
	return answer.allowed, err
}

// answer is one that is remembered, or a new one. Error: ErrUnavailable.
func (a *Accounts) answer(ctx context.Context, q question, ask func(context.Context) (reviewed, error)) (reviewed, error) {
	asked := a.now()
	a.mu.Lock()
	known, found := a.known[q]
	a.mu.Unlock()
	if found && known.isFresh(asked) {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTime)
	defer cancel()
	answer, err := ask(ctx)
	if err != nil {
		return reviewed{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	answer.at = asked
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= mostTokens {
		for other, old := range a.known {
			if !old.isFresh(asked) {
				delete(a.known, other)
			}
		}
		if len(a.known) >= mostTokens {
			clear(a.known)
		}
	}
	a.known[q] = answer
	return answer, nil
}

func (r reviewed) isFresh(now time.Time) bool {
	age, most := now.Sub(r.at), refusedFresh
	if r.allowed {
		most = reviewFresh
	}
	return age >= 0 && age < most && (r.account == nil || now.Before(r.account.until))
}

// claims are what a JSON Web Token says of itself. Nobody has checked it.
type claims struct {
	Audience audiences `json:"aud"`
	Expires  float64   `json:"exp"`
}

// end is when the token ends. One that names no end has none that we would believe.
func (c claims) end() time.Time {
	const most = 1 << 40 // seconds, which time.Time can hold
	return time.Unix(int64(max(0, min(c.Expires, most))), 0)
}

func (c claims) ends(now time.Time) bool { return !now.Before(c.end()) }

// audiences are written as a string or as a list.
type audiences []string

func (a *audiences) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

var errNoJWT = errors.New("signin: no JSON Web Token")

// claimsOf reads a token that is a JSON Web Token, as those of Kubernetes are and those of
// the Hub are not.
func claimsOf(token string) (claims, error) {
	header, rest, _ := strings.Cut(token, ".")
	payload, _, found := strings.Cut(rest, ".")
	if !found || !strings.HasPrefix(header, "ey") {
		return claims{}, errNoJWT
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return claims{}, errNoJWT
	}
	var c claims
	if json.Unmarshal(text, &c) != nil {
		return claims{}, errNoJWT
	}
	return c, nil
}
