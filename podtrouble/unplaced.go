package podtrouble

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Room is what is on the nodes that a Pod may be on, by their labels and taints.
type Room struct {
	// Nodes is how many there are.
	Nodes int
	// Free and Allocatable are of each resource the most that one node has.
	Free, Allocatable corev1.ResourceList
}

// Placement is a Pod that the scheduler has no node for.
type Placement struct {
	Spec *corev1.PodSpec
	// Room is nil where nodes may not be read.
	Room *Room
	// Policy is who says where the Pod may be, such as "the policy ml"; may be empty.
	Policy string
}

var (
	// FitError.Error of pkg/scheduler/framework/types.go.
	fitError = regexp.MustCompile(`^0/(\d+) nodes are available: (.+)$`)
	// What came of preemption and of taking claims back follows the causes.
	postFilter   = regexp.MustCompile(`\. (?:preemption: |no new claims to deallocate|still not schedulable|deallocation of ResourceClaim completed).*$`)
	insufficient = regexp.MustCompile(`^Insufficient (\S+)$`)
	perNodes     = regexp.MustCompile(`^(\d+) (.+)$`)
	// Until 1.33 the scheduler named the taint.
	taint = regexp.MustCompile(`^node\(s\) had untolerated taint \{([^:}]+): ?([^}]*)\}$`)

	claimMissing  = regexp.MustCompile(`^persistentvolumeclaim "([^"]+)" not found$`)
	claimDeleted  = regexp.MustCompile(`^persistentvolumeclaim "([^"]+)" is being deleted$`)
	claimUnbacked = regexp.MustCompile(`^persistentvolumeclaim "([^"]+)" bound to non-existent persistentvolume "([^"]+)"$`)
)

// Unplaced translates what the scheduler says, in a Pod's condition PodScheduled or in an
// Event FailedScheduling.
func Unplaced(message string, p Placement) (string, bool) {
	if message == "no nodes available to schedule pods" {
		return "the cluster has no nodes.", true
	}
	m := fitError.FindStringSubmatch(message)
	if m == nil {
		return message, false
	}
	// More than one full stop may end it.
	told := strings.TrimRight(postFilter.ReplaceAllString(m[2], ""), ". ")
	if clause := ofVolumes(told); clause != "" {
		return clause, true
	}
	total, _ := strconv.Atoi(m[1])
	causes := map[string]*cause{}
	for _, part := range splitCauses(told) {
		counted := perNodes.FindStringSubmatch(part)
		if counted == nil {
			return message, false
		}
		found := causeOf(counted[2], p)
		if found == nil {
			return message, false
		}
		n, _ := strconv.Atoi(counted[1])
		if known := causes[found.plural]; known != nil {
			known.nodes += n
			continue
		}
		found.nodes = n
		causes[found.plural] = found
	}
	return say(total, slices.Collect(maps.Values(causes))), true
}

// splitCauses takes "1 a, 2 b" apart, whose parts may have commas of their own.
func splitCauses(text string) []string {
	var parts []string
	for part := range strings.SplitSeq(text, ", ") {
		if len(parts) > 0 && !perNodes.MatchString(part) {
			parts[len(parts)-1] += ", " + part
			continue
		}
		parts = append(parts, part)
	}
	return parts
}

// ofVolumes translates what is said of no node in particular; empty if it is not known.
func ofVolumes(told string) string {
	if told == "pod has unbound immediate PersistentVolumeClaims" {
		return "a volume of it is not made yet: its claim waits for a provisioner, or for a volume that somebody makes."
	}
	if m := claimMissing.FindStringSubmatch(told); m != nil {
		return fmt.Sprintf("the volume claim %s does not exist.", m[1])
	}
	if m := claimDeleted.FindStringSubmatch(told); m != nil {
		return fmt.Sprintf("the volume claim %s is being deleted.", m[1])
	}
	if m := claimUnbacked.FindStringSubmatch(told); m != nil {
		return fmt.Sprintf("the volume %s of the claim %s is gone.", m[2], m[1])
	}
	return ""
}

