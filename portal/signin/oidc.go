package signin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/elastichub/elastichub/outbound"
)

const (
	// oidcSession is how long a session lasts before the provider is asked again,
	// which takes no more than a redirect while its own session lasts.
	oidcSession = time.Hour
	// discoveryAge is how long what the provider says of itself is used.
	discoveryAge = time.Hour
	// discoveryPause is how long nobody asks again who has got no answer: strangers make
	// us ask.
	discoveryPause = 5 * time.Second
	maxUserBytes   = 1024
	maxAnswer      = 1 << 20
)

// oidcProvider is OpenID Connect's authorization code flow, with PKCE and a nonce.
type oidcProvider struct {
	config Config
	client *outbound.Client
	http   *http.Client
	now    func() time.Time

	mu     sync.Mutex
	known  *oidc.Provider
	at     time.Time
	failed time.Time
}

func newOIDC(config Config, now func() time.Time) (*oidcProvider, error) {
	if _, err := outbound.ReadSecret(config.OIDC.SecretFile); err != nil {
		return nil, fmt.Errorf("secretFile: %w", err)
	}
	client, err := outbound.NewClient(outbound.ClientConfig{CAFile: config.OIDC.CAFile, Timeout: config.OIDC.Timeout, Connections: 8, MaxBytes: maxAnswer})
	if err != nil {
		return nil, err
	}
	return &oidcProvider{
		config: config, client: client, now: now,
		http: &http.Client{Transport: client, Timeout: config.OIDC.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

func (p *oidcProvider) close() { p.client.Close() }

// discover is what the provider says of itself. Its keys are read when a token needs
// them, and again when one is signed by a key that is unknown.
func (p *oidcProvider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known != nil && p.now().Sub(p.at) < discoveryAge {
		return p.known, nil
	}
	if pause := p.now().Sub(p.failed); pause >= 0 && pause < discoveryPause {
		return nil, fmt.Errorf("%w: it has just failed", ErrUnavailable)
	}
	// The context is kept for the keys, which outlive this request.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.http), p.config.OIDC.Issuer)
	if err != nil {
		p.failed = p.now()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if endpoint := found.Endpoint(); !p.fits(endpoint.AuthURL) || !p.fits(endpoint.TokenURL) {
		return nil, fmt.Errorf("%w: an endpoint is not https", ErrUnavailable)
	}
	p.known, p.at = found, p.now()
	return found, nil
}

func (p *oidcProvider) fits(address string) bool {
	return strings.HasPrefix(address, "https://") || p.config.OIDC.AllowPlaintext && strings.HasPrefix(address, "http://")
}

func (p *oidcProvider) oauth(found *oidc.Provider, secret string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.config.OIDC.ClientID, ClientSecret: secret, Endpoint: found.Endpoint(), RedirectURL: p.config.redirectURI(),
		Scopes: append([]string{oidc.ScopeOpenID}, p.config.OIDC.Scopes...),
	}
}

func (p *oidcProvider) begin(ctx context.Context, a attempt) (string, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	return p.oauth(found, "").AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), nil
}

func (p *oidcProvider) finish(ctx context.Context, a attempt, code string) (session, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return session{}, err
	}
	secret, err := outbound.ReadSecret(p.config.OIDC.SecretFile)
	if err != nil {
		return session{}, fmt.Errorf("secretFile: %w", err)
	}
	asking := oidc.ClientContext(ctx, p.http)
	token, err := p.oauth(found, secret).Exchange(asking, code, oauth2.VerifierOption(a.Verifier))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500 {
		// Its text may repeat what was sent.
		return session{}, fmt.Errorf("%w: the provider refuses the code: %.50q", ErrAttempt, refused.ErrorCode)
	}
	if err != nil {
		return session{}, fmt.Errorf("%w: no token for the code", ErrUnavailable)
	}
	raw, _ := token.Extra("id_token").(string)
	verifier := found.Verifier(&oidc.Config{ClientID: p.config.OIDC.ClientID, SupportedSigningAlgs: p.config.OIDC.Algorithms, Now: p.now})
	id, err := verifier.Verify(asking, raw)
	if err != nil {
		return session{}, fmt.Errorf("%w: the ID token: %w", ErrAttempt, err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return session{}, fmt.Errorf("%w: the ID token is of another sign-in", ErrAttempt)
	}
	user, err := p.userOf(id)
	if err != nil {
		return session{}, err
	}
	return session{User: user, Until: p.now().Add(oidcSession).Unix()}, nil
}

// userOf is the Hub user whom an ID token names; the Hub keeps names in lower case.
func (p *oidcProvider) userOf(id *oidc.IDToken) (string, error) {
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return "", fmt.Errorf("%w: the ID token's claims: %w", ErrAttempt, err)
	}
	name, _ := claims[p.config.OIDC.UsernameClaim].(string)
	if name == "" || len(name) > maxUserBytes || !utf8.ValidString(name) {
		return "", fmt.Errorf("%w: the ID token has no user name in %s", ErrForbidden, p.config.OIDC.UsernameClaim)
	}
	return strings.ToLower(name), nil
}
