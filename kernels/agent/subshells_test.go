package agent_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/wire"
)

// control sends a request on control and decodes its reply.
func (g *gateway) control(msgType string, content, reply any) {
	g.t.Helper()
	id := g.send(g.build.New(wire.Control, msgType, nil, content))
	all := g.until(func(m *wire.Message) bool { return m.Channel == wire.Control && m.ParentID() == id })
	require.NoError(g.t, json.Unmarshal(all[len(all)-1].Content, reply))
}

type subshellReply struct {
	Status string
	ID     string `json:"subshell_id"`
}

// inSubshell sends a message to a subshell.
func (g *gateway) inSubshell(id string, m wire.Message) string {
	g.t.Helper()
	var header map[string]any
	require.NoError(g.t, json.Unmarshal(m.Header, &header))
	header["subshell_id"] = id
	var err error
	m.Header, err = json.Marshal(header)
	require.NoError(g.t, err)
	return g.send(m)
}

// TestASubshellOfAnEarlierProcess is replaced by another, in which a console and widgets
// go on beside the cells.
func TestASubshellOfAnEarlierProcess(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	r := startKept(t, home, 1, func(c *agent.Config) { c.Keep.Short = 0 })
	g := r.connect("s1")
	var made subshellReply
	g.control("create_subshell_request", struct{}{}, &made)
	require.NotEmpty(t, made.ID)
	assert.Equal(t, "5\n", g.result(g.inSubshell(made.ID, g.request("a = 5; print(a)"))).stdout)
	assert.Contains(t, r.parkedByHand(), "Its one variable is kept")

	r = startKept(t, home, 2, func(c *agent.Config) { c.Keep.Short = time.Hour })
	g = r.connect("s1")
	_, end := g.busyCell()
	for range 2 {
		beside := g.result(g.inSubshell(made.ID, g.request("print(a)")))
		assert.Equal(t, "5\n", beside.stdout, "%s", describe(beside.all))
	}
	end()
	comm := g.build.New(wire.Shell, wire.TypeCommMsg, nil, map[string]any{"comm_id": "gone", "data": struct{}{}})
	id := g.inSubshell(made.ID, comm)
	g.until(func(m *wire.Message) bool { return m.ParentID() == id && m.ExecutionState() == "idle" })

	var listed struct {
		IDs []string `json:"subshell_id"`
	}
	g.control("list_subshell_request", struct{}{}, &listed)
	assert.Len(t, listed.IDs, 1)
	var gone subshellReply
	g.control("delete_subshell_request", subshellReply{ID: made.ID}, &gone)
	assert.Equal(t, "ok", gone.Status)
	g.control("list_subshell_request", struct{}{}, &listed)
	assert.Empty(t, listed.IDs)
}

// TestASubshellThatAClientHasEnded stays so: the kernel itself says it.
func TestASubshellThatAClientHasEnded(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	var made, gone subshellReply
	g.control("create_subshell_request", struct{}{}, &made)
	g.control("delete_subshell_request", subshellReply{ID: made.ID}, &gone)
	require.Equal(t, "ok", gone.Status)
	for _, id := range []string{made.ID, "no such"} {
		cell := g.result(g.inSubshell(id, g.request("1")))
		assert.Equal(t, "UnknownSubshellError", wire.Member(cell.reply.Content, "ename"))
	}
	assert.Equal(t, "1\n", g.result(g.inSubshell(uuid.NewString(), g.request("print(1)"))).stdout)
}
