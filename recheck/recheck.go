// Package recheck says when a controller looks at something again without being told of a change.
package recheck

import "time"

// Sooner is the earlier of two times to look again, from now. Zero or less means never, which is
// zero if both do.
func Sooner(a, b time.Duration) time.Duration {
	switch {
	case b <= 0:
		return max(a, 0)
	case a <= 0:
		return b
	default:
		return min(a, b)
	}
}
