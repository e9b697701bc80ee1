package openid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/groups/naming"
	"github.com/elastichub/elastichub/outbound"
)

const (
	// MaxTokenBytes bounds a token. One with 200 groups has about 10 kB.
	MaxTokenBytes = 64 << 10
	// maxAnswerBytes bounds what the provider says at a time.
	maxAnswerBytes = 1 << 20
	connections    = 8
)

// Source is a groups.Source and a groups.SignInReceiver. Tokens are kept in
// memory alone, and no error or log has one. While a token has expired, a cache
// in front of it answers, up to its stale limit.
type Source struct {
	config Config
	client *outbound.Client
	now    func() time.Time
	tokens *groups.SignIns[groups.Token]
	keys   *keys

	mu       sync.Mutex
	provider *provider
}

// provider is what the issuer's metadata say.
type provider struct {
	keysURL, userInfoURL string
	at                   time.Time
}

// New asks the provider at the first lookup.
func New(config Config, now func() time.Time) (*Source, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("openid: %w", err)
	}
	client, err := outbound.NewClient(outbound.ClientConfig{
		CAFile: config.CAFile, Timeout: config.Timeout, Connections: connections, MaxBytes: maxAnswerBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("openid: %w", err)
	}
	s := &Source{config: config, client: client, now: now, tokens: groups.NewSignIns(func(t groups.Token) int { return len(t) })}
	s.keys = &keys{read: s.readKeys, now: now}
	return s, nil
}

// Close ends the connections that are not in use.
func (s *Source) Close() { s.client.Close() }

// Present implements groups.SignInReceiver: it remembers the token, unread.
func (s *Source) Present(user string, signIn groups.SignIn) {
	token := signIn.IDToken
	if s.config.From != FromIDToken {
		token = signIn.AccessToken
	}
	if token != "" {
		s.tokens.Put(user, s.now(), token)
	}
}

// Lookup implements groups.Source. Its errors are groups.ErrSignInExpired for
// a token that is missing or too old, groups.ErrSignInAgain for one that is
// wrong, and groups.ErrUnavailable.
func (s *Source) Lookup(ctx context.Context, user string) (groups.Membership, error) {
	token, _, known := s.tokens.Get(user)
	if !known {
		return groups.Membership{}, fmt.Errorf("%w: oidc: the Hub has sent no token; ElasticSpawner.send_tokens makes it", groups.ErrSignInExpired)
	}
	claims, asOf, err := s.claims(ctx, token)
	if err != nil {
		return groups.Membership{}, fmt.Errorf("oidc: %w", err)
	}
	if err := s.checkUser(claims, user); err != nil {
		return groups.Membership{}, fmt.Errorf("oidc: %w", err)
	}
	found, err := groupsOf(claims, s.config.GroupsClaims, s.config.GroupPrefix)
	if err != nil {
		return groups.Membership{}, fmt.Errorf("%w: oidc: %w", groups.ErrOneUser, err)
	}
	return groups.Membership{User: user, Groups: found, Source: "oidc", AsOf: asOf}, nil
}

func (s *Source) checkUser(claims map[string]any, user string) error {
	if s.config.UsernameClaim == "" {
		return nil
	}
	// Authenticators give the Hub names in lower case.
	name, _ := claims[s.config.UsernameClaim].(string)
	if name == "" || !naming.Same(name, user) {
		return fmt.Errorf("%w: claim %s is not the user's name", groups.ErrSignInAgain, s.config.UsernameClaim)
	}
	return nil
}

// claims are what the provider says of the user, and when it said so.
func (s *Source) claims(ctx context.Context, token groups.Token) (map[string]any, time.Time, error) {
	if len(token) > MaxTokenBytes {
		return nil, time.Time{}, fmt.Errorf("%w: a token of %d bytes", groups.ErrSignInAgain, len(token))
	}
	if s.config.From == FromUserInfo {
		return s.userInfo(ctx, token)
	}
	return s.verified(ctx, token)
}

