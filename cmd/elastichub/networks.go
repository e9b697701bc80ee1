package main

import "net/netip"

// hasIPv6Services reports whether the Services of the cluster have addresses of IPv6, if they ask
// for no family: as the API server's own, which the kubelet tells each Pod.
func hasIPv6Services(getenv func(string) string) bool {
	address, err := netip.ParseAddr(getenv("KUBERNETES_SERVICE_HOST"))
	return err == nil && address.Is6()
}
