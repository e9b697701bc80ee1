package agent_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/test/pythontest"
)

func stub(t testing.TB) []string {
	return []string{pythontest.Interpreter(t), "testdata/stub_kernel.py", "{connection_file}"}
}

func TestForgedMessagesAreDropped(t *testing.T) {
	t.Parallel()
	r := start(t, stub(t), nil)
	g := r.connect("s1")
	o := g.result(g.execute("forge"))
	assert.Equal(t, "ok", o.status())
	assert.NotContains(t, describe(o.all), "forged")
	assert.Contains(t, r.log.String(), "invalid message of the kernel dropped")
}

func TestKernelThatClosesItsSockets(t *testing.T) {
	t.Parallel()
	r := start(t, stub(t), nil)
	g := r.connect("s1")
	o := g.result(g.execute("rebind"))
	assert.Equal(t, "ok", o.status())
	o = g.result(g.execute("again"))
	assert.Equal(t, "ok", o.status())
}

func TestASubscriptionThatTheKernelLost(t *testing.T) {
	t.Parallel()
	r := start(t, append(stub(t), "deaf"), nil)
	g := r.connect("s1")
	o := g.result(g.execute("flood 3 1"))
	assert.Equal(t, "ok", o.status())
	assert.Equal(t, "xxx", o.stdout)
}

func TestNothingOfABurstIsLost(t *testing.T) {
	t.Parallel()
	r := start(t, stub(t), nil)
	g := r.connect("s1")
	o := g.result(g.execute("flood 20000 200"))
	assert.Equal(t, "ok", o.status())
	assert.Len(t, o.stdout, 20000*200)
}

func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	r := start(t, stub(t), func(c *agent.Config) { c.MaxSessions = 2 })
	first := r.connect("s1")
	first.run("1")
	second := r.connect("s2")
	_, err := r.dial("s3", "")
	assert.ErrorContains(t, err, "status 503")
	assert.NoError(t, second.ws.CloseNow())
	third := r.connect("s3") // in the place of s2
	third.run("2")
	assert.Equal(t, 2, r.state().Connections)
	first.run("3")
}
