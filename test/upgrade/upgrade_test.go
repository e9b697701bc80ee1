//go:build e2e

package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/client"
	"github.com/elastichub/elastichub/test/docs"
	"github.com/elastichub/elastichub/test/faults"
)

const root = "../.."

// world is the release, and who works with it.
type world struct {
	*testing.T
	*faults.Demo
	former, formerImage string
	hub                 client.Gateway
}

func newWorld(t *testing.T) *world {
	t.Helper()
	d, err := faults.FromEnv()
	require.NoError(t, err)
	w := &world{T: t, Demo: d, former: os.Getenv("UPGRADE_FORMER"), formerImage: os.Getenv("UPGRADE_FORMER_IMAGE"),
		hub: client.Gateway{URL: d.HubURL + "/hub/api", Token: os.Getenv("HUB_API_TOKEN")}}
	for _, name := range []string{"UPGRADE_FORMER", "UPGRADE_FORMER_IMAGE", "UPGRADE_FORMER_NOTEBOOK", "UPGRADE_FORMER_KINDS", "UPGRADE_VALUES", "UPGRADE_NOTEBOOKS"} {
		require.NotEmpty(t, os.Getenv(name), "run make upgrade-test")
	}
	// What an attempt before has brought.
	w.must("replace", "-f", os.Getenv("UPGRADE_FORMER_KINDS"))
	if w.release() != w.former {
		w.script("helm rollback elastichub 1 -n " + w.Namespace)
		w.rolledBack()
	}
	return w
}

func (w *world) must(args ...string) string {
	w.Helper()
	out, err := w.Kubectl(args...)
	require.NoError(w, err)
	return out
}

func (w *world) release() string {
	w.Helper()
	return w.must("get", "deployment", "elastichub", "-o", `jsonpath={.metadata.labels.app\.kubernetes\.io/version}`)
}

