package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/elastichub/elastichub/kernels/agent/keys"
)

// pipeWay is a process that writes and this one that reads, with TLS as an agent and a gateway have it, and nothing else:
// no kernel, no frames, no signatures, no gateway behind it. Nothing that encrypts between two processes is faster here.
const pipeWay = "bare TLS pipe"

// pipeSecret is of no one's.
var pipeSecret = keys.Secret([]byte("a secret of the bench, 32 bytes!"))

// pipeAsk is what the reader sends: how many messages it wants, and how long they are.
const pipeAsk = 16

// pipe is the end that reads.
type pipe struct {
	process *process
	conn    net.Conn
	buffer  []byte
}

// startPipe starts the end that writes, and connects to it.
func startPipe(ctx context.Context, b *bench) (*pipe, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	at := fmt.Sprintf("127.0.0.1:%d", ports[0])
	p := &pipe{}
	if p.process, err = b.start("pipe", nil, self, "pipe", at); err != nil {
		return nil, err
	}
	dialer := tls.Dialer{Config: pipeSecret.ClientTLS()}
	err = p.process.until(stopPatience, func() (err error) {
		p.conn, err = dialer.DialContext(ctx, "tcp", at)
		return err
	})
	return p, err
}

func (p *pipe) close() {
	_ = p.conn.Close()
	p.process.stop()
}

// flood reads messages that have a number and nothing else in them.
func (p *pipe) flood(ctx context.Context, _ string, count, size int) (flooded, error) {
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
	defer stop()
	ask := binary.LittleEndian.AppendUint64(nil, uint64(count))
	if _, err := p.conn.Write(binary.LittleEndian.AppendUint64(ask, uint64(size))); err != nil {
		return flooded{}, err
	}
	if len(p.buffer) != size {
		p.buffer = make([]byte, size)
	}
	c := counting{size: size}
	for range count {
		if _, err := io.ReadFull(p.conn, p.buffer); err != nil {
			return flooded{}, err
		}
		if err := c.take(int(binary.LittleEndian.Uint64(p.buffer)), size); err != nil {
			return flooded{}, err
		}
	}
	return c.over()
}

// pipeWriter is the end that writes, for one reader.
func pipeWriter(at string) error {
	config, err := pipeSecret.ServerTLS()
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", at, config)
	if err != nil {
		return err
	}
	defer l.Close()
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	out := bufio.NewWriterSize(conn, 64<<10) // small messages fill TLS records, as an agent's do
	for {
		var ask [pipeAsk]byte
		if _, err := io.ReadFull(conn, ask[:]); err != nil {
			return err
		}
		count, message := binary.LittleEndian.Uint64(ask[:]), make([]byte, binary.LittleEndian.Uint64(ask[8:]))
		for n := range count {
			binary.LittleEndian.PutUint64(message, n)
			if _, err := out.Write(message); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
}
