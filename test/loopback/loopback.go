// Package loopback gives every server of a test an address of its own. A free
// port of 127.0.0.1 may be somebody else's by the time it is listened on.
package loopback

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

var used atomic.Uint32

// IP is an address of 127.0.0.0/8 that neither this process nor another one
// with this package has used.
func IP() string {
	n := used.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", network(), n/250, n%250+1)
}

// Address is an IP of its own with a port.
func Address() string { return IP() + ":8443" }

// claims keep others out of this process's part of 127.0.0.0/8. They are never
// closed, and held here so that they are not collected either.
var claims []net.Listener

// network is this process's part.
var network = sync.OnceValue(func() int {
	for n := 64; n < 128; n++ {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.%d.255.255:10000", n)); err == nil {
			claims = append(claims, l)
			return n
		}
	}
	panic("loopback: 64 test processes at once")
})
