package agent_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/agent"
)

func TestExecute(t *testing.T) {
	r := start(t, ipykernel(t), nil)
	g := r.connect("s1")
	id := g.execute("print(6*7)") // before the kernel is up
	o := g.result(id)
	assert.Equal(t, "ok", o.status())
	assert.Equal(t, "42\n", o.stdout)

	r.cancel()
	assert.Equal(t, agent.ReasonTerminated, r.ended().Reason)
}
