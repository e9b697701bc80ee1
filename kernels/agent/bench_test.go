package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/zmtp"
	"github.com/elastichub/elastichub/kernels/wire"
)

// BenchmarkStart is the time from Run to the first kernel_info_reply.
func BenchmarkStart(b *testing.B) {
	for name, argv := range map[string][]string{"ipykernel": ipykernel(b), "stub": stub(b)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r := start(b, argv, nil)
				r.waitReady()
				b.StopTimer()
				r.cancel()
				<-r.done
				b.StartTimer()
			}
		})
	}
}

// BenchmarkExecute compares the round trip of a trivial cell through the agent
// with the same over ZMQ to the same kernel.
func BenchmarkExecute(b *testing.B) {
	for name, argv := range map[string][]string{"ipykernel": ipykernel(b), "stub": stub(b)} {
		r := start(b, argv, nil)
		g := r.connect("s1")
		g.run("pass")
		var times []time.Duration
		record := func(b *testing.B, roundTrip func()) {
			times = times[:0]
			for b.Loop() {
				begun := time.Now()
				roundTrip()
				times = append(times, time.Since(begun))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
		}
		direct := newDirect(b, g)
		b.Run(name+"/direct", func(b *testing.B) { record(b, direct) })
		b.Run(name+"/agent", func(b *testing.B) {
			record(b, func() {
				g.result(g.execute("pass"))
				g.ack(g.seq)
			})
		})
	}
}

// newDirect connects to a kernel behind the agent's back and returns a round trip of a cell.
func newDirect(b *testing.B, g *gateway) func() {
	path := connectionFile(b)
	raw, err := os.ReadFile(path)
	require.NoError(b, err)
	var file struct {
		Shell int    `json:"shell_port"`
		IOPub int    `json:"iopub_port"`
		Key   string `json:"key"`
	}
	require.NoError(b, json.Unmarshal(raw, &file))
	signer := wire.NewSigner([]byte(file.Key))
	options := zmtp.Options{MaxMessage: 1 << 30, MaxFrames: 100, ReadBuffer: 16 << 10}
	dial := func(port int, socket zmtp.SocketType) *zmtp.Conn {
		c, err := zmtp.Dial(context.Background(), fmt.Sprintf("tcp://127.0.0.1:%d", port), socket, options)
		require.NoError(b, err)
		b.Cleanup(func() { c.Close() })
		return c
	}
	shell, iopub := dial(file.Shell, zmtp.Dealer), dial(file.IOPub, zmtp.Sub)
	receive := func(channel wire.Channel, c *zmtp.Conn, match func(m *wire.Message) bool) {
		for {
			parts, err := c.Receive()
			require.NoError(b, err)
			_, m, err := signer.ParseZMQ(channel, parts)
			require.NoError(b, err)
			if match(&m) {
				return
			}
		}
	}
	return func() {
		m := g.build.New(wire.Shell, wire.TypeExecuteRequest, nil, map[string]any{
			"code": "pass", "silent": false, "store_history": true, "user_expressions": struct{}{}, "allow_stdin": true, "stop_on_error": true,
		})
		id := m.ID()
		require.NoError(b, shell.Send(signer.AppendZMQ(nil, nil, &m)))
		receive(wire.Shell, shell, func(m *wire.Message) bool { return m.ParentID() == id })
		receive(wire.IOPub, iopub, func(m *wire.Message) bool { return m.ParentID() == id && m.ExecutionState() == "idle" })
	}
}

// connectionFile finds the newest connection file of an agent of this process.
func connectionFile(b *testing.B) string {
	var newest string
	var when time.Time
	entries, err := os.ReadDir(os.TempDir())
	require.NoError(b, err)
	for _, e := range entries {
		path := os.TempDir() + "/" + e.Name() + "/connection.json"
		if info, err := os.Stat(path); err == nil && strings.HasPrefix(e.Name(), "kernel-") && info.ModTime().After(when) {
			newest, when = path, info.ModTime()
		}
	}
	require.NotEmpty(b, newest)
	return newest
}

// BenchmarkFlood measures iopub through the agent from a kernel that outruns it.
func BenchmarkFlood(b *testing.B) {
	for _, bytes := range []int{200, 100 << 10} {
		b.Run(fmt.Sprintf("%dB", bytes), func(b *testing.B) {
			r := start(b, stub(b), func(c *agent.Config) { c.ReplayBytes = 1 << 30 })
			g := r.connect("s1")
			g.run("warm")
			count := 20_000_000 / (bytes + 1000)
			b.SetBytes(int64(count * bytes))
			for b.Loop() {
				id := g.execute(fmt.Sprintf("flood %d %d", count, bytes))
				n := 0
				for {
					m, err := g.receive()
					require.NoError(b, err)
					n++
					if n%200 == 0 {
						g.ack(g.seq)
					}
					if m.Channel == wire.IOPub && m.Type() == wire.TypeStatus && m.ParentID() == id && m.ExecutionState() == "idle" {
						break
					}
				}
			}
			b.ReportMetric(float64(count*b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
