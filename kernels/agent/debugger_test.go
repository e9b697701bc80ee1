package agent_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/wire"
)

const stoppingCell = "one = 1\ntwo = one + 1\nprint('two is', two)\n"

// debug sends a debug_request as a page does, and decodes what it is answered.
func (g *gateway) debug(command string, arguments any, body any) {
	g.t.Helper()
	id := g.send(g.build.New(wire.Control, wire.TypeDebugRequest, nil, map[string]any{
		"type": "request", "seq": 1, "command": command, "arguments": arguments,
	}))
	all := g.until(func(m *wire.Message) bool { return m.Type() == wire.TypeDebugReply && m.ParentID() == id })
	var reply struct {
		Success bool
		Body    json.RawMessage
	}
	content := all[len(all)-1].Content
	require.NoError(g.t, json.Unmarshal(content, &reply))
	require.True(g.t, reply.Success, "%s", content)
	if body != nil {
		require.NoError(g.t, json.Unmarshal(reply.Body, body))
	}
}

// setBreakpoint switches the debugger on and sets a breakpoint in a cell. It returns the
// cell's path.
func (g *gateway) setBreakpoint(code string, line int) string {
	g.t.Helper()
	g.debug("initialize", map[string]string{"clientID": "jupyterlab", "adapterID": "python3"}, nil)
	g.debug("attach", struct{}{}, nil)
	var cell struct{ SourcePath string }
	g.debug("dumpCell", map[string]string{"code": code}, &cell)
	g.debug("setBreakpoints", map[string]any{
		"source": map[string]string{"path": cell.SourcePath}, "breakpoints": []map[string]int{{"line": line}},
	}, nil)
	return cell.SourcePath
}

// untilStopped receives up to where the debugger stops a cell, and returns the thread.
func (g *gateway) untilStopped() (thread int) {
	g.t.Helper()
	all := g.until(func(m *wire.Message) bool {
		return m.Type() == wire.TypeDebugEvent && wire.Member(m.Content, "event") == "stopped"
	})
	var event struct{ Body struct{ ThreadID int } }
	require.NoError(g.t, json.Unmarshal(all[len(all)-1].Content, &event))
	assert.NotContains(g.t, string(all[len(all)-1].ParentHeader), "agent", "nobody is told of the agent's requests")
	return event.Body.ThreadID
}

// parkedByHand parks a kernel, and returns its notice.
func (r *running) parkedByHand() string {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		status, _ := r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.1, "byHand": true}`)
		return status == 202
	}, patience, 50*time.Millisecond)
	return r.parkedWith()
}

// TestBreakpointsComeBack before the first cell: it stops as it did, and to a page that
// asks, the debugger is on.
func TestBreakpointsComeBack(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, func(c *agent.Config) { c.Keep.Short = 0 })
	g := r.connect("s1")
	g.run("kept = 5")
	path := g.setBreakpoint(stoppingCell, 2)
	assert.Regexp(t, `^Kernel parked by hand\. All \d variables are kept`, r.parkedByHand())

	r = startKept(t, home, 2, func(c *agent.Config) { c.Keep.Short = time.Hour })
	g = r.connect("s1")
	id := g.execute(stoppingCell)
	thread := g.untilStopped()
	assert.False(t, r.state().Busy, "it waits for somebody")
	var stack struct {
		StackFrames []struct {
			Line   int
			Source struct{ Path string }
		}
	}
	g.debug("stackTrace", map[string]int{"threadId": thread}, &stack)
	require.NotEmpty(t, stack.StackFrames)
	assert.Equal(t, 2, stack.StackFrames[0].Line)
	assert.Equal(t, path, stack.StackFrames[0].Source.Path)
	var info struct {
		IsStarted      bool
		StoppedThreads []int
		Breakpoints    []struct{ Source string }
	}
	g.debug("debugInfo", struct{}{}, &info)
	assert.True(t, info.IsStarted)
	assert.Contains(t, info.StoppedThreads, thread)
	require.Len(t, info.Breakpoints, 1)
	assert.Equal(t, path, info.Breakpoints[0].Source)
	g.send(g.build.New(wire.Control, wire.TypeDebugRequest, nil, map[string]any{
		"type": "request", "seq": 1, "command": "continue", "arguments": map[string]int{"threadId": thread},
	}))
	cell := g.result(id)
	assert.Equal(t, "two is 2\n", cell.stdout)
	assert.Equal(t, "5\n", g.run("print(kept)"))
}

// TestADebuggerThatCannotBeSet never keeps the variables from coming back, and no cell waits for it.
func TestADebuggerThatCannotBeSet(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ start, notice string }{
		"it does not begin":   {"'os').getpid() < 0", "Breakpoints are not set: the debugger did not do as it was told."},
		"it ends the process": {"'os')._exit(3)", "Breakpoints are not set: the process ended when they were."},
		"it does not answer":  {"'time').sleep(1000)", "Breakpoints are not set: the debugger did not do as it was told."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			r := startKept(t, home, 1, func(c *agent.Config) { c.Keep.Short = 0 })
			g := r.connect("s1")
			g.run(fmt.Sprintf(`
class Trap:
    def __reduce__(self):
        return exec, ("import IPython; IPython.get_ipython().kernel.debugger.start = lambda: __import__(%s",)
trap, kept = Trap(), 5`, tc.start))
			g.setBreakpoint(stoppingCell, 2)
			require.Contains(t, r.parkedByHand(), "are kept")

			r = startKept(t, home, 2, nil)
			g = r.connect("s1")
			cell := g.result(g.execute(stoppingCell + "print(kept)"))
			assert.Equal(t, "two is 2\n5\n", cell.stdout)
			require.Len(t, cell.notices(), 1)
			assert.Contains(t, cell.notices()[0], tc.notice)
		})
	}
}
