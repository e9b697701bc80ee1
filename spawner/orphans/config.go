package orphans

import (
	"errors"
	"fmt"
	"time"
)

// Mode is what becomes of orphans.
type Mode string

// The modes.
const (
	Off    Mode = "off"
	Report Mode = "report"
	Remove Mode = "remove"
)

// Config is what an installation decides about orphans.
type Config struct {
	// Namespace is the release's, where the Hub's servers are.
	Namespace string
	Mode      Mode
	// Grace is how long a server has to be unknown to the Hub before it is removed.
	Grace time.Duration
}

// leastGrace is enough for the passes that it takes.
const leastGrace = 10 * time.Second

// Validate returns every fault, joined.
func (c Config) Validate() error {
	var faults []error
	switch c.Mode {
	case Off, Report, Remove:
	default:
		faults = append(faults, fmt.Errorf("mode: %q is none of off, report, remove", c.Mode))
	}
	if c.Grace < leastGrace {
		faults = append(faults, fmt.Errorf("grace: %v is less than %v", c.Grace, leastGrace))
	}
	return errors.Join(faults...)
}

// interval is how often the Hub is asked: a listing of all users costs it something.
func (c Config) interval() time.Duration { return min(c.Grace/4, time.Hour) }
