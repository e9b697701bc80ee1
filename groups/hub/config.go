package hub

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/elastichub/elastichub/groups"
)

// Config takes groups from JupyterHub in one of two ways.
type Config struct {
	// Sent: ElasticSpawner sends them along.
	Sent bool
	// APIURL: they are asked for at the Hub's REST API, such as
	// http://hub:8081/hub/api. The other fields are for this way.
	APIURL string
	// TokenFile holds the token of a service with the scope read:users:groups.
	// It is read for every request.
	TokenFile string
	// CAFile holds the certificates that may sign the Hub's; empty means those
	// of the system.
	CAFile string
	// Timeout bounds one request.
	Timeout time.Duration
}

// DefaultConfig is everything that does not depend on the site.
func DefaultConfig() Config { return Config{Timeout: 3 * time.Second} }

// Configured reports whether the site has this source.
func (c Config) Configured() bool { return c.Sent || c.APIURL != "" }

// Validate returns all faults.
func (c Config) Validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf(field+": "+format, args...))
	}
	switch {
	case c.Sent && c.APIURL != "":
		fault("sent", "sent and apiURL are two ways to the same; use one")
		return errors.Join(faults...)
	case c.Sent:
		return nil
	}
	u, err := url.Parse(c.APIURL)
	switch {
	case err != nil:
		fault("apiURL", "%w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		fault("apiURL", "not like http://hub:8081/hub/api: %.200q", u.Redacted())
	}
	if c.TokenFile == "" {
		fault("tokenFile", "required")
	}
	if c.Timeout <= 0 {
		fault("timeout", "must be more than 0")
	}
	return errors.Join(faults...)
}

// New is a *Sent or an *API, as config says. What was sent counts for as long
// as sentLimit.
func New(config Config, sentLimit time.Duration, now func() time.Time) (groups.Source, error) {
	if config.Sent {
		if err := config.Validate(); err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
		return NewSent(sentLimit, now), nil
	}
	return NewAPI(config, now)
}
