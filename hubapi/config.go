package hubapi

import (
	"errors"
	"fmt"
	"time"
)

// Config is read by cmd; New refuses one that Validate finds faults in.
type Config struct {
	// Tokens are the accepted bearer tokens; several allow a change of token
	// without an outage, and without any nobody is let in.
	Tokens []string
	// LookupTimeout bounds how long a directory may take to answer.
	LookupTimeout time.Duration
	// RequestTimeout bounds every request but event streams.
	RequestTimeout time.Duration
	// KeepAlive is the interval of comments in an event stream.
	KeepAlive time.Duration
}

// minTokenBytes is 128 bits as hex.
const minTokenBytes = 32

// DefaultConfig has every value but the tokens.
func DefaultConfig() Config {
	return Config{LookupTimeout: 5 * time.Second, RequestTimeout: 10 * time.Second, KeepAlive: 10 * time.Second}
}

// Validate returns all faults joined, never the text of a token.
func (c Config) Validate() error {
	var faults []error
	for i, token := range c.Tokens {
		if len(token) < minTokenBytes {
			faults = append(faults, fmt.Errorf("hubAPI.tokens[%d]: shorter than %d bytes", i, minTokenBytes))
		}
	}
	for _, d := range []struct {
		path  string
		value time.Duration
	}{
		{"hubAPI.lookupTimeout", c.LookupTimeout},
		{"hubAPI.requestTimeout", c.RequestTimeout},
		{"hubAPI.keepAlive", c.KeepAlive},
	} {
		if d.value <= 0 {
			faults = append(faults, fmt.Errorf("%s: must be greater than zero", d.path))
		}
	}
	if c.LookupTimeout > c.RequestTimeout {
		faults = append(faults, errors.New("hubAPI.lookupTimeout: longer than requestTimeout"))
	}
	return errors.Join(faults...)
}
