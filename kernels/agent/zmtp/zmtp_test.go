package zmtp_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/elastichub/elastichub/kernels/agent/zmtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var options = zmtp.Options{Identity: []byte("me"), MaxMessage: 1 << 20, MaxFrames: 16, ReadBuffer: 4 << 10}

const clientOpening = 64 + 2 + 6 + (1 + 11 + 4 + 6) + (1 + 8 + 4 + 2)

// peer listens, shakes hands as a 3.1 peer would and runs talk.
func peer(t *testing.T, talk func(c net.Conn)) (endpoint string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		talk(c)
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "ipc://" + path
}

func greeting() []byte {
	g := make([]byte, 64)
	g[0], g[9], g[10], g[11] = 0xff, 0x7f, 3, 1
	copy(g[12:], "NULL")
	return g
}

func ready() []byte {
	return append(append(greeting(), 4, 28), "\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER"...)
}

func dial(t *testing.T, endpoint string, socket zmtp.SocketType) *zmtp.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := zmtp.Dial(ctx, endpoint, socket, options)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestOpeningBytes(t *testing.T) {
	got := make(chan []byte, 1)
	endpoint := peer(t, func(c net.Conn) {
		_, _ = c.Write(ready())
		b := make([]byte, clientOpening)
		_, _ = io.ReadFull(c, b)
		got <- b
	})
	dial(t, endpoint, zmtp.Dealer)
	b := <-got
	assert.Equal(t, []byte{0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0}, b[:12])
	assert.Equal(t, "NULL", string(bytes.TrimRight(b[12:64], "\x00")))
	assert.Equal(t, "\x04\x2b\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x02me", string(b[64:]))
}

func TestRefusedHandshakes(t *testing.T) {
	plain := greeting()
	copy(plain[12:], "PLAIN")
	old := greeting()
	old[10] = 2
	for name, bytes := range map[string][]byte{
		"PLAIN":             plain,
		"ZMTP 2":            old,
		"HTTP":              append([]byte("HTTP/1.1 400 Bad Request\r\n"), make([]byte, 64)...),
		"ERROR command":     append(append(greeting(), 4, 10), "\x05ERROR\x03bad"...),
		"message first":     append(greeting(), 0, 1, 'x'),
		"huge READY":        append(greeting(), 6, 0, 0, 0, 0, 1, 0, 0, 0),
		"impossible flags":  append(greeting(), 0xf0, 0),
		"negative as int64": append(greeting(), 6, 0x80, 0, 0, 0, 0, 0, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			endpoint := peer(t, func(c net.Conn) { _, _ = c.Write(bytes); _, _ = io.Copy(io.Discard, c) })
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_, err := zmtp.Dial(ctx, endpoint, zmtp.Dealer, options)
			assert.ErrorIs(t, err, zmtp.ErrProtocol)
		})
	}
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	silent := peer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for name, endpoint := range map[string]string{
		"nobody there":   "ipc://" + filepath.Join(t.TempDir(), "nobody"),
		"peer is silent": silent,
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		start := time.Now()
		_, err := zmtp.Dial(ctx, endpoint, zmtp.Dealer, options)
		cancel()
		assert.ErrorIs(t, err, context.DeadlineExceeded, name)
		assert.Less(t, time.Since(start), 2*time.Second, name)
	}
	_, err := zmtp.Dial(context.Background(), "udp://x", zmtp.Dealer, options)
	assert.Error(t, err)
}

func TestReceive(t *testing.T) {
	long := bytes.Repeat([]byte("l"), 300)
	pong := make(chan []byte, 1)
	endpoint := peer(t, func(c net.Conn) {
		_, _ = c.Write(ready())
		_, _ = io.ReadFull(c, make([]byte, clientOpening))
		b := []byte{1, 1, 'a', 4, 11}
		b = append(b, "\x04PING\x00\x00ctxt"...) // a command may come between two frames
		b = append(b, 3, 0, 0, 0, 0, 0, 0, 1, 44)
		b = append(b, long...)
		b = append(b, 0, 0)
		// over MaxMessage, in two frames: skipped
		b = append(b, 1, 1, 'x', 2)
		b = binary.BigEndian.AppendUint64(b, 1<<20)
		b = append(b, make([]byte, 1<<20)...)
		// over MaxFrames: skipped
		for range 16 {
			b = append(b, 1, 0)
		}
		b = append(b, 0, 0)
		b = append(b, 0, 1, 'z')
		_, _ = c.Write(b)
		answer := make([]byte, 11)
		_, _ = io.ReadFull(c, answer)
		pong <- answer
	})
	c := dial(t, endpoint, zmtp.Dealer)
	frames, err := c.Receive()
	require.NoError(t, err)
	assert.Equal(t, [][]byte{[]byte("a"), long, {}}, frames)
	for range 2 {
		_, err = c.Receive()
		assert.ErrorIs(t, err, zmtp.ErrTooLarge)
	}
	frames, err = c.Receive()
	require.NoError(t, err)
	assert.Equal(t, [][]byte{[]byte("z")}, frames)
	assert.Equal(t, "\x04\x09\x04PONGctxt", string(<-pong))
	_, err = c.Receive()
	assert.ErrorIs(t, err, io.EOF)
}

