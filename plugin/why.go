package plugin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podtrouble"
	"github.com/elastichub/elastichub/portal/acts"
	"github.com/elastichub/elastichub/portal/holdings"
)

// Kinds of what can be asked for, as they may stand before a name: kernel/NAME.
const (
	kindKernel = "kernel"
	kindServer = "server"
	kindUser   = "user"
	kindPod    = "pod"
)

// shortestPrefix is how much of a kernel's id names it, if no other begins so.
const shortestPrefix = 4

// Answer says why something is as it is.
type Answer struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Sentences are whole ones.
	Sentences []string `json:"sentences"`
}

// subject is a kernel or a server that is asked about.
type subject struct {
	kernel *v1alpha1.JupyterKernel
	server *v1alpha1.JupyterNotebook
	row    holdings.Kernel // of kernel
	at     holdings.Server // of server
}

// find are the kernels and servers of a name: their own, that of a Pod, or their user's. A
// kernel is named by the beginning of its id, too.
func (s *Seen) find(kind, name string) []subject {
	var exact, byPrefix []subject
	is := func(want string) bool { return kind == "" || kind == want }
	for _, p := range s.places {
		notebooks := map[string]bool{}
		for i := range p.Pods {
			if pod := &p.Pods[i]; pod.Name == name && is(kindPod) {
				notebooks[pod.Labels[v1alpha1.LabelNotebook]] = pod.Labels[v1alpha1.LabelKernel] == ""
			}
		}
		for i := range p.Notebooks {
			nb := &p.Notebooks[i]
			if is(kindServer) && nb.Name == name || is(kindUser) && nb.Spec.User == name || is(kindPod) && (nb.Status.PodName == name || notebooks[nb.Name]) {
				exact = append(exact, subject{server: nb, at: p.Servers[i]})
			}
		}
		for i := range p.Objects.Kernels {
			k := &p.Objects.Kernels[i]
			found := subject{kernel: k, row: p.Holdings.Kernels[i]}
			switch {
			case is(kindKernel) && k.Name == name, is(kindUser) && k.Spec.User == name, is(kindPod) && k.Status.PodName == name:
				exact = append(exact, found)
			case is(kindKernel) && len(name) >= shortestPrefix && strings.HasPrefix(k.Name, name):
				byPrefix = append(byPrefix, found)
			}
		}
	}
	if len(exact) == 0 && len(byPrefix) == 1 {
		return byPrefix
	}
	return exact
}

// Names are what can be asked for, each with who or what it is.
func (s *Seen) Names(kinds ...string) map[string]string {
	all := map[string]string{}
	add := func(kind, name, what string) {
		if name != "" && slices.Contains(kinds, kind) {
			all[name] = what
		}
	}
	for _, p := range s.places {
		for _, v := range p.Servers {
			add(kindUser, v.User, "user")
			add(kindServer, v.Name, fmt.Sprintf("server, %s", v.Phase))
		}
		for i, k := range p.Holdings.Kernels {
			add(kindUser, k.User, "user")
			add(kindKernel, k.ID, fmt.Sprintf("kernel of %s, %s", k.User, k.Phase))
			add(kindPod, p.Objects.Kernels[i].Status.PodName, "Pod of kernel "+k.ID)
		}
	}
	return all
}

// Why says of a kernel, a server, a Pod of theirs, or all that a user has, why it waits,
// or was stopped or parked, as far as the caller may see.
func (c *Cluster) Why(ctx context.Context, name string) ([]Answer, []string, error) {
	seen, err := c.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	kind := ""
	if before, after, found := strings.Cut(name, "/"); found && slices.Contains([]string{kindKernel, kindServer, kindUser, kindPod}, before) {
		kind, name = before, after
	}
	subjects := seen.find(kind, name)
	if len(subjects) == 0 {
		kinds := "kernel, server, Pod or user"
		among := []string{kindKernel, kindServer, kindPod, kindUser}
		if kind != "" {
			kinds, among = kind, []string{kind}
		}
		return nil, seen.Missing, nothingOf(kinds, name, c.Namespace, slices.Sorted(maps.Keys(seen.Names(among...))))
	}
	missing := seen.Missing
	var answers []Answer
	for _, s := range subjects {
		a, without, err := c.explain(ctx, s)
		if err != nil {
			return nil, missing, err
		}
		if without != "" && !slices.Contains(missing, without) {
			missing = append(missing, without)
		}
		answers = append(answers, a)
	}
	return answers, missing, nil
}

