package signin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"

	"crypto/sha256"

	"golang.org/x/sync/singleflight"

	"github.com/elastichub/elastichub/hubclient"
)

const (
	// hubSession is how long a session lasts at most. A token of the Hub that ends
	// sooner ends it.
	hubSession = 12 * time.Hour
	// tokenFresh is how long the Hub's word on a token is believed, and tokenStale
	// how long while the Hub does not answer.
	tokenFresh = 30 * time.Second
	tokenStale = 60 * time.Second
	// mostTokens bounds the memory that tokens take, whoever sends them.
	mostTokens = 10_000
	scopeAll   = "access:services"
	scopeOne   = "access:services!service="
)

// hubProvider is JupyterHub's OAuth, of which we are a service.
type hubProvider struct {
	config Config
	hub    *hubclient.Client
	tokens *tokens
	now    func() time.Time
}

func (p *hubProvider) begin(_ context.Context, a attempt) (string, error) {
	return withQuery(p.config.Hub.PublicURL+"api/oauth2/authorize", url.Values{
		"client_id": {p.config.Hub.ClientID}, "response_type": {"code"}, "redirect_uri": {p.config.redirectURI()}, "state": {a.State},
		// Hubs before 6 do not look at it.
		"code_challenge": {a.challenge()}, "code_challenge_method": {"S256"},
	}), nil
}

func (p *hubProvider) finish(ctx context.Context, a attempt, code string) (session, error) {
	token, err := p.hub.Exchange(ctx, hubclient.Code{
		ClientID: p.config.Hub.ClientID, Code: code, RedirectURI: p.config.redirectURI(), Verifier: a.Verifier,
	})
	if errors.Is(err, hubclient.ErrRefused) {
		return session{}, fmt.Errorf("%w: %w", ErrAttempt, err)
	}
	if err != nil {
		return session{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	person, err := p.tokens.check(ctx, token)
	if errors.Is(err, ErrSignedOut) {
		return session{}, fmt.Errorf("%w: %w", ErrAttempt, err)
	}
	if err != nil {
		return session{}, err
	}
	return session{User: person.User, Token: token, Until: p.now().Add(hubSession).Unix()}, nil
}

// tokens asks the Hub whose a token is, and remembers the answer for a moment.
type tokens struct {
	hub     *hubclient.Client
	service string
	now     func() time.Time
	asking  singleflight.Group

	mu    sync.Mutex
	known map[[sha256.Size]byte]answer
}

type answer struct {
	owner hubclient.Owner
	err   error // hubclient.ErrRefused, or none
	at    time.Time
}

func newTokens(hub *hubclient.Client, service string, now func() time.Time) *tokens {
	return &tokens{hub: hub, service: service, now: now, known: map[[sha256.Size]byte]answer{}}
}

// check is who has the token. Errors: ErrSignedOut, ErrForbidden, ErrUnavailable.
func (t *tokens) check(ctx context.Context, token string) (Person, error) {
	a, err := t.ask(ctx, token)
	if err != nil {
		return Person{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if a.err != nil {
		return Person{}, fmt.Errorf("%w: %w", ErrSignedOut, a.err)
	}
	if a.owner.Kind != hubclient.KindUser {
		return Person{}, fmt.Errorf("%w: the token is of a %.20q", ErrForbidden, a.owner.Kind)
	}
	if !slices.Contains(a.owner.Scopes, scopeAll) && !slices.Contains(a.owner.Scopes, scopeOne+t.service) {
		return Person{}, fmt.Errorf("%w: the token lacks the scope %s%s", ErrForbidden, scopeOne, t.service)
	}
	return Person{User: a.owner.Name, HubAdmin: a.owner.Admin}, nil
}

// ask gives the Hub's answer, at most tokenFresh old, or at most tokenStale while the
// Hub does not answer.
func (t *tokens) ask(ctx context.Context, token string) (answer, error) {
	id := sha256.Sum256([]byte(token))
	t.mu.Lock()
	known, found := t.known[id]
	t.mu.Unlock()
	age := t.now().Sub(known.at)
	if found && age >= 0 && age < tokenFresh {
		return known, nil
	}
	result, err, _ := t.asking.Do(string(id[:]), func() (any, error) {
		asked := t.now()
		// For everybody who waits, whoever of them leaves; the client has a bound of its own.
		owner, err := t.hub.OwnerOf(context.WithoutCancel(ctx), token)
		if err != nil && !errors.Is(err, hubclient.ErrRefused) {
			return nil, err
		}
		a := answer{owner: owner, err: err, at: asked}
		t.keep(id, a)
		return a, nil
	})
	if err == nil {
		return result.(answer), nil
	}
	if found && age >= 0 && age < tokenStale {
		return known, nil
	}
	return answer{}, err
}

// keep remembers an answer, and forgets those that are over when there are too many.
func (t *tokens) keep(id [sha256.Size]byte, a answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= mostTokens {
		for other, old := range t.known {
			if t.now().Sub(old.at) >= tokenFresh {
				delete(t.known, other)
			}
		}
		if len(t.known) >= mostTokens {
			clear(t.known)
		}
	}
	t.known[id] = a
}
