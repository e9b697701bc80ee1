package frames_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/agent/keep/frames"
)

// frame is one as the kernel writes it.
func frame(letter frames.Letter, payload string) string {
	head := binary.LittleEndian.AppendUint64([]byte{byte(letter)}, uint64(len(payload)))
	return string(head) + payload
}

// sized is the head of a frame that says to be of that size.
func sized(letter frames.Letter, size uint64) string {
	return string(binary.LittleEndian.AppendUint64([]byte{byte(letter)}, size))
}

var (
	header = frame(frames.Header, `{"format":1,"python":"3.11.2","variables":1,"records":1}`)
	record = frame(frames.Record, `{"i":0,"k":"variable","n":"a","t":"int","c":3}`)
	second = frame(frames.Record, `{"i":1,"k":"variable","n":"b","t":"list"}`)
	pickle = frame(frames.Pickle, "pickle")
	hint   = frame(frames.Hint, `{"as":"torch"}`)
	buffer = frame(frames.Buffer, "buffer")
	void   = frame(frames.Void, "")
	done   = frame(frames.Complete, "")
	end    = frame(frames.End, `{"outcome":"saved","whole":true}`)
)

// read gives the stream back, frame by frame, and the letters.
func read(from io.Reader) (back []byte, letters string, err error) {
	reader := frames.NewReader(from)
	for {
		next, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return back, letters, nil
		}
		if err != nil {
			return back, letters, err
		}
		letters += string(next.Letter)
		back = next.AppendHead(back)
		if next.Document != nil {
			back = append(back, next.Document...)
			continue
		}
		payload, err := io.ReadAll(reader)
		back = append(back, payload...)
		if err != nil {
			return back, letters, err
		}
	}
}

func TestReadsWhatAKernelWrites(t *testing.T) {
	t.Parallel()
	for stream, letters := range map[string]string{
		header + end:                 "HZ",
		header + record + done + end: "HREZ",
		header + record + pickle + buffer + hint + buffer + pickle + done + second + void + end: "HRPBABPERXZ",
		header + record + pickle + void + record + pickle + done + second + done + end:          "HRPXRPEREZ",
		header + record + hint + frame(frames.ReadOnly, "") + done + end:                        "HRAQEZ",
		header + record + hint + void + end:                                                     "HRAXZ",
	} {
		for name, from := range map[string]io.Reader{
			"at once": bytes.NewReader([]byte(stream)), "byte by byte": iotest.OneByteReader(bytes.NewReader([]byte(stream))),
			"with its end": iotest.DataErrReader(bytes.NewReader([]byte(stream))),
		} {
			back, got, err := read(from)
			require.NoError(t, err, "%s, %s", letters, name)
			assert.Equal(t, letters, got, name)
			assert.Equal(t, stream, string(back), name)
		}
	}
}

func TestSkipsWhatIsNotRead(t *testing.T) {
	t.Parallel()
	reader := frames.NewReader(bytes.NewReader([]byte(header + record + pickle + buffer + done + end)))
	var letters string
	for {
		next, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		letters += string(next.Letter)
	}
	assert.Equal(t, "HRPBEZ", letters)
}

