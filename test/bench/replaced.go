package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/podrules"
)

const (
	replacedRounds = 8
	// replacedCell prints a number ten times a second, for longer than a replacement takes.
	replacedCell  = "import time\nfor i in range(400):\n    print(i, flush=True)\n    time.sleep(.1)"
	replacedLines = 400
)

// replacedFigures are of notebook Pods that are deleted while a cell of their page prints:
// from the request to delete the Pod.
type replacedFigures struct {
	// Answers is the time until the next server answers.
	Answers summary `json:"answers"`
	// Output is the time until the page has a line that it had not.
	Output summary `json:"output"`
	// Lost and Twice count the lines that never came, and those that came once more.
	Lost  int `json:"lost"`
	Twice int `json:"twice"`
}

// replaced measures how long a page sees nothing while its notebook's Pod is replaced.
func replaced(ctx context.Context, b *bench) (_ any, err error) {
	s, err := newHomeSite(b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stopServer(context.WithoutCancel(ctx))) }()
	if err := s.startServer(ctx); err != nil {
		return nil, err
	}
	var made struct {
		ID     string
		Kernel struct{ ID string }
	}
	body := map[string]any{"path": "bench.ipynb", "name": "bench.ipynb", "type": "notebook", "kernel": map[string]string{"name": demoSpec}}
	if err := s.server.call(ctx, http.MethodPost, "/api/sessions", body, &made); err != nil {
		return nil, err
	}
	f := &replacedFigures{}
	var answers, output times
	for i := range replacedRounds {
		one, err := s.replace(ctx, made.Kernel.ID)
		if err != nil {
			return nil, err
		}
		b.say("  %2d: the next server answers after %.1f s, the page has output after %.1f s", i+1, one.answers.Seconds(), one.output.Seconds())
		answers.add(one.answers)
		output.add(one.output)
		f.Lost += one.lost
		f.Twice += one.twice
	}
	f.Answers, f.Output = answers.summary(), output.summary()
	return f, s.server.call(ctx, http.MethodDelete, "/api/sessions/"+made.ID, nil, nil)
}

// replacement is one Pod's.
type replacement struct {
	answers, output time.Duration
	lost, twice     int
}

// replace runs the cell, deletes the notebook's Pod under it, and reads to the cell's end.
func (s *homeSite) replace(ctx context.Context, kernel string) (*replacement, error) {
	ctx, cancel := context.WithTimeout(ctx, homePatience)
	defer cancel()
	pod, err := s.notebookPod(ctx)
	if err != nil {
		return nil, err
	}
	p := &counted{server: s.server, kernel: kernel, session: newID(), seen: map[int]int{}}
	defer p.close()
	if err := p.connect(ctx); err != nil {
		return nil, err
	}
	if err := p.run(ctx); err != nil {
		return nil, err
	}
	for len(p.seen) < 20 {
		if _, err := p.next(ctx); err != nil {
			return nil, err
		}
	}
	began, r := time.Now(), &replacement{}
	if err := s.api.Delete(ctx, pod); err != nil {
		return nil, err
	}
	answered := make(chan error, 1)
	go func() { // another client, which asks often
		answered <- s.until(ctx, homePatience, func() error {
			next, err := s.notebookPod(ctx)
			if err != nil {
				return err
			}
			if next.UID == pod.UID || !podReady(next) {
				return errors.New("the next Pod is not ready") // the former one answers for a moment yet
			}
			return s.server.call(ctx, http.MethodGet, "/api/kernelspecs", nil, nil)
		})
		r.answers = time.Since(began)
	}()
	for done := false; !done; {
		before := len(p.seen)
		done, err = p.next(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, err
		case err != nil:
			p.close()
			if err := p.reconnect(ctx); err != nil {
				return nil, err
			}
		case p.connects > 1 && r.output == 0 && len(p.seen) > before:
			r.output = time.Since(began)
		}
	}
	if r.output == 0 {
		return nil, errors.New("the page's connection was never lost")
	}
	for i := range replacedLines {
		switch n := p.seen[i]; n {
		case 0:
			r.lost++
		default:
			r.twice += n - 1
		}
	}
	return r, <-answered
}

