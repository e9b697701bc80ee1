package hub

import (
	"errors"
	"fmt"
	"time"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/hubclient"
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
	// CertFile and KeyFile are what a Hub with internal_ssl is shown.
	CertFile, KeyFile string
	// Timeout bounds one request.
	Timeout time.Duration
}

// DefaultConfig is everything that does not depend on the site.
func DefaultConfig() Config { return Config{Timeout: 3 * time.Second} }

// Configured reports whether the site has this source.
func (c Config) Configured() bool { return c.Sent || c.APIURL != "" }

// Validate returns all faults.
func (c Config) Validate() error {
	switch {
	case c.Sent && c.APIURL != "":
		return errors.New("sent: sent and apiURL are two ways to the same; use one")
	case c.Sent:
		return nil
	}
	return c.client().Validate()
}

func (c Config) client() hubclient.Config {
	return hubclient.Config{APIURL: c.APIURL, TokenFile: c.TokenFile, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, Timeout: c.Timeout}
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