func (c *Cluster) explain(ctx context.Context, s subject) (Answer, string, error) {
	var o client.Object = s.kernel
	var podName string
	var start []v1alpha1.NotebookProgress
	a := Answer{Kind: kindKernel}
	if s.server != nil {
		o, podName, start, a.Kind = s.server, s.server.Status.PodName, s.server.Status.Progress, kindServer
	} else {
		podName = s.kernel.Status.PodName
	}
	a.Namespace, a.Name = o.GetNamespace(), o.GetName()
	events, missing, err := c.eventsOf(ctx, o, podName, start)
	if err != nil {
		return a, "", err
	}
	var pod *corev1.Pod
	if podName != "" {
		found := &corev1.Pod{}
		switch err := c.api.Get(ctx, client.ObjectKey{Namespace: a.Namespace, Name: podName}, found); {
		case err == nil:
			pod = found
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
			return a, missing, sentence(err, "get", "pods", a.Namespace)
		}
	}
	told := &telling{now: c.Now()}
	if s.server != nil {
		told.server(s.server, s.at)
	} else {
		told.kernel(s.kernel, s.row)
	}
	if s.server == nil || !saysOfPod[s.server.Status.Reason] {
		told.pod(pod)
	}
	told.happened(events)
	a.Sentences = told.sentences
	return a, missing, nil
}

// saysOfPod are the reasons of servers whose message is what the Pod says, with figures.
var saysOfPod = map[string]bool{"Unschedulable": true, "ImagePullFailed": true, "ContainerConfigInvalid": true}

// telling gathers sentences, none twice.
type telling struct {
	now       time.Time
	sentences []string
}

func (t *telling) say(format string, args ...any) { t.tell(fmt.Sprintf(format, args...)) }

// tell adds what somebody wrote, as a sentence, unless it was said.
func (t *telling) tell(text string) {
	text = acts.Line(text)
	if text == "" {
		return
	}
	if !strings.ContainsAny(text[len(text)-1:], ".!?") {
		text += "."
	}
	if !slices.ContainsFunc(t.sentences, func(said string) bool { return strings.Contains(said, text) }) {
		t.sentences = append(t.sentences, text)
	}
}

func (t *telling) ago(at *time.Time) string {
	if at == nil || at.IsZero() {
		return ""
	}
	return " for " + duration.HumanDuration(max(t.now.Sub(*at), 0))
}

func (t *telling) in(at time.Time) string {
	if left := at.Sub(t.now); left > 0 {
		return "in " + duration.HumanDuration(left)
	}
	return "now"
}

// whose follows a name; some servers name no user.
func whose(user string) string {
	if user == "" {
		return ""
	}
	return " of " + user
}

func (t *telling) kernel(k *v1alpha1.JupyterKernel, row holdings.Kernel) {
	name := fmt.Sprintf("Kernel %s%s (%s)", row.ID, whose(row.User), row.Title)
	switch row.Phase {
	case v1alpha1.KernelQueued:
		t.queued(name, row)
	case v1alpha1.KernelStarting:
		t.say("%s was admitted and has been starting%s", name, t.ago(row.Since))
	case v1alpha1.KernelReady:
		t.running(name, row)
	case v1alpha1.KernelParked:
		t.say("%s has been parked%s (%s): it has no Pod and returns when it is used", name, t.ago(row.Since), row.Cause)
	case v1alpha1.KernelDead:
		t.say("%s has been dead%s (%s)", name, t.ago(row.Since), row.Cause)
	default:
		t.say("%s is %s", name, row.Phase)
	}
	t.tell(row.Message)
	if k.Status.NotBefore != nil && k.Status.NotBefore.After(t.now) {
		t.say("It has failed %d times in a row, and is tried again %s", k.Status.Failures, t.in(k.Status.NotBefore.Time))
	}
	if row.Kept != nil {
		kept := "All of its variables are"
		if !row.Kept.Whole {
			kept = "Some of its variables are"
		}
		t.say("%s kept (%d, %s)", kept, row.Kept.Variables, bytes(row.Kept.Bytes))
		if len(row.Kept.Lost) > 0 {
			t.say("Lost are %s", strings.Join(row.Kept.Lost, ", "))
		}
	}
	if park := k.Spec.Park; row.Releasing && park != nil {
		t.say("%s asked to release it%s", park.By, becauseOf(park.Reason))
		if row.IdleSince == nil && !park.Force && row.Phase == v1alpha1.KernelReady {
			t.tell("It is busy, and is parked when it is idle.")
		}
	}
	if k.Spec.Shutdown != nil {
		t.say("%s asked to end it for good", k.Spec.Shutdown.By)
	}
	t.conditions(k.Status.Conditions)
}

