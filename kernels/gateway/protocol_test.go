package gateway

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/kernels/wire"
)

// TestEverythingAKernelSpeaks drives a real ipykernel through agent and
// gateway, in each of Jupyter's framings.
func TestEverythingAKernelSpeaks(t *testing.T) {
	for name, protocols := range map[string][]string{"legacy": nil, "v1": {wire.SubprotocolV1}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			id := w.start("nb-alice", "python-gpu")
			ip, _ := realKernel(t, w, id)
			w.phase(id, v1alpha1.KernelReady, 1, ip)
			p := w.open("nb-alice", id, "s", protocols...)
			c := conversation{p}
			t.Run("kernel_info", c.kernelInfo)
			t.Run("stdin", c.stdin)
			t.Run("complete, inspect, history, is_complete", c.questions)
			t.Run("interrupt on control", c.interrupt)
			t.Run("subshells", c.subshells)
			t.Run("debugger", c.debugger)
			t.Run("comm", func(t *testing.T) { c.comm(t, name == "v1") })
			t.Run("update_display_data and clear_output", c.displays)
		})
	}
}

type conversation struct{ *peer }

// until returns the messages with that parent up to one of that type. What
// comes over another channel of the kernel may be before it or behind it.
func (c conversation) until(t *testing.T, parent, msgType string) (all []*peerMessage) {
	t.Helper()
	for {
		m := c.about(t, parent, msgType)
		all = append(all, m)
		if m.Type() == msgType {
			return all
		}
	}
}

// whole returns everything about an execute_request: its reply is the last on
// shell, the idle status the last on iopub.
func (c conversation) whole(t *testing.T, id string) (all []*peerMessage) {
	t.Helper()
	for replied, idle := false, false; !replied || !idle; {
		m := c.about(t, id, "end of the cell")
		all = append(all, m)
		replied = replied || m.Type() == wire.TypeExecuteReply
		idle = idle || m.ExecutionState() == string(wire.StateIdle)
	}
	return all
}

// about returns the next message with that parent.
func (c conversation) about(t *testing.T, parent, wanted string) *peerMessage {
	t.Helper()
	c.peer.t = t
	for {
		select {
		case m, ok := <-c.msgs:
			require.True(t, ok, "socket closed")
			if m.ParentID() == parent {
				return &m
			}
		case <-time.After(c.patience):
			require.FailNow(t, "no "+wanted+" came")
		}
	}
}

func (c conversation) reply(t *testing.T, parent, msgType string, into any) *peerMessage {
	t.Helper()
	all := c.until(t, parent, msgType)
	last := all[len(all)-1]
	if into != nil {
		require.NoError(t, json.Unmarshal(last.Content, into))
	}
	return last
}

func (c conversation) run(t *testing.T, code string) (id string) {
	t.Helper()
	return c.send(wire.Shell, wire.TypeExecuteRequest, map[string]any{
		"code": code, "silent": false, "store_history": true, "allow_stdin": true, "stop_on_error": true, "user_expressions": map[string]string{},
	})
}

func (c conversation) kernelInfo(t *testing.T) {
	var info struct {
		Implementation string
		Features       []string `json:"supported_features"`
	}
	c.reply(t, c.send(wire.Shell, wire.TypeKernelInfoRequest, struct{}{}), wire.TypeKernelInfoReply, &info)
	assert.Equal(t, "ipython", info.Implementation)
	assert.Contains(t, info.Features, "kernel subshells")
	assert.Contains(t, info.Features, "debugger")
}

func (c conversation) stdin(t *testing.T) {
	id := c.run(t, "print('hello', input('name? '))")
	var asked struct{ Prompt string }
	request := c.reply(t, id, wire.TypeInputRequest, &asked)
	assert.Equal(t, wire.Stdin, request.Channel)
	assert.Equal(t, "name? ", asked.Prompt)
	answer := wire.NewBuilder("alice").New(wire.Stdin, wire.TypeInputReply, request.Header, map[string]string{"status": "ok", "value": "Zoë ⊗"})
	c.write(&answer)
	printed := ""
	for _, m := range c.whole(t, id) {
		if m.Type() == wire.TypeStream {
			printed += wire.Member(m.Content, "text")
		}
	}
	assert.Equal(t, "hello Zoë ⊗\n", printed)
}

func (c conversation) questions(t *testing.T) {
	var complete struct{ Matches []string }
	c.reply(t, c.send(wire.Shell, wire.TypeCompleteRequest, map[string]any{"code": "impo", "cursor_pos": 4}), wire.TypeCompleteReply, &complete)
	assert.Contains(t, complete.Matches, "import")
	var inspect struct{ Found bool }
	c.reply(t, c.send(wire.Shell, wire.TypeInspectRequest, map[string]any{"code": "print", "cursor_pos": 5, "detail_level": 0}), wire.TypeInspectReply, &inspect)
	assert.True(t, inspect.Found)
	var history struct{ Status string }
	c.reply(t, c.send(wire.Shell, wire.TypeHistoryRequest, map[string]any{"output": false, "raw": true, "hist_access_type": "tail", "n": 3}), wire.TypeHistoryReply, &history)
	assert.Equal(t, "ok", history.Status)
	var whole struct{ Status string }
	c.reply(t, c.send(wire.Shell, wire.TypeIsCompleteRequest, map[string]any{"code": "for i in x:"}), wire.TypeIsCompleteReply, &whole)
	assert.Equal(t, "incomplete", whole.Status)
}

