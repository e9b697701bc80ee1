package store

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Config of a kernel's store.
type Config struct {
	// Kernel is the UID of the JupyterKernel.
	Kernel string
	// Keys are the kernel's own. The first seals; any of them opens, so that
	// there can be two while the seed changes.
	Keys []Key
	// TTL is how long a snapshot may be loaded.
	TTL time.Duration
	// MaxBytes is what the chunks of one snapshot may take on the volume; 0 is
	// no limit.
	MaxBytes int64
	// FreePercent of the volume are left to others, or FreeAtMost bytes if that is less;
	// 0 of the latter is no limit.
	FreePercent int
	FreeAtMost  int64
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// kernelName is what a directory of a kernel is called; no path.
var kernelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,62}$`)

func (c Config) validate() error {
	var faults []error
	if !kernelName.MatchString(c.Kernel) {
		faults = append(faults, fmt.Errorf("kernel %q is no UID", c.Kernel))
	}
	if len(c.Keys) == 0 {
		faults = append(faults, errors.New("no key"))
	}
	if c.TTL <= 0 {
		faults = append(faults, fmt.Errorf("ttl %s is not positive", c.TTL))
	}
	if c.MaxBytes < 0 {
		faults = append(faults, fmt.Errorf("maxBytes %d is negative", c.MaxBytes))
	}
	if c.FreePercent < 0 || c.FreePercent > 99 {
		faults = append(faults, fmt.Errorf("freePercent %d is not between 0 and 99", c.FreePercent))
	}
	if c.FreeAtMost < 0 {
		faults = append(faults, fmt.Errorf("freeAtMost %d is negative", c.FreeAtMost))
	}
	return errors.Join(faults...)
}
