package homes

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Mode is what becomes of homes of people who left.
type Mode string

// The modes.
const (
	Off    Mode = "off"
	Report Mode = "report"
	Remove Mode = "remove"
	// Archive: as Remove, and each home is archived before.
	Archive Mode = "archive"
)

// Config is what an installation decides about homes of people who left.
type Config struct {
	// Namespace is the release's, where the homes of the Hub's users are.
	Namespace string
	Mode      Mode
	// Grace is how long somebody has to be gone before their home is removed.
	Grace time.Duration
	// MostPercent of the people with homes may vanish from one look to the next, one of them in any case.
	MostPercent int
	// ArchiveClaim is an administrator's claim, in Namespace, that archives are written to; for mode
	// archive alone.
	ArchiveClaim string
	// Image is the service's, whose binary archives homes, and PullSecrets are for it.
	Image       string
	PullPolicy  corev1.PullPolicy
	PullSecrets []string
}

// leastGrace leaves an administrator a day in which a home that is noted can be saved.
const leastGrace = 24 * time.Hour

// lookEvery is how often everybody who has a home is asked after.
const lookEvery = time.Hour

// Validate returns every fault, joined.
func (c Config) Validate() error {
	var faults []error
	switch c.Mode {
	case Off, Report, Remove, Archive:
	default:
		faults = append(faults, fmt.Errorf("mode: %q is none of off, report, remove, archive", c.Mode))
	}
	if c.Grace < leastGrace {
		faults = append(faults, fmt.Errorf("grace: %v is less than %v", c.Grace, leastGrace))
	}
	if c.MostPercent < 1 || c.MostPercent > 100 {
		faults = append(faults, fmt.Errorf("mostPercent: %d is not between 1 and 100", c.MostPercent))
	}
	switch {
	case c.Mode == Archive && c.ArchiveClaim == "":
		faults = append(faults, errors.New("archive.claim: has to name a claim, with mode archive"))
	case c.Mode != Archive && c.ArchiveClaim != "":
		faults = append(faults, fmt.Errorf("archive.claim: is for mode archive, and the mode is %s", c.Mode))
	case c.ArchiveClaim != "" && len(validation.IsDNS1123Subdomain(c.ArchiveClaim)) > 0:
		faults = append(faults, fmt.Errorf("archive.claim: %q is no name of a claim", c.ArchiveClaim))
	}
	return errors.Join(faults...)
}
