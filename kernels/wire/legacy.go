package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// ParseLegacy reads a frame of a legacy WebSocket, whichever WebSocket type it
// came as: one that begins with '{' is text, any other is binary (an unpatched
// jupyter_server forwards binary frames of its browsers as TEXT). UTF-8 is not
// validated. Missing members are empty parts; a missing channel is shell, as
// in jupyter_server. Buffers stated inside the JSON are ignored.
func ParseLegacy(data []byte) (Message, error) {
	if len(data) > MaxFrame {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	if len(data) == 0 {
		return Message{}, ErrTruncated
	}
	if data[0] == '{' {
		return parseText(data)
	}
	return parseBinary(data)
}

func parseText(data []byte) (Message, error) {
	m := Message{Channel: Shell}
	s := scanner{data: data}
	if err := s.open(); err != nil {
		return Message{}, err
	}
	for {
		key, value, ok, err := s.next()
		if err != nil {
			return Message{}, err
		}
		if !ok {
			break
		}
		var part *[]byte
		switch string(key) {
		case "header":
			part = &m.Header
		case "parent_header":
			part = &m.ParentHeader
		case "metadata":
			part = &m.Metadata
		case "content":
			part = &m.Content
		case "channel":
			if string(value) == "null" {
				continue
			}
			if m.Channel, err = ParseChannel(text(value)); err != nil {
				return Message{}, err
			}
			continue
		default:
			continue
		}
		switch {
		case string(value) == "null":
			*part = nil
		case value[0] == '{':
			*part = value
		default:
			return Message{}, fmt.Errorf("%w: %s", ErrJSON, key)
		}
	}
	if s.space(); s.pos != len(data) {
		return Message{}, fmt.Errorf("%w: bytes behind the message", ErrJSON)
	}
	return m, nil
}

func parseBinary(data []byte) (Message, error) {
	if len(data) < 4 {
		return Message{}, ErrTruncated
	}
	count := binary.BigEndian.Uint32(data)
	if count < 1 || count > MaxParts {
		return Message{}, fmt.Errorf("%w: %d parts", ErrParts, count)
	}
	head := 4 * (int(count) + 1)
	if len(data) < head {
		return Message{}, ErrTruncated
	}
	offset := func(i int) uint64 {
		if i == int(count) {
			return uint64(len(data))
		}
		return uint64(binary.BigEndian.Uint32(data[4*(i+1):]))
	}
	previous := uint64(head)
	for i := range int(count) {
		if o := offset(i); o < previous || o > uint64(len(data)) {
			return Message{}, ErrOffsets
		}
		previous = offset(i)
	}
	m, err := parseText(data[offset(0):offset(1):offset(1)])
	if err != nil {
		return Message{}, err
	}
	if count > 1 {
		m.Buffers = make([][]byte, count-1)
		for i := range m.Buffers {
			from, to := offset(i+1), offset(i+2)
			m.Buffers[i] = data[from:to:to]
		}
	}
	return m, nil
}

// AppendLegacyText appends the message as a legacy text frame, without its
// buffers, which that framing cannot carry: see NeedsBinary. The result is
// valid UTF-8 whatever the kernel wrote, because a client may drop the
// connection for less. ErrJSON if a part is not one JSON object; dst is then
// returned as it was.
func (m *Message) AppendLegacyText(dst []byte) ([]byte, error) {
	for _, part := range [...][]byte{m.Header, m.ParentHeader, m.Metadata, m.Content} {
		if len(part) > 0 && !isObject(part) {
			return dst, ErrJSON
		}
	}
	dst = append(dst, `{"header":`...)
	dst = appendUTF8(dst, orEmpty(m.Header))
	for _, name := range [...]string{"msg_id", "msg_type"} {
		if raw, ok := rawMember(m.Header, name); ok {
			dst = append(dst, `,"`...)
			dst = append(dst, name...)
			dst = append(dst, `":`...)
			dst = appendUTF8(dst, raw)
		}
	}
	dst = append(dst, `,"parent_header":`...)
	dst = appendUTF8(dst, orEmpty(m.ParentHeader))
	dst = append(dst, `,"metadata":`...)
	dst = appendUTF8(dst, orEmpty(m.Metadata))
	dst = append(dst, `,"content":`...)
	dst = appendUTF8(dst, orEmpty(m.Content))
	dst = append(dst, `,"buffers":[],"channel":"`...)
	dst = append(dst, m.Channel...)
	return append(dst, `"}`...), nil
}

// AppendLegacyBinary appends the message with its buffers as a legacy binary
// frame. ErrTooLarge if an offset would not fit into 32 bits, ErrJSON as for
// AppendLegacyText; dst is then returned as it was.
func (m *Message) AppendLegacyBinary(dst []byte) ([]byte, error) {
	start := len(dst)
	count := 1 + len(m.Buffers)
	head := 4 * (count + 1)
	if m.Size() > math.MaxUint32-head-1024 {
		return dst, ErrTooLarge
	}
	frame := append(dst, make([]byte, head)...)
	frame, err := m.AppendLegacyText(frame)
	if err != nil {
		return dst, err
	}
	offsets := frame[start:]
	binary.BigEndian.PutUint32(offsets, uint32(count))
	binary.BigEndian.PutUint32(offsets[4:], uint32(head))
	next := uint32(len(frame) - start)
	for i, b := range m.Buffers {
		binary.BigEndian.PutUint32(offsets[4*(i+2):], next)
		next += uint32(len(b))
	}
	for _, b := range m.Buffers {
		frame = append(frame, b...)
	}
	return frame, nil
}

// NeedsBinary reports whether the message loses something as legacy text.
func (m *Message) NeedsBinary() bool { return len(m.Buffers) > 0 }

// appendUTF8 appends src with every invalid byte replaced by U+FFFD.
func appendUTF8(dst, src []byte) []byte {
	if utf8.Valid(src) {
		return append(dst, src...)
	}
	for len(src) > 0 {
		r, n := utf8.DecodeRune(src)
		dst = utf8.AppendRune(dst, r)
		src = src[n:]
	}
	return dst
}
