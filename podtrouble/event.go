package podtrouble

import (
	"fmt"
	"regexp"
	"strings"
)

var failedPull = regexp.MustCompile(`^Failed to pull image "([^"]+)": `)

// OfEvent translates the message of an Event about a Pod, a claim, or a ReplicaSet; what is
// not known comes back as it is.
func OfEvent(reason, message string) string {
	clause, known := "", false
	switch reason {
	case "FailedScheduling":
		clause, known = Unplaced(message, Placement{})
	case "FailedCreate":
		clause, known = Unmade(message)
		clause = "the Pod is refused: " + clause
	case "FailedAttachVolume", "FailedMount", "FailedMapVolume":
		clause, known = Unmounted(message)
		clause = "a volume is not ready: " + clause
	case "ProvisioningFailed":
		clause, known = Unprovisioned(message)
		clause = "the volume is not made: " + clause
	case "Failed":
		if m := failedPull.FindStringSubmatch(message); m != nil {
			clause, known = Unpulled(m[1], message)
			clause = fmt.Sprintf("image %s cannot be pulled: %s", m[1], clause)
		}
	}
	if !known {
		return message
	}
	return Sentence(strings.Join(strings.Fields(clause), " "))
}
