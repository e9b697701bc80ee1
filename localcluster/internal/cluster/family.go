package cluster

import (
	"fmt"
	"net"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

// Family says which addresses Pods and Services have. The empty one, of former releases, is IPv4.
type Family string

// Families of addresses. Dual is both, IPv4 first: that of Services which ask for none.
const (
	IPv4 Family = "ipv4"
	IPv6 Family = "ipv6"
	Dual Family = "dual"
)

// Families are all of them.
var Families = []Family{IPv4, IPv6, Dual}

const (
	podCIDR6     = "fd00:10:244::/64"
	serviceCIDR6 = "fd00:10:96::/112"
	apiService6  = "fd00:10:96::1" // the first of serviceCIDR6
	dnsService6  = "fd00:10:96::a"
)

func (f Family) has4() bool { return f != IPv6 }
func (f Family) has6() bool { return f == IPv6 || f == Dual }

// of are the values of the families that there are.
func (f Family) of(four, six string) []string {
	var values []string
	if f.has4() {
		values = append(values, four)
	}
	if f.has6() {
		values = append(values, six)
	}
	return values
}

func (f Family) podCIDRs() []string      { return f.of(podCIDR, podCIDR6) }
func (f Family) serviceCIDRs() []string  { return f.of(serviceCIDR, serviceCIDR6) }
func (f Family) defaultRoutes() []string { return f.of("0.0.0.0/0", "::/0") }

// dnsService is of the first family.
func (f Family) dnsService() string { return f.of(dnsService, dnsService6)[0] }

// network is that of the first node's Pods.
func (f Family) network() host.Network {
	n := host.Network{Bridge: bridge}
	if f.has4() {
		n.PodCIDR, n.ServiceCIDR = podCIDR, serviceCIDR
	}
	if f.has6() {
		n.PodCIDR6, n.ServiceCIDR6 = podCIDR6, serviceCIDR6
	}
	return n
}

// nodeIPs are addresses of this machine that are not loopback, one of each family that there is.
func (f Family) nodeIPs() ([]string, error) {
	var ips []string
	if f.has4() {
		ip, err := utilnet.ChooseHostInterface()
		if err != nil {
			return nil, fmt.Errorf("find an address of this machine that is not loopback: %w", err)
		}
		ips = append(ips, ip.String())
	}
	if f.has6() {
		ip, err := globalIPv6()
		if err != nil {
			return nil, err
		}
		ips = append(ips, ip)
	}
	return ips, nil
}

// globalIPv6 is an address of an interface of this machine that Pods can reach.
func globalIPv6() (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, each := range interfaces {
		if each.Flags&net.FlagUp == 0 || each.Flags&net.FlagLoopback != 0 || each.Name == bridge {
			continue
		}
		addresses, err := each.Addrs()
		if err != nil {
			return "", err
		}
		for _, address := range addresses {
			if network, is := address.(*net.IPNet); is && network.IP.To4() == nil && network.IP.IsGlobalUnicast() {
				return network.IP.String(), nil
			}
		}
	}
	return "", fmt.Errorf("this machine has no address of IPv6 but those of links: give it one, such as by `ip address add fd00::2/64 dev eth0 nodad`")
}

func joined(values []string) string { return strings.Join(values, ",") }
