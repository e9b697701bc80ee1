package signin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/elastichub/elastichub/hubclient"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrSignedOut: no proof, or one that is no longer good. Sign in.
	ErrSignedOut = errors.New("signin: not signed in")
	// ErrForbidden: the proof is good, but whoever has it may not come in.
	ErrForbidden = errors.New("signin: not allowed to come in")
	// ErrAttempt: what came back from the provider fits no attempt of this browser, or
	// the provider has refused. Begin anew.
	ErrAttempt = errors.New("signin: the sign-in failed")
	// ErrUnavailable: the provider does not answer.
	ErrUnavailable = errors.New("signin: the provider does not answer")
	// ErrCrossSite: the request came from another site's page, or shows no CSRF token.
	ErrCrossSite = errors.New("signin: the request is not from one of our pages")
)

const (
	sessionCookie = "elastichub-session"
	// attemptCookie is completed by the beginning of the attempt's state, so that
	// two windows can sign in at a time.
	attemptCookie = "elastichub-signin-"
	stateInName   = 8
	// attemptTime is how long a person may take to sign in.
	attemptTime = 10 * time.Minute
	// Callback is the last part of the path to which providers lead back.
	Callback = "oauth_callback"
)

// Person is who is signed in.
type Person struct {
	// User is the Hub user name, empty for an account of Kubernetes.
	User string
	// Account is who shows a token of Kubernetes, who is nobody of the Hub; nil: a Hub user.
	Account *Account
	// HubAdmin is the Hub's flag, where the token may read it.
	HubAdmin bool
	// CSRF is what forms of this session have to send along; empty where the proof is
	// a token, which no other site's page can make a browser send.
	CSRF string
}

// session is the content of the session's cookie.
type session struct {
	User string `json:"u"`
	CSRF string `json:"c"`
	// Token is the Hub's, by which the session is checked; empty with OpenID Connect.
	Token string `json:"t,omitempty"`
	Until int64  `json:"x"` // Unix seconds
}

// attempt is what is known of a sign-in that has begun.
type attempt struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Next     string `json:"g"`
	Until    int64  `json:"x"`
}

