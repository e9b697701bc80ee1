package signin

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Provider names who says who somebody is.
type Provider string

// The providers.
const (
	ProviderHub  Provider = "hub"
	ProviderOIDC Provider = "oidc"
	// ProviderNone: nobody signs in. Tokens alone are proofs, and there are no pages.
	ProviderNone Provider = "none"
)

// Config says whom to believe, and where this is.
type Config struct {
	Provider Provider
	// BasePath is where the pages are, beginning and ending in a slash.
	BasePath string
	// PublicURL is scheme and host by which browsers find the pages. It may be empty
	// where these are below the Hub's own address.
	PublicURL string
	// KeyFile holds what cookies are sealed with, 32 characters or more, and
	// FormerKeyFile what they were sealed with before; it need not exist. They are
	// read for every use.
	KeyFile, FormerKeyFile string
	Hub                    HubConfig
	OIDC                   OIDCConfig
}

// HubConfig is how browsers and tokens meet the Hub.
type HubConfig struct {
	// PublicURL is the Hub's, such as https://hub.example.org/hub/, or a path where the
	// pages are below the Hub's own address.
	PublicURL string
	// ClientID is service-<name of the Hub's service>.
	ClientID string
}

// OIDCConfig is an OpenID provider and what we are to it.
type OIDCConfig struct {
	// Issuer is the provider's URL, as it stands in its tokens.
	Issuer   string
	ClientID string
	// SecretFile holds the client's secret. It is read for every sign-in.
	SecretFile string
	// UsernameClaim is the Hub user name, but for case.
	UsernameClaim string
	// Scopes are asked for beside openid.
	Scopes []string
	// AllowPlaintext permits http:// for the provider.
	AllowPlaintext bool
	// CAFile holds the certificates that may sign the provider's; empty means
	// those of the system.
	CAFile string
	// Algorithms that the signature of an ID token may have.
	Algorithms []string
	// Timeout bounds one request to the provider.
	Timeout time.Duration
}

// DefaultConfig is everything that does not depend on the site.
func DefaultConfig() Config {
	return Config{
		Provider: ProviderHub, BasePath: "/services/elastichub/",
		Hub: HubConfig{PublicURL: "/hub/", ClientID: "service-elastichub"},
		OIDC: OIDCConfig{
			UsernameClaim: "preferred_username", Scopes: []string{"profile"}, Algorithms: []string{"RS256", "ES256"}, Timeout: 5 * time.Second,
		},
	}
}

// algorithms are those that need no shared secret.
var algorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}

// servicePrefix begins the client id of every service of a Hub.
const servicePrefix = "service-"

// Validate returns all faults, each with its field.
func (c Config) Validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf(field+": "+format, args...))
	}
	if c.BasePath == "" || c.BasePath[0] != '/' || !strings.HasSuffix(c.BasePath, "/") || path.Clean(c.BasePath)+"/" != c.BasePath && c.BasePath != "/" ||
		strings.ContainsAny(c.BasePath, `\?#%;"' `) {
		fault("basePath", "not like /services/elastichub/: %.200q", c.BasePath)
	}
	if c.PublicURL != "" && !isOrigin(c.PublicURL) {
		fault("publicURL", "not like https://console.example.org: %.200q", c.PublicURL)
	}
	if c.KeyFile == "" && c.Provider != ProviderNone {
		fault("keyFile", "required")
	}
	if !isPlace(c.Hub.PublicURL) {
		fault("hub.publicURL", "neither like https://hub.example.org/hub/ nor like /hub/: %.200q", c.Hub.PublicURL)
	}
	if name, found := strings.CutPrefix(c.Hub.ClientID, servicePrefix); !found || name == "" {
		fault("hub.clientID", "not like %sNAME: %.200q", servicePrefix, c.Hub.ClientID)
	}
	switch c.Provider {
	case ProviderHub:
		if !strings.HasPrefix(c.Hub.PublicURL, "/") && c.PublicURL == "" {
			fault("publicURL", "required where the Hub is at another address, hub.publicURL")
		}
	case ProviderOIDC:
		if c.PublicURL == "" {
			fault("publicURL", "required for oidc")
		}
		for line := range strings.Lines(text(c.OIDC.validate())) {
			faults = append(faults, errors.New("oidc."+strings.TrimSuffix(line, "\n")))
		}
	case ProviderNone:
	default:
		fault("provider", "%q is not one of %s, %s, %s", c.Provider, ProviderHub, ProviderOIDC, ProviderNone)
	}
	return errors.Join(faults...)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (c OIDCConfig) validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf(field+": "+format, args...))
	}
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil:
		fault("issuer", "%w", err)
	case u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "":
		fault("issuer", "not the URL of a provider: %.200q", u.Redacted())
	case u.Scheme == "http" && !c.AllowPlaintext:
		fault("issuer", "http:// needs allowPlaintext")
	case u.Scheme != "http" && u.Scheme != "https":
		fault("issuer", "scheme must be https, not %.20q", u.Scheme)
	}
	for field, value := range map[string]string{"clientID": c.ClientID, "secretFile": c.SecretFile, "usernameClaim": c.UsernameClaim} {
		if value == "" {
			fault(field, "required")
		}
	}
	if len(c.Algorithms) == 0 {
		fault("algorithms", "name at least one")
	}
	for i, algorithm := range c.Algorithms {
		if !slices.Contains(algorithms, algorithm) {
			fault(fmt.Sprintf("algorithms[%d]", i), "%q is not one of %s", algorithm, strings.Join(algorithms, ", "))
		}
	}
	if c.Timeout <= 0 {
		fault("timeout", "must be more than 0")
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// isOrigin: a scheme and a host.
func isOrigin(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.Scheme+"://"+u.Host == raw
}

// isPlace: an http URL or a path, ending in a slash.
func isPlace(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil || !strings.HasSuffix(u.Path, "/") || strings.Contains(raw, `\`) {
		return false
	}
	if u.Scheme == "" {
		return u.Host == "" && strings.HasPrefix(raw, "/")
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}
