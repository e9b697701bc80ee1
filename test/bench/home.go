package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/podrules"
)

const (
	homeUser     = "researcher" // of the demo's directory
	homeServer   = "bench"
	homeGateway  = "default" // the demo's
	homeCold     = 10
	homeWarm     = 20
	homePatience = 2 * time.Minute
)

// homeFigures are of starts by a notebook server of the demo's Hub, with its home: from
// POST of a session until the reply of its first cell.
type homeFigures struct {
	Cold      summary `json:"cold"`
	Warm      summary `json:"warm"`
	ColdSteps []step  `json:"coldSteps"`
	WarmSteps []step  `json:"warmSteps"`
}

// step is a part of a start, and how long it took at the median, in milliseconds.
type step struct {
	Name string  `json:"name"`
	P50  float64 `json:"p50"`
}

// mark is a moment of a start.
type mark string

// The moments, in the order in which they come; a start from a warm Pod has not all of them.
const (
	markAsked     mark = "asked"
	markWritten   mark = "written"
	markAdmitted  mark = "admitted"
	markMade      mark = "made"
	markScheduled mark = "scheduled"
	markAgent     mark = "agent"
	markProcess   mark = "process"
	markUp        mark = "up"
	markTold      mark = "told"
	markReplied   mark = "replied"
)

// leg is the way from one mark to another.
type leg struct {
	name     string
	from, to mark
}

var coldLegs = []leg{
	{"request", markAsked, markWritten},
	{"queue", markWritten, markAdmitted},
	{"make the Pod", markAdmitted, markMade},
	{"schedule", markMade, markScheduled},
	{"mount, agent's container", markScheduled, markAgent},
	{"kernel's container", markAgent, markProcess},
	{"kernel", markProcess, markUp},
	{"connect, first cell", markUp, markReplied},
}

var warmLegs = []leg{
	{"request", markAsked, markWritten},
	{"queue", markWritten, markAdmitted},
	{"take the Pod, tell the kernel", markAdmitted, markTold},
	{"connect, first cell", markTold, markReplied},
}

// homeSite is a server of the demo's Hub and what is watched of its kernels.
type homeSite struct {
	*cluster
	watching client.WithWatch
	logs     kubernetes.Interface
	notebook *v1alpha1.JupyterNotebook
	hub      *server
}

// home measures starts with a home.
func home(ctx context.Context, b *bench) (_ any, err error) {
	s, err := newHomeSite(b)
	if err != nil {
		return nil, err
	}
	gateway := &v1alpha1.JupyterGateway{}
	if err := s.api.Get(ctx, s.key(homeGateway), gateway); err != nil {
		return nil, err
	}
	budget := gateway.Spec.Warm
	defer func() {
		err = errors.Join(err, s.setWarm(context.WithoutCancel(ctx), budget), s.stopServer(context.WithoutCancel(ctx)))
	}()
	if err := s.startServer(ctx); err != nil {
		return nil, err
	}
	f := &homeFigures{}
	if err := s.setWarm(ctx, 0); err != nil {
		return nil, err
	}
	if f.Cold, f.ColdSteps, err = s.measure(ctx, homeCold, false, coldLegs); err != nil {
		return nil, err
	}
	b.say("  no budget   p50 %.0f ms, p95 %.0f ms, n=%d", f.Cold.P50, f.Cold.P95, f.Cold.N)
	if err := s.setWarm(ctx, max(budget, 1)); err != nil {
		return nil, err
	}
	if f.Warm, f.WarmSteps, err = s.measure(ctx, homeWarm, true, warmLegs); err != nil {
		return nil, err
	}
	b.say("  kept ready  p50 %.0f ms, p95 %.0f ms, n=%d", f.Warm.P50, f.Warm.P95, f.Warm.N)
	for _, steps := range [][]step{f.ColdSteps, f.WarmSteps} {
		for _, one := range steps {
			b.say("    %-34s %6.0f ms", one.Name, one.P50)
		}
	}
	return f, nil
}

