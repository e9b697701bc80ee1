package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"strings"
)

const ruleComment = "elastichub localcluster"

// Network is the Pods' network on this machine.
type Network struct {
	Bridge      string
	PodCIDR     string
	ServiceCIDR string
	// PodCIDR6 and ServiceCIDR6 are those of IPv6. Of a family that there is not they are empty.
	PodCIDR6, ServiceCIDR6 string
}

// sysctls are the kernel settings a cluster changes. The first group is for
// routing between Pods, services and the host (route_localnet: node ports at
// 127.0.0.1); the second is what a kubelet sets anyway, named here so that it
// is undone.
var sysctls = map[string]string{
	"net/ipv4/conf/all/route_localnet":   "1",
	"net/ipv4/ip_forward":                "1",
	"net/bridge/bridge-nf-call-iptables": "1",

	"kernel/keys/root_maxbytes": "25000000",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"vm/overcommit_memory":      "1",
}

// sysctls6 are those of a network of IPv6 beside them.
var sysctls6 = map[string]string{
	"net/ipv6/conf/all/forwarding":        "1",
	"net/bridge/bridge-nf-call-ip6tables": "1",
}

// rules begin with those that refuse what is still addressed to a service after
// kube-proxy's translation: nobody has that address, or kube-proxy does not know
// the service yet. By the default route the packet would reach this machine's
// own network, and a stranger there might answer for the service.
func rules(pods, services string) [][]string {
	return [][]string{
		{"filter", "FORWARD", "-d", services, "-j", "REJECT"},
		{"filter", "OUTPUT", "-d", services, "-j", "REJECT"},
		{"filter", "FORWARD", "-s", pods, "-j", "ACCEPT"},
		{"filter", "FORWARD", "-d", pods, "-j", "ACCEPT"},
		{"nat", "POSTROUTING", "-s", pods, "!", "-d", pods, "-j", "MASQUERADE"},
	}
}

// Setup lets Pods' packets through. It returns the kernel settings it changed,
// with what they were before, for Teardown.
func (n Network) Setup(ctx context.Context) (changed map[string]string, err error) {
	changed = make(map[string]string)
	settings := maps.Clone(sysctls)
	if n.PodCIDR6 != "" {
		maps.Copy(settings, sysctls6)
	}
	for name, want := range settings {
		file := "/proc/sys/" + name
		was, err := os.ReadFile(file)
		if err != nil {
			return changed, fmt.Errorf("kernel setting %s: %w", name, err)
		}
		if strings.TrimSpace(string(was)) == want {
			continue
		}
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			return changed, err
		}
		changed[name] = strings.TrimSpace(string(was))
	}
	if n.PodCIDR != "" {
		for _, rule := range rules(n.PodCIDR, n.ServiceCIDR) {
			if err := change(ctx, "-A", rule); err != nil {
				return changed, err
			}
		}
	}
	if n.PodCIDR6 != "" {
		for _, rule := range rules(n.PodCIDR6, n.ServiceCIDR6) {
			if err := changeBy(ctx, "ip6tables", "-A", rule); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// change has iptables append (-A), insert (-I), check (-C) or remove (-D) a rule of ours,
// which begins with its table and its chain.
func change(ctx context.Context, command string, rule []string) error {
	return changeBy(ctx, "iptables", command, rule)
}

// changeBy does so with the program of a family.
func changeBy(ctx context.Context, program, command string, rule []string) error {
	return run(ctx, program, append([]string{
		"-w", "-t", rule[0], command, rule[1], "-m", "comment", "--comment", ruleComment,
	}, rule[2:]...)...)
}

func removeInterface(ctx context.Context, name string) error {
	if _, err := net.InterfaceByName(name); err == nil {
		return run(ctx, "ip", "link", "delete", name)
	}
	return nil // it is gone
}

// Teardown removes the rules of Setup, those that kube-proxy and the CNI
// plugins left (nothing else on a machine with one cluster makes chains of
// these names), and the bridge, and restores the kernel settings.
func (n Network) Teardown(ctx context.Context, changed map[string]string) error {
	var failed []error
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"filter", "nat", "mangle"} {
			listing, err := exec.CommandContext(ctx, program, "-w", "-t", table, "-S").Output()
			if err != nil {
				continue // no such table in this kernel: nothing of ours in it
			}
			commands := removals(string(listing))
			if len(commands) == 0 {
				continue
			}
			restore := exec.CommandContext(ctx, program+"-restore", "-w", "--noflush")
			restore.Stdin = strings.NewReader("*" + table + "\n" + strings.Join(commands, "\n") + "\nCOMMIT\n")
			if out, err := restore.CombinedOutput(); err != nil {
				failed = append(failed, fmt.Errorf("%s table %s: %w: %s", program, table, err, LastLines(string(out), 3)))
			}
		}
	}
	failed = append(failed, removeInterface(ctx, n.Bridge))
	for name, was := range changed {
		_, of4 := sysctls[name]
		_, of6 := sysctls6[name]
		if of4 || of6 {
			failed = append(failed, os.WriteFile("/proc/sys/"+name, []byte(was), 0o644))
		}
	}
	return errors.Join(failed...)
}

// removals turns the output of `iptables -S` into the commands, as
// iptables-restore reads them, that remove what is ours from it: first rules
// in foreign chains, then our chains' contents, then the chains.
func removals(listing string) []string {
	var rules, flushes, deletions []string
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		command, rest, _ := strings.Cut(line, " ")
		chain, _, _ := strings.Cut(rest, " ")
		switch {
		case command == "-N" && ourChain(chain):
			flushes = append(flushes, "-F "+chain)
			deletions = append(deletions, "-X "+chain)
		case command == "-A" && !ourChain(chain) && ourRule(rest):
			rules = append(rules, "-D "+rest)
		}
	}
	return append(append(rules, flushes...), deletions...)
}

// ourRule tells a rule that jumps to one of our chains, or has our comment.
func ourRule(rule string) bool {
	if strings.Contains(rule, fmt.Sprintf("--comment %q", ruleComment)) {
		return true
	}
	fields := strings.Fields(rule)
	for i, field := range fields[:len(fields)-1] {
		if (field == "-j" || field == "-g") && ourChain(fields[i+1]) {
			return true
		}
	}
	return false
}

func ourChain(name string) bool {
	return strings.HasPrefix(name, "KUBE-") || strings.HasPrefix(name, "CNI-")
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, LastLines(string(out), 3))
	}
	return nil
}
