// Package zmtp is the client side of ZMTP 3.0 with the NULL mechanism
// (rfc.zeromq.org/spec/23 and /37): enough to talk to the sockets of a Jupyter
// kernel, which bind. It starts no goroutines.
package zmtp

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// SocketType is the type a connection announces to its peer.
type SocketType string

// The types a Jupyter client needs.
const (
	Dealer SocketType = "DEALER" // shell, control, stdin
	Sub    SocketType = "SUB"    // iopub; subscribes to everything on Dial
	Req    SocketType = "REQ"    // heartbeat; the empty delimiter is added and removed
)

var (
	// ErrProtocol means that the peer does not speak ZMTP 3 with the NULL mechanism, or breaks its rules.
	ErrProtocol = errors.New("zmtp: protocol violation")
	// ErrTooLarge means that a message was over a bound and has been skipped;
	// the connection goes on with the next one.
	ErrTooLarge = errors.New("zmtp: message too large")
)

const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4

	maxCommand       = 4 << 10  // bytes of a command's body
	smallMessage     = 4 << 10  // bytes of a receive buffer to begin with
	coalesce         = 64 << 10 // messages up to this many bytes are copied into one write
	keep             = 1 << 20  // bytes; receive and send buffers above this are not kept
	handshakeTimeout = 5 * time.Second
	retryFirst       = 2 * time.Millisecond
	retryMost        = 10 * time.Millisecond
)

// Options of a connection.
type Options struct {
	// Identity is the routing identity, at most 255 bytes; empty for one that the peer chooses.
	Identity []byte
	// MaxMessage bounds the bytes of a received message, all its frames together.
	MaxMessage int
	// MaxFrames bounds the number of frames of a received message.
	MaxFrames int
	// ReadBuffer is the size of the read buffer in bytes.
	ReadBuffer int
	// Headroom is how many bytes are left free before the frames of a received message, for whom Keep hands them to.
	Headroom int
}

// Conn is a connection to one peer. Send and Receive may be called
// concurrently with each other; Receive by one goroutine at a time.
type Conn struct {
	socket  SocketType
	options Options
	conn    net.Conn
	reader  *bufio.Reader

	body   []byte   // of the message received last, behind the headroom
	ends   []int    // of its frames in body
	frames [][]byte // views into body

	sending sync.Mutex
	out     []byte
	vector  net.Buffers
}

// Dial connects to "tcp://host:port" or "ipc://path" and shakes hands. As long
// as nobody listens there it tries again, every few milliseconds, until ctx ends.
// A peer that does not speak the protocol ends the attempt with ErrProtocol.
func Dial(ctx context.Context, endpoint string, socket SocketType, options Options) (*Conn, error) {
	scheme, address, ok := strings.Cut(endpoint, "://")
	network := map[string]string{"tcp": "tcp", "ipc": "unix"}[scheme]
	if !ok || network == "" {
		return nil, fmt.Errorf("zmtp: endpoint %q is neither tcp:// nor ipc://", endpoint)
	}
	if len(options.Identity) > 255 {
		return nil, fmt.Errorf("zmtp: identity has %d bytes, at most 255", len(options.Identity))
	}
	var dialer net.Dialer
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		c, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			var conn *Conn
			if conn, err = shake(ctx, c, socket, options); err == nil {
				return conn, nil
			}
			_ = c.Close()
			if errors.Is(err, ErrProtocol) {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("zmtp: dial %s: %w (last: %w)", endpoint, context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}

// shake exchanges greetings and READY commands over a fresh connection.
func shake(ctx context.Context, c net.Conn, socket SocketType, options Options) (*Conn, error) {
	conn := &Conn{socket: socket, options: options, conn: c, reader: bufio.NewReaderSize(c, options.ReadBuffer)}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(greeting()); err != nil {
		return nil, err
	}
	if err := conn.readGreeting(); err != nil {
		return nil, err
	}
	// Not sooner: libzmq 4.3 hangs up on a subscription that comes along with the greeting.
	if _, err := c.Write(ready(socket, options.Identity)); err != nil {
		return nil, err
	}
	if err := conn.readReady(); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return conn, c.SetDeadline(time.Time{})
}

func greeting() []byte {
	g := make([]byte, 64)
	g[0], g[9] = 0xff, 0x7f
	g[10] = 3 // version 3.0: subscriptions are messages
	copy(g[12:], "NULL")
	return g
}

// ready is the READY command and, for SUB, the subscription to everything.
func ready(socket SocketType, identity []byte) []byte {
	ready := []byte("\x05READY")
	property := func(name string, value []byte) {
		ready = append(ready, byte(len(name)))
		ready = append(ready, name...)
		ready = binary.BigEndian.AppendUint32(ready, uint32(len(value)))
		ready = append(ready, value...)
	}
	property("Socket-Type", []byte(socket))
	if len(identity) > 0 {
		property("Identity", identity)
	}
	out := appendHeader(nil, flagCommand, len(ready))
	out = append(out, ready...)
	if socket == Sub {
		out = append(out, 0, 1, 1)
	}
	return out
}

func (c *Conn) readGreeting() error {
	var greeting [64]byte
	if _, err := io.ReadFull(c.reader, greeting[:]); err != nil {
		return err
	}
	if greeting[0] != 0xff || greeting[9]&1 == 0 || greeting[10] < 3 {
		return fmt.Errorf("%w: greeting", ErrProtocol)
	}
	if mechanism := strings.TrimRight(string(greeting[12:32]), "\x00"); mechanism != "NULL" {
		return fmt.Errorf("%w: mechanism %q", ErrProtocol, mechanism)
	}
	return nil
}

func (c *Conn) readReady() error {
	flags, size, err := c.readHeader()
	if err != nil {
		return err
	}
	if flags&flagCommand == 0 {
		return fmt.Errorf("%w: message before READY", ErrProtocol)
	}
	body, err := c.readCommand(size)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(body), "\x05READY") {
		return fmt.Errorf("%w: refused with %q", ErrProtocol, body)
	}
	return nil
}

// Close ends the connection; a Send or Receive that waits returns an error.
func (c *Conn) Close() error { return c.conn.Close() }
