package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/zmtp"
	"github.com/elastichub/elastichub/kernels/wire"
)

// direct is a client that speaks ZMQ to a kernel's own sockets.
type direct struct {
	process *process
	signer  *wire.Signer
	build   *wire.Builder
	shell   *zmtp.Conn
	iopub   *zmtp.Conn
	idle    chan idleAt
}

// startDirect starts the kernel that argv says and connects to it.
func startDirect(ctx context.Context, b *bench, argv []string) (*direct, error) {
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	const key = "bench-0123456789"
	raw, err := json.Marshal(map[string]any{
		"transport": "tcp", "ip": "127.0.0.1", "shell_port": ports[0], "iopub_port": ports[1], "stdin_port": ports[2],
		"control_port": ports[3], "hb_port": ports[4], "key": key, "signature_scheme": wire.SignatureScheme, "kernel_name": "bench",
	})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(b.dir, fmt.Sprintf("direct-%d.json", ports[0]))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return nil, err
	}
	d := &direct{signer: wire.NewSigner([]byte(key)), build: wire.NewBuilder("bench"), idle: make(chan idleAt, 100)}
	if d.process, err = b.start("direct-kernel", nil, fill(argv, path)...); err != nil {
		return nil, err
	}
	options := zmtp.Options{MaxMessage: 1 << 30, MaxFrames: 100, ReadBuffer: 256 << 10}
	dial, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if d.iopub, err = zmtp.Dial(dial, fmt.Sprintf("tcp://127.0.0.1:%d", ports[1]), zmtp.Sub, options); err != nil {
		return nil, err
	}
	if d.shell, err = zmtp.Dial(dial, fmt.Sprintf("tcp://127.0.0.1:%d", ports[0]), zmtp.Dealer, options); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _, _ = d.shell.Close(), d.iopub.Close() })
	return d, nil
}

// startTripper is startDirect for round trips.
func startTripper(ctx context.Context, b *bench, argv []string) (*direct, error) {
	d, err := startDirect(ctx, b, argv)
	if err != nil {
		return nil, err
	}
	go d.watch()
	for range 3 { // now and then ipykernel does not answer what comes while it starts
		time.Sleep(time.Second)
		m := execution(d.build, "pass")
		if err := d.send(&m); err != nil {
			return nil, err
		}
	}
	time.Sleep(time.Second)
	_, _, err = d.roundTrip(ctx, "pass")
	return d, err
}

// startFlooded is startDirect for floods: it waits until the kernel knows of the subscription.
func startFlooded(ctx context.Context, b *bench, argv []string) (*direct, error) {
	d, err := startDirect(ctx, b, argv)
	if err != nil {
		return nil, err
	}
	subscribed := make(chan error, 1)
	go func() {
		_, err := d.receive(wire.IOPub, d.iopub)
		subscribed <- err
	}()
	for {
		m := d.build.New(wire.Shell, wire.TypeKernelInfoRequest, nil, struct{}{})
		if err := d.send(&m); err != nil {
			return nil, err
		}
		select {
		case err := <-subscribed:
			return d, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (d *direct) close() {
	_ = d.shell.Close()
	_ = d.iopub.Close()
	d.process.stop()
}

// watch reads iopub, as a client of its own accord, and notes when the kernel
// became idle after which request.
func (d *direct) watch() {
	defer close(d.idle)
	for {
		m, err := d.receive(wire.IOPub, d.iopub)
		if err != nil {
			return
		}
		if m.ExecutionState() == string(wire.StateIdle) {
			d.idle <- idleAt{m.ParentID(), time.Now()}
		}
	}
}

type idleAt struct {
	request string
	at      time.Time
}

func (d *direct) send(m *wire.Message) error {
	return d.shell.Send(d.signer.AppendZMQ(nil, nil, m))
}

func (d *direct) receive(channel wire.Channel, c *zmtp.Conn) (wire.Message, error) {
	parts, err := c.Receive()
	if err != nil {
		return wire.Message{}, err
	}
	_, m, err := d.signer.ParseZMQ(channel, parts)
	return m, err
}

// roundTrip is session.roundTrip over ZMQ.
func (d *direct) roundTrip(_ context.Context, code string) (reply, idle time.Duration, err error) {
	m := execution(d.build, code)
	id := m.ID()
	began := time.Now()
	if err := d.send(&m); err != nil {
		return 0, 0, err
	}
	for {
		m, err := d.receive(wire.Shell, d.shell)
		if err != nil {
			return 0, 0, err
		}
		if m.ParentID() == id {
			break
		}
	}
	reply = time.Since(began)
	for i := range d.idle {
		if i.request == id {
			return reply, max(reply, i.at.Sub(began)), nil
		}
	}
	return 0, 0, errors.New("the kernel's iopub is closed")
}

// flood is session.flood over ZMQ. Like every Jupyter client it checks signatures.
func (d *direct) flood(_ context.Context, kind string, count, size int) (flooded, error) {
	m := execution(d.build, fmt.Sprintf("%s %d %d", kind, count, size))
	id := m.ID()
	if err := d.send(&m); err != nil {
		return flooded{}, err
	}
	c := counting{size: size}
	for {
		m, err := d.receive(wire.IOPub, d.iopub)
		if err != nil {
			return flooded{}, err
		}
		if n, ok := number(m.Content); ok {
			if err := c.take(n, m.Size()); err != nil {
				return flooded{}, err
			}
		} else if m.ParentID() == id && m.ExecutionState() == string(wire.StateIdle) {
			return c.over()
		}
	}
}
