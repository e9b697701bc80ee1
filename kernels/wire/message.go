// Package wire reads and writes Jupyter messages in the three framings of the
// channels WebSocket and in the multipart framing of ZMQ.
//
// A [Message] is a view: its parts are raw JSON bytes that point into the
// frame it was parsed from. Nothing is decoded, re-encoded or copied on the way
// from one framing to another, so header fields this package does not know
// pass through untouched, and a message without buffers is parsed without an
// allocation. Whoever keeps a Message keeps its frame; whoever reuses the
// frame must Clone first.
//
// Framings (jupyter_server/services/kernels/connection/base.py,
// jupyter_client/session.py):
//
//   - v1, subprotocol [SubprotocolV1]: little-endian u64 count, count offsets,
//     then channel, header, parent_header, metadata, content, buffers…;
//     the last offset is the end of the frame;
//   - legacy text: one JSON object with the parts as members;
//   - legacy binary: big-endian u32 count, count offsets, then that JSON object
//     and the buffers;
//   - ZMQ: identities…, "<IDS|MSG>", hex HMAC-SHA256 of the four parts, header,
//     parent_header, metadata, content, buffers….
package wire

import (
	"errors"
)

// SubprotocolV1 names the v1 framing in Sec-WebSocket-Protocol. A client that
// offers nothing speaks the legacy framings.
const SubprotocolV1 = "v1.kernel.websocket.jupyter.org"

const (
	// MaxFrame is the largest frame, in bytes, that any parser or appender accepts.
	MaxFrame = 1 << 30
	// MaxParts is the largest number of parts of a message, buffers included.
	MaxParts = 4096
)

// What is wrong with a frame. Every error of this package wraps one of these.
var (
	ErrTruncated = errors.New("wire: frame is shorter than it says")
	ErrOffsets   = errors.New("wire: offsets do not ascend within the frame")
	ErrParts     = errors.New("wire: number of parts out of bounds")
	ErrTooLarge  = errors.New("wire: frame too large")
	ErrChannel   = errors.New("wire: unknown channel")
	ErrJSON      = errors.New("wire: a part is not a JSON object")
	ErrDelimiter = errors.New("wire: multipart message has no delimiter")
	ErrSignature = errors.New("wire: signature does not match")
	ErrScheme    = errors.New("wire: signature scheme is not hmac-sha256")
)

// Channel is one of the four channels of a kernel that a client talks to.
type Channel string

// The channels.
const (
	Shell   Channel = "shell"
	Control Channel = "control"
	Stdin   Channel = "stdin"
	IOPub   Channel = "iopub"
)

// ParseChannel returns the channel of that name, or ErrChannel.
func ParseChannel(name []byte) (Channel, error) {
	switch string(name) {
	case string(Shell):
		return Shell, nil
	case string(Control):
		return Control, nil
	case string(Stdin):
		return Stdin, nil
	case string(IOPub):
		return IOPub, nil
	}
	return "", ErrChannel
}

// Message is one Jupyter message. Header, ParentHeader, Metadata and Content
// are raw JSON objects; an empty part stands for {}.
type Message struct {
	Channel      Channel
	Header       []byte
	ParentHeader []byte
	Metadata     []byte
	Content      []byte
	Buffers      [][]byte
}

// Size is the number of bytes of all parts.
func (m *Message) Size() int {
	n := len(m.Header) + len(m.ParentHeader) + len(m.Metadata) + len(m.Content)
	for _, b := range m.Buffers {
		n += len(b)
	}
	return n
}

var emptyObject = []byte("{}")

func orEmpty(part []byte) []byte {
	if len(part) == 0 {
		return emptyObject
	}
	return part
}
