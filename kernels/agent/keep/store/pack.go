package store

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// How a chunk is packed: its last byte before it is sealed.
const (
	stored     byte = iota // as it is
	compressed             // by zstd
	planes                 // split, then by zstd
)

const (
	sampleSize = 64 << 10
	// worth is the share of its size, in percent, that a sample may keep for its
	// chunk to be compressed. Noise would cost as much time and gain nothing.
	worth = 85
)

// packer makes chunks smaller. It is used by one goroutine.
type packer struct {
	encoder *zstd.Encoder
	planes  []byte
	packed  []byte
}

func newPacker() (*packer, error) {
	// The sum over what is packed is looked at when it is unpacked.
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	return &packer{encoder: encoder, planes: make([]byte, chunkSize), packed: make([]byte, 0, chunkSize+1)}, nil
}

// pack returns the chunk with how it is packed at its end. The result is valid
// until the next call, and may use the byte behind the chunk.
func (p *packer) pack(chunk []byte) []byte {
	way := p.choose(chunk)
	if way == stored {
		return append(chunk, stored)
	}
	packed := p.encode(way, chunk)
	if len(packed) > len(chunk) {
		return append(chunk, stored)
	}
	return append(packed, way)
}

// choose tries each way on a sample from the middle.
func (p *packer) choose(chunk []byte) byte {
	sample := chunk
	if len(chunk) > sampleSize {
		middle := (len(chunk) - sampleSize) / 2 &^ 7
		sample = chunk[middle : middle+sampleSize]
	}
	best, size := stored, len(sample)*worth/100
	for _, way := range [...]byte{planes, compressed} {
		if got := len(p.encode(way, sample)); got < size {
			best, size = way, got
		}
	}
	return best
}

func (p *packer) encode(way byte, data []byte) []byte {
	if way == planes {
		split(p.planes[:len(data)], data)
		data = p.planes[:len(data)]
	}
	p.packed = p.encoder.EncodeAll(data, p.packed[:0])
	return p.packed
}

func (p *packer) close() { _ = p.encoder.Close() }

// unpacker is the way back. It is used by one goroutine.
type unpacker struct {
	decoder *zstd.Decoder
	planes  []byte
}

func newUnpacker() (*unpacker, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(chunkSize), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &unpacker{decoder: decoder, planes: make([]byte, chunkSize)}, nil
}

// unpack writes the chunk into to, whose length is the chunk's.
func (u *unpacker) unpack(to, packed []byte) error {
	if len(packed) == 0 {
		return errors.New("it is empty")
	}
	way, packed := packed[len(packed)-1], packed[:len(packed)-1]
	switch way {
	case stored:
		return fill(to, packed)
	case compressed:
		return u.decode(to, packed)
	case planes:
		if err := u.decode(u.planes[:len(to)], packed); err != nil {
			return err
		}
		join(to, u.planes[:len(to)])
		return nil
	default:
		return fmt.Errorf("it is packed in a way that is not known: %d", way)
	}
}

func (u *unpacker) decode(to, packed []byte) error {
	got, err := u.decoder.DecodeAll(packed, to[:0:len(to)])
	if err != nil {
		return err
	}
	return fill(to, got)
}

func (u *unpacker) close() { u.decoder.Close() }

func fill(to, from []byte) error {
	if len(from) != len(to) {
		return fmt.Errorf("it has %d bytes, not %d", len(from), len(to))
	}
	copy(to, from)
	return nil
}