// cause is why some nodes do not take a Pod; after a number of nodes.
type cause struct {
	nodes            int
	singular, plural string
	// none is said instead if it is so of all nodes; may be empty.
	none string
	// more follows in either case; may be empty.
	more string
}

// say makes one clause of the causes, the most frequent first.
func say(total int, causes []*cause) string {
	slices.SortFunc(causes, func(a, b *cause) int {
		return cmp.Or(cmp.Compare(b.nodes, a.nodes), cmp.Compare(a.plural, b.plural))
	})
	if len(causes) == 1 && causes[0].nodes >= total {
		only := causes[0]
		switch {
		case only.none != "":
			return only.none + only.more + "."
		case total == 1:
			return "the only node " + only.singular + only.more + "."
		default:
			return fmt.Sprintf("all %d nodes %s%s.", total, only.plural, only.more)
		}
	}
	var parts []string
	for _, c := range causes {
		text, more := c.plural, c.more
		if c.nodes == 1 {
			text = c.singular
		}
		if more != "" {
			more = " (" + strings.TrimLeft(more, ",; ") + ")"
		}
		parts = append(parts, fmt.Sprintf("%d %s%s", c.nodes, text, more))
	}
	if total == 1 {
		for i := range parts {
			parts[i] = strings.TrimPrefix(parts[i], "1 ")
		}
		return "the only node " + list(parts) + "."
	}
	return fmt.Sprintf("of %d nodes, %s.", total, list(parts))
}

// Words of the scheduler's plugins, pkg/scheduler/framework/plugins, and what they mean of
// one node and of several.
var plain = map[string][2]string{
	"Too many pods":              {"runs as many Pods as it may", "run as many Pods as they may"},
	"node(s) were unschedulable": {"is cordoned", "are cordoned"},
	"node(s) had untolerated taint(s)": {
		"is kept for other Pods by a taint", "are kept for other Pods by taints"},
	"node(s) had taints that the pod didn't tolerate": {
		"is kept for other Pods by a taint", "are kept for other Pods by taints"},
	"node(s) didn't match the requested node name": {"is not the one that is asked for", "are not the one that is asked for"},
	"node(s) didn't match pod affinity rules": {
		"runs no Pod that it is to be beside, by its affinity", "run no Pod that it is to be beside, by its affinity"},
	"node(s) didn't match pod anti-affinity rules": {
		"runs Pods that its anti-affinity keeps it away from", "run Pods that its anti-affinity keeps it away from"},
	"node(s) didn't satisfy existing pods anti-affinity rules": {
		"runs Pods whose anti-affinity keeps it away", "run Pods whose anti-affinity keeps it away"},
	"node(s) didn't match pod topology spread constraints": {
		"has too many of such Pods for its topology spread constraints", "have too many of such Pods for its topology spread constraints"},
	"node(s) didn't match pod topology spread constraints (missing required label)": {
		"lacks the label of its topology spread constraints", "lack the label of its topology spread constraints"},
	"node(s) didn't have free ports for the requested pod ports": {"has the port in use", "have the port in use"},
	"node(s) had volume node affinity conflict":                  {"cannot reach its volume", "cannot reach its volume"},
	"node(s) didn't match PersistentVolume's node affinity":      {"cannot reach its volume", "cannot reach its volume"},
	"node(s) had no available volume zone":                       {"is in another zone than its volume", "are in another zone than its volume"},
	"node(s) didn't find available persistent volumes to bind":   {"has no volume for its claim", "have no volume for its claim"},
	"node(s) did not have enough free storage":                   {"has too little storage for its volume", "have too little storage for its volume"},
	"node(s) exceed max volume count":                            {"has as many volumes attached as it can", "have as many volumes attached as they can"},
	"node(s) had no available disk":                              {"has its disk in use", "have its disk in use"},
	"cannot allocate all claims":                                 {"has too few devices free for its claims", "have too few devices free for its claims"},
	"node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)": {
		"is of no use, since a volume of its claims is gone", "are of no use, since a volume of its claims is gone"},
	"node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod": {
		"is of no use, since another Pod has the volume, and one at a time may (ReadWriteOncePod)", "are of no use, since another Pod has the volume, and one at a time may (ReadWriteOncePod)"},
}

