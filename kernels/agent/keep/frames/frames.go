// Package frames reads the stream of a kernel's state as docs/parking-format.md
// has it: what a store or a keeper of parked kernels has to know, which is where
// frames and records begin and end, and not what is in them.
package frames

import (
	"encoding/binary"
	"encoding/json"
)

// Format is the one format of streams that is known.
const Format = 1

// HeadSize is the length of what every frame begins with: its letter and the
// length of what follows.
const HeadSize = 9

// Letter says what a frame is.
type Letter byte

// The letters, in the words of docs/parking-format.md.
const (
	Header   Letter = 'H'
	Record   Letter = 'R'
	Pickle   Letter = 'P'
	Hint     Letter = 'A'
	Buffer   Letter = 'B'
	ReadOnly Letter = 'Q'
	Void     Letter = 'X'
	Complete Letter = 'E'
	End      Letter = 'Z'
)

// Frame is one frame of a stream.
type Frame struct {
	Letter Letter
	// Size is how many bytes follow the head.
	Size int64
	// Document is the JSON of H, R, A and Z, valid until the next frame is asked
	// for. What follows the head of other frames is read from the Reader.
	Document json.RawMessage
}

// AppendHead appends the frame's first HeadSize bytes.
func (f Frame) AppendHead(to []byte) []byte {
	return binary.LittleEndian.AppendUint64(append(to, byte(f.Letter)), uint64(f.Size))
}

// Large says that the frame is a buffer of at least so many bytes.
func (f Frame) Large(size int64) bool {
	return (f.Letter == Buffer || f.Letter == ReadOnly) && f.Size >= size
}