func newHomeSite(b *bench) (*homeSite, error) {
	hub, token := os.Getenv("HUB_URL"), os.Getenv("HUB_API_TOKEN")
	s := &homeSite{cluster: &cluster{b: b, namespace: os.Getenv("ELASTICHUB_DEMO_NAMESPACE")}}
	if s.namespace == "" || hub == "" || token == "" {
		return nil, errors.New("ELASTICHUB_DEMO_NAMESPACE, HUB_URL or HUB_API_TOKEN is not set: run.sh takes them from make env")
	}
	s.hub = &server{name: "the Hub", url: hub + "/hub/api", token: token}
	// The Hub lets the demo's service into the servers of its users.
	s.server = &server{name: "jupyter_server", url: hub + "/user/" + homeUser + "/" + homeServer, token: token}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	if s.watching, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	s.api = s.watching
	s.logs, err = kubernetes.NewForConfig(config)
	return s, err
}

// startServer has the Hub start the server, and waits until it runs.
func (s *homeSite) startServer(ctx context.Context) error {
	at := "/users/" + homeUser
	var user struct {
		Servers map[string]struct{ Ready bool }
	}
	if s.hub.call(ctx, http.MethodGet, at, nil, &user) != nil {
		if err := s.hub.call(ctx, http.MethodPost, at, nil, nil); err != nil {
			return err
		}
	}
	if !user.Servers[homeServer].Ready {
		if err := s.hub.call(ctx, http.MethodPost, at+"/servers/"+homeServer, map[string]any{}, nil); err != nil {
			return err
		}
	}
	s.b.say("  waiting for %s's server", homeUser)
	err := s.until(ctx, homePatience, func() error {
		if err := s.hub.call(ctx, http.MethodGet, at, nil, &user); err != nil {
			return err
		}
		if !user.Servers[homeServer].Ready {
			return errors.New("the server is not ready")
		}
		return s.server.call(ctx, http.MethodGet, "/api/kernelspecs", nil, nil)
	})
	if err != nil {
		return err
	}
	var notebooks v1alpha1.JupyterNotebookList
	if err := s.api.List(ctx, &notebooks, client.InNamespace(s.namespace)); err != nil {
		return err
	}
	i := slices.IndexFunc(notebooks.Items, func(nb v1alpha1.JupyterNotebook) bool {
		return nb.Spec.User == homeUser && nb.Spec.Server == homeServer
	})
	if i < 0 || len(podrules.Claims(&notebooks.Items[i])) == 0 {
		return errors.New("the server has no home: its policy is not the demo's")
	}
	s.notebook = &notebooks.Items[i]
	return nil
}

// stopServer has the Hub stop and remove the server.
func (s *homeSite) stopServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, homePatience)
	defer cancel()
	return s.hub.call(ctx, http.MethodDelete, "/users/"+homeUser+"/servers/"+homeServer, map[string]bool{"remove": true}, nil)
}

func (s *homeSite) setWarm(ctx context.Context, n int32) error {
	ctx, cancel := context.WithTimeout(ctx, homePatience)
	defer cancel()
	gateway := &v1alpha1.JupyterGateway{}
	if err := s.api.Get(ctx, s.key(homeGateway), gateway); err != nil {
		return err
	}
	before := gateway.DeepCopy()
	gateway.Spec.Warm = n
	return s.api.Patch(ctx, gateway, client.MergeFrom(before))
}

// measure starts so many kernels, and says where their time went.
func (s *homeSite) measure(ctx context.Context, rounds int, warm bool, legs []leg) (summary, []step, error) {
	var whole times
	parts := make([]times, len(legs))
	for range rounds {
		if err := s.ready(ctx, warm); err != nil {
			return summary{}, nil, err
		}
		marks, err := s.start(ctx, warm)
		if err != nil {
			return summary{}, nil, err
		}
		whole.add(marks[markReplied].Sub(marks[markAsked]))
		for i, l := range legs {
			from, to := marks[l.from], marks[l.to]
			if from.IsZero() || to.IsZero() {
				return summary{}, nil, fmt.Errorf("nobody has seen when %s was over: %v", l.name, marks)
			}
			parts[i].add(to.Sub(from))
		}
	}
	var steps []step
	for i, l := range legs {
		steps = append(steps, step{l.name, round(quantile(parts[i], 0.5), 1)})
	}
	return whole.summary(), steps, nil
}

