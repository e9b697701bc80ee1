package synthetic

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// The binding side of ZMTP 3.0 with the NULL mechanism
// (rfc.zeromq.org/spec/23), for peers that can be trusted.

const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
	// largest bounds one frame, in bytes.
	largest = 1 << 30
)

// peer is one connection to a socket of the kernel.
type peer struct {
	conn net.Conn
	r    *bufio.Reader
	mu   sync.Mutex // of writes
}

// listen serves every connection in a goroutine of its own.
func listen(l net.Listener, kind string, serve func(*peer)) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			p := &peer{conn: c, r: bufio.NewReaderSize(c, 64<<10)}
			if p.shake(kind) == nil {
				serve(p)
			}
		}()
	}
}

func (p *peer) shake(kind string) error {
	greeting := make([]byte, 64)
	greeting[0], greeting[9], greeting[10] = 0xff, 0x7f, 3
	copy(greeting[12:], "NULL")
	if _, err := p.conn.Write(greeting); err != nil {
		return err
	}
	if _, err := io.ReadFull(p.r, greeting); err != nil {
		return err
	}
	ready := append([]byte("\x05READY\x0bSocket-Type"), 0, 0, 0, byte(len(kind)))
	ready = append(ready, kind...)
	if _, err := p.conn.Write(append([]byte{flagCommand, byte(len(ready))}, ready...)); err != nil {
		return err
	}
	flags, _, err := p.frame()
	if err == nil && flags&flagCommand == 0 {
		err = fmt.Errorf("synthetic: a message before READY")
	}
	return err
}

func (p *peer) frame() (flags byte, body []byte, err error) {
	if flags, err = p.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	var size uint64
	if flags&flagLong == 0 {
		short, err := p.r.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		size = uint64(short)
	} else {
		var long [8]byte
		if _, err := io.ReadFull(p.r, long[:]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(long[:])
	}
	if size > largest {
		return 0, nil, fmt.Errorf("synthetic: a frame of %d bytes", size)
	}
	body = make([]byte, size)
	_, err = io.ReadFull(p.r, body)
	return flags, body, err
}

// receive returns the frames of the next message.
func (p *peer) receive() ([][]byte, error) {
	var parts [][]byte
	for {
		flags, body, err := p.frame()
		if err != nil {
			return nil, err
		}
		if flags&flagCommand != 0 {
			continue
		}
		parts = append(parts, body)
		if flags&flagMore == 0 {
			return parts, nil
		}
	}
}

func (p *peer) send(parts [][]byte) error { return p.write(appendMessage(nil, parts)) }

func (p *peer) write(data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.conn.Write(data)
	return err
}

// appendMessage appends a message as it goes over the wire.
func appendMessage(dst []byte, parts [][]byte) []byte {
	for i, part := range parts {
		flags := byte(flagMore)
		if i == len(parts)-1 {
			flags = 0
		}
		if len(part) <= 255 {
			dst = append(dst, flags, byte(len(part)))
		} else {
			dst = binary.BigEndian.AppendUint64(append(dst, flags|flagLong), uint64(len(part)))
		}
		dst = append(dst, part...)
	}
	return dst
}

func echo(p *peer) {
	for {
		parts, err := p.receive()
		if err != nil || p.send(parts) != nil {
			return
		}
	}
}

func drain(p *peer) {
	for {
		if _, err := p.receive(); err != nil {
			return
		}
	}
}

// publisher is the PUB socket. Unlike libzmq's it never drops: who does not
// read makes the kernel wait, so that what is lost was lost behind it.
type publisher struct {
	mu          sync.Mutex
	subscribers map[*subscriber]bool
}

type subscriber struct {
	queue chan []byte
	gone  chan struct{}
}

// queued is how many writes a subscriber may lag behind.
const queued = 64

// serve takes a subscription to everything, whatever it says.
func (b *publisher) serve(p *peer) {
	if _, err := p.receive(); err != nil {
		return
	}
	s := &subscriber{queue: make(chan []byte, queued), gone: make(chan struct{})}
	b.mu.Lock()
	b.subscribers[s] = true
	b.mu.Unlock()
	var once sync.Once
	leave := func() {
		once.Do(func() {
			close(s.gone)
			b.mu.Lock()
			delete(b.subscribers, s)
			b.mu.Unlock()
		})
	}
	go func() {
		drain(p)
		leave()
	}()
	defer leave()
	for {
		select {
		case data := <-s.queue:
			if p.write(data) != nil {
				return
			}
		case <-s.gone:
			return
		}
	}
}

// write gives data, whole messages that nobody changes any more, to every subscriber.
func (b *publisher) write(data []byte) {
	b.mu.Lock()
	all := make([]*subscriber, 0, len(b.subscribers))
	for s := range b.subscribers {
		all = append(all, s)
	}
	b.mu.Unlock()
	for _, s := range all {
		select {
		case s.queue <- data:
		case <-s.gone:
		}
	}
}
