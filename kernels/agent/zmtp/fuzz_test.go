package zmtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder is a connection that keeps what is written to it.
type recorder struct {
	net.Conn
	bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error)  { return r.Buffer.Read(p) }
func (r *recorder) Write(p []byte) (int, error) { return r.Buffer.Write(p) }

// FuzzReceive: whatever a peer sends, messages stay within their bounds, and
// what was received can be sent and received again.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x01\x02ab\x00\x01c"))                                                 // two frames
	f.Add([]byte("\x04\x07\x04PING\x00\x00\x00\x00"))                                    // a command
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00\x03abc\x00\x00"))                     // a long frame
	f.Add([]byte("\x02\xff\xff\xff\xff\xff\xff\xff\xff"))                                // an impossible one
	f.Add(append([]byte("\x02\x00\x00\x00\x00\x00\x00\x04\x01"), make([]byte, 1025)...)) // one byte too many
	f.Add(append(bytes.Repeat([]byte("\x01\x00"), 8), 0, 0))                             // too many frames
	options := Options{MaxMessage: 1024, MaxFrames: 8}
	f.Fuzz(func(t *testing.T, data []byte) {
		answers := &recorder{}
		c := &Conn{socket: Dealer, options: options, conn: answers, reader: bufio.NewReader(bytes.NewReader(data))}
		for {
			frames, err := c.Receive()
			if errors.Is(err, ErrTooLarge) {
				continue
			}
			if err != nil {
				assert.True(t, errors.Is(err, ErrProtocol) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
				break
			}
			total := 0
			for _, frame := range frames {
				total += len(frame)
			}
			assert.LessOrEqual(t, total, options.MaxMessage)
			assert.LessOrEqual(t, len(frames), options.MaxFrames)
			assert.NotEmpty(t, frames)

			line := &recorder{}
			again := &Conn{socket: Dealer, options: options, conn: line, reader: bufio.NewReader(line)}
			require.NoError(t, again.Send(frames))
			got, err := again.Receive()
			require.NoError(t, err)
			assert.True(t, slices.EqualFunc(frames, got, bytes.Equal), "%q, sent and received: %q", frames, got)
		}
		assert.LessOrEqual(t, answers.Len(), len(data), "answers are no longer than their questions")
	})
}