// ready waits until a kernel is kept ready for the notebook, or none is.
func (s *homeSite) ready(ctx context.Context, warm bool) error {
	return s.until(ctx, homePatience, func() error {
		pods, err := s.pods(ctx, client.MatchingLabels{v1alpha1.LabelWarmFor: podrules.ObjectLabel(s.notebook.Name)})
		if err != nil {
			return err
		}
		if !warm && len(pods) > 0 {
			return errors.New("a kernel is still kept ready")
		}
		if warm && !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return podReady(&p) && p.DeletionTimestamp == nil }) {
			return errors.New("no kernel is kept ready for the notebook")
		}
		return nil
	})
}

// start makes a session as JupyterLab does, runs its first cell, and ends it.
func (s *homeSite) start(ctx context.Context, warm bool) (marks map[mark]time.Time, err error) {
	seen, err := s.watch(ctx)
	if err != nil {
		return nil, err
	}
	defer seen.stop()
	var made struct {
		ID     string
		Kernel struct{ ID string }
	}
	asked := time.Now()
	body := map[string]any{"path": "bench.ipynb", "name": "bench.ipynb", "type": "notebook", "kernel": map[string]string{"name": demoSpec}}
	if err := s.server.call(ctx, http.MethodPost, "/api/sessions", body, &made); err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, s.server.call(ctx, http.MethodDelete, "/api/sessions/"+made.ID, nil, nil), s.gone(ctx, made.Kernel.ID))
	}()
	page, err := s.server.open(ctx, made.Kernel.ID, legacy)
	if err != nil {
		return nil, err
	}
	defer page.close()
	limited, cancel := context.WithTimeout(ctx, homePatience)
	defer cancel()
	if _, _, err := page.roundTrip(limited, "print(6*7)"); err != nil {
		return nil, err
	}
	replied := time.Now()
	var k v1alpha1.JupyterKernel
	if err := s.api.Get(ctx, s.key(made.Kernel.ID), &k); err != nil {
		return nil, err
	}
	if took := strings.HasPrefix(k.Status.PodName, warmPrefix); took != warm {
		return nil, fmt.Errorf("the kernel runs in Pod %s", k.Status.PodName)
	}
	marks = seen.of(made.Kernel.ID)
	marks[markAsked], marks[markReplied] = asked, replied
	if !warm {
		err = s.readLog(ctx, k.Status.PodName, marks)
	}
	return marks, err
}

// gone waits until a kernel's object and Pods are.
func (s *homeSite) gone(ctx context.Context, kernel string) error {
	return s.until(ctx, homePatience, func() error {
		err := s.api.Get(ctx, s.key(kernel), &v1alpha1.JupyterKernel{})
		if err == nil {
			return errors.New("the kernel is still there")
		}
		return errors.Join(client.IgnoreNotFound(err), s.none(ctx, client.MatchingLabels{v1alpha1.LabelKernel: podrules.ObjectLabel(kernel)}))
	})
}

// readLog takes from the agent's log when that began, and when the kernel's process did
// and had answered.
func (s *homeSite) readLog(ctx context.Context, pod string, marks map[mark]time.Time) error {
	stream, err := s.logs.CoreV1().Pods(s.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: v1alpha1.AgentContainer, Timestamps: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	lines := bufio.NewScanner(io.LimitReader(stream, 1<<20))
	for lines.Scan() {
		stamp, text, _ := strings.Cut(lines.Text(), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			continue
		}
		for words, m := range map[string]mark{"agent started": markAgent, "kernel started": markProcess, "kernel ready": markUp} {
			if strings.Contains(text, words) && marks[m].IsZero() {
				marks[m] = at
			}
		}
	}
	return lines.Err()
}

// sight is what a watch has seen, and when, by kernel.
type sight struct {
	stop  func()
	mu    sync.Mutex
	marks map[string]map[mark]time.Time
}

func (w *sight) of(kernel string) map[mark]time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	marks := map[mark]time.Time{}
	for m, at := range w.marks[kernel] {
		marks[m] = at
	}
	return marks
}

