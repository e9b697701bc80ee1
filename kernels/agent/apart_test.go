package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
	"github.com/elastichub/elastichub/test/loopback"
)

// alone is an agent whose run-kernel a test plays.
type alone struct {
	*running
	socket string
	done   chan protocol.Result
	cancel context.CancelFunc
}

func startAlone(t *testing.T, change func(*agent.Config)) *alone {
	t.Helper()
	dir := t.TempDir()
	a := &alone{running: &running{t: t, base: loopback.Address(), begun: time.Now()}, socket: filepath.Join(dir, "agent", "control"), done: make(chan protocol.Result, 1)}
	a.cfg = agent.DefaultConfig()
	a.cfg.Secret, a.cfg.KernelID, a.cfg.KernelName, a.cfg.Listen, a.cfg.Socket = secret(t, 1), "k1", "python3", a.base, a.socket
	a.cfg.TerminationLog = filepath.Join(dir, "termination-log")
	a.cfg.ProbePeriod, a.cfg.ShutdownGrace = 200*time.Millisecond, 200*time.Millisecond
	if change != nil {
		change(&a.cfg)
	}
	a.http = httpClient(a.cfg.Secret)
	var ctx context.Context
	ctx, a.cancel = context.WithCancel(context.Background())
	go func() {
		result, err := agent.Run(ctx, a.cfg)
		assert.NoError(t, err)
		a.done <- result
		close(a.done)
	}()
	t.Cleanup(func() {
		a.cancel()
		for range a.done { // until it has ended
		}
		a.http.CloseIdleConnections()
	})
	require.Eventually(t, func() bool { return a.live("") == http.StatusOK }, patience, 5*time.Millisecond)
	return a
}

// live asks as the kubelet does, if with that token.
func (a *alone) live(token string) int {
	req, err := http.NewRequest(http.MethodGet, "https://"+a.base+protocol.PathLive, http.NoBody)
	require.NoError(a.t, err)
	req.Header.Set(protocol.HeaderProbe, token)
	req.Close = true
	res, err := a.http.Do(req)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

func (a *alone) runKernel() net.Conn {
	a.t.Helper()
	conn, err := net.Dial("unix", a.socket)
	require.NoError(a.t, err)
	a.t.Cleanup(func() { conn.Close() })
	return conn
}

func (a *alone) result(within time.Duration) protocol.Result {
	a.t.Helper()
	select {
	case r := <-a.done:
		return metered(a.t, r)
	case <-time.After(within):
		a.t.Fatalf("it has not ended after %v", within)
		return protocol.Result{}
	}
}

// TestTheAgentOutlivesTheKernel: it says that the kernel is to be killed, and
// stays as long as the kubelet asks, and nobody else.
func TestTheAgentOutlivesTheKernel(t *testing.T) {
	t.Parallel()
	a := startAlone(t, nil)
	a.runKernel().Close()
	require.Eventually(t, func() bool { return a.live("") == http.StatusServiceUnavailable }, patience, 5*time.Millisecond)
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		require.Equal(t, http.StatusServiceUnavailable, a.live(a.cfg.Secret.Probe()))
	}
	var said protocol.Result
	raw, err := os.ReadFile(a.cfg.TerminationLog)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &said), "it has said why before it leaves")
	assert.Equal(t, protocol.ReasonKernelExited, said.Reason)
	asked := time.Now()
	stop := make(chan struct{})
	go func() { // the kernel's owner would like to keep it
		defer close(stop)
		for time.Since(asked) < 2*time.Second && a.live("guess") != 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	assert.Equal(t, said, a.result(2*time.Second))
	assert.Greater(t, time.Since(asked), 200*time.Millisecond)
	<-stop
}

// TestOnlyTheFirstConnectionCounts: the socket is gone with it.
func TestOnlyTheFirstConnectionCounts(t *testing.T) {
	t.Parallel()
	a := startAlone(t, nil)
	conn := a.runKernel()
	lines := protocol.LineReader(conn)
	var call protocol.ProcessCall
	require.NoError(t, protocol.ReadLine(lines, &call))
	assert.Equal(t, protocol.OperationUsage, call.Operation)
	_, err := net.Dial("unix", a.socket)
	assert.Error(t, err)
	info, err := os.Stat(filepath.Dir(a.socket))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o755), info.Mode().Perm(), "nobody else writes there")
	a.cancel()
	a.result(patience)
}

