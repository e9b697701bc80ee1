package hubapi

import (
	"errors"
	"fmt"
	"time"
)

// Config is read by cmd; New refuses one that Validate finds faults in.
type Config struct {
	// Tokens gives the bearer tokens that are accepted now; several allow a change of
	// token without an outage, and without any nobody is let in.
	Tokens func() []string
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

// CheckTokens refuses tokens that could be guessed, and does not say them.
func CheckTokens(tokens ...string) error {
	for i, token := range tokens {
		if len(token) < minTokenBytes {
			return fmt.Errorf("tokens[%d]: shorter than %d bytes", i, minTokenBytes)
		}
	}
	return nil
}

// FixedTokens are tokens that do not change.
func FixedTokens(tokens ...string) func() []string { return func() []string { return tokens } }

// Validate returns all faults joined, never the text of a token.
func (c Config) Validate() error {
	var faults []error
	if c.Tokens != nil {
		if err := CheckTokens(c.Tokens()...); err != nil {
			faults = append(faults, fmt.Errorf("hubAPI.%w", err))
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
