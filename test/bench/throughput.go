package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/elastichub/elastichub/kernels/wire"
)

// flow is how one way carried one kind of flood.
type flow struct {
	Way     string  `json:"way"`
	Kind    string  `json:"kind"`  // flood or buffers, see synthetic
	Bytes   int     `json:"bytes"` // of text or of the buffer of each message
	Count   int     `json:"count"` // of messages per flood
	Floods  int     `json:"floods"`
	PerSec  float64 `json:"perSecond"`
	MBPerS  float64 `json:"mbPerSecond"`
	Lost    int     `json:"lost"`
	Notices int     `json:"notices"` // that say that something was dropped
	Fastest float64 `json:"fastest"` // of the floods, in messages per second
	Slowest float64 `json:"slowest"`
	// ServerCPU is the processor time of the server, if there is one, and for
	// elastichub that of the agent, per message, in microseconds.
	ServerCPU float64 `json:"serverCPU,omitempty"`
	AgentCPU  float64 `json:"agentCPU,omitempty"`
}

// kind of flood that is measured. count is chosen so that a flood stays below
// the 32 MiB that an agent keeps for a client, unless lossy.
type floodKind struct {
	kind   string
	bytes  int
	count  int
	floods int
	// Enterprise Gateway gets fewer floods, of fewer messages; none if 0.
	egCount, egFloods int
	ways              []framing
}

var floodKinds = []floodKind{
	{"flood", 200, 20_000, 20, 4_000, 5, []framing{v1, legacy}},
	{"flood", 100 << 10, 250, 20, 250, 7, []framing{v1, legacy}},
	{"buffers", 1 << 20, 25, 15, 25, 9, []framing{v1}},
	{"buffers", 10 << 20, 3, 15, 3, 9, []framing{v1}},
	// Longer than what is kept: who cannot pass it on fast enough loses some.
	{"flood", 200, 400_000, 1, 0, 0, []framing{v1}},
}

// throughput measures what arrives from a kernel that publishes as fast as it is read.
func throughput(ctx context.Context, b *bench) (any, error) {
	ours, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	eg, err := b.enterpriseGateway(ctx)
	if err != nil {
		return nil, err
	}
	var all []*flow
	for _, k := range floodKinds {
		d, err := startFlooded(ctx, b, b.synthetic())
		if err != nil {
			return nil, err
		}
		direct, err := floods(ctx, b, d, directWay, k, k.count, k.floods, nil, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, direct)
		if k.egFloods > 0 {
			p, err := startPipe(ctx, b)
			if err != nil {
				return nil, err
			}
			bare, err := floods(ctx, b, p, pipeWay, k, k.count, k.floods, p.process, nil)
			if err != nil {
				return nil, err
			}
			all = append(all, bare)
		}
		for _, f := range k.ways {
			id, agent, err := ours.kernel(ctx, b.synthetic())
			if err != nil {
				return nil, err
			}
			c, err := connect(ctx, ours.server, id, f, agent.stop)
			if err != nil {
				return nil, err
			}
			mine, err := floods(ctx, b, c, "elastichub, "+string(f), k, k.count, k.floods, ours.gateway, agent)
			if err != nil {
				return nil, err
			}
			all = append(all, mine)
			if k.egFloods == 0 {
				continue
			}
			if c, err = eg.client(ctx, peerSynthetic, f); err != nil {
				return nil, err
			}
			theirs, err := floods(ctx, b, c, "Enterprise Gateway, "+string(f), k, k.egCount, k.egFloods, eg.process, nil)
			if err != nil {
				return nil, err
			}
			all = append(all, theirs)
			b.say("    %.1f times Enterprise Gateway", mine.PerSec/theirs.PerSec)
		}
	}
	return all, nil
}

// flooder is a client of a kernel that floods.
type flooder interface {
	flood(ctx context.Context, kind string, count, size int) (flooded, error)
	close()
}