// challenge is that of PKCE, by S256.
func (a attempt) challenge() string {
	sum := sha256.Sum256([]byte(a.Verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// provider says who a person is. Errors of finish: ErrAttempt, ErrForbidden, ErrUnavailable.
type provider interface {
	begin(ctx context.Context, a attempt) (address string, err error)
	finish(ctx context.Context, a attempt, code string) (granted session, err error)
}

// Gate lets people in.
type Gate struct {
	config   Config
	sealer   sealer
	provider provider
	tokens   *tokens
	accounts *Accounts
	origins  *http.CrossOriginProtection
	now      func() time.Time
	close    func()
}

// New reads the keys once, to find faults early. hub may be nil with OpenID Connect;
// tokens of the Hub are then no proof. Nor are those of Kubernetes without accounts.
func New(config Config, hub *hubclient.Client, accounts *Accounts, now func() time.Time) (*Gate, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	g := &Gate{config: config, sealer: sealer{config.KeyFile, config.FormerKeyFile, now}, accounts: accounts, now: now, origins: http.NewCrossOriginProtection(), close: func() {}}
	if config.Provider == ProviderNone {
		if hub == nil && accounts == nil {
			return nil, errors.New("provider: with none, tokens of Kubernetes or of a Hub have to be proofs")
		}
	} else if err := g.sealer.check(); err != nil {
		return nil, err
	}
	if config.PublicURL != "" {
		if err := g.origins.AddTrustedOrigin(config.PublicURL); err != nil {
			return nil, fmt.Errorf("publicURL: %w", err)
		}
	}
	if hub != nil {
		g.tokens = newTokens(hub, strings.TrimPrefix(config.Hub.ClientID, servicePrefix), now)
	}
	switch config.Provider {
	case ProviderHub:
		if hub == nil {
			return nil, errors.New("provider: hub needs the Hub's API")
		}
		g.provider = &hubProvider{config: config, hub: hub, tokens: g.tokens, now: now}
	case ProviderOIDC:
		p, err := newOIDC(config, now)
		if err != nil {
			return nil, fmt.Errorf("oidc: %w", err)
		}
		g.provider, g.close = p, p.close
	case ProviderNone:
	}
	return g, nil
}

// Close ends the connections that are not in use.
func (g *Gate) Close() { g.close() }

// Begin leads a browser to the provider, and later to next, if that is a page of ours.
// Error: ErrUnavailable.
func (g *Gate) Begin(w http.ResponseWriter, r *http.Request, next string) error {
	a := attempt{
		State: random(), Nonce: random(), Verifier: random() + random(), Next: safeNext(g.config.BasePath, next),
		Until: g.now().Add(attemptTime).Unix(),
	}
	address, err := g.provider.begin(r.Context(), a)
	if err != nil {
		return err
	}
	sealed, err := g.sealer.seal(forAttempt, a)
	if err != nil {
		return err
	}
	g.setCookie(w, r, attemptCookie+a.State[:stateInName], sealed, attemptTime)
	http.Redirect(w, r, address, http.StatusFound)
	return nil
}

// Finish lets in whom the provider sends back, and leads the browser to where it
// wanted to go. Errors: ErrAttempt, ErrForbidden, ErrUnavailable.
func (g *Gate) Finish(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	a, err := g.attemptOf(w, r, query.Get("state"))
	if err != nil {
		return err
	}
	if query.Get("error") != "" || query.Get("code") == "" {
		return fmt.Errorf("%w: the provider says %.50q", ErrAttempt, query.Get("error"))
	}
	s, err := g.provider.finish(r.Context(), a, query.Get("code"))
	if err != nil {
		return err
	}
	s.CSRF = random()
	sealed, err := g.sealer.seal(forSession, s)
	if err != nil {
		return err
	}
	g.setCookie(w, r, sessionCookie, sealed, time.Unix(s.Until, 0).Sub(g.now()))
	http.Redirect(w, r, a.Next, http.StatusFound)
	return nil
}

// attemptOf is the browser's own attempt of that state, which is over then.
func (g *Gate) attemptOf(w http.ResponseWriter, r *http.Request, state string) (attempt, error) {
	if len(state) != len(random()) {
		return attempt{}, fmt.Errorf("%w: no state", ErrAttempt)
	}
	name := attemptCookie + state[:stateInName]
	cookie, err := r.Cookie(name)
	if err != nil {
		return attempt{}, fmt.Errorf("%w: this browser has not begun it", ErrAttempt)
	}
	g.setCookie(w, r, name, "", -time.Second)
	var a attempt
	if err := g.sealer.open(forAttempt, cookie.Value, &a); errors.Is(err, errSeal) {
		return attempt{}, fmt.Errorf("%w: %w", ErrAttempt, err)
	} else if err != nil {
		return attempt{}, err
	}
	if subtle.ConstantTimeCompare([]byte(a.State), []byte(state)) != 1 {
		return attempt{}, fmt.Errorf("%w: another state", ErrAttempt)
	}
	if g.now().Unix() >= a.Until {
		return attempt{}, fmt.Errorf("%w: it took too long", ErrAttempt)
	}
	return a, nil
}

// SignOut forgets the session of this browser.
func (g *Gate) SignOut(w http.ResponseWriter, r *http.Request) {
	g.setCookie(w, r, sessionCookie, "", -time.Second)
}

// HubURL is how a browser finds a page of the Hub, below /hub/.
func (g *Gate) HubURL(page string) string { return g.config.Hub.PublicURL + page }

// Identify tells who makes a request. A token in the Authorization header counts
// before a cookie, and alone where nobody signs in. Errors: ErrSignedOut, ErrForbidden, ErrUnavailable.
func (g *Gate) Identify(r *http.Request) (Person, error) {
	if token, shown := tokenOf(r); shown {
		return g.holder(r.Context(), token)
	}
	cookie, err := r.Cookie(sessionCookie)
	if err != nil || g.config.Provider == ProviderNone {
		return Person{}, ErrSignedOut
	}
	var s session
	if err := g.sealer.open(forSession, cookie.Value, &s); errors.Is(err, errSeal) {
		return Person{}, fmt.Errorf("%w: %w", ErrSignedOut, err)
	} else if err != nil {
		return Person{}, err
	}
	if g.now().Unix() >= s.Until {
		return Person{}, fmt.Errorf("%w: the session is over", ErrSignedOut)
	}
	if (s.Token == "") != (g.config.Provider == ProviderOIDC) {
		return Person{}, fmt.Errorf("%w: the session is of another provider", ErrSignedOut)
	}
	if s.Token == "" {
		return Person{User: s.User, CSRF: s.CSRF}, nil
	}
	person, err := g.tokens.check(r.Context(), s.Token)
	if err != nil {
		return Person{}, err
	}
	if person.User != s.User {
		return Person{}, fmt.Errorf("%w: the Hub's token has another owner", ErrSignedOut)
	}
	person.CSRF = s.CSRF
	return person, nil
}

// holder is who has a token. One of Kubernetes is never shown to the Hub, and one of the
// Hub never to the API server.
func (g *Gate) holder(ctx context.Context, token string) (Person, error) {
	claims, err := claimsOf(token)
	switch {
	case err != nil && g.tokens != nil && token != "":
		return g.tokens.check(ctx, token)
	case err != nil:
		return Person{}, ErrSignedOut
	case g.accounts == nil || !slices.Contains(claims.Audience, Audience):
		return Person{}, fmt.Errorf("%w: the token is for others", ErrSignedOut)
	}
	return g.accounts.check(ctx, token, claims)
}

// May reports whether an account that came in has a right on the object of that name;
// empty: on all. Error: ErrUnavailable.
func (g *Gate) May(ctx context.Context, account *Account, right Right, name string) (bool, error) {
	return g.accounts.may(ctx, account, right, name)
}

// ShowsToken reports whether a request comes with a token, so that no cookie counts.
func ShowsToken(r *http.Request) bool {
	_, shown := tokenOf(r)
	return shown
}

// tokenOf is the token in the Authorization header, empty if there are several. What a
// browser shows to a proxy before us, by another scheme, is no token.
func tokenOf(r *http.Request) (token string, shown bool) {
	values := r.Header.Values("Authorization")
	for _, value := range values {
		scheme, rest, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "token") && !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		if shown {
			return "", true
		}
		token, shown = rest, true
	}
	return token, shown
}

// CheckOrigin refuses what a page of another site makes a browser send, and what does
// not show the session's CSRF token. Requests with a token pass. Error: ErrCrossSite.
func (g *Gate) CheckOrigin(r *http.Request, person Person, shown string) error {
	if person.CSRF == "" {
		return nil
	}
	if err := g.origins.Check(r); err != nil {
		return fmt.Errorf("%w: %w", ErrCrossSite, err)
	}
	if subtle.ConstantTimeCompare([]byte(person.CSRF), []byte(shown)) != 1 {
		return fmt.Errorf("%w: no or another CSRF token", ErrCrossSite)
	}
	return nil
}

// setCookie sets a cookie for our pages alone, or removes it where age is negative.
// Lax, since it has to come along when the provider leads back.
func (g *Gate) setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: g.config.BasePath, MaxAge: int(age / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: g.isSecure(r),
	})
}

// isSecure reports whether the browser came by https. A proxy before us says so: a
// browser that lies harms itself.
func (g *Gate) isSecure(r *http.Request) bool {
	if g.config.PublicURL != "" {
		return strings.HasPrefix(g.config.PublicURL, "https:")
	}
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	return r.TLS != nil || strings.EqualFold(strings.TrimSpace(proto), "https")
}

// redirectURI is where a provider leads back to.
func (c Config) redirectURI() string {
	if c.Provider == ProviderHub && strings.HasPrefix(c.Hub.PublicURL, "/") {
		return c.BasePath + Callback // as the Hub has it by itself
	}
	return c.PublicURL + c.BasePath + Callback
}

// withQuery adds to an address.
func withQuery(address string, query url.Values) string {
	if strings.Contains(address, "?") {
		return address + "&" + query.Encode()
	}
	return address + "?" + query.Encode()
}
