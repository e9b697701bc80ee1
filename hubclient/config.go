package hubclient

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Config says where the Hub's REST API is.
type Config struct {
	// APIURL is the API's, such as http://hub:8081/hub/api.
	APIURL string
	// TokenFile holds the token of a service of the Hub. It is read for every request.
	TokenFile string
	// CAFile holds the certificates that may sign the Hub's; empty means those
	// of the system.
	CAFile string
	// CertFile and KeyFile hold a certificate and its private key, shown to a Hub with
	// c.JupyterHub.internal_ssl, which answers nobody without one. They are read for every request.
	CertFile, KeyFile string
	// Timeout bounds one request.
	Timeout time.Duration
}

// Validate returns all faults, each with its field.
func (c Config) Validate() error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, fmt.Errorf(field+": "+format, args...))
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
	if (c.CertFile == "") != (c.KeyFile == "") {
		fault("certFile", "goes with keyFile: either both or none")
	}
	if c.Timeout <= 0 {
		fault("timeout", "must be more than 0")
	}
	return errors.Join(faults...)
}
