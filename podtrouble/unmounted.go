package podtrouble

import (
	"fmt"
	"regexp"
)

// Texts of the attach controller, the kubelet and the volume controllers.
var (
	usedByPods   = regexp.MustCompile(`^Multi-Attach error for volume "[^"]*" Volume is already used by pod\(s\) (.+)$`)
	usedByOthers = regexp.MustCompile(`^Multi-Attach error for volume "[^"]*" Volume is already used by \d+ pod\(s\) in different namespaces$`)
	usedByNode   = regexp.MustCompile(`^Multi-Attach error for volume "[^"]*" Volume is already exclusively attached to one node`)
	notAttached  = regexp.MustCompile(`(?s)^AttachVolume\.\S+ failed for volume "([^"]*)" : (.+)$`)
	objectGone   = regexp.MustCompile(`(?s)^MountVolume\.SetUp failed for volume "[^"]*" : .*?(configmap|secret) "([^"]+)" not found$`)
	keyGone      = regexp.MustCompile(`^MountVolume\.SetUp failed for volume "[^"]*" : (?:configmap )?references non-existent (config|secret) key: (.+)$`)
	unregistered = regexp.MustCompile(`driver name (\S+) not found in the list of registered CSI drivers`)
	notMounted   = regexp.MustCompile(`(?s)^MountVolume\.\S+ failed for volume "([^"]*)" : (.+)$`)
	timedOut     = regexp.MustCompile(`^Unable to attach or mount volumes: unmounted volumes=\[([^\]]*)\].*: (?:timed out waiting for the condition|context deadline exceeded)$`)

	classGone      = regexp.MustCompile(`^storageclass\.storage\.k8s\.io "([^"]+)" not found$`)
	notProvisioned = regexp.MustCompile(`(?s)^failed to provision volume with StorageClass "([^"]+)": (.+)$`)
)

var kindOf = map[string]string{"configmap": "ConfigMap", "config": "ConfigMap", "secret": "Secret"}

// Unmounted translates Events FailedAttachVolume, FailedMount and FailedMapVolume of a Pod.
func Unmounted(message string) (string, bool) {
	if m := usedByPods.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("it can be in use on one node at a time, and is in use on another, by %s. It comes when that has ended.", m[1]), true
	}
	if usedByOthers.MatchString(message) {
		return "it can be in use on one node at a time, and is in use on another, by Pods of other namespaces. It comes when those have ended.", true
	}
	if usedByNode.MatchString(message) {
		return "it can be in use on one node at a time, and another node has not let go of it yet. That takes up to some minutes, longer if that node is lost.", true
	}
	if m := objectGone.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("there is no %s %s, which it mounts. An administrator makes it, or takes it from the policy.", kindOf[m[1]], m[2]), true
	}
	if m := keyGone.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("a %s that it mounts has no key %s. An administrator adds it, or takes it from the policy.", kindOf[m[1]], m[2]), true
	}
	if m := unregistered.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("the storage driver %s does not run on the node. An administrator looks at it.", m[1]), true
	}
	if m := timedOut.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("the node still waits for the volume %s.", m[1]), true
	}
	if m := notAttached.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s cannot be attached to the node: %s", m[1], stop(m[2])), true
	}
	if m := notMounted.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%s cannot be mounted: %s", m[1], stop(m[2])), true
	}
	return message, false
}

// Unprovisioned translates Events ProvisioningFailed of a claim.
func Unprovisioned(message string) (string, bool) {
	if m := classGone.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("there is no storage class %s. An administrator makes it, or has the policy name another.", m[1]), true
	}
	if m := notProvisioned.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("the storage class %s does not make it: %s", m[1], stop(m[2])), true
	}
	return message, false
}
