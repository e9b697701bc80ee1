package gateway

import (
	"encoding/binary"
	"fmt"

	"github.com/coder/websocket"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/wire"
)

// framing is how messages look on a client's WebSocket.
type framing string

const (
	framingV1     framing = "v1"
	framingLegacy framing = "legacy"
	framingResume framing = "resume" // v1 with numbers
	// framingLegacyBinary is the legacy framing with binary frames for messages
	// that have buffers. No connection has it from the start.
	framingLegacyBinary framing = "legacy-binary"
)

// subprotocolResume is docs/resume-protocol.md.
const subprotocolResume = "v1.resume.elastichub.io"

// maxLegacyFrame is what an unpatched jupyter_server takes: tornado closes the
// connection at 10 MiB, and would do so again at every replay.
const maxLegacyFrame = 10<<20 - 1

func framingOf(subprotocol string) framing {
	switch subprotocol {
	case wire.SubprotocolV1:
		return framingV1
	case subprotocolResume:
		return framingResume
	}
	return framingLegacy
}

// parse reads a client's frame. In the legacy framing its WebSocket type says
// nothing: jupyter_server forwards its browsers' binary frames as text.
func (f framing) parse(kind websocket.MessageType, data []byte) (wire.Message, error) {
	if f != framingLegacy && kind == websocket.MessageBinary {
		return wire.ParseV1(data)
	}
	return wire.ParseLegacy(data)
}

// render appends what the client gets for a message. replaced says in words
// why a client of the legacy framing did not get all of it; note is set for a
// message that stands in for another.
func (f framing) render(dst []byte, m *wire.Message, b *wire.Builder) (frame []byte, kind websocket.MessageType, lost string, err error) {
	switch f {
	case framingV1:
		return m.AppendV1(dst), websocket.MessageBinary, "", nil
	case framingResume: // without a number of its own
		return m.AppendV1(binary.LittleEndian.AppendUint64(dst, 0)), websocket.MessageBinary, "", nil
	case framingLegacyBinary:
		if m.NeedsBinary() {
			frame, err = m.AppendLegacyBinary(dst)
			return frame, websocket.MessageBinary, "", err
		}
		frame, err = m.AppendLegacyText(dst)
		return frame, websocket.MessageText, "", err
	case framingLegacy:
	}
	if m.Size() <= maxLegacyFrame {
		frame, err = m.AppendLegacyText(dst)
		if err != nil {
			return dst, 0, "", err
		}
		if len(frame)-len(dst) <= maxLegacyFrame {
			if m.NeedsBinary() {
				lost = "buffers"
			}
			return frame, websocket.MessageText, lost, nil
		}
		frame = frame[:len(dst)]
	} else {
		frame = dst
	}
	instead := standIn(m, b)
	frame, err = instead.AppendLegacyText(frame)
	return frame, websocket.MessageText, "size", err
}

// memberNames is more than what the legacy framing adds to the parts of a
// message, in bytes.
const memberNames = 1 << 10

// rendersTo is how many bytes render copies of a message.
func (f framing) rendersTo(m *wire.Message) int {
	size := m.Size()
	if f != framingLegacy {
		return size
	}
	if size > maxLegacyFrame {
		return 0 // another stands in for it
	}
	for _, b := range m.Buffers {
		size -= len(b)
	}
	return size
}

// standIn replaces a message that is too large for the client: a reply by a
// reply that failed, so that nothing waits for ever, anything else by a line
// in the same cell.
func standIn(m *wire.Message, b *wire.Builder) wire.Message {
	text := fmt.Sprintf("A message of %.1f MiB was not delivered: a notebook server takes no more than 10 MiB at once from a gateway.", float64(m.Size())/(1<<20))
	return sayInstead(m, b, text)
}

// instead is the agent's frame, a number and a message, in place of one of size
// bytes, of which data is only the beginning.
func instead(data []byte, size, limit int64) []byte {
	frame := append(make([]byte, 0, 4096), data[:protocol.SequenceBytes]...)
	m, err := wire.ParseV1Head(data[protocol.SequenceBytes:], uint64(size-protocol.SequenceBytes))
	if err != nil {
		return append(frame, data[protocol.SequenceBytes:2*protocol.SequenceBytes]...) // as unreadable as it was
	}
	b := wire.NewBuilder("kernel")
	b.Session = string(wire.ParseFields(m.Header).Session)
	text := fmt.Sprintf("A message of %.1f MiB was not delivered: the kernel gateway takes no more than %.1f MiB at once.", float64(size)/(1<<20), float64(limit)/(1<<20))
	said := sayInstead(&m, b, text)
	return said.AppendV1(frame)
}

// sayInstead is a reply that failed, or a line in the cell.
func sayInstead(m *wire.Message, b *wire.Builder, text string) wire.Message {
	parent := m.ParentHeader
	if len(parent) > maxLegacyFrame/2 {
		parent = nil
	}
	if m.Channel == wire.Shell || m.Channel == wire.Control {
		return b.ErrorReply(m.Channel, parent, wire.Failure{Name: "MessageTooLarge", Value: text})
	}
	return b.Stream(parent, "stderr", text+"\n")
}

const buffersLost = "Binary data of a message was left out: the client has not shown that it can receive it from a gateway. Widgets may be incomplete.\n"
