package wire

import (
	"encoding/binary"
	"fmt"
)

// ParseV1 reads a frame of the v1 framing. The message points into data.
func ParseV1(data []byte) (Message, error) {
	if len(data) > MaxFrame {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(data))
	}
	return parseV1(data, uint64(len(data)))
}

// ParseV1Head reads channel, header and parent header of a frame of size bytes
// of which data is the beginning; the rest of the message is left empty.
func ParseV1Head(data []byte, size uint64) (Message, error) { return parseV1(data, size) }

func parseV1(data []byte, size uint64) (Message, error) {
	if len(data) < 8 {
		return Message{}, ErrTruncated
	}
	// parts are channel, header, parent, metadata, content, buffers…; one offset more.
	count := binary.LittleEndian.Uint64(data)
	if count < 6 || count > MaxParts+1 {
		return Message{}, fmt.Errorf("%w: %d offsets", ErrParts, count)
	}
	head := 8 * (int(count) + 1)
	if len(data) < head {
		return Message{}, ErrTruncated
	}
	previous := uint64(head)
	for i := 8; i < head; i += 8 {
		offset := binary.LittleEndian.Uint64(data[i:])
		if offset < previous || offset > size {
			return Message{}, ErrOffsets
		}
		previous = offset
	}
	part := func(i int) []byte {
		from, to := binary.LittleEndian.Uint64(data[8*(i+1):]), binary.LittleEndian.Uint64(data[8*(i+2):])
		return data[from:to:to]
	}
	whole := uint64(len(data)) == size
	if !whole && binary.LittleEndian.Uint64(data[8*4:]) > uint64(len(data)) {
		return Message{}, ErrTruncated // before the end of the parent header
	}
	channel, err := ParseChannel(part(0))
	if err != nil {
		return Message{}, err
	}
	if !whole {
		return Message{Channel: channel, Header: part(1), ParentHeader: part(2)}, nil
	}
	m := Message{Channel: channel, Header: part(1), ParentHeader: part(2), Metadata: part(3), Content: part(4)}
	if n := int(count) - 6; n > 0 {
		m.Buffers = make([][]byte, n)
		for i := range m.Buffers {
			m.Buffers[i] = part(5 + i)
		}
	}
	return m, nil
}

// SizeV1 is the length of what AppendV1 appends.
func (m *Message) SizeV1() int {
	size := m.headSize() +
		len(orEmpty(m.Header)) + len(orEmpty(m.ParentHeader)) + len(orEmpty(m.Metadata)) + len(orEmpty(m.Content))
	for _, b := range m.Buffers {
		size += len(b)
	}
	return size
}

// AppendV1 appends the message to dst as one v1 frame and returns the whole.
// With capacity of SizeV1 in dst it allocates nothing. The offsets count from
// the end of the given dst, so the frame may follow a prefix.
func (m *Message) AppendV1(dst []byte) []byte {
	dst = m.appendHead(dst)
	dst = append(dst, orEmpty(m.Header)...)
	dst = append(dst, orEmpty(m.ParentHeader)...)
	dst = append(dst, orEmpty(m.Metadata)...)
	dst = append(dst, orEmpty(m.Content)...)
	for _, b := range m.Buffers {
		dst = append(dst, b...)
	}
	return dst
}

// headSize is the length of what appendHead appends.
func (m *Message) headSize() int { return 8*(7+len(m.Buffers)) + len(m.Channel) }

// appendHead appends what a v1 frame has before the header: the offsets and the channel.
func (m *Message) appendHead(dst []byte) []byte {
	offset := uint64(8 * (7 + len(m.Buffers)))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(6+len(m.Buffers)))
	put := func(n int) {
		dst = binary.LittleEndian.AppendUint64(dst, offset)
		offset += uint64(n)
	}
	put(len(m.Channel))
	put(len(orEmpty(m.Header)))
	put(len(orEmpty(m.ParentHeader)))
	put(len(orEmpty(m.Metadata)))
	put(len(orEmpty(m.Content)))
	for _, b := range m.Buffers {
		put(len(b))
	}
	put(0)
	return append(dst, m.Channel...)
}

// V1Headroom is enough memory before a message for V1InPlace, if it has no more than a dozen buffers.
const V1Headroom = 160

// V1InPlace makes a v1 frame of the message in the memory that it lies in,
// without a copy: memory ends with its parts, one after the other, as they came
// from ZMQ. What is before them there is overwritten. ok is false, and nothing
// is changed, if they do not lie so, or if there is no room before them.
func (m *Message) V1InPlace(memory []byte) (frame []byte, ok bool) {
	at := len(memory) - m.Size()
	from := at - m.headSize()
	if from < 0 {
		return nil, false
	}
	next := at
	for _, part := range [][]byte{m.Header, m.ParentHeader, m.Metadata, m.Content} {
		if len(part) == 0 || &part[0] != &memory[next] {
			return nil, false
		}
		next += len(part)
	}
	for _, b := range m.Buffers {
		if len(b) > 0 && &b[0] != &memory[next] {
			return nil, false
		}
		next += len(b)
	}
	m.appendHead(memory[from:from:at])
	return memory[from:], true
}

// FrameSizeV1 is the length of the v1 frame that begins with data, 0 if that
// is too short to tell, or is no such frame.
func FrameSizeV1(data []byte) int {
	if len(data) < 8 {
		return 0
	}
	count := binary.LittleEndian.Uint64(data)
	if count < 6 || count > MaxParts+1 || uint64(len(data)) < 8*(count+1) {
		return 0
	}
	size := binary.LittleEndian.Uint64(data[8*count:])
	if size > MaxFrame {
		return 0
	}
	return int(size)
}
