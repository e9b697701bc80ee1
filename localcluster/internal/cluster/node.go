package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/elastichub/elastichub/localcluster/internal/host"
)

// MostNodes is how many nodes there can be.
const MostNodes = 2

const (
	secondName   = nodeName + "-2"
	secondSuffix = "-2" // of its components' names

	clusterCIDR   = "10.244.0.0/16" // of everything that has an address in the cluster
	secondPodCIDR = "10.244.1.0/24"
	linkCIDR      = "10.244.255.0/30"
	linkNear      = "10.244.255.1"
	linkFar       = "10.244.255.2"
	link          = "elastichub-n2"
)

// node is a kubelet's place on this machine: that of the first is the machine itself, that
// of the second a network namespace.
type node struct {
	name, ip string
	family   Family
	podCIDRs []string
	ips      []string // ip is the first
	health   string   // the address where kubelet and kube-proxy tell how they are
	reserved string   // what the kubelet does not promise, as systemReserved has it
}

func (l Layout) firstNode(options Options) node {
	return node{name: nodeName, family: options.Family, podCIDRs: options.Family.podCIDRs(), ip: options.NodeIP, ips: options.nodeIPs(), health: "127.0.0.1"}
}

var secondNode = node{name: secondName, podCIDRs: []string{secondPodCIDR}, ip: linkFar, ips: []string{linkFar}, health: linkFar}

// second is where the second node has its files. Its directory's name is short for the
// sake of its socket's.
func (l Layout) second() Layout { return Layout{Dir: l.path("2")} }

// Nodes are the layouts of the nodes that there are, with a containerd in each.
func (l Layout) Nodes() ([]Layout, error) {
	report, err := l.ReadReport()
	if err != nil {
		return nil, err
	}
	if report.Nodes > 1 {
		return []Layout{l, l.second()}, nil
	}
	return []Layout{l}, nil
}

func (l Layout) namespace() string { return l.path("netns") }

func (l Layout) branch() host.Branch {
	return host.Branch{
		Namespace: l.second().namespace(), Link: link, LinkCIDR: linkCIDR, Near: linkNear, Far: linkFar,
		Within: host.Network{Bridge: bridge, PodCIDR: secondPodCIDR, ServiceCIDR: serviceCIDR},
		Trunk:  network, ClusterCIDR: clusterCIDR,
	}
}

// secondStages are the components of the second node, in the order of their start.
func (l Layout) secondStages(options Options) [][]Component {
	second := l.second()
	containerd, kubelet, proxy := second.onNode(options, secondNode)
	stages := [][]Component{{containerd}, {kubelet, proxy}}
	for _, stage := range stages {
		for i := range stage {
			stage[i].Name += secondSuffix
			stage[i].Namespace = second.namespace()
		}
	}
	return stages
}

// prepareSecond writes the second node's directory and makes its network and control
// groups.
func (l Layout) prepareSecond(ctx context.Context, options Options, reserved string) error {
	second := l.second()
	for _, dir := range []string{second.Dir, second.pki(""), second.config("")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	ca, err := readAuthority(l.pki("ca"))
	if err != nil {
		return err
	}
	if err := writePEM(second.pki("ca.crt"), "CERTIFICATE", ca.der, 0o644); err != nil {
		return err
	}
	if err := second.writeIdentities(ca, options.NodeIP, []identity{
		{file: "kubelet-server", name: "system:node:" + secondName, dns: []string{secondName}, ips: []string{linkFar}},
		{file: "kubelet", name: "system:node:" + secondName, groups: []string{"system:nodes"}, kubeconfig: second.config("kubelet.kubeconfig")},
		{file: "kube-proxy", name: "system:kube-proxy", kubeconfig: second.config("kube-proxy.kubeconfig")},
	}); err != nil {
		return err
	}
	at := secondNode
	at.reserved = reserved
	if err := second.writeConfigs(at); err != nil {
		return err
	}
	for _, cgroup := range []string{second.cgroup(), second.cgroup() + "/shims"} {
		if err := host.CreateCgroup(cgroup); err != nil {
			return err
		}
	}
	return l.branch().Setup(ctx)
}

// clearSecond removes what a second node without processes has left. It can be repeated,
// also where there was none.
func (l Layout) clearSecond(ctx context.Context) error {
	second := l.second()
	if _, err := os.Stat(second.Dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := errors.Join(
		host.RemoveCgroup(second.cgroup()),
		l.branch().Teardown(ctx),
		host.UnmountBelow(second.Dir),
		second.removeLogLinks(),
	); err != nil {
		return err
	}
	return os.RemoveAll(second.Dir)
}

// copyImages gives another node all images of this one.
func (l Layout) copyImages(ctx context.Context, to Layout) error {
	out, err := l.ctr(ctx, "images", "ls", "--quiet").Output()
	if err != nil {
		return fmt.Errorf("ctr images ls: %w", err)
	}
	args := []string{"images", "export", "-"}
	for _, name := range strings.Fields(string(out)) {
		if !strings.HasPrefix(name, "sha256:") { // a second name, which the other one makes itself
			args = append(args, name)
		}
	}
	return pipe(l.ctr(ctx, args...), to.ctr(ctx, "images", "import", "-"))
}

// pipe runs two programs, and the second reads what the first writes.
func pipe(from, to *exec.Cmd) error {
	var said, answered strings.Builder
	from.Stderr, to.Stdout, to.Stderr = &said, &answered, &answered
	var err error
	if to.Stdin, err = from.StdoutPipe(); err != nil {
		return err
	}
	if err := from.Start(); err != nil {
		return err
	}
	second := to.Run()
	first := from.Wait()
	if second != nil { // and the first has lost its reader
		return fmt.Errorf("%s: %w: %s", strings.Join(to.Args, " "), second, host.LastLines(answered.String(), 5))
	}
	if first != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(from.Args[:4], " "), first, host.LastLines(said.String(), 5))
	}
	return nil
}
