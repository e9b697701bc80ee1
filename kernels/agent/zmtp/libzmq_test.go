package zmtp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/zmtp"
	"github.com/elastichub/elastichub/test/pythontest"
)

// libzmq binds a ROUTER that echoes, a REP that echoes and an XPUB on which it
// publishes whatever the ROUTER got.
const libzmq = `
import sys, zmq
ctx = zmq.Context()
router, rep, pub = ctx.socket(zmq.ROUTER), ctx.socket(zmq.REP), ctx.socket(zmq.XPUB)
router.setsockopt(zmq.ROUTER_HANDOVER, 1)
pub.sndhwm = 0
ends = []
for s, arg in zip((router, rep, pub), sys.argv[1:]):
    s.bind(arg)
    ends.append(s.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
print(" ".join(ends), flush=True)
poller = zmq.Poller()
for s in (router, rep, pub):
    poller.register(s, zmq.POLLIN)
while True:
    for s, _ in poller.poll():
        parts = s.recv_multipart()
        if s is pub:
            pub.send_multipart([b"welcome"])
        else:
            s.send_multipart(parts)
            if s is router:
                pub.send_multipart(parts)
`

func start(t *testing.T, endpoints ...string) []string {
	t.Helper()
	cmd := exec.Command(pythontest.Interpreter(t), append([]string{"-c", libzmq}, endpoints...)...)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		assert.Empty(t, stderr.String())
	})
	line := make([]byte, 4096)
	n, err := out.Read(line)
	require.NoError(t, err)
	return strings.Fields(string(line[:n]))
}

func TestWithLibzmq(t *testing.T) {
	dir := t.TempDir()
	for transport, endpoints := range map[string][]string{
		"tcp": {"tcp://127.0.0.1:*", "tcp://127.0.0.1:*", "tcp://127.0.0.1:*"},
		"ipc": {"ipc://" + filepath.Join(dir, "1"), "ipc://" + filepath.Join(dir, "2"), "ipc://" + filepath.Join(dir, "3")},
	} {
		t.Run(transport, func(t *testing.T) {
			ends := start(t, endpoints...)
			sub := dialLarge(t, ends[2], zmtp.Sub)
			welcome, err := sub.Receive()
			require.NoError(t, err)
			assert.Equal(t, "welcome", string(welcome[0]))

			dealer := dialLarge(t, ends[0], zmtp.Dealer)
			for _, size := range []int{0, 1, 255, 256, 64 << 10, 10 << 20} {
				message := [][]byte{[]byte("head"), bytes.Repeat([]byte{7}, size), {}}
				require.NoError(t, dealer.Send(message))
				echo, err := dealer.Receive()
				require.NoError(t, err)
				require.Len(t, echo, 3)
				assert.True(t, bytes.Equal(message[1], echo[1]))
				assert.Equal(t, "head", string(echo[0]))
				published, err := sub.Receive()
				require.NoError(t, err)
				require.Len(t, published, 4)
				assert.Equal(t, "me", string(published[0]), "routing identity")
				assert.True(t, bytes.Equal(message[1], published[2]))
			}

			req := dialLarge(t, ends[1], zmtp.Req)
			for range 3 {
				require.NoError(t, req.Send([][]byte{[]byte("ping")}))
				pong, err := req.Receive()
				require.NoError(t, err)
				assert.Equal(t, [][]byte{[]byte("ping")}, pong)
			}

			// A second connection with the identity takes over (ROUTER_HANDOVER).
			again := dialLarge(t, ends[0], zmtp.Dealer)
			require.NoError(t, again.Send([][]byte{[]byte("mine")}))
			mine, err := again.Receive()
			require.NoError(t, err)
			assert.Equal(t, "mine", string(mine[0]))
		})
	}
}

func dialLarge(t testing.TB, endpoint string, socket zmtp.SocketType) *zmtp.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	o := options
	o.MaxMessage = 1 << 30
	c, err := zmtp.Dial(ctx, endpoint, socket, o)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// TestPublishedInOrder publishes numbered messages as fast as libzmq can.
func TestPublishedInOrder(t *testing.T) {
	ends := start(t, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", "tcp://127.0.0.1:*")
	sub := dialLarge(t, ends[2], zmtp.Sub)
	_, err := sub.Receive()
	require.NoError(t, err)
	dealer := dialLarge(t, ends[0], zmtp.Dealer)
	const n = 20_000
	go func() {
		for i := range uint64(n) {
			if dealer.Send([][]byte{binary.BigEndian.AppendUint64(nil, i)}) != nil {
				return
			}
		}
	}()
	for i := range uint64(n) {
		frames, err := sub.Receive()
		require.NoError(t, err)
		require.Equal(t, i, binary.BigEndian.Uint64(frames[1]))
	}
}