// script types what a page says, in the checkout.
func (w *world) script(text string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\n"+text)
	cmd.Dir = root
	for _, variable := range os.Environ() { // our make is not that of the target which runs us
		if !strings.HasPrefix(variable, "MAKE") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(w, err, "%s", out)
	w.Logf("%s", out)
	return string(out)
}

// typed are the blocks of docs/upgrade.md, for this release.
func (w *world) typed() []string {
	w.Helper()
	blocks, _, err := docs.ReadPage("docs/upgrade.md")
	require.NoError(w, err)
	var texts []string
	for _, b := range blocks {
		texts = append(texts, strings.NewReplacer("-n jupyterhub", "-n "+w.Namespace,
			"-f values.yaml", "-f charts/demo/elastichub-values.yaml -f "+os.Getenv("UPGRADE_VALUES")).Replace(b.Text))
	}
	require.Len(w, texts, 3)
	return texts
}

// rolledBack waits until service and gateway are the former ones.
func (w *world) rolledBack() {
	w.Helper()
	w.must("rollout", "status", "deployment/elastichub", "--timeout=110s")
	w.eventually(2*time.Minute, "the gateway is the former one", func() bool {
		image, err := w.Kubectl("get", "deployment", "default", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
		return err == nil && image == w.formerImage
	})
	w.must("rollout", "status", "deployment/default", "--timeout=110s")
	require.Equal(w, w.former, w.release())
}

func (w *world) eventually(patience time.Duration, what string, is func() bool) {
	w.Helper()
	require.Eventually(w, is, patience, 250*time.Millisecond, what)
}

// notebook is a server without a Hub, with a kernel as a page has it.
type notebook struct {
	w    *world
	name string
	at   client.Gateway
	id   string // of its kernel, if it has one
	page *client.Kernel
}

const serverToken = "upgrade"

// withKernels of the notebooks have one, besides those on GPUs: more have no room on a small machine.
const withKernels = 18

// notebook makes one and waits until it answers.
func (w *world) notebook(name string) (*notebook, error) {
	object, err := json.Marshal(map[string]any{
		"apiVersion": "kubeflow.tkestack.io/v1alpha1", "kind": "JupyterNotebook", "metadata": map[string]any{"name": name},
		"spec": map[string]any{
			"gateway": map[string]any{"name": "default"},
			"storage": map[string]any{"home": map[string]any{"size": "64Mi"}},
			"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{
				"name": "notebook", "image": os.Getenv("UPGRADE_FORMER_NOTEBOOK"), "env": []any{map[string]string{"name": "JUPYTER_TOKEN", "value": serverToken}},
				"command":   []string{"jupyter", "server", "--ServerApp.ip=0.0.0.0", "--no-browser"},
				"resources": map[string]any{"requests": map[string]string{"cpu": "5m", "memory": "128Mi"}, "limits": map[string]string{"memory": "512Mi"}},
			}}}},
		},
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(w.TempDir(), name+".json")
	if err := os.WriteFile(file, object, 0o600); err != nil {
		return nil, err
	}
	if _, err := w.Kubectl("apply", "-f", file); err != nil {
		return nil, err
	}
	n := &notebook{w: w, name: name, at: client.Gateway{Token: serverToken}}
	err = within(3*time.Minute, func() error {
		if n.at.URL == "" {
			address, err := w.Kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
			if err != nil {
				return err
			}
			n.at.URL = "http://" + address
		}
		return n.reachesGateway()
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// start has it start its kernel, and run a cell.
func (n *notebook) start() error {
	var made struct{ Kernel struct{ ID string } }
	if err := n.answers("POST", "/api/sessions", map[string]any{
		"path": "a.ipynb", "name": "a", "type": "notebook", "kernel": map[string]string{"name": "python-cpu"},
	}, &made, http.StatusCreated); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	n.id = made.Kernel.ID
	n.page = &client.Kernel{Gateway: n.at, ID: n.id, Session: n.name, Subprotocol: wire.SubprotocolV1, Patience: 90 * time.Second}
	if err := n.page.Open(n.w.Context()); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	said, err := n.page.Run("import time; x = ['" + n.name + "']; print(x)")
	if err == nil && said.Stdout != "['"+n.name+"']\n" {
		err = fmt.Errorf("the first cell says %+v", said)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	return nil
}

// reachesGateway: the server asks it for its kernelspecs.
func (n *notebook) reachesGateway() error {
	if err := n.answers("GET", "/api/kernelspecs", nil, nil, http.StatusOK); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	return nil
}

// within asks again until there is no fault.
func within(patience time.Duration, is func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(250 * time.Millisecond) {
		err := is()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func (n *notebook) answers(method, path string, body, into any, want int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	status, err := n.at.Call(ctx, method, path, body, into)
	if err == nil && status != want {
		err = fmt.Errorf("%s %s: status %d", method, path, status)
	}
	return err
}

// kernel is what the cluster says of a kernel.
type kernel struct {
	Metadata struct{ UID string }
	Status   struct {
		Phase, PodName string
		Kept           struct{ Outcome string }
	}
}

func (w *world) kernel(id string) kernel {
	w.Helper()
	var k kernel
	require.NoError(w, json.Unmarshal([]byte(w.must("get", "jupyterkernel", id, "-o", "json")), &k))
	return k
}

// agent is the image of the agent of a kernel's Pod, and the Pod's identity.
func (w *world) agent(id string) (image, pod string) {
	w.Helper()
	name := w.kernel(id).Status.PodName
	require.NotEmpty(w, name)
	out := w.must("get", "pod", name, "-o", `jsonpath={.spec.containers[?(@.name=="agent")].image} {.metadata.uid}`)
	image, pod, _ = strings.Cut(out, " ")
	return image, pod
}

// park saves a kernel's variables and gives its Pod back.
func (n *notebook) park(run int) {
	n.w.Helper()
	n.w.must("patch", "jupyterkernel", n.id, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"park":{"run":%d}}}`, run))
	n.w.eventually(2*time.Minute, "parked", func() bool { return n.w.kernel(n.id).Status.Phase == "Parked" })
	require.Equal(n.w, "whole", n.w.kernel(n.id).Status.Kept.Outcome)
	n.page.Close()
}

// back opens a page on a parked kernel, which comes back with what it had.
func (n *notebook) back(code, want string) {
	n.w.Helper()
	n.w.eventually(time.Minute, "the page opens", func() bool { return n.page.Open(n.w.Context()) == nil })
	said, err := n.page.Run(code)
	require.NoError(n.w, err)
	assert.Equal(n.w, want, said.Stdout, "%+v", said)
}

// printing is a cell that counts until it is interrupted, and the lines that a page sees.
type printing struct {
	n     *notebook
	lines chan map[int]int
	mu    sync.Mutex
	last  int
}

func (n *notebook) print() *printing {
	n.w.Helper()
	id, err := n.page.Execute("i = 0\nwhile True:\n    print(i, flush=True); i += 1; time.sleep(.1)")
	require.NoError(n.w, err)
	p := &printing{n: n, lines: make(chan map[int]int, 1)}
	go func() {
		lines := map[int]int{}
		defer func() { p.lines <- lines }()
		for {
			m, err := n.page.Next()
			if !assert.NoError(n.w, err, "the page of %s lost its connection", n.name) {
				return
			}
			switch {
			case m.ParentID() != id:
			case m.Type() == wire.TypeStream && wire.Member(m.Content, "name") == "stdout":
				for _, line := range strings.Fields(wire.Member(m.Content, "text")) {
					i, err := strconv.Atoi(line)
					if !assert.NoError(n.w, err) {
						return
					}
					lines[i]++
					p.mu.Lock()
					p.last = i
					p.mu.Unlock()
				}
			case m.Type() == wire.TypeStatus && m.ExecutionState() == string(wire.StateIdle):
				return
			}
		}
	}()
	return p
}

// goesOn waits for a new line.
func (p *printing) goesOn() {
	p.n.w.Helper()
	now := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.last
	}
	before := now()
	p.n.w.eventually(time.Minute, "a line of "+p.n.name, func() bool { return now() > before })
}

// end interrupts it: each line came once, from the first to the last.
func (p *printing) end() {
	p.n.w.Helper()
	require.NoError(p.n.w, p.n.answers("POST", "/api/kernels/"+p.n.id+"/interrupt", struct{}{}, nil, http.StatusNoContent))
	lines := <-p.lines
	said, err := p.n.page.Run("print(i)")
	require.NoError(p.n.w, err)
	count, err := strconv.Atoi(strings.TrimSpace(said.Stdout))
	require.NoError(p.n.w, err, "%+v", said)
	lost, doubled := 0, 0
	for i := range count {
		switch {
		case lines[i] == 0:
			lost++
		case lines[i] > 1:
			doubled++
		}
	}
	p.n.w.Logf("%s: %d lines, lost %d, doubled %d", p.n.name, count, lost, doubled)
	assert.Zero(p.n.w, lost, "lines lost")
	assert.Zero(p.n.w, doubled, "lines doubled")
}

// spawning has the Hub start and stop servers of its users until it is ended.
type spawning struct {
	w    *world
	stop context.CancelFunc
	wait sync.WaitGroup
	mu   sync.Mutex
	done int
	// failed says of each that failed what happened.
	failed []string
}

func (w *world) spawn(users ...string) *spawning {
	ctx, stop := context.WithCancel(context.Background())
	s := &spawning{w: w, stop: stop}
	for _, user := range users {
		s.wait.Go(func() {
			for ctx.Err() == nil {
				err := w.startAndStop(user)
				s.mu.Lock()
				if err == nil {
					s.done++
				} else {
					s.failed = append(s.failed, err.Error())
				}
				s.mu.Unlock()
				time.Sleep(time.Second)
			}
		})
	}
	w.Cleanup(func() { stop(); s.wait.Wait() })
	return s
}

func (w *world) startAndStop(user string) error {
	call := func(method, path string, into any) (int, error) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		return w.hub.Call(ctx, method, path, map[string]any{}, into)
	}
	server := func() (there, ready bool, err error) {
		var model struct {
			Servers map[string]struct{ Ready bool }
		}
		status, err := call("GET", "/users/"+user, &model)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("the Hub says %d", status)
		}
		own, there := model.Servers[""]
		return there, own.Ready, err
	}
	if status, err := call("POST", "/users/"+user, nil); err != nil || status != http.StatusCreated && status != http.StatusConflict {
		return fmt.Errorf("user %s: status %d: %w", user, status, err)
	}
	began := time.Now()
	status, err := call("POST", "/users/"+user+"/server", nil)
	if err != nil || status != http.StatusCreated && status != http.StatusAccepted {
		return fmt.Errorf("start of %s: status %d: %w", user, status, err)
	}
	for {
		there, ready, err := server()
		switch {
		case err != nil:
			return fmt.Errorf("start of %s: %w", user, err)
		case !there:
			return fmt.Errorf("the start of %s failed after %s", user, time.Since(began))
		case time.Since(began) > 2*time.Minute:
			return fmt.Errorf("the start of %s takes longer than two minutes", user)
		}
		if ready {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	if status, err := call("DELETE", "/users/"+user+"/server", nil); err != nil || status != http.StatusNoContent && status != http.StatusAccepted {
		return fmt.Errorf("stop of %s: status %d: %w", user, status, err)
	}
	return within(2*time.Minute, func() error {
		there, _, err := server()
		if err == nil && there {
			err = fmt.Errorf("the server of %s does not stop", user)
		}
		return err
	})
}

// noneFailed waits until the Hub has started servers since now, and looks whether all came.
func (s *spawning) noneFailed() {
	s.w.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.done + len(s.failed)
	}
	before := count()
	s.w.eventually(3*time.Minute, "the Hub starts servers", func() bool { return count() >= before+2 })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.Logf("servers started by the Hub: %d, failed: %d", s.done, len(s.failed))
	assert.Empty(s.w, s.failed, "spawns failed")
}

// question is a cell that waits for input. Its page reads all the time, as a browser does:
// a page that does not is cut off after a minute.
type question struct {
	n    *notebook
	said chan client.Cell
}

func (n *notebook) ask() *question {
	n.w.Helper()
	id, err := n.page.Send(wire.Shell, wire.TypeExecuteRequest, map[string]any{
		"code": "print('got', input('? '))", "silent": false, "store_history": true, "allow_stdin": true, "stop_on_error": true, "user_expressions": map[string]string{},
	})
	require.NoError(n.w, err)
	q := &question{n: n, said: make(chan client.Cell, 1)}
	n.page.Patience = 30 * time.Minute // nothing is said while it waits
	asked := make(chan struct{})
	go func() {
		var cell client.Cell
		defer func() { q.said <- cell }()
		for {
			m, err := n.page.Next()
			if !assert.NoError(n.w, err, "the page of %s lost its connection", n.name) {
				return
			}
			switch {
			case m.Type() == wire.TypeInputRequest:
				close(asked)
			case m.ParentID() != id:
			case m.Type() == wire.TypeStream:
				cell.Stdout += wire.Member(m.Content, "text")
			case m.Type() == wire.TypeStatus && m.ExecutionState() == string(wire.StateIdle):
				return
			}
		}
	}()
	select {
	case <-asked:
	case <-time.After(time.Minute):
		require.Fail(n.w, "nobody is asked for input")
	}
	return q
}

func (q *question) answer(text string) {
	q.n.w.Helper()
	_, err := q.n.page.Send(wire.Stdin, wire.TypeInputReply, map[string]any{"value": text})
	require.NoError(q.n.w, err)
	select {
	case said := <-q.said:
		assert.Equal(q.n.w, "got "+text+"\n", said.Stdout)
	case <-time.After(time.Minute):
		require.Fail(q.n.w, "the answer does not reach the cell")
	}
	q.n.page.Patience = 90 * time.Second
}

// has looks at the variable of the first cell, by a page that is opened anew.
func (n *notebook) has() {
	n.w.Helper()
	n.page.Close()
	n.back("print(x)", "['"+n.name+"']\n")
}

// onGPUs starts more kernels than there are GPUs for, and returns how many there are, which kernels have one and which wait.
func (w *world) onGPUs() (gpus int, held, queued []string) {
	w.Helper()
	for _, n := range strings.Fields(w.must("get", "nodes", "-o", `jsonpath={.items[*].status.allocatable.nvidia\.com/gpu}`)) {
		count, err := strconv.Atoi(n)
		require.NoError(w, err)
		gpus += count
	}
	if gpus == 0 {
		w.Log("no node has a GPU: nobody waits for one")
		return 0, nil, nil
	}
	var all []string
	for range gpus + 1 {
		k, err := w.Start("python-gpu")
		require.NoError(w, err)
		all = append(all, k.ID)
		w.Cleanup(func() { _, _ = w.Kubectl("delete", "jupyterkernel", k.ID, "--ignore-not-found", "--wait=false") })
	}
	w.eventually(2*time.Minute, "GPUs are lent, and somebody waits", func() bool {
		held, queued = nil, nil
		for _, id := range all {
			switch w.kernel(id).Status.Phase {
			case "Ready":
				held = append(held, id)
			case "Queued":
				queued = append(queued, id)
			}
		}
		return len(held) > 0 && len(queued) > 0 && len(held)+len(queued) == len(all)
	})
	return gpus, held, queued
}

// lending looks again and again for how many GPUs Pods have been made, whether a node has taken them or not: more than
// there are is what two leaders, or one that has forgotten, would admit.
type lending struct {
	w      *world
	gpus   int
	cancel context.CancelFunc
	over   sync.WaitGroup
	looks  int
	most   int // that were lent at once
	beyond time.Duration
}

func (w *world) lend(gpus int) *lending {
	ctx, cancel := context.WithCancel(w.Context())
	l := &lending{w: w, gpus: gpus, cancel: cancel}
	l.over.Go(func() {
		for last := time.Now(); ctx.Err() == nil; time.Sleep(time.Second) {
			pods, err := w.Kubectl("get", "pods", "-o",
				`go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.status.phase}}{{range .spec.containers}} {{with .resources.limits}}{{index . "nvidia.com/gpu"}}{{end}}{{end}}{{"\n"}}{{end}}{{end}}`)
			if err != nil {
				continue
			}
			lent := 0
			for line := range strings.Lines(pods) {
				fields := strings.Fields(strings.ReplaceAll(line, "<no value>", ""))
				if len(fields) == 0 || fields[0] != "Running" && fields[0] != "Pending" {
					continue
				}
				for _, count := range fields[1:] {
					n, _ := strconv.Atoi(count)
					lent += n
				}
			}
			l.looks++
			l.most = max(l.most, lent)
			if lent > gpus {
				l.beyond += time.Since(last)
			}
			last = time.Now()
		}
	})
	w.Cleanup(func() { cancel(); l.over.Wait() })
	return l
}

// end says for how long Pods had more GPUs than there are.
func (l *lending) end() {
	l.w.Helper()
	l.cancel()
	l.over.Wait()
	l.w.Logf("%d GPUs, %d looks at whom they are lent to, %d at most; beyond them: %s", l.gpus, l.looks, l.most, l.beyond)
	assert.Zero(l.w, l.beyond)
	assert.Equal(l.w, l.gpus > 0, l.most > 0, "who holds one is seen")
	assert.Greater(l.w, l.looks, 10)
}

// TestUpgradeAndRollBackWithoutNotice: the release before this one becomes this one, and that
// again the one before, while a cell prints, the Hub spawns, one waits for input, some for GPUs,
// and one is parked. No line is lost or comes twice, no kernel is lost, no spawn fails.
func TestUpgradeAndRollBackWithoutNotice(t *testing.T) {
	w := newWorld(t)
	count, err := strconv.Atoi(os.Getenv("UPGRADE_NOTEBOOKS"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, count, 3)
	began := time.Now()
	notebooks := make([]*notebook, count)
	var wait sync.WaitGroup
	slots := make(chan struct{}, 6)
	for i := range notebooks {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var err error
			notebooks[i], err = w.notebook(fmt.Sprintf("upgrade-%d", i))
			if err == nil && i < withKernels {
				err = notebooks[i].start()
			}
			assert.NoError(t, err)
		})
	}
	wait.Wait()
	t.Cleanup(func() { w.must("delete", "jupyternotebooks", "--all", "--wait=true") })
	require.False(t, t.Failed())
	some := min(count, withKernels)
	busy, parked, asking, idle, bare := notebooks[0], notebooks[1], notebooks[2], notebooks[3:some], notebooks[some:]
	for _, n := range []*notebook{busy, asking, parked} {
		n.has() // by another page: one that nobody reads from is cut off after a minute
	}
	said, err := parked.page.Run("y = x; print(x is y)")
	require.NoError(t, err)
	require.Equal(t, "True\n", said.Stdout)
	parked.park(1)
	question := asking.ask()
	gpus, held, queued := w.onGPUs()
	lent := w.lend(gpus)
	uids := map[string]string{}
	for _, n := range notebooks[:some] {
		uids[n.id] = w.kernel(n.id).Metadata.UID
	}
	kernelsThere := func() {
		t.Helper()
		lost := 0
		for id, uid := range uids {
			if k := w.kernel(id); k.Metadata.UID != uid || k.Status.Phase == "Dead" {
				lost++
				t.Errorf("kernel %s: %+v", id, k)
			}
		}
		t.Logf("kernels: %d, lost: %d", len(uids), lost)
	}
	formerAgent, pod := w.agent(busy.id)
	require.Equal(t, w.formerImage, formerAgent)
	lines, spawns := busy.print(), w.spawn("analyst", "admin")
	t.Logf("%d notebooks, and %d kernels, work after %s", count, some+len(held)+len(queued), time.Since(began).Round(time.Second))
	spawns.noneFailed()

	// Upgrade, as the page says; then what is said for who has something else roll.
	typed := w.typed()
	began = time.Now()
	out := w.script(typed[0])
	assert.Contains(t, out, "Nothing is against it, and nothing was changed.")
	assert.Contains(t, out, "Helm rolls Deployment elastichub")
	assert.Contains(t, out, "Kind jupyterkernels.kubeflow.tkestack.io gets ")
	assert.Contains(t, out, "have a former agent until they are parked")
	t.Logf("upgraded after %s", time.Since(began).Round(time.Second))
	assert.Contains(t, w.script(typed[1]), " runs in ")
	require.NotEqual(t, w.former, w.release())
	lines.goesOn()
	kernelsThere()
	image, same := w.agent(busy.id)
	assert.Equal(t, w.formerImage, image, "a kernel that runs keeps its agent")
	assert.Equal(t, pod, same)
	for _, n := range idle {
		n.has()
	}
	for _, n := range bare {
		assert.NoError(t, n.reachesGateway())
	}
	for _, id := range held {
		assert.Equal(t, "Ready", w.kernel(id).Status.Phase)
	}
	for _, id := range queued {
		assert.Equal(t, "Queued", w.kernel(id).Status.Phase)
	}
	parked.back("x.append(7); print(x is y, y[1:])", "True [7]\n")
	newAgent, _ := w.agent(parked.id)
	assert.NotEqual(t, w.formerImage, newAgent, "what comes back has the new agent")
	spawns.noneFailed()

	// Back again; what was kept meanwhile is loaded by the former release.
	parked.park(2)
	began = time.Now()
	w.script(typed[2])
	w.rolledBack()
	t.Logf("rolled back after %s", time.Since(began).Round(time.Second))
	lines.goesOn()
	kernelsThere()
	question.answer("an answer")
	if len(held) > 0 {
		w.must("delete", "jupyterkernel", held[0], "--wait=false")
		w.eventually(2*time.Minute, "who waited has a GPU", func() bool { return w.kernel(queued[0]).Status.Phase == "Ready" })
	}
	parked.back("x.append(8); print(x is y, y[1:])", "True [7, 8]\n")
	for _, n := range append(idle, asking) {
		n.has()
	}
	for _, n := range bare {
		assert.NoError(t, n.reachesGateway())
	}
	spawns.noneFailed()
	spawns.stop()
	lent.end()
	image, same = w.agent(busy.id)
	assert.Equal(t, []string{w.formerImage, pod}, []string{image, same}, "the same process to the end")
	lines.end()
}