// TestKeep: a large message's memory is handed over, with room before it, and the next ones do not touch it.
func TestKeep(t *testing.T) {
	message := func(b []byte, size int, fill byte) []byte {
		b = append(b, 1, 5)
		b = append(b, "topic"...)
		b = binary.BigEndian.AppendUint64(append(b, 2), uint64(size))
		return append(b, bytes.Repeat([]byte{fill}, size)...)
	}
	const large = 3 << 20
	endpoint := peer(t, func(c net.Conn) {
		_, _ = c.Write(ready())
		_, _ = io.ReadFull(c, make([]byte, clientOpening))
		b := message(nil, large, 'a')
		b = message(b, 1000, 'b')
		b = message(b, large, 'c')
		_, _ = c.Write(b)
	})
	o := options
	o.MaxMessage, o.Headroom = 8<<20, 100
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := zmtp.Dial(ctx, endpoint, zmtp.Dealer, o)
	require.NoError(t, err)
	defer c.Close()

	_, err = c.Receive()
	require.NoError(t, err)
	kept, ok := c.Keep()
	require.True(t, ok)
	require.Len(t, kept, 100+5+large)
	frames, err := c.Receive()
	require.NoError(t, err)
	assert.Equal(t, [][]byte{[]byte("topic"), bytes.Repeat([]byte("b"), 1000)}, frames)
	_, ok = c.Keep()
	assert.False(t, ok, "its memory is that of many such messages")
	frames, err = c.Receive()
	require.NoError(t, err)
	assert.True(t, bytes.Equal(bytes.Repeat([]byte("c"), large), frames[1]))
	assert.True(t, bytes.Equal(bytes.Repeat([]byte("a"), large), kept[105:]))
	again, ok := c.Keep()
	require.True(t, ok)
	assert.NotSame(t, &kept[0], &again[0])
}

func TestSendIsOneWrite(t *testing.T) {
	big := bytes.Repeat([]byte("b"), 100_000)
	got := make(chan []byte, 2)
	endpoint := peer(t, func(c net.Conn) {
		_, _ = c.Write(ready())
		_, _ = io.ReadFull(c, make([]byte, clientOpening))
		for _, n := range []int{3 + 2, 3 + 9 + len(big) + 2} {
			b := make([]byte, n)
			_, _ = io.ReadFull(c, b)
			got <- b
		}
	})
	c := dial(t, endpoint, zmtp.Dealer)
	require.NoError(t, c.Send([][]byte{[]byte("a"), {}}))
	assert.Equal(t, []byte{1, 1, 'a', 0, 0}, <-got)
	require.NoError(t, c.Send([][]byte{[]byte("a"), big, {}}))
	want := append([]byte{1, 1, 'a', 3, 0, 0, 0, 0, 0, 1, 0x86, 0xa0}, big...)
	assert.True(t, bytes.Equal(append(want, 0, 0), <-got))
}

func TestCloseEndsReceive(t *testing.T) {
	endpoint := peer(t, func(c net.Conn) { _, _ = c.Write(ready()); _, _ = io.Copy(io.Discard, c) })
	c := dial(t, endpoint, zmtp.Dealer)
	time.AfterFunc(20*time.Millisecond, func() { c.Close() })
	_, err := c.Receive()
	assert.True(t, errors.Is(err, net.ErrClosed), err)
}

// TestAnnouncedSizeCostsNothing: a peer that announces much and sends little gets little memory.
func TestAnnouncedSizeCostsNothing(t *testing.T) {
	endpoint := peer(t, func(c net.Conn) {
		_, _ = c.Write(ready())
		_, _ = c.Write(append(binary.BigEndian.AppendUint64([]byte{2}, 1<<40), 'x'))
		_, _ = io.ReadFull(c, make([]byte, clientOpening))
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	o := options
	o.MaxMessage = 1 << 50
	c, err := zmtp.Dial(ctx, endpoint, zmtp.Dealer, o)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Receive()
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
