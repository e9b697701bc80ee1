package spawner

import (
	"fmt"
	"math"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podtrouble"
)

// progressEntry is something to tell the person who waits.
type progressEntry struct {
	percent int32
	message string
	outcome v1alpha1.StartOutcome
	// expected is how long it took elsewhere; 0: nobody knows.
	expected time.Duration
}

// maxProgress bounds the log; the CRD allows 64. The oldest entries go first.
const maxProgress = 48

// advance appends the entries that the log does not hold yet. Nothing follows an
// outcome, percent never falls, and ids go on counting when entries are dropped.
func advance(log []v1alpha1.NotebookProgress, todo []progressEntry, now time.Time) []v1alpha1.NotebookProgress {
	for _, s := range todo {
		var last v1alpha1.NotebookProgress
		if len(log) > 0 {
			last = log[len(log)-1]
		}
		if last.Outcome != "" {
			return log
		}
		if s.outcome == "" && slices.ContainsFunc(log, func(e v1alpha1.NotebookProgress) bool { return e.Message == s.message }) {
			continue
		}
		log = append(log, v1alpha1.NotebookProgress{
			ID: last.ID + 1, Percent: max(last.Percent, s.percent), Message: s.message,
			Time: metav1.NewMicroTime(now), Outcome: s.outcome, ExpectedSeconds: int32(math.Ceil(min(s.expected, time.Hour).Seconds())),
		})
	}
	if surplus := len(log) - maxProgress; surplus > 0 {
		log = slices.Clone(log[surplus:])
	}
	return log
}

// progressEntries are all the entries that can be told from what is observed, in order.
func progressEntries(o observed, v phaseStatus, log []v1alpha1.NotebookProgress) []progressEntry {
	all := []progressEntry{{percent: 2, message: "Request accepted"}}
	if v.phase == v1alpha1.NotebookPending || v.reason == ReasonReplacing {
		all = append(all, progressEntry{percent: 5, message: v.message})
	}
	all = append(all, shortages(o)...)
	all = append(all, claimProgress(o)...)
	all = append(all, eventProgress(o, log)...)
	switch v.phase {
	case v1alpha1.NotebookReady:
		all = append(all, progressEntry{percent: 100, message: "Server answers", outcome: v1alpha1.OutcomeReady})
	case v1alpha1.NotebookFailed:
		all = append(all, progressEntry{message: v.message, outcome: v1alpha1.OutcomeFailed})
	case v1alpha1.NotebookStopping, v1alpha1.NotebookStopped:
		all = append(all, progressEntry{message: "Server was stopped", outcome: v1alpha1.OutcomeStopped})
	case v1alpha1.NotebookStarting:
		if v.trouble != nil || v.reason == ReasonUnschedulable {
			all = append(all, progressEntry{percent: 25, message: v.message})
		}
	case v1alpha1.NotebookPending:
	}
	return all
}

// shortages tell what a server that starts all the same will not have.
func shortages(o observed) []progressEntry {
	nb := o.notebook
	if nb.Spec.Stopped {
		return nil
	}
	var all []progressEntry
	if short := kernelShortage(nb, o.remote); short != nil {
		all = append(all, progressEntry{percent: 4, message: short.message})
	}
	// Who writes a JupyterNotebook by hand chooses its volumes.
	if nb.Spec.Start != "" && !keepsFiles(nb.Spec.Storage) {
		all = append(all, progressEntry{percent: 4, message: fmt.Sprintf(
			"This server has no home volume: its files are lost when it stops, until an administrator sets spec.storage.home in the policy %s.", enumerate(policiesOf(nb)))})
	}
	return all
}

// keepsFiles tells that what is in the home directory outlives the Pod.
func keepsFiles(storage *v1alpha1.NotebookStorage) bool {
	if storage == nil {
		return false
	}
	return storage.Home != nil || slices.ContainsFunc(storage.Shared, func(shared v1alpha1.SharedVolume) bool {
		at := path.Clean(shared.MountPath)
		return !shared.ReadOnly && (at == v1alpha1.DefaultHome || strings.HasPrefix(v1alpha1.DefaultHome, at+"/"))
	})
}

func claimProgress(o observed) []progressEntry {
	if o.claim == nil || o.blocked != nil {
		return nil
	}
	being := progressEntry{percent: 10, message: fmt.Sprintf("Volume %s is being created", o.claim.Name)}
	switch o.claim.Status.Phase {
	case corev1.ClaimPending, "":
		return []progressEntry{being}
	case corev1.ClaimLost:
		return []progressEntry{{percent: 10, message: fmt.Sprintf("Volume %s is lost", o.claim.Name)}}
	case corev1.ClaimBound:
	}
	return nil // what there is to say comes from events
}

