package podspec

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/utils/ptr"
)

// TestOnlyAShorterIdleTimeIsBelieved: what is said at a kernel that a gateway
// made may give it back earlier than its notebook's options, and never later.
func TestOnlyAShorterIdleTimeIsBelieved(t *testing.T) {
	t.Parallel()
	seconds := ptr.To[int64]
	for _, tc := range []struct{ kernel, notebook, want *int64 }{
		{nil, nil, nil},
		{nil, seconds(900), seconds(900)},
		{seconds(10), seconds(900), seconds(10)},
		{seconds(3600), seconds(900), seconds(900)},
		{seconds(900), seconds(900), seconds(900)},
		{seconds(10), seconds(0), seconds(10)},    // the notebook's kernels are never parked
		{seconds(0), seconds(900), seconds(900)},  // never
		{seconds(-1), seconds(900), seconds(900)}, // never
		{seconds(10), nil, nil},                   // kernelspec, policies, gateway and chart decide
	} {
		assert.Equal(t, tc.want, shorterIdle(tc.kernel, tc.notebook), "%v at the kernel, %v at the notebook",
			ptr.Deref(tc.kernel, -9), ptr.Deref(tc.notebook, -9))
	}
}