// Taints that Kubernetes itself gives to nodes (pkg/controller/nodelifecycle).
var ofKubernetes = map[string][2]string{
	corev1.TaintNodeNotReady:           {"is not ready", "are not ready"},
	corev1.TaintNodeUnreachable:        {"is not reached", "are not reached"},
	corev1.TaintNodeUnschedulable:      {"is cordoned", "are cordoned"},
	corev1.TaintNodeMemoryPressure:     {"is short of memory", "are short of memory"},
	corev1.TaintNodeDiskPressure:       {"is short of disk", "are short of disk"},
	corev1.TaintNodePIDPressure:        {"runs too many processes", "run too many processes"},
	corev1.TaintNodeNetworkUnavailable: {"has no network yet", "have no network yet"},
	"node-role.kubernetes.io/control-plane": {
		"is kept for the control plane", "are kept for the control plane"},
}

// causeOf is nil for what is not known.
func causeOf(reason string, p Placement) *cause {
	if m := insufficient.FindStringSubmatch(reason); m != nil {
		return shortOf(corev1.ResourceName(m[1]), p)
	}
	if words, known := plain[reason]; known {
		return &cause{singular: words[0], plural: words[1]}
	}
	if m := taint.FindStringSubmatch(reason); m != nil {
		if words, known := ofKubernetes[m[1]]; known {
			return &cause{singular: words[0], plural: words[1]}
		}
		name := m[1]
		if m[2] != "" {
			name += "=" + m[2]
		}
		return &cause{singular: "is kept for other Pods by the taint " + name, plural: "are kept for other Pods by the taint " + name}
	}
	if reason == "node(s) didn't match Pod's node affinity/selector" {
		of := selection(p)
		return &cause{singular: "does not match " + of, plural: "do not match " + of}
	}
	return nil
}

// selection names what chooses the nodes of a Pod.
func selection(p Placement) string {
	what := "its node affinity"
	if p.Spec != nil && len(p.Spec.NodeSelector) > 0 {
		var labels []string
		for _, key := range slices.Sorted(maps.Keys(p.Spec.NodeSelector)) {
			labels = append(labels, key+"="+p.Spec.NodeSelector[key])
		}
		what = "its node selector " + strings.Join(labels, ",")
	}
	if p.Policy != "" {
		what += ", which is that of " + p.Policy
	}
	return what
}

// shortOf is that there is too little of a resource, with figures where they are known and
// say the same as the scheduler.
func shortOf(name corev1.ResourceName, p Placement) *cause {
	if p.Spec == nil {
		return &cause{singular: "has too little " + string(name) + " free", plural: "have too little " + string(name) + " free"}
	}
	want := requested(name, p.Spec)
	if want.IsZero() {
		return &cause{singular: "has no " + string(name) + " free", plural: "have no " + string(name) + " free"}
	}
	asked := amount(name, want)
	c := &cause{
		singular: "has less than " + asked + " free", plural: "have less than " + asked + " free",
		none: "no node has " + asked + " free",
	}
	if p.Room == nil || p.Room.Nodes == 0 {
		return c
	}
	free, all := p.Room.Free[name], p.Room.Allocatable[name]
	switch {
	case all.Cmp(want) < 0 && all.Sign() <= 0:
		c.none = fmt.Sprintf("no node has any %s, and it asks for %s", name, figure(name, want))
	case all.Cmp(want) < 0:
		c.none = "no node has " + asked
		c.more = "; the largest has " + figure(name, all)
	case free.Cmp(want) < 0:
		c.more = "; the largest free is " + figure(name, free)
	}
	return c
}