// eventProgress translates Kubernetes' events about the current Pod and claim.
func eventProgress(o observed, log []v1alpha1.NotebookProgress) []progressEntry {
	pod := current(o.notebook, o.pods)
	events := slices.Clone(o.events)
	slices.SortStableFunc(events, func(a, b corev1.Event) int {
		if c := happened(&a).Compare(happened(&b)); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	var all []progressEntry
	for i := range events {
		event := &events[i]
		switch about := event.InvolvedObject; {
		case pod != nil && about.UID == pod.UID:
			if s := podEventProgress(event); s != nil {
				if event.Reason == "Pulling" {
					o.pulls.foretell(s, event, events, log)
				}
				all = append(all, *s)
			}
		case o.claim != nil && about.UID == o.claim.UID:
			// A claim outlives starts, and its events with it.
			if len(log) > 0 && happened(event).Before(log[0].Time.Add(-2*time.Second)) {
				continue
			}
			if s := claimEventProgress(event, o.claim.Name); s != nil {
				all = append(all, *s)
			}
		}
	}
	return all
}

// happened is when an event happened first. client-go's recorders end its name
// with nanoseconds in hexadecimal; its other times may be whole seconds.
func happened(event *corev1.Event) time.Time {
	if _, suffix, ok := cutLast(event.Name, "."); ok && len(suffix) == 16 {
		if nanos, err := strconv.ParseInt(suffix, 16, 64); err == nil {
			return time.Unix(0, nanos)
		}
	}
	switch {
	case !event.EventTime.IsZero():
		return event.EventTime.Time
	case !event.FirstTimestamp.IsZero():
		return event.FirstTimestamp.Time
	default:
		return event.CreationTimestamp.Time
	}
}

func cutLast(text, separator string) (string, string, bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

var (
	quoted     = regexp.MustCompile(`"([^"]{1,400})"`)
	failedPull = regexp.MustCompile(`^Failed to pull image "([^"]{1,400})": `)
	// A container that waits says the same better.
	echo      = regexp.MustCompile(`^Error: (?:ErrImagePull|ImagePullBackOff)$`)
	onNode    = regexp.MustCompile(`Successfully assigned \S+ to (\S+)`)
	container = regexp.MustCompile(`^spec\.(initContainers|containers)\{([^}]*)\}$`)
)

// podEventProgress translates an event about a Pod; nil means not worth telling. The
// reasons are the scheduler's, the kubelet's, the attach controller's and the
// cluster autoscaler's.
func podEventProgress(event *corev1.Event) *progressEntry {
	of := ofContainer(event.InvolvedObject.FieldPath)
	text := shorten(event.Message)
	switch event.Reason {
	case "FailedScheduling":
		if _, known := podtrouble.Unplaced(event.Message, podtrouble.Placement{}); known {
			return nil // the Pod's condition says so, with figures
		}
		return &progressEntry{percent: 20, message: "Waiting for a node: " + text}
	case "TriggeredScaleUp":
		return &progressEntry{percent: 22, message: "Waiting for a node: the cluster is adding one"}
	case "NotTriggerScaleUp":
		return &progressEntry{percent: 20, message: "Waiting for a node: the cluster adds none: " + text}
	case "Scheduled":
		if m := onNode.FindStringSubmatch(event.Message); m != nil {
			return &progressEntry{percent: 30, message: "Placed on node " + shortNode(m[1])}
		}
		return &progressEntry{percent: 30, message: "Placed on a node"}
	case "SuccessfulAttachVolume":
		return &progressEntry{percent: 35, message: "Volume attached"}
	case "FailedAttachVolume", "FailedMount", "FailedMapVolume":
		return &progressEntry{percent: 32, message: "Volume not ready yet: " + translated(podtrouble.Unmounted(event.Message))}
	case "Pulling":
		if m := quoted.FindStringSubmatch(event.Message); m != nil {
			return &progressEntry{percent: pullingPercent, message: "Pulling image " + m[1] + of}
		}
		return &progressEntry{percent: pullingPercent, message: "Pulling image" + of}
	case "Pulled":
		if took, size, ok := pullOf(event.Message); ok {
			return &progressEntry{percent: pulledPercent, message: "Image pulled in " + seconds(took) + inBytes(size) + of}
		}
		return &progressEntry{percent: pulledPercent, message: "Image is already on the node" + of}
	case "Created":
		return &progressEntry{percent: 70, message: "Container created" + of}
	case "Started":
		if of == "" {
			return &progressEntry{percent: 80, message: "Container started: waiting for the server to answer"}
		}
		return &progressEntry{percent: 70, message: "Container started" + of}
	case "Failed":
		if m := failedPull.FindStringSubmatch(event.Message); m != nil {
			return &progressEntry{percent: pullingPercent, message: unpulled(m[1], event.Message) + of}
		}
		if echo.MatchString(event.Message) {
			return nil
		}
	case "BackOff":
		if strings.HasPrefix(event.Message, "Back-off pulling image ") {
			return nil // what failed was said
		}
	case "Unhealthy":
		return nil // the server does not answer yet
	}
	if event.Type == corev1.EventTypeWarning {
		return &progressEntry{percent: 0, message: event.Reason + ": " + text + of}
	}
	return nil
}

func claimEventProgress(event *corev1.Event, name string) *progressEntry {
	switch event.Reason {
	case "Provisioning", "ExternalProvisioning":
		return &progressEntry{percent: 10, message: fmt.Sprintf("Volume %s is being created", name)}
	case "ProvisioningSucceeded":
		return &progressEntry{percent: 15, message: fmt.Sprintf("Volume %s is created", name)}
	case "WaitForFirstConsumer", "WaitForPodScheduled":
		return nil
	}
	if event.Reason == "ProvisioningFailed" {
		if clause, known := podtrouble.Unprovisioned(event.Message); known {
			return &progressEntry{percent: 10, message: fmt.Sprintf("Volume %s: %s", name, translated(clause, known))}
		}
	}
	if event.Type == corev1.EventTypeWarning {
		return &progressEntry{percent: 10, message: fmt.Sprintf("Volume %s: %s: %s", name, event.Reason, shorten(event.Message))}
	}
	return nil
}

// ofContainer names containers other than the notebook's.
func ofContainer(fieldPath string) string {
	m := container.FindStringSubmatch(fieldPath)
	if m == nil || m[1] == "containers" && m[2] == v1alpha1.NotebookContainer {
		return ""
	}
	return " (" + m[2] + ")"
}

// shortNode is the first part of a node's name, as its console and kubectl's users call it.
func shortNode(name string) string {
	if _, err := netip.ParseAddr(name); err == nil {
		return name
	}
	short, _, _ := strings.Cut(name, ".")
	return short
}
