// Package synthetic holds the parts of the bench that stand in for what would
// otherwise be the bottleneck: a kernel that answers at once and publishes
// faster than any gateway passes on, and agents that weigh almost nothing.
package synthetic

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/elastichub/elastichub/kernels/wire"
)

// connectionFile is what of a Jupyter connection file the kernel needs.
type connectionFile struct {
	IP        string `json:"ip"`
	Shell     int    `json:"shell_port"`
	IOPub     int    `json:"iopub_port"`
	Stdin     int    `json:"stdin_port"`
	Control   int    `json:"control_port"`
	Heartbeat int    `json:"hb_port"`
	Key       string `json:"key"`
}

// kernel is one kernel process. The code of an execute_request is
//
//	flood COUNT BYTES    COUNT stream messages with BYTES of text each
//	buffers COUNT BYTES  COUNT display_data messages with one buffer of BYTES
//	anything else        nothing
//
// All messages of a flood are made and signed before the first of them is
// sent. The text of each begins with its number, from 0, in eight digits.
type kernel struct {
	signer *wire.Signer
	build  *wire.Builder
	iopub  *publisher
	done   chan struct{}
	end    sync.Once

	mu    sync.Mutex // one request at a time, as real kernels have it
	count int
}

// Kernel runs a kernel until a shutdown_request ends it.
func Kernel(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var file connectionFile
	if err := json.Unmarshal(raw, &file); err != nil {
		return fmt.Errorf("connection file: %w", err)
	}
	k := &kernel{
		signer: wire.NewSigner([]byte(file.Key)), build: wire.NewBuilder("synthetic"),
		iopub: &publisher{subscribers: map[*subscriber]bool{}}, done: make(chan struct{}),
	}
	for _, socket := range []struct {
		port  int
		serve func(*peer)
	}{
		{file.Shell, func(p *peer) { k.requests(wire.Shell, p) }},
		{file.Control, func(p *peer) { k.requests(wire.Control, p) }},
		{file.Stdin, func(p *peer) { drain(p) }},
		{file.IOPub, k.iopub.serve},
		{file.Heartbeat, echo},
	} {
		l, err := net.Listen("tcp", net.JoinHostPort(file.IP, strconv.Itoa(socket.port)))
		if err != nil {
			return err
		}
		kind := map[int]string{file.IOPub: "PUB", file.Heartbeat: "REP"}[socket.port]
		if kind == "" {
			kind = "ROUTER"
		}
		go func() { log.Print(listen(l, kind, socket.serve)) }()
	}
	<-k.done
	return nil
}

// requests answers what comes on shell or control.
func (k *kernel) requests(channel wire.Channel, p *peer) {
	for {
		parts, err := p.receive()
		if err != nil {
			return
		}
		_, m, err := k.signer.ParseZMQ(channel, parts)
		if err != nil {
			log.Print(err)
			continue
		}
		if err := k.answer(p, &m); err != nil {
			return
		}
	}
}

func (k *kernel) answer(p *peer, m *wire.Message) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	kind := m.Type()
	k.publish(k.build.Status(m.Header, wire.StateBusy))
	content := map[string]any{"status": "ok"}
	switch kind {
	case wire.TypeKernelInfoRequest:
		content["protocol_version"], content["implementation"], content["implementation_version"] = wire.ProtocolVersion, "synthetic", "1"
		content["banner"], content["help_links"] = "", []any{}
		content["language_info"] = map[string]string{"name": "none", "version": "1", "mimetype": "text/plain", "file_extension": ".txt"}
	case wire.TypeExecuteRequest:
		code := wire.Member(m.Content, "code")
		k.count++
		content["execution_count"], content["user_expressions"], content["payload"] = k.count, struct{}{}, []any{}
		k.publish(k.build.New(wire.IOPub, wire.TypeExecuteInput, m.Header, map[string]any{"code": code, "execution_count": k.count}))
		k.execute(m.Header, code)
	case wire.TypeCommInfoRequest:
		content["comms"] = struct{}{}
	}
	reply := k.build.New(m.Channel, wire.ReplyType(kind), m.Header, content)
	err := p.send(k.signer.AppendZMQ(nil, nil, &reply))
	k.publish(k.build.Status(m.Header, wire.StateIdle))
	if kind == wire.TypeShutdownRequest {
		k.end.Do(func() { close(k.done) })
	}
	return err
}

// batch is how many bytes of a flood are handed to the subscribers at once.
const batch = 256 << 10

func (k *kernel) execute(parent []byte, code string) {
	words := strings.Fields(code)
	if len(words) != 3 {
		return
	}
	count, err := strconv.Atoi(words[1])
	if err != nil {
		return
	}
	size, err := strconv.Atoi(words[2])
	if err != nil {
		return
	}
	filler := strings.Repeat("x", size)
	var batches [][]byte
	var current []byte
	for i := range count {
		var m wire.Message
		number := fmt.Sprintf("%08d", i)
		switch words[0] {
		case "flood":
			m = k.build.Stream(parent, "stdout", number+filler[min(len(number), size):])
		case "buffers":
			m = k.build.New(wire.IOPub, wire.TypeDisplayData, parent, map[string]any{
				"data": map[string]string{"text/plain": number}, "metadata": struct{}{}, "transient": struct{}{}})
			m.Buffers = [][]byte{[]byte(filler)}
		default:
			return
		}
		current = appendMessage(current, k.signer.AppendZMQ(nil, [][]byte{[]byte("stream")}, &m))
		if len(current) >= batch {
			batches = append(batches, current)
			current = make([]byte, 0, len(current)+len(current)/8)
		}
	}
	for _, b := range append(batches, current) {
		k.iopub.write(b)
	}
}

func (k *kernel) publish(m wire.Message) {
	k.iopub.write(appendMessage(nil, k.signer.AppendZMQ(nil, [][]byte{[]byte("status")}, &m)))
}
