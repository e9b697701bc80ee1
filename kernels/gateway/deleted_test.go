package gateway

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/pythontest"
)

// answer is how a request that waits is answered: once, and then nothing more comes of it.
func (p *peer) answer(request string) (name, text string) {
	p.t.Helper()
	m := p.next(wire.TypeError)
	for parentOf(m) != request {
		m = p.next(wire.TypeError)
	}
	name, text = errorText(m)
	reply := p.next(wire.TypeExecuteReply)
	assert.Equal(p.t, request, parentOf(reply))
	assert.Equal(p.t, "error", wire.Member(reply.Content, "status"))
	p.idle(request)
	return name, text
}

// TestCellsOfADeletedKernelAreAnswered in whatever phase it was, with the reason.
func TestCellsOfADeletedKernelAreAnswered(t *testing.T) {
	remove := func(w *world, id string) { // as kubectl does
		require.NoError(w.t, w.api.Delete(context.Background(), w.kernel(id)))
	}
	for name, row := range map[string]struct {
		// before brings about what the cells wait for; the first of them is running.
		before func(w *world, id string) *fakeAgent
		remove func(w *world, id string)
		reason string
		text   string
	}{
		"it runs": {
			before: func(w *world, id string) *fakeAgent {
				a := w.agent(id, 1)
				w.phase(id, v1alpha1.KernelReady, 1, a.ip)
				return a
			},
			remove: remove, reason: "KernelDeleted", text: "The kernel was deleted. Its variables are gone; run this again in a new kernel.",
		},
		"it waits": {
			before: func(w *world, id string) *fakeAgent { w.phase(id, v1alpha1.KernelQueued, 1, ""); return nil },
			remove: remove, reason: "KernelDeleted", text: "The kernel was deleted. Its variables are gone; run this again in a new kernel.",
		},
		"it was parked": {
			before: func(w *world, id string) *fakeAgent {
				a := w.agent(id, 1)
				w.phase(id, v1alpha1.KernelReady, 1, a.ip)
				a.end("idle")
				w.failing.Store(true) // it cannot be woken
				w.phase(id, v1alpha1.KernelParked, 1, "")
				return nil
			},
			remove: func(w *world, id string) { w.failing.Store(false); remove(w, id) },
			reason: "KernelDeleted", text: "The kernel was deleted. Its variables are gone; run this again in a new kernel.",
		},
		"its gateway deletes idle ones": {
			before: func(w *world, id string) *fakeAgent {
				a := w.agent(id, 1)
				w.phase(id, v1alpha1.KernelReady, 1, a.ip)
				return a
			},
			remove: func(w *world, id string) { remove(w, id) },
			reason: "KernelIdle", text: "The kernel was idle, and its gateway deletes idle kernels. Its variables are gone; run this again in a new kernel.",
		},
		"it was shut down in another page": {
			before: func(w *world, id string) *fakeAgent {
				a := w.agent(id, 1)
				w.phase(id, v1alpha1.KernelReady, 1, a.ip)
				return a
			},
			remove: func(w *world, id string) {
				require.Equal(w.t, http.StatusNoContent, w.call("nb-alice", "DELETE", "/api/kernels/"+id, "").status)
			},
			reason: "KernelShutdown", text: "The kernel was shut down. Its variables are gone; run this again in a new kernel.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.idleLeader.Store(row.reason == "KernelShutdown")
			id := w.start("nb-alice", "python-gpu")
			p := w.open("nb-alice", id, "s")
			a := row.before(w, id)
			first := p.execute("train()")
			if a != nil {
				request := a.receive(wire.TypeExecuteRequest)
				if row.reason == "KernelIdle" {
					a.end("idle") // it has not begun
				} else {
					b := wire.Builder{Session: "kernel-session", Now: time.Now}
					a.publish("s", b.Status(request.Header, wire.StateBusy))
					p.next(wire.TypeStatus)
				}
			}
			second := p.execute("more()")
			if a != nil && row.reason != "KernelIdle" {
				a.receive(wire.TypeExecuteRequest)
			}
			time.Sleep(50 * time.Millisecond)
			row.remove(w, id)
			for _, request := range []string{first, second} {
				reason, text := p.answer(request)
				assert.Equal(t, row.reason, reason)
				assert.Equal(t, row.text, text)
			}
			assert.Equal(t, "dead", p.next(wire.TypeStatus).ExecutionState())
			assert.Equal(t, websocket.StatusNormalClosure, p.closed())
		})
	}
}

// TestAKernelDeletedUnderACell with a gateway, an agent, an ipykernel and a jupyter_server that are
// all real, with the extension and without: the cell that runs and the one behind it are
// answered, and the page's next session has a kernel again.
func TestAKernelDeletedUnderACell(t *testing.T) {
	python := pythontest.Interpreter(t)
	for name, extension := range map[string][]string{
		"extension": {"import elastichub.notebook", "elastichub.notebook.configure(c)"}, "plain": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.server.timing = defaultTiming
			w.controllers(python, nil)
			j := w.jupyter(python, extension...)
			session := func() (s sessionModel) {
				j.call("POST", "/api/sessions", `{"path":"a.ipynb","name":"a","type":"notebook","kernel":{"name":"python-cpu"}}`, http.StatusCreated, &s)
				return s
			}
			open := func(id string) *peer {
				p, _, err := dialPeer(t, j.url+"/api/kernels/"+id+"/channels?session_id=page", jupyterToken)
				require.NoError(t, err)
				p.patience = time.Minute
				return p
			}
			made := session()
			p := open(made.Kernel.ID)
			assert.Empty(t, p.run("x = 1"))
			running := p.execute("import time\nprint('begun', flush=True)\ntime.sleep(600)")
			for wire.Member(p.next(wire.TypeStream).Content, "text") != "begun\n" {
			}
			behind := p.execute("x")
			time.Sleep(200 * time.Millisecond)
			require.NoError(t, w.api.Delete(context.Background(), &v1alpha1.JupyterKernel{ObjectMeta: metav1.ObjectMeta{Namespace: testNS, Name: made.Kernel.ID}}))
			for _, request := range []string{running, behind} {
				reason, text := p.answer(request)
				assert.Equal(t, "KernelDeleted", reason)
				assert.Contains(t, text, "run this again in a new kernel")
			}
			for p.next(wire.TypeStatus).ExecutionState() != "dead" {
			}
			var kernels []kernelModel
			j.call("GET", "/api/kernels", "", http.StatusOK, &kernels)
			assert.Empty(t, kernels)
			var sessions []sessionModel
			j.call("GET", "/api/sessions", "", http.StatusOK, &sessions)
			assert.Empty(t, sessions, "the page lets go of it, and its next cell starts another one")
			again := session()
			assert.NotEqual(t, made.Kernel.ID, again.Kernel.ID)
			assert.Equal(t, "42\n", open(again.Kernel.ID).run("print(6 * 7)"))
		})
	}
}
