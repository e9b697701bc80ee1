package openid

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// From is what the groups are taken from.
type From string

// Where groups can be.
const (
	// FromIDToken: in the ID token, which the Hub got for itself.
	FromIDToken From = "idToken"
	// FromAccessToken: in the access token, which has to be a JWT.
	FromAccessToken From = "accessToken"
	// FromUserInfo: in what the userinfo endpoint tells the bearer of the
	// access token.
	FromUserInfo From = "userInfo"
)

// Algorithms are those that a signature may have: all that need no shared
// secret. "none" is no algorithm here.
var Algorithms = []string{
	string(jose.RS256), string(jose.RS384), string(jose.RS512),
	string(jose.ES256), string(jose.ES384), string(jose.ES512),
	string(jose.PS256), string(jose.PS384), string(jose.PS512),
	string(jose.EdDSA),
}

// maxLeeway bounds how far clocks may be apart.
const maxLeeway = 5 * time.Minute

// Config says which provider to believe, and what.
type Config struct {
	// Issuer is the provider's URL, as it stands in its tokens.
	Issuer string
	// AllowPlaintext permits http:// for the provider, anywhere.
	AllowPlaintext bool
	// CAFile holds the certificates that may sign the provider's; empty means
	// those of the system.
	CAFile string
	From   From
	// Audience is who the token has to be for: the Hub's client id, or the API
	// that an access token is for. The userinfo endpoint needs none.
	Audience string
	// UsernameClaim has to be the Hub user name, but for case. Empty means
	// that the Hub is believed when it says whose token it is.
	UsernameClaim string
	// GroupsClaims are paths to lists of names: "groups", or
	// "realm_access.roles" for a member of an object. A dot in a name is
	// written with a backslash before it.
	GroupsClaims []string
	// GroupPrefix is put before every name, so that no group of the provider
	// counts as one of another source.
	GroupPrefix string
	// Algorithms that a signature may have, of those in Algorithms.
	Algorithms []string
	// Leeway is how far the provider's clock may be from ours.
	Leeway time.Duration
	// Timeout bounds one request to the provider.
	Timeout time.Duration
}

// DefaultConfig is everything that does not depend on the site.
func DefaultConfig() Config {
	return Config{
		From: FromIDToken, UsernameClaim: "preferred_username", GroupsClaims: []string{"groups"},
		Algorithms: []string{string(jose.RS256), string(jose.ES256)},
		Leeway:     30 * time.Second, Timeout: 3 * time.Second,
	}
}

// Configured reports whether the site has this source.
func (c Config) Configured() bool { return c.Issuer != "" }

// Validate returns all faults.
func (c Config) Validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf(field+": "+format, args...))
	}
	if err := c.checkURL(c.Issuer); err != nil {
		fault("issuer", "%w", err)
	}
	switch c.From {
	case FromIDToken, FromAccessToken:
		if c.Audience == "" {
			// Any other client's token would do.
			fault("audience", "required for a token")
		}
	case FromUserInfo:
		if c.Audience != "" {
			fault("audience", "nobody checks it for userInfo")
		}
	default:
		fault("from", "%q is not one of idToken, accessToken, userInfo", c.From)
	}
	if len(c.GroupsClaims) == 0 {
		fault("groupsClaims", "name at least one")
	}
	for i, path := range c.GroupsClaims {
		if slices.Contains(splitPath(path), "") {
			fault(fmt.Sprintf("groupsClaims[%d]", i), "not a path: %q", path)
		}
	}
	if len(c.GroupPrefix) > maxPrefixBytes {
		fault("groupPrefix", "longer than %d bytes", maxPrefixBytes)
	}
	if len(c.Algorithms) == 0 {
		fault("algorithms", "name at least one")
	}
	for i, algorithm := range c.Algorithms {
		if !slices.Contains(Algorithms, algorithm) {
			fault(fmt.Sprintf("algorithms[%d]", i), "%q is not one of %s", algorithm, strings.Join(Algorithms, ", "))
		}
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		fault("leeway", "must be from 0 to %s", maxLeeway)
	}
	if c.Timeout <= 0 {
		fault("timeout", "must be more than 0")
	}
	return errors.Join(faults...)
}

// checkURL is for the issuer and for every address that it gives.
func (c Config) checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return err
	case u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("not the URL of a provider: %.200q", u.Redacted())
	case u.Scheme == "http" && !c.AllowPlaintext:
		return errors.New("http:// needs allowPlaintext")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("scheme must be https, not %.20q", u.Scheme)
	}
	return nil
}