// floods makes several floods and closes the client.
func floods(ctx context.Context, b *bench, c flooder, way string, k floodKind, count, times int, server, agent *process) (*flow, error) {
	defer c.close()
	total := &flow{Way: way, Kind: k.kind, Bytes: k.bytes, Count: count, Floods: times}
	serverCPU, agentCPU := server.cpu(), agent.cpu()
	var rates []float64
	received, took := 0, time.Duration(0)
	for i := range times + 1 {
		one, err := c.flood(ctx, k.kind, count, k.bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %s %d: %w", way, k.kind, k.bytes, err)
		}
		if i == 0 && times > 1 {
			continue // to warm up
		}
		received += one.received
		took += one.took
		total.Lost += count - one.received
		total.Notices += one.notices
		rates = append(rates, float64(one.received-1)/one.took.Seconds())
		if times == 1 {
			break
		}
	}
	messages := float64(received) * float64(times+1) / float64(times)
	total.PerSec = round(quantile(rates, 0.5), 1)
	total.MBPerS = round(total.PerSec*float64(k.bytes)/1e6, 1)
	total.Fastest, total.Slowest = round(quantile(rates, 1), 1), round(quantile(rates, 0), 1)
	total.ServerCPU = round(float64((server.cpu()-serverCPU).Microseconds())/messages, 2)
	total.AgentCPU = round(float64((agent.cpu()-agentCPU).Microseconds())/messages, 2)
	b.say("  %-8s %9d B  %-26s %9.0f msg/s  %7.1f MB/s  (%.0f–%.0f)  CPU per message: server %.1f µs, agent %.1f µs  lost %d, notices %d", k.kind, k.bytes, way,
		total.PerSec, total.MBPerS, total.Slowest, total.Fastest, total.ServerCPU, total.AgentCPU, total.Lost, total.Notices)
	return total, nil
}

// flooded is one flood as the client saw it.
type flooded struct {
	received int
	notices  int
	took     time.Duration // from the first to the last message
}

// flood has the kernel publish and counts what arrives, each message once and
// in order.
func (s *session) flood(ctx context.Context, kind string, count, size int) (flooded, error) {
	m := execution(s.build, fmt.Sprintf("%s %d %d", kind, count, size))
	id := m.ID()
	if err := s.send(ctx, &m); err != nil {
		return flooded{}, err
	}
	c := counting{size: size}
	for {
		frame, err := s.frame(ctx)
		if err != nil {
			return flooded{}, err
		}
		if n, ok := number(frame); ok {
			if err := c.take(n, len(frame)); err != nil {
				return flooded{}, err
			}
			continue
		}
		m, err := s.parse(frame)
		if err != nil {
			return flooded{}, err
		}
		switch {
		case m.Type() == wire.TypeStream:
			c.notices++
		case m.ParentID() == id && m.ExecutionState() == string(wire.StateIdle):
			return c.over()
		}
	}
}

// counting is a flood while it arrives.
type counting struct {
	flooded
	size        int // that every message must have at least
	next        int
	first, last time.Time
}

func (c *counting) take(n, size int) error {
	c.last = time.Now()
	if c.received == 0 {
		c.first = c.last
	}
	switch {
	case n < c.next:
		return fmt.Errorf("message %d came after %d", n, c.next-1)
	case size < c.size:
		return fmt.Errorf("message %d has %d bytes", n, size)
	}
	c.next = n + 1
	c.received++
	return nil
}

func (c *counting) over() (flooded, error) {
	c.took = c.last.Sub(c.first)
	if c.received < 2 {
		return c.flooded, fmt.Errorf("%d messages arrived", c.received)
	}
	return c.flooded, nil
}

var (
	streamText  = []byte(`"text"`)
	displayText = []byte(`"text/plain"`)
)

// number finds the number at the beginning of a flood message's text, in any framing.
func number(frame []byte) (int, bool) {
	head := frame[:min(len(frame), 4096)]
	at := bytes.Index(head, streamText)
	if at < 0 {
		if at = bytes.Index(head, displayText); at < 0 {
			return 0, false
		}
		at += len(displayText) - len(streamText)
	}
	at += len(streamText)
	for at < len(head) && (head[at] == ':' || head[at] == ' ' || head[at] == '"') {
		at++
	}
	if at+8 > len(head) {
		return 0, false
	}
	n, err := strconv.Atoi(string(head[at : at+8]))
	return n, err == nil
}
