package v1alpha1

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestKernelCausesAreAll reads the constants.
func TestKernelCausesAreAll(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("kernel.go")
	require.NoError(t, err)
	var all []KernelCause
	for _, match := range regexp.MustCompile(`KernelCause = "(\w+)"`).FindAllSubmatch(source, -1) {
		all = append(all, KernelCause(match[1]))
	}
	assert.Equal(t, all, KernelCauses)
}