// verified checks a token: algorithm, signature, type, issuer, audience, times.
func (s *Source) verified(ctx context.Context, token groups.Token) (map[string]any, time.Time, error) {
	check := &signature{keys: s.keys, types: []string{"", "jwt"}}
	if s.config.From == FromAccessToken {
		check.types = append(check.types, "at+jwt") // RFC 9068, 2.1
	}
	for _, algorithm := range s.config.Algorithms {
		check.algorithms = append(check.algorithms, jose.SignatureAlgorithm(algorithm))
	}
	// The times are checked here, with the leeway.
	verifier := oidc.NewVerifier(s.config.Issuer, check, &oidc.Config{
		ClientID: s.config.Audience, SupportedSigningAlgs: s.config.Algorithms, SkipExpiryCheck: true,
	})
	checked, err := verifier.Verify(ctx, string(token))
	switch {
	case errors.Is(check.err, errNoKeys):
		return nil, time.Time{}, fmt.Errorf("%w: %w", groups.ErrUnavailable, check.err)
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("%w: %w", groups.ErrSignInAgain, err)
	}
	var claims map[string]any
	var times struct {
		NotBefore float64 `json:"nbf"`
	}
	if err := errors.Join(checked.Claims(&claims), checked.Claims(&times)); err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: %w", groups.ErrSignInAgain, err)
	}
	now, leeway := s.now(), s.config.Leeway
	switch {
	case checked.Expiry.IsZero() || checked.IssuedAt.IsZero():
		err = fmt.Errorf("%w: no exp or no iat", groups.ErrSignInAgain)
	case checked.IssuedAt.After(now.Add(leeway)) || times.NotBefore > float64(now.Add(leeway).Unix()):
		err = fmt.Errorf("%w: not valid yet; the clocks differ", groups.ErrSignInAgain)
	case !now.Before(checked.Expiry.Add(leeway)):
		err = groups.ErrSignInExpired
	}
	return claims, checked.IssuedAt, err
}

// userInfo asks the provider, as the bearer of the user's access token
// (OpenID Connect Core 5.3).
func (s *Source) userInfo(ctx context.Context, token groups.Token) (map[string]any, time.Time, error) {
	asked := s.now()
	provider, err := s.discover(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	if provider.userInfoURL == "" {
		return nil, time.Time{}, fmt.Errorf("%w: the provider has no userinfo endpoint", groups.ErrUnavailable)
	}
	request, err := http.NewRequest(http.MethodGet, provider.userInfoURL, nil)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: userinfo: %w", groups.ErrUnavailable, err)
	}
	if strings.ContainsFunc(string(token), notPrintable) {
		return nil, time.Time{}, fmt.Errorf("%w: not a bearer token", groups.ErrSignInAgain)
	}
	request.Header.Set("Authorization", "Bearer "+string(token))
	answer, err := s.client.Do(ctx, request)
	var status *outbound.StatusError
	switch {
	case errors.As(err, &status) && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden):
		// Expired or withdrawn: the provider does not say which.
		return nil, time.Time{}, fmt.Errorf("%w: userinfo: %w", groups.ErrSignInExpired, err)
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("%w: userinfo: %w", groups.ErrUnavailable, err)
	}
	var claims map[string]any
	if err := json.Unmarshal(answer, &claims); err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: userinfo: %w", groups.ErrUnavailable, err)
	}
	if subject, _ := claims["sub"].(string); subject == "" {
		return nil, time.Time{}, fmt.Errorf("%w: userinfo: no sub", groups.ErrUnavailable)
	}
	return claims, asked, nil
}

func notPrintable(r rune) bool { return r <= ' ' || r > '~' }

func (s *Source) readKeys(ctx context.Context) ([]byte, error) {
	provider, err := s.discover(ctx)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(http.MethodGet, provider.keysURL, nil)
	if err != nil {
		return nil, err
	}
	return s.client.Do(ctx, request)
}

// discover reads the provider's metadata, at most once in keysAge while it answers.
func (s *Source) discover(ctx context.Context) (*provider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.provider != nil && now.Sub(s.provider.at) < keysAge {
		return s.provider, nil
	}
	found, err := s.readMetadata(ctx)
	if err == nil {
		found.at = now
		s.provider = found
		return found, nil
	}
	if s.provider != nil && now.Sub(s.provider.at) < keysLimit {
		return s.provider, nil
	}
	return nil, fmt.Errorf("%w: %s: %w", groups.ErrUnavailable, s.config.Issuer, err)
}

func (s *Source) readMetadata(ctx context.Context) (*provider, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := oidc.NewProvider(oidc.ClientContext(ctx, &http.Client{Transport: s.client, CheckRedirect: refuse}), s.config.Issuer)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	var metadata struct {
		Keys string `json:"jwks_uri"`
	}
	if err := answer.Claims(&metadata); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if err := s.config.checkURL(metadata.Keys); err != nil {
		return nil, fmt.Errorf("metadata: jwks_uri: %w", err)
	}
	found := &provider{keysURL: metadata.Keys, userInfoURL: answer.UserInfoEndpoint()}
	if found.userInfoURL != "" {
		if err := s.config.checkURL(found.userInfoURL); err != nil {
			return nil, fmt.Errorf("metadata: userinfo_endpoint: %w", err)
		}
	}
	return found, nil
}
