package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

func TestParkForSomebodyWhoWaits(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.GPUs, c.IdleTimeout = 1, time.Hour })
	g := r.connect("s1")
	for body, want := range map[string]int{
		``: 400, `{}`: 400, `{"ifIdleSeconds":0}`: 400, `{"ifIdleSeconds":-1}`: 400, `{"ifIdleSeconds":1e300}`: 400,
		`{"ifIdleSeconds":1,"x":2}`: 400, `{"ifIdleSeconds":1} {}`: 400, `{"ifIdleSeconds":3600}`: 409,
	} {
		status, answer := r.request("POST", "/v1/park", body)
		assert.Equal(t, want, status, "%s: %s", body, answer)
	}
	id, end := g.busyCell()
	status, answer := r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.001}`)
	assert.Equal(t, 409, status, answer)
	end()
	g.result(id)

	require.Eventually(t, func() bool {
		status, _ := r.request("POST", "/v1/park", `{"ifIdleSeconds": 1}`)
		return status == 202
	}, patience, 50*time.Millisecond)
	e, _ := g.closed()
	assert.Equal(t, "idle", e.Reason)
	result := orderly(t, r.ended())
	assert.Regexp(t, `^Kernel parked after [1-9]\d* s without work, since somebody was waiting for its GPU\. Run a cell to bring it back; variables are gone, files are kept\.$`, result.Message)
	assert.Equal(t, protocol.Result{Reason: protocol.ReasonIdle, Message: result.Message}, result)
}

// TestParkedByHand: nobody waits for the GPU of whoever gives it back.
func TestParkedByHand(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.GPUs = 2 })
	g := r.connect("s1")
	g.run("print(1)")
	require.Eventually(t, func() bool {
		status, _ := r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.1, "byHand": true}`)
		return status == 202
	}, patience, 50*time.Millisecond)
	result := orderly(t, r.ended())
	assert.Equal(t, "Kernel parked by hand: its 2 GPUs are free again. Run a cell to bring it back; variables are gone, files are kept.", result.Message)
}

// TestParkedForABudget: no client holds a kernel then that nothing else would park; where everything is to be
// kept, and nothing is, it goes on.
func TestParkedForABudget(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.GPUs, c.CullConnected = 1, false })
	g := r.connect("s1")
	g.run("print(1)")
	require.Eventually(t, func() bool { return r.state().IdleSeconds > 0.2 }, patience, 50*time.Millisecond)
	status, _ := r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.1, "byHand": true}`)
	assert.Equal(t, 409, status, "a client holds it")
	status, _ = r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.1, "budget": true, "whole": true}`)
	assert.Equal(t, 409, status, "nothing is kept")
	status, _ = r.request("POST", "/v1/park", `{"ifIdleSeconds": 0.1, "budget": true}`)
	assert.Equal(t, 202, status)
	result := orderly(t, r.ended())
	assert.Equal(t, "Kernel parked, since a budget of its policy is spent: its GPU is free again. Run a cell to bring it back; variables are gone, files are kept.", result.Message)
}

// TestANoticeIsShownOnce in every session, in that which has run nothing yet with its first cell.
func TestANoticeIsShownOnce(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	used, fresh := r.connect("s1"), r.connect("s2")
	used.run("print(1)")
	for body, want := range map[string]int{`{"text": 1}`: 400, `{"text": "` + strings.Repeat("x", protocol.NoticeBytes+1) + `"}`: 400, `{"x": ""}`: 400} {
		status, answer := r.request("PUT", "/v1/notice", body)
		assert.Equal(t, want, status, answer)
	}
	for range 2 {
		status, answer := r.request("PUT", "/v1/notice", `{"text": "80 % is used."}`)
		require.Equal(t, 204, status, answer)
	}
	assert.Equal(t, []string{"80 % is used."}, noticesIn(used, "import time; time.sleep(1)"))
	assert.Equal(t, []string{"80 % is used."}, noticesIn(fresh, "import time; time.sleep(1)"))
	assert.Empty(t, noticesIn(used, "import time; time.sleep(1)"))
	status, _ := r.request("PUT", "/v1/notice", `{"text": "All is used."}`)
	require.Equal(t, 204, status)
	assert.Equal(t, []string{"All is used."}, noticesIn(used, "import time; time.sleep(1)"))
}

// TestIdleTimeBegins: a kernel that waited for its user is not parked for that.
func TestIdleTimeBegins(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	require.Eventually(t, func() bool { return r.state().IdleSeconds > 4.2 }, patience, 50*time.Millisecond)
	status, answer := r.request("PUT", "/v1/idle", `{"timeoutSeconds": 4, "cullConnected": true}`)
	require.Equal(t, 204, status, answer)
	assert.Less(t, r.state().IdleSeconds, 4.0)
	assert.Equal(t, protocol.ReasonIdle, r.ended().Reason)
}

func TestCullConnectedCanChange(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	g.run("1")
	status, answer := r.request("PUT", "/v1/idle", `{"timeoutSeconds": 0.1, "cullConnected": false}`)
	require.Equal(t, 204, status, answer)
	time.Sleep(time.Second)
	assert.Equal(t, "2\n", g.run("print(2)"), "a client holds it")
	status, answer = r.request("PUT", "/v1/idle", `{"timeoutSeconds": 0.1, "cullConnected": true}`)
	require.Equal(t, 204, status, answer)
	assert.Equal(t, protocol.ReasonIdle, r.ended().Reason)
}

// noticesIn are those that a client reads while it runs some code, and those that came before.
func noticesIn(g *gateway, code string) []string {
	o := g.result(g.execute(code))
	return o.notices()
}
