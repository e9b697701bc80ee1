package agent_test

import (
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