// TestRunKernelThatLies, does not answer, or talks without end: the run ends,
// and soon.
func TestRunKernelThatLies(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(conn net.Conn){
		"says nothing":  func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"reads nothing": func(net.Conn) {},
		"nonsense":      func(conn net.Conn) { fmt.Fprintln(conn, "nonsense") },
		"endless line": func(conn net.Conn) {
			for _, err := conn.Write(make([]byte, 1<<20)); err == nil; _, err = conn.Write(make([]byte, 1<<20)) {
			}
		},
		"answers to nothing": func(conn net.Conn) {
			for i := 0; protocol.WriteLine(conn, protocol.ProcessAnswer{Number: uint64(i), Exited: &protocol.Exited{Process: i}, Usage: &protocol.Usage{CPUSeconds: 1e300}}) == nil; i++ {
			}
		},
		"no processes": func(conn net.Conn) {
			lines := protocol.LineReader(conn)
			for {
				var call protocol.ProcessCall
				if protocol.ReadLine(lines, &call) != nil {
					return
				}
				_ = protocol.WriteLine(conn, protocol.ProcessAnswer{Number: call.Number, Process: 1, Usage: &protocol.Usage{CPUSeconds: -1}})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startAlone(t, func(c *agent.Config) { c.StartTimeout = time.Second })
			conn := a.runKernel()
			go play(conn)
			r := a.result(20 * time.Second)
			assert.Contains(t, []protocol.Reason{protocol.ReasonKernelExited, protocol.ReasonStartFailed}, r.Reason)
			assert.Equal(t, 1, r.Code())
			assert.NotEmpty(t, r.Message)
		})
	}
}

// TestNoContainer: the kernel's image cannot be had, say.
func TestNoContainer(t *testing.T) {
	t.Parallel()
	a := startAlone(t, func(c *agent.Config) { c.ContainerTimeout = 300 * time.Millisecond })
	assert.Equal(t, protocol.Result{Reason: protocol.ReasonStartFailed, Message: "The kernel's container did not begin within 0 s."}, a.result(patience))

	a = startAlone(t, nil)
	status, _ := a.request("POST", "/v1/shutdown", "")
	assert.Equal(t, 202, status)
	assert.Equal(t, protocol.Result{Reason: protocol.ReasonShutdown}, a.result(patience))
}

// TestForgottenInput: waiting for a human is no work, and the cell says so before.
func TestForgottenInput(t *testing.T) {
	t.Parallel()
	r := start(t, ipykernel(t), func(c *agent.Config) { c.IdleTimeout, c.ParkNotice = 4*time.Second, 2*time.Second })
	g := r.connect("s1")
	id := g.execute(`input("name? ")`)
	g.until(isType(wire.TypeInputRequest))
	assert.Equal(t, wire.StateBusy, r.state().ExecutionState)
	assert.False(t, r.state().Busy)
	warning, parent := g.display(wire.TypeDisplayData)
	assert.Equal(t, "Kernel waits for input, and will be parked in 2 s unless it is given.", warning.Data["text/plain"])
	assert.Equal(t, id, parent)
	parked, _ := g.display(wire.TypeUpdateDisplayData)
	assert.Equal(t, "Kernel parked after 4 s of waiting for input. Run a cell to bring it back; variables are gone, files are kept.", parked.Data["text/plain"])
	assert.Equal(t, protocol.ReasonIdle, r.ended().Reason)
}

// TestAComputingThreadIsWork, whatever it says, and an idle one's noise is not.
func TestAComputingThreadIsWork(t *testing.T) {
	t.Parallel()
	r := start(t, stub(t), func(c *agent.Config) { c.IdleTimeout = 8 * time.Second })
	g := r.connect("s1")
	g.run("1")
	begun := time.Now()
	compute := func(seconds float64) { // the kernel never shows half of it
		whole := filepath.Join(r.cgroup, "cpu.stat")
		require.NoError(t, os.WriteFile(whole+".new", fmt.Appendf(nil, "usage_usec %.0f\n", seconds*1e6), 0o600))
		require.NoError(t, os.Rename(whole+".new", whole))
	}
	for !r.isDone() && time.Since(begun) < 12*time.Second {
		compute(time.Since(begun).Seconds()) // a whole core
		time.Sleep(100 * time.Millisecond)
	}
	require.False(t, r.isDone(), "it computes")
	assert.Equal(t, protocol.ReasonIdle, r.ended().Reason)
	assert.Greater(t, time.Since(begun), 14*time.Second)
}

// TestAThreadOnTheGPUIsWork while nvidia-smi, which a script plays, says so; a
// kernel without GPUs of its own is not asked for those that it may see.
func TestAThreadOnTheGPUIsWork(t *testing.T) {
	t.Parallel()
	for gpus, work := range []bool{false, true} {
		t.Run(fmt.Sprint(gpus), func(t *testing.T) {
			t.Parallel()
			r := start(t, stub(t), func(c *agent.Config) { c.IdleTimeout, c.GPUs = 8*time.Second, gpus })
			tool := func(lines string) {
				syscall.ForkLock.RLock() // a child that inherits the open file would keep it from being run
				defer syscall.ForkLock.RUnlock()
				require.NoError(t, os.WriteFile(filepath.Join(r.cgroup, "nvidia-smi"), []byte("#!/bin/sh\n"+lines), 0o700))
			}
			tool("echo 3; echo 97")
			g := r.connect("s1")
			g.run("1")
			if work {
				time.Sleep(14 * time.Second)
				require.False(t, r.isDone(), "a GPU is busy")
				tool("exit 9")
			}
			assert.Equal(t, protocol.ReasonIdle, r.ended().Reason)
		})
	}
}