func (c conversation) interrupt(t *testing.T) {
	id := c.run(t, "print('on', flush=True)\nimport time\nwhile True: time.sleep(.01)")
	c.until(t, id, wire.TypeStream)
	order := c.send(wire.Control, wire.TypeInterruptRequest, struct{}{})
	var failed struct{ Ename string }
	all := c.until(t, id, wire.TypeExecuteReply)
	require.NoError(t, json.Unmarshal(all[len(all)-1].Content, &failed))
	assert.Equal(t, "KeyboardInterrupt", failed.Ename)
	_ = order
}

// subshells: a cell of a subshell runs while the main shell is busy.
func (c conversation) subshells(t *testing.T) {
	var made struct {
		Status string
		ID     string `json:"subshell_id"`
	}
	c.reply(t, c.send(wire.Control, "create_subshell_request", struct{}{}), "create_subshell_reply", &made)
	require.Equal(t, "ok", made.Status)
	busy := c.run(t, "import time; time.sleep(2); print('main')")
	m := wire.NewBuilder("alice").New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{"code": "print('beside')", "silent": false})
	var header map[string]any
	require.NoError(t, json.Unmarshal(m.Header, &header))
	header["subshell_id"] = made.ID
	m.Header, _ = json.Marshal(header)
	c.write(&m)
	var order []string
	for len(order) < 2 {
		reply := c.next(wire.TypeExecuteReply)
		order = append(order, reply.ParentID())
		if reply.ParentID() == m.ID() {
			assert.Equal(t, made.ID, wire.Member(reply.ParentHeader, "subshell_id"), "the header comes back as it was sent")
		}
	}
	assert.Equal(t, []string{m.ID(), busy}, order)
	var gone struct{ Status string }
	c.reply(t, c.send(wire.Control, "delete_subshell_request", map[string]string{"subshell_id": made.ID}), "delete_subshell_reply", &gone)
	assert.Equal(t, "ok", gone.Status)
}

func (c conversation) debugger(t *testing.T) {
	ask := func(seq int, command string, arguments any) map[string]any {
		id := c.send(wire.Control, wire.TypeDebugRequest, map[string]any{"type": "request", "seq": seq, "command": command, "arguments": arguments})
		var answer map[string]any
		c.reply(t, id, wire.TypeDebugReply, &answer)
		return answer
	}
	answer := ask(1, "initialize", map[string]any{"clientID": "test", "adapterID": "python", "linesStartAt1": true})
	assert.Equal(t, true, answer["success"], answer)
	answer = ask(2, "attach", struct{}{})
	assert.Equal(t, true, answer["success"], answer)
	answer = ask(3, "evaluate", map[string]any{"expression": "1+1"})
	assert.Equal(t, "evaluate", answer["command"], answer)
	answer = ask(4, "disconnect", map[string]any{"restart": false, "terminateDebuggee": false})
	assert.Equal(t, true, answer["success"], answer)
}

// comm: buffers go both ways where the framing can carry them.
func (c conversation) comm(t *testing.T, binary bool) {
	c.until(t, c.run(t, `
from comm import get_comm_manager
def opened(comm, msg):
    comm.on_msg(lambda m: comm.send({"n": [len(b) for b in m["buffers"]]}, buffers=[bytes(b)[::-1] for b in m["buffers"]]))
get_comm_manager().register_target("echo", opened)`), wire.TypeExecuteReply)
	c.send(wire.Shell, wire.TypeCommOpen, map[string]any{"comm_id": "c1", "target_name": "echo", "data": struct{}{}})
	m := wire.NewBuilder("alice").New(wire.Shell, wire.TypeCommMsg, nil, map[string]any{"comm_id": "c1", "data": struct{}{}})
	m.Buffers = [][]byte{{1, 2, 255}, {}, bytes.Repeat([]byte{1, 0}, 1<<20)}
	if binary {
		c.write(&m)
	} else { // jupyter_server passes its browser's binary frames on as text
		frame, err := m.AppendLegacyBinary(nil)
		require.NoError(t, err)
		require.NoError(t, c.conn.Write(t.Context(), websocket.MessageText, frame))
	}
	var answer struct {
		Data struct{ N []int }
	}
	back := c.reply(t, m.ID(), wire.TypeCommMsg, &answer)
	assert.Equal(t, []int{3, 0, 2 << 20}, answer.Data.N)
	if binary {
		assert.Equal(t, [][]byte{{255, 2, 1}, {}, bytes.Repeat([]byte{0, 1}, 1<<20)}, back.Buffers)
	} else {
		assert.Empty(t, back.Buffers, "a client that cannot take them")
	}
}

func (c conversation) displays(t *testing.T) {
	id := c.run(t, `
from IPython.display import display, clear_output
h = display("one", display_id="d")
h.update("two")
clear_output(wait=True)
display("three")`)
	var types []string
	for _, m := range c.whole(t, id) {
		if m.Channel == wire.IOPub && m.Type() != wire.TypeStatus && m.Type() != wire.TypeExecuteInput {
			types = append(types, m.Type())
		}
	}
	assert.Equal(t, []string{wire.TypeDisplayData, wire.TypeUpdateDisplayData, wire.TypeClearOutput, wire.TypeDisplayData}, types)
}
