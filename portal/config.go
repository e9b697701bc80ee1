package portal

import (
	"errors"
	"fmt"
	"time"

	"github.com/elastichub/elastichub/usage"
)

// Config is read by cmd.
type Config struct {
	// Namespace is where the objects are.
	Namespace string
	// BasePath is where the pages are, beginning and ending in a slash.
	BasePath string
	Admins   Admins
	Policies PolicySettings
	// Prices are what an hour costs, of Currency; both may be empty.
	Prices   usage.Prices
	Currency string
	// APIOnly: there are no pages, since nobody can sign in.
	APIOnly bool
	// ListAge is how old what lists and sums show may be, beyond the cache's own age.
	ListAge time.Duration
	// LiveEvery is how often a stream looks whether something has changed.
	LiveEvery time.Duration
	// RequestTimeout bounds every request but event streams.
	RequestTimeout time.Duration
}

const (
	// mostPrice is more than an hour of anything costs.
	mostPrice   = 1e9
	maxCurrency = 16
)

// Admins says who is an administrator.
type Admins struct {
	// Groups are names, or whole DNs, as in a policy.
	Groups []string
	// Hub: whom the Hub calls an administrator is one here, where it says so.
	Hub bool
}

// DefaultConfig is everything that does not depend on the site.
func DefaultConfig() Config {
	return Config{RequestTimeout: 10 * time.Second, ListAge: time.Second, LiveEvery: time.Second}
}

// Validate returns all faults.
func (c Config) Validate() error {
	var faults []error
	if c.Namespace == "" {
		faults = append(faults, errors.New("namespace: required"))
	}
	if len(c.BasePath) == 0 || c.BasePath[0] != '/' || c.BasePath[len(c.BasePath)-1] != '/' {
		faults = append(faults, fmt.Errorf("basePath: not like /services/elastichub/: %.200q", c.BasePath))
	}
	for i, group := range c.Admins.Groups {
		if group == "" {
			faults = append(faults, fmt.Errorf("admins.groups[%d]: empty", i))
		}
	}
	for resource, price := range c.Prices {
		if resource == "" || !(price >= 0 && price <= mostPrice) { // NaN is neither
			faults = append(faults, fmt.Errorf("prices: %q costs %v, which is not between 0 and %v", resource, price, float64(mostPrice)))
		}
	}
	if len(c.Currency) > maxCurrency {
		faults = append(faults, fmt.Errorf("currency: more than %d bytes", maxCurrency))
	}
	if c.ListAge < 0 {
		faults = append(faults, errors.New("listAge: must not be less than 0"))
	}
	if c.LiveEvery <= 0 {
		faults = append(faults, errors.New("liveEvery: must be more than 0"))
	}
	if c.RequestTimeout <= 0 {
		faults = append(faults, errors.New("requestTimeout: must be more than 0"))
	}
	return errors.Join(faults...)
}