// note takes the moment at which something was seen first.
func (w *sight) note(kernel string, m mark, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !is || kernel == "" || !w.marks[kernel][m].IsZero() {
		return
	}
	if w.marks[kernel] == nil {
		w.marks[kernel] = map[mark]time.Time{}
	}
	w.marks[kernel][m] = time.Now()
}

// watch begins to watch kernels and their Pods.
func (s *homeSite) watch(ctx context.Context) (*sight, error) {
	kernels, err := s.watching.Watch(ctx, &v1alpha1.JupyterKernelList{}, client.InNamespace(s.namespace))
	if err != nil {
		return nil, err
	}
	pods, err := s.watching.Watch(ctx, &corev1.PodList{}, client.InNamespace(s.namespace), client.MatchingLabels{v1alpha1.LabelComponent: v1alpha1.ComponentKernel})
	if err != nil {
		kernels.Stop()
		return nil, err
	}
	w := &sight{marks: map[string]map[mark]time.Time{}}
	var both sync.WaitGroup
	w.stop = func() {
		kernels.Stop()
		pods.Stop()
		both.Wait()
	}
	both.Go(func() {
		for e := range kernels.ResultChan() {
			if k, ok := e.Object.(*v1alpha1.JupyterKernel); ok {
				w.note(k.Name, markWritten, true)
				w.note(k.Name, markAdmitted, k.Status.Phase.HasPod())
				w.note(k.Name, markTold, k.Status.PodIP != "")
			}
		}
	})
	both.Go(func() {
		for e := range pods.ResultChan() {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				w.note(pod.Labels[v1alpha1.LabelKernel], markMade, true)
				w.note(pod.Labels[v1alpha1.LabelKernel], markScheduled, pod.Spec.NodeName != "")
			}
		}
	})
	return w, nil
}

func drawHome(raw []byte) (string, error) {
	f, versions, err := decode[homeFigures](raw)
	c := chart{title: "Start of a kernel with a home, by a server of the demo", unit: "milliseconds", versions: versions,
		subtitle: "From POST of a session to the reply of its first cell. Bar: median, line: 95th percentile. Below: medians of the steps."}
	whole := func(label string, s summary) bar {
		return bar{label: label, value: s.P50, whisker: s.P95, text: fmt.Sprintf("%s, p95 %s", plain(s.P50), plain(s.P95)), tone: toneOurs}
	}
	c.groups = append(c.groups, group{title: "the whole", bars: []bar{whole("from nothing", f.Cold), whole("kept ready", f.Warm)}})
	for _, steps := range []struct {
		title string
		list  []step
	}{{"from nothing, step by step", f.ColdSteps}, {"kept ready, step by step", f.WarmSteps}} {
		g := group{title: steps.title}
		for _, one := range steps.list {
			g.bars = append(g.bars, bar{label: one.Name, value: one.P50, text: plain(one.P50), tone: toneReference})
		}
		c.groups = append(c.groups, g)
	}
	return c.svg(), err
}

func homeRows(raw []byte) ([]row, string, error) {
	f, versions, err := decode[homeFigures](raw)
	return []row{
		{"kernel with a home that is kept ready, until its first cell has run, p50 / p95", fmt.Sprintf("%.0f / %.0f ms", f.Warm.P50, f.Warm.P95), "", "≤ 300 ms / 1 s"},
		{"from nothing, p50 / p95", fmt.Sprintf("%.0f / %.0f ms", f.Cold.P50, f.Cold.P95), "", "≤ 2 s"},
	}, versions, err
}
