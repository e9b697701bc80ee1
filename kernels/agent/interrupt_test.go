package agent_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/languages"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/pythontest"
)

// Kernels that take SIGINT and nothing else, which is Jupyter's default.
const (
	// kernelUnaware does not know interrupt_request and says nothing to it.
	kernelUnaware = `
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel
Kernel.control_msg_types = [t for t in Kernel.control_msg_types if t != "interrupt_request"]
IPKernelApp.launch_instance()
`
	// kernelDeaf reads control only between cells, as kernels with one loop do. By
	// then the signal has ended the cell, and there is nothing to interrupt.
	kernelDeaf = `
import threading
from ipykernel.kernelapp import IPKernelApp
from ipykernel.ipkernel import IPythonKernel
cell = threading.Lock()
execute = IPythonKernel.execute_request
async def executes(self, *args):
    with cell:
        return await execute(self, *args)
async def interrupts(self, stream, ident, parent):
    with cell:
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)
IPythonKernel.execute_request, IPythonKernel.interrupt_request = executes, interrupts
IPKernelApp.launch_instance()
`
	// kernelPolite answers and interrupts its cell in its own time.
	kernelPolite = `
import _thread, threading
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel
async def interrupts(self, stream, ident, parent):
    self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)
Kernel.interrupt_request = interrupts
IPKernelApp.launch_instance()
`
)

func TestInterruptReachesKernelsThatKnowOnlyTheSignal(t *testing.T) {
	t.Parallel()
	python := pythontest.Interpreter(t)
	for name, kernel := range map[string]string{"unaware": kernelUnaware, "deaf": kernelDeaf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, []string{python, "-c", kernel, "-f", "{connection_file}"}, nil)
			g := r.connect("s1")
			id := g.execute("print('on', flush=True)\nwhile True: pass")
			g.untilOutput(id)
			begun := time.Now()
			status, _ := r.request("POST", "/v1/interrupt", "")
			require.Equal(t, 204, status)
			o := g.result(id)
			assert.Equal(t, "KeyboardInterrupt", wire.Member(o.reply.Content, "ename"))
			assert.GreaterOrEqual(t, time.Since(begun), time.Second, "the message has its second first")
			assert.Equal(t, "2\n", g.run("print(1+1)"))
		})
	}
}

// TestInterruptOfR: IRkernel, a real kernel of the kind, whatever its kernelspec says.
func TestInterruptOfR(t *testing.T) {
	t.Parallel()
	argv := languages.Of("R").Command
	if err := exec.Command(argv[0], "--slave", "-e", "library(IRkernel)").Run(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("R with IRkernel: %v", err)
		}
		t.Skip("R with IRkernel (Debian: r-cran-irkernel) is not installed; the kernels above stand for it")
	}
	for _, mode := range []protocol.InterruptMode{protocol.InterruptAuto, protocol.InterruptSignal} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := start(t, argv, func(cfg *agent.Config) { cfg.InterruptMode = mode })
			g := r.connect("s1")
			g.run("kept <- 41")
			id := g.execute("cat('on\\n'); flush.console(); repeat {}")
			g.untilOutput(id)
			status, _ := r.request("POST", "/v1/interrupt", "")
			require.Equal(t, 204, status)
			o := g.result(id)
			assert.NotEqual(t, "ok", o.status(), "%s", describe(o.all))
			assert.Equal(t, "42", g.run("cat(kept + 1)"), "it goes on with what it had")
		})
	}
}

// TestInterruptIsNotGivenTwice: who answers is left to himself, and by name no
// signal follows a message.
func TestInterruptIsNotGivenTwice(t *testing.T) {
	t.Parallel()
	python := pythontest.Interpreter(t)
	for _, c := range []struct {
		name, kernel string
		mode         protocol.InterruptMode
	}{
		{"answered", kernelPolite, protocol.InterruptAuto},
		{"message only", kernelUnaware, protocol.InterruptMessage},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, []string{python, "-c", c.kernel, "-f", "{connection_file}"}, func(cfg *agent.Config) { cfg.InterruptMode = c.mode })
			g := r.connect("s1")
			id := g.execute("import time\nprint('on', flush=True)\ntime.sleep(2)")
			g.untilOutput(id)
			status, _ := r.request("POST", "/v1/interrupt", "")
			require.Equal(t, 204, status)
			o := g.result(id)
			assert.Equal(t, "ok", o.status(), "%s", describe(o.all))
		})
	}
}
