package spawner

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// Percentages between which an image is pulled.
const (
	pullingPercent = 45
	pulledPercent  = 65
)

// mostPulls bounds of how many images it is remembered how long they took.
const mostPulls = 512

// pulled is how long an image took on some node, and how large it is (0: not told).
type pulled struct {
	took  time.Duration
	bytes int64
}

// pulls remember how long images took, from Events of any Pod in the namespaces that are
// looked after. A new leader learns from those that the API server still has.
type pulls struct {
	mu     sync.Mutex
	images map[string]pulled
}

// The kubelet's text of an image that it has pulled (pkg/kubelet/images).
var pulledIn = regexp.MustCompile(`^Successfully pulled image "([^"]{1,400})" in ([0-9.a-zµ]+)(?: .*Image size: ([0-9]+) bytes)?`)

// pullOf reads the message of an Event Pulled; ok is false where the image was there before.
func pullOf(message string) (took time.Duration, bytes int64, ok bool) {
	m := pulledIn.FindStringSubmatch(message)
	if m == nil {
		return 0, 0, false
	}
	took, err := time.ParseDuration(m[2])
	if err != nil {
		return 0, 0, false
	}
	bytes, _ = strconv.ParseInt(m[3], 10, 64) // empty before Kubernetes 1.31
	return took, bytes, true
}

// note learns from an Event.
func (p *pulls) note(object any) {
	event, ok := object.(*corev1.Event)
	if !ok || event.Reason != "Pulled" {
		return
	}
	took, bytes, ok := pullOf(event.Message)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.images == nil || len(p.images) >= mostPulls {
		p.images = map[string]pulled{}
	}
	p.images[pulledIn.FindStringSubmatch(event.Message)[1]] = pulled{took, bytes}
}

// follow learns from what an informer sees.
func (p *pulls) follow(informer cache.SharedIndexInformer) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: p.note, UpdateFunc: func(_, object any) { p.note(object) }})
	return err
}

func (p *pulls) of(image string) (pulled, bool) {
	if p == nil {
		return pulled{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.images[image]
	return found, ok
}

// foretell says of an image that is being pulled how large it is and how long it took
// elsewhere. What was said once is not said again with other figures.
func (p *pulls) foretell(s *progressEntry, event *corev1.Event, events []corev1.Event, log []v1alpha1.NotebookProgress) {
	for i := range log {
		if log[i].Message == s.message || strings.HasPrefix(log[i].Message, s.message+" (") {
			s.message = log[i].Message
			return
		}
	}
	m := quoted.FindStringSubmatch(event.Message)
	is := func(e corev1.Event) bool {
		return e.Reason == "Pulled" && e.InvolvedObject.UID == event.InvolvedObject.UID && e.InvolvedObject.FieldPath == event.InvolvedObject.FieldPath
	}
	if m == nil || slices.ContainsFunc(events, is) {
		return
	}
	if known, ok := p.of(m[1]); ok {
		s.expected = known.took
		s.message += fmt.Sprintf(" (%sit took %s elsewhere)", size(known.bytes, ", "), seconds(known.took))
	}
}

// inBytes is a size in brackets, nothing for none.
func inBytes(n int64) string {
	if n <= 0 {
		return ""
	}
	return " (" + size(n, "") + ")"
}

// size writes bytes as registries do, in powers of ten, and what follows; nothing for none.
func size(n int64, then string) string {
	switch {
	case n <= 0:
		return ""
	case n < 1e9:
		return strconv.FormatInt(max((n+5e5)/1e6, 1), 10) + " MB" + then
	default:
		return strconv.FormatFloat(float64(n)/1e9, 'f', 1, 64) + " GB" + then
	}
}

// seconds writes "3.1 s" or "2 min 5 s".
func seconds(d time.Duration) string {
	if d < time.Minute {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}

// moved is the percentage of an entry that has lasted for a while, if it is known how long
// that takes: at nine tenths of the way it waits.
func moved(entry v1alpha1.NotebookProgress, now time.Time) int {
	percent := int(entry.Percent)
	if entry.ExpectedSeconds <= 0 || percent >= pulledPercent {
		return percent
	}
	part := now.Sub(entry.Time.Time).Seconds() / float64(entry.ExpectedSeconds)
	return percent + int(min(max(part, 0), 1)*0.9*float64(pulledPercent-percent))
}