func becauseOf(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func (t *telling) queued(name string, row holdings.Kernel) {
	asks := ""
	if len(row.Devices) > 0 {
		asks = " to be given " + devices(row.Devices)
	}
	if row.Queue == nil {
		t.say("%s has waited%s%s, and has no place in the queue yet", name, t.ago(row.Since), asks)
		return
	}
	t.say("%s has waited%s%s: it is number %d of %d in the queue", name, t.ago(row.Since), asks, row.Queue.Position, row.Queue.Length)
	if row.Queue.Reason != "" {
		t.say("It waits because %s", row.Queue.Reason)
	}
	t.moved(row.Moved)
}

// moved says who has moved a kernel in the queue, and why.
func (t *telling) moved(m *holdings.Moved) {
	if m == nil {
		return
	}
	where := "the front"
	if m.To == holdings.MovedLast {
		where = "the end"
	}
	t.say("%s has moved it to %s of the queue%s", cmp.Or(m.By, "Somebody"), where, becauseOf(m.Reason))
}

func (t *telling) running(name string, row holdings.Kernel) {
	t.say("%s has run on %s%s%s", name, cmp.Or(row.Node, "a node that is not known"), t.ago(row.Since), holding(row))
	switch {
	case row.IdleSince == nil:
		t.tell("It is busy.")
	case row.ParkAt != nil:
		t.say("It has been idle%s, and is parked %s if it stays so", t.ago(row.IdleSince), t.in(*row.ParkAt))
	default:
		t.say("It has been idle%s, and is not parked for that", t.ago(row.IdleSince))
	}
}

func holding(row holdings.Kernel) string {
	if !row.Holds || len(row.Devices) == 0 {
		return ""
	}
	return " and holds " + devices(row.Devices)
}

// stopped says who or what stopped a server.
var stopped = map[v1alpha1.StopCause]string{
	"":                  "its owner, or whoever wrote spec.stopped, asked for it",
	v1alpha1.StopIdle:   "it was idle for long enough",
	v1alpha1.StopMaxRun: "it had run for as long as it may",
	v1alpha1.StopBudget: "its budget was used up",
	v1alpha1.StopAdmin:  "an administrator asked for it",
	v1alpha1.StopOrphan: "the Hub did not know that it ran",

	v1alpha1.StopEnvironment: "what the Hub had given it was gone; the Hub can start it again",
}

func (t *telling) server(nb *v1alpha1.JupyterNotebook, row holdings.Server) {
	name := fmt.Sprintf("Server %s%s", row.Name, whose(row.User))
	switch row.Phase {
	case v1alpha1.NotebookPending:
		t.say("%s is pending: something that it needs is missing", name)
	case v1alpha1.NotebookStarting:
		t.say("%s has been starting%s", name, t.ago(row.StartedAt))
	case v1alpha1.NotebookReady:
		t.say("%s has run on %s%s", name, cmp.Or(row.Node, "a node that is not known"), t.ago(row.StartedAt))
		for _, b := range row.Busy {
			t.say("It is kept by %s%s", busyThing(b), t.ago(b.Since))
		}
		if row.StopAt != nil {
			t.say("It is stopped %s (%s), or looked at again then", t.in(*row.StopAt), row.StopCause)
		}
	case v1alpha1.NotebookStopping, v1alpha1.NotebookStopped:
		state := "has been stopped"
		if row.Phase == v1alpha1.NotebookStopping {
			state = "is being stopped"
		}
		cause := v1alpha1.StopCause(nb.Annotations[v1alpha1.AnnotationStopCause])
		ago := ""
		if at, err := time.Parse(time.RFC3339, nb.Annotations[v1alpha1.AnnotationStopTime]); err == nil {
			ago = t.ago(&at)
		}
		t.say("%s %s%s: %s", name, state, ago, cmp.Or(stopped[cause], string(cause)))
	case v1alpha1.NotebookFailed:
		t.say("%s has failed and does not come up by itself%s", name, becauseOf(row.Reason))
	default:
		t.say("%s is %s", name, row.Phase)
	}
	t.tell(row.Message)
	t.conditions(nb.Status.Conditions)
}

// busyThing is what keeps a server: the terminal 1 (make).
func busyThing(b holdings.Busy) string {
	return strings.TrimRight(fmt.Sprintf("the %s %s", b.Kind, cmp.Or(b.Title, b.Name)), " ")
}

// conditions says what is not as it should be.
func (t *telling) conditions(all []metav1.Condition) {
	for _, c := range all {
		if c.Status == metav1.ConditionFalse && c.Type == v1alpha1.ConditionReady || c.Status == metav1.ConditionTrue && c.Type == v1alpha1.ConditionOrphan {
			t.tell(c.Message)
		}
	}
}

// pod says what keeps a Pod from running.
func (t *telling) pod(pod *corev1.Pod) {
	if pod == nil {
		return
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			clause, _ := podtrouble.Unplaced(c.Message, podtrouble.Placement{Spec: &pod.Spec})
			t.say("No node takes its Pod %s: %s", pod.Name, clause)
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Message != "" {
			clause, _ := podtrouble.Unpulled(c.Image, w.Message)
			t.say("Its container %s waits (%s): %s", c.Name, w.Reason, clause)
		}
	}
}

// happened tells the last warnings, and who asked for what.
func (t *telling) happened(events []holdings.Event) {
	told := 0
	for _, e := range events {
		asked := strings.HasSuffix(e.Reason, "Requested")
		if told == mostTold || !e.Warning && !asked {
			continue
		}
		told++
		t.say("%s ago (%s): %s", duration.HumanDuration(max(t.now.Sub(e.Time), 0)), cmp.Or(e.Reason, "start"), e.Message)
	}
}