// notebookPod is the Pod of the site's server that is not on its way out.
func (s *homeSite) notebookPod(ctx context.Context) (*corev1.Pod, error) {
	pods, err := s.pods(ctx, client.MatchingLabels{
		v1alpha1.LabelNotebook: podrules.ObjectLabel(s.notebook.Name), v1alpha1.LabelComponent: v1alpha1.ComponentNotebook,
	})
	if err != nil {
		return nil, err
	}
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil {
			return &pod, nil
		}
	}
	return nil, errors.New("the notebook has no Pod")
}

// counted is a page whose cell prints numbers.
type counted struct {
	server          *server
	kernel, session string
	page            *session
	cell            string // id of its request
	connects        int
	seen            map[int]int // how often each number came
}

func (p *counted) connect(ctx context.Context) (err error) {
	if p.page, err = p.server.reopen(ctx, p.kernel, legacy, p.session); err == nil {
		p.connects++
	}
	return err
}

// reconnect waits before each attempt as JupyterLab does: for a random time up to 2ⁿ-1
// seconds before the nth (@jupyterlab/services, kernel/default.ts).
func (p *counted) reconnect(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		wait := time.Duration(rand.Int64N(int64(time.Second)*(1<<min(attempt, 6)-1) + 1))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := p.connect(ctx); err == nil || ctx.Err() != nil {
			return err
		}
	}
}

func (p *counted) close() {
	if p.page != nil {
		p.page.close()
	}
}

func (p *counted) run(ctx context.Context) error {
	m := execution(p.page.build, replacedCell)
	p.cell = m.ID()
	return p.page.send(ctx, &m)
}

// next reads a message, and tells whether the cell is over.
func (p *counted) next(ctx context.Context) (over bool, err error) {
	m, err := p.page.receive(ctx)
	if err != nil || m.ParentID() != p.cell {
		return false, err
	}
	if m.Type() == wire.TypeStream {
		for word := range strings.FieldsSeq(wire.Member(m.Content, "text")) {
			if n, err := strconv.Atoi(word); err == nil {
				p.seen[n]++
			}
		}
	}
	return m.Channel == wire.IOPub && m.ExecutionState() == string(wire.StateIdle), nil
}

func drawReplaced(raw []byte) (string, error) {
	f, versions, err := decode[replacedFigures](raw)
	c := chart{title: "A notebook's Pod is deleted while a cell prints", unit: "milliseconds", versions: versions,
		subtitle: fmt.Sprintf("From the request to delete it, %d times. Bar: median, line: 95th percentile.", f.Output.N)}
	whole := func(label string, s summary) bar {
		return bar{label: label, value: s.P50, whisker: s.P95, text: fmt.Sprintf("%s, p95 %s", plain(s.P50), plain(s.P95)), tone: toneOurs}
	}
	c.groups = append(c.groups, group{bars: []bar{whole("the next server answers", f.Answers), whole("the page has new output", f.Output)}})
	return c.svg(), err
}

func replacedRows(raw []byte) ([]row, string, error) {
	f, versions, err := decode[replacedFigures](raw)
	return []row{
		{"Pod of a notebook deleted under a running cell, until its page has new output, p50 / p95", fmt.Sprintf("%.1f / %.1f s", f.Output.P50/1000, f.Output.P95/1000), "", "≤ 15 s"},
		{"until the next server answers, p50 / p95", fmt.Sprintf("%.1f / %.1f s", f.Answers.P50/1000, f.Answers.P95/1000), "", ""},
		{fmt.Sprintf("of %d lines lost / come twice", replacedLines*f.Output.N), fmt.Sprintf("%d / %d", f.Lost, f.Twice), "", "0 / 0"},
	}, versions, err
}
