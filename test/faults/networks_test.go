//go:build e2e && networks

package faults

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAddresses: Pods and Services have those of the family that the cluster was made with, where
// test/faults/networks.sh says which. What TestRunFromALaptop does then, it does by these.
func TestAddresses(t *testing.T) {
	family := os.Getenv("ELASTICHUB_IP_FAMILY")
	require.NotEmpty(t, family, "make network-test says which addresses there are")
	d := demo(t)
	for kind, path := range map[string]string{"pods": "{.items[*].status.podIPs}", "services": "{.items[*].spec.clusterIPs}"} {
		out, err := d.Kubectl("get", kind, "-o", "jsonpath="+path)
		require.NoError(t, err)
		four, six := 0, 0
		for _, word := range strings.FieldsFunc(out, func(r rune) bool { return strings.ContainsRune(`[]{}", `, r) }) {
			address, err := netip.ParseAddr(word)
			switch {
			case err != nil: // the name of a field
			case address.Is6():
				six++
			default:
				four++
			}
		}
		assert.Equal(t, family != "ipv6", four > 0, "%s: %s", kind, out)
		// A Service that asks for nothing has the first family alone.
		assert.Equal(t, family == "ipv6" || family == "dual" && kind == "pods", six > 0, "%s: %s", kind, out)
	}
}