func TestRefusesWhatIsNoWholeSnapshot(t *testing.T) {
	t.Parallel()
	begun := header + record
	for name, row := range map[string]struct {
		stream string
		offset int
		record string
		reason string
	}{
		"nothing":                  {"", 0, "", "the stream ends early"},
		"half a head":              {header + "R\x01", len(header), "", "the stream ends early"},
		"half a document":          {header[:20], 0, "", "the stream ends early"},
		"half a buffer":            {begun + buffer[:12], len(begun), `0 (variable "a")`, "the stream ends early"},
		"no end":                   {begun + done, len(begun + done), `0 (variable "a")`, "the stream ends early"},
		"an end in a record":       {begun + end, len(begun), `0 (variable "a")`, "no frame 'Z' may stand in a record"},
		"something behind the end": {header + end + "x", len(header + end), "", "the stream ends early"},
		"a frame behind the end":   {header + end + second, len(header + end), "", "no frame 'R' may stand after the end"},
		"two headers":              {header + header, len(header), "", "no frame 'H' may stand between records"},
		"no header":                {record, 0, "", "no frame 'R' may stand at the start"},
		"a record in another":      {begun + second, len(begun), `0 (variable "a")`, "no frame 'R' may stand in a record"},
		"a frame between records":  {header + pickle, len(header), "", "no frame 'P' may stand between records"},
		"a hint for nothing":       {begun + hint + done, len(begun + hint), `0 (variable "a")`, "no frame 'E' may stand after a hint"},
		"an unknown letter":        {begun + frame('N', ""), len(begun), `0 (variable "a")`, "no frame 'N' may stand in a record"},
		"an unknown format":        {frame(frames.Header, `{"format":2}`), 0, "", "frame 'H': format 2 is not known, 1 is"},
		"no format":                {frame(frames.Header, `null`), 0, "", "frame 'H': format 0 is not known, 1 is"},
		"bad JSON":                 {header + frame(frames.Record, `{"i":0`), len(header), "", "frame 'R': unexpected end of JSON input"},
		"two documents":            {header + frame(frames.End, `{}{}`), len(header), "", "frame 'Z': invalid character '{' after top-level value"},
		"a hint that says nothing": {begun + frame(frames.Hint, `null`), len(begun), `0 (variable "a")`, "frame 'A': no object"},
		"a record without number":  {header + frame(frames.Record, `{"k":"variable","n":"a","t":"int"}`), len(header), "", "frame 'R': a record without number, kind, name or type"},
		"a number again":           {begun + done + record, len(begun + done), `0 (variable "a")`, "frame 'R': number 0 does not follow 0"},
		"a number before":          {header + second + void + record, len(header + second + void), `1 (variable "b")`, "frame 'R': number 0 does not follow 1"},
		"a void frame with bytes":  {begun + frame(frames.Void, "x"), len(begun), `0 (variable "a")`, "a frame 'X' is not empty"},
		"a huge document":          {header + sized(frames.Record, 1<<20+1), len(header), "", "a frame 'R' of 1048577 bytes is longer than 1048576"},
		"a huge report":            {header + sized(frames.End, 1<<63), len(header), "", "a frame 'Z' of 9223372036854775808 bytes is longer than 67108864"},
		"an impossible buffer":     {begun + sized(frames.Buffer, 1<<64-1), len(begun), `0 (variable "a")`, "a frame 'B' of 18446744073709551615 bytes is impossible"},
		"another outcome":          {header + frame(frames.End, `{"outcome":"failed"}`), len(header), "", `frame 'Z': the report's outcome is "failed"`},
	} {
		_, _, err := read(bytes.NewReader([]byte(row.stream)))
		var fault *frames.Error
		if assert.ErrorAs(t, err, &fault, name) {
			assert.Equal(t, frames.Error{Offset: int64(row.offset), Record: row.record, Reason: row.reason}, *fault, name)
		}
	}
}

// A stream that is cut anywhere is no snapshot.
func TestEveryBeginningIsRefused(t *testing.T) {
	t.Parallel()
	stream := header + record + pickle + hint + buffer + done + second + void + end
	for n := range len(stream) {
		_, _, err := read(bytes.NewReader([]byte(stream[:n])))
		var fault *frames.Error
		assert.ErrorAs(t, err, &fault, "%d bytes", n)
	}
}

func TestErrorsOfTheReaderBelowArePassedOn(t *testing.T) {
	t.Parallel()
	_, _, err := read(io.MultiReader(bytes.NewReader([]byte(header+record)), iotest.ErrReader(io.ErrClosedPipe)))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

// FuzzRead: a stream is refused, or given back to the byte.
func FuzzRead(f *testing.F) {
	f.Add([]byte(header + record + pickle + hint + buffer + done + second + void + second + done + end))
	f.Add([]byte(header + record + sized(frames.Buffer, 1<<40)))
	f.Add([]byte(header + frame(frames.End, `{"outcome":"saved","lost":[{"more":3}]}`) + "x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		back, _, err := read(bytes.NewReader(data))
		if err == nil {
			require.Equal(t, string(data), string(back))
			return
		}
		var fault *frames.Error
		require.ErrorAs(t, err, &fault)
		require.LessOrEqual(t, fault.Offset, int64(len(data)))
		require.True(t, bytes.HasPrefix(data, back), "what was given out is what was there")
	})
}
