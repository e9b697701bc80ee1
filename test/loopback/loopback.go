// Package loopback gives every server of a test an address of its own. A free
// port of 127.0.0.1 may be somebody else's by the time it is listened on.
package loopback

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

var used atomic.Uint32

// IP is an address of 127.0.0.0/8 that neither this process nor another one
// with this package has used.
func IP() string {
	n := used.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", network(), n/250, n%250+1)
}

// Address is an IP of its own with a port. What a test that was killed has left
// behind may listen there: such an address is passed over.
func Address() string {
	for {
		address := IP() + ":8443"
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
}

// Port is one of 127.0.0.1 that no other process with this package gives away,
// for servers that cannot have an address of their own. It is none that Linux
// gives to connections.
func Port() int {
	for {
		port := 7000 + portsOfEach*(network()-lowestNetwork) + int(used.Add(1)%portsOfEach)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = l.Close()
			return port
		}
	}
}

// NeedIPv6 skips a test on a machine without ::1, unless CI=true.
func NeedIPv6(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		_ = l.Close()
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no IPv6: %v", err)
	}
	t.Skipf("no IPv6: %v", err)
}

const portsOfEach, lowestNetwork = 200, 64

// claims keep others out of this process's part of 127.0.0.0/8. They are never
// closed, and held here so that they are not collected either.
var claims []net.Listener

// network is this process's part.
var network = sync.OnceValue(func() int {
	for n := lowestNetwork; n < 2*lowestNetwork; n++ {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.%d.255.255:10000", n)); err == nil {
			claims = append(claims, l)
			return n
		}
	}
	panic("loopback: 64 test processes at once")
})
