package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
)

func sample() wire.Message {
	return wire.Message{
		Channel: wire.IOPub,
		Header: []byte(`{"msg_id": "m\u00e9-1", "msg_type":"stream", "session":"s1", "x_unknown":{"a":[1,NaN]},` +
			` "subshell_id":"sub"}`),
		ParentHeader: []byte(`{"msg_id":"p-1","msg_type":"execute_request"}`),
		Metadata:     []byte(`{}`),
		Content:      []byte(`{"name":"stdout","text":"a \"quoted\" }{ \\"}`),
	}
}

func withBuffers() wire.Message {
	m := sample()
	m.Buffers = [][]byte{{0, 1, 255}, {}, []byte("third")}
	return m
}

func TestFields(t *testing.T) {
	m := sample()
	f := m.Fields()
	assert.Equal(t, "stream", f.Type)
	assert.Equal(t, "mé-1", string(f.ID))
	assert.Equal(t, "s1", string(f.Session))
	assert.Equal(t, "sub", string(f.Subshell))
	assert.Equal(t, "stream", m.Type())
	assert.Equal(t, "mé-1", m.ID())
	assert.Equal(t, "s1", m.Session())
	assert.Equal(t, "p-1", m.ParentID())
	assert.Equal(t, "execute_request", m.ParentType())
}

func TestFieldsOfOddHeaders(t *testing.T) {
	for name, row := range map[string]struct {
		header string
		want   wire.Fields
	}{
		"empty":         {"", wire.Fields{}},
		"no object":     {"[1]", wire.Fields{}},
		"no string":     {`{"msg_type":7,"msg_id":null}`, wire.Fields{}},
		"nested decoy":  {`{"x":{"msg_type":"no"},"msg_type":"status"}`, wire.Fields{Type: "status"}},
		"decoy in text": {`{"x":"\"msg_type\":\"no\"","msg_type":"status"}`, wire.Fields{Type: "status"}},
		"last one wins": {`{"msg_type":"error","msg_type":"status"}`, wire.Fields{Type: "status"}},
		"escaped key":   {`{"msg\u005ftype":"status"}`, wire.Fields{Type: "status"}},
		"unknown type":  {`{"msg_type":"x_request"}`, wire.Fields{Type: "x_request"}},
		"cut off":       {`{"msg_type":"status","msg_id":"ab`, wire.Fields{Type: "status"}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, row.want, wire.ParseFields([]byte(row.header)))
		})
	}
}

func TestMember(t *testing.T) {
	assert.Equal(t, "idle", wire.Member([]byte(`{"execution_state": "idle"}`), "execution_state"))
	assert.Empty(t, wire.Member([]byte(`{"execution_state": 1}`), "execution_state"))
	assert.Empty(t, wire.Member([]byte(`nonsense`), "execution_state"))
}

func TestV1RoundTrip(t *testing.T) {
	for name, m := range map[string]wire.Message{"plain": sample(), "buffers": withBuffers()} {
		t.Run(name, func(t *testing.T) {
			frame := m.AppendV1(nil)
			assert.Len(t, frame, m.SizeV1())
			got, err := wire.ParseV1(frame)
			require.NoError(t, err)
			assert.Equal(t, m, got)

			prefixed := m.AppendV1([]byte("12345678"))
			assert.Equal(t, frame, prefixed[8:])
		})
	}
}

// TestV1Bytes checks the layout against jupyter_server's serialize_msg_to_ws_v1.
func TestV1Bytes(t *testing.T) {
	m := wire.Message{Channel: wire.Shell, Header: []byte(`{"a":1}`)}
	var want []byte
	for _, n := range []uint64{6, 56, 61, 68, 70, 72, 74} {
		want = binary.LittleEndian.AppendUint64(want, n)
	}
	want = append(want, `shell{"a":1}{}{}{}`...)
	assert.Equal(t, want, m.AppendV1(nil))
}

func v1(offsets []uint64, rest string) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(offsets)))
	for _, o := range offsets {
		out = binary.LittleEndian.AppendUint64(out, o)
	}
	return append(out, rest...)
}

func TestV1Refuses(t *testing.T) {
	for name, row := range map[string]struct {
		frame []byte
		want  error
	}{
		"empty":            {nil, wire.ErrTruncated},
		"seven bytes":      {make([]byte, 7), wire.ErrTruncated},
		"no parts":         {make([]byte, 8), wire.ErrParts},
		"five offsets":     {v1(make([]uint64, 5), "shell"), wire.ErrParts},
		"endless parts":    {bytes.Repeat([]byte{255}, 64), wire.ErrParts},
		"offsets missing":  {v1([]uint64{56}, "")[:8:8], wire.ErrParts},
		"head cut":         {append(binary.LittleEndian.AppendUint64(nil, 6), 1, 2, 3), wire.ErrTruncated},
		"into the head":    {v1([]uint64{0, 61, 63, 65, 67, 69}, "shell{}{}{}{}"), wire.ErrOffsets},
		"descending":       {v1([]uint64{56, 61, 60, 65, 67, 69}, "shell{}{}{}{}"), wire.ErrOffsets},
		"behind the end":   {v1([]uint64{56, 61, 63, 65, 67, 70}, "shell{}{}{}{}"), wire.ErrOffsets},
		"negative as int":  {v1([]uint64{56, 61, 63, 65, 67, 1 << 63}, "shell{}{}{}{}"), wire.ErrOffsets},
		"unknown channel":  {v1([]uint64{56, 61, 63, 65, 67, 69}, "sheII{}{}{}{}"), wire.ErrChannel},
		"heartbeat":        {v1([]uint64{56, 58, 60, 62, 64, 66}, "hb{}{}{}{}"), wire.ErrChannel},
		"empty channel":    {v1([]uint64{56, 56, 58, 60, 62, 64}, "{}{}{}{}"), wire.ErrChannel},
		"too many offsets": {v1(make([]uint64, wire.MaxParts+2), ""), wire.ErrParts},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ParseV1(row.frame)
			assert.ErrorIs(t, err, row.want)
		})
	}
}

func TestLegacyTextRoundTrip(t *testing.T) {
	m := withBuffers()
	assert.True(t, m.NeedsBinary())
	frame, err := m.AppendLegacyText([]byte("!"))
	require.NoError(t, err)
	got, err := wire.ParseLegacy(frame[1:])
	require.NoError(t, err)
	m.Buffers = nil
	assert.False(t, m.NeedsBinary())
	assert.Equal(t, m, got)

	plain := wire.Message{Channel: wire.Shell, Header: []byte(`{"msg_id":"i","msg_type":"t"}`)}
	frame, err = plain.AppendLegacyText(nil)
	require.NoError(t, err)
	assert.Equal(t, `{"header":{"msg_id":"i","msg_type":"t"},"msg_id":"i","msg_type":"t","parent_header":{},`+
		`"metadata":{},"content":{},"buffers":[],"channel":"shell"}`, string(frame))
}

func TestLegacyTextIsAlwaysUTF8(t *testing.T) {
	m := sample()
	m.Content = []byte("{\"text\":\"a\xffb\"}")
	frame, err := m.AppendLegacyText(nil)
	require.NoError(t, err)
	got, err := wire.ParseLegacy(frame)
	require.NoError(t, err)
	assert.Equal(t, "{\"text\":\"a\uFFFDb\"}", string(got.Content))
}

func TestLegacyTextRefusesPartsThatBreakOut(t *testing.T) {
	for _, part := range []string{`{}},"channel":"control","x":{{}`, `{`, `[]`, `"x"`, `{"a":"}`, `{} {}`, `null`} {
		m := sample()
		m.Content = []byte(part)
		dst, err := m.AppendLegacyText([]byte("kept"))
		assert.ErrorIs(t, err, wire.ErrJSON, part)
		assert.Equal(t, "kept", string(dst))
		dst, err = m.AppendLegacyBinary([]byte("kept"))
		assert.ErrorIs(t, err, wire.ErrJSON, part)
		assert.Equal(t, "kept", string(dst))
	}
}

func TestLegacyBinaryRoundTrip(t *testing.T) {
	for name, m := range map[string]wire.Message{"plain": sample(), "buffers": withBuffers()} {
		t.Run(name, func(t *testing.T) {
			frame, err := m.AppendLegacyBinary([]byte("!"))
			require.NoError(t, err)
			got, err := wire.ParseLegacy(frame[1:])
			require.NoError(t, err)
			assert.Equal(t, m, got)
		})
	}
}

func TestLegacyTolerates(t *testing.T) {
	m, err := wire.ParseLegacy([]byte("{ \"header\" : {\"msg_type\":\"\xff\"} ,\"future\":[{}], \"parent_header\":null,\n" +
		"\"metadata\":{}, \"buffers\":[] } \n"))
	require.NoError(t, err)
	assert.Equal(t, wire.Message{Channel: wire.Shell, Header: []byte("{\"msg_type\":\"\xff\"}"), Metadata: []byte("{}")}, m)
}

func TestLegacyRefuses(t *testing.T) {
	be := func(numbers ...uint32) []byte {
		var out []byte
		for _, n := range numbers {
			out = binary.BigEndian.AppendUint32(out, n)
		}
		return out
	}
	for name, row := range map[string]struct {
		frame []byte
		want  error
	}{
		"empty":            {nil, wire.ErrTruncated},
		"cut":              {[]byte(`{"header":{"a":1`), wire.ErrJSON},
		"only open":        {[]byte(`{`), wire.ErrJSON},
		"header no object": {[]byte(`{"header":[]}`), wire.ErrJSON},
		"content a number": {[]byte(`{"content":12}`), wire.ErrJSON},
		"no colon":         {[]byte(`{"header" {}}`), wire.ErrJSON},
		"no value":         {[]byte(`{"header":}`), wire.ErrJSON},
		"bare key":         {[]byte(`{header:{}}`), wire.ErrJSON},
		"two messages":     {[]byte(`{}{}`), wire.ErrJSON},
		"unknown channel":  {[]byte(`{"channel":"iopub2"}`), wire.ErrChannel},
		"channel a number": {[]byte(`{"channel":1}`), wire.ErrChannel},
		"deep, never shut": {[]byte(`{"content":` + strings.Repeat("{", 1<<20)), wire.ErrJSON},
		"binary cut":       {[]byte{0, 0}, wire.ErrTruncated},
		"no parts":         {be(0), wire.ErrParts},
		"a JSON array":     {[]byte(`[1, 2]`), wire.ErrParts},
		"endless parts":    {be(1 << 31), wire.ErrParts},
		"head cut":         {be(2, 12), wire.ErrTruncated},
		"into the head":    {append(be(1, 0), '{', '}'), wire.ErrOffsets},
		"behind the end":   {append(be(2, 12, 15), '{', '}'), wire.ErrOffsets},
		"descending":       {append(be(3, 16, 18, 17), '{', '}', 0), wire.ErrOffsets},
		"no JSON inside":   {append(be(1, 8), 'x'), wire.ErrJSON},
		"nothing inside":   {be(1, 8), wire.ErrJSON},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ParseLegacy(row.frame)
			assert.ErrorIs(t, err, row.want)
		})
	}
}

// TestScannerIsLinear would take minutes if an escape made it look at the rest of the string again.
func TestScannerIsLinear(t *testing.T) {
	start := time.Now()
	for _, fill := range []string{`\n`, `\"`, `\\`, `{`, `[`} {
		body := `"` + strings.Repeat(fill, 4<<20) + `"`
		_, err := wire.ParseLegacy([]byte(`{"content":{"text":` + body + `}}`))
		require.NoError(t, err)
	}
	assert.Less(t, time.Since(start), 10*time.Second)
}

func TestZMQRoundTrip(t *testing.T) {
	signer := wire.NewSigner([]byte("key"))
	for name, m := range map[string]wire.Message{"plain": sample(), "buffers": withBuffers()} {
		t.Run(name, func(t *testing.T) {
			parts := signer.AppendZMQ(nil, [][]byte{[]byte("id")}, &m)
			identities, got, err := signer.ParseZMQ(m.Channel, parts)
			require.NoError(t, err)
			assert.Equal(t, [][]byte{[]byte("id")}, identities)
			assert.Equal(t, m, got)
		})
	}
}

// TestSignature is a vector made with Python's hmac, as jupyter_client signs.
func TestSignature(t *testing.T) {
	m := wire.Message{Header: []byte(`{"a":1}`)}
	parts := wire.NewSigner([]byte("key")).AppendZMQ(nil, nil, &m)
	require.Len(t, parts, 6)
	assert.Equal(t, "<IDS|MSG>", string(parts[0]))
	assert.Equal(t, "f1128388193e4dd1aa760827bd756a1b40b627676b5efe22c0e8297919bfa218", string(parts[1]))
	assert.Equal(t, []string{`{"a":1}`, `{}`, `{}`, `{}`},
		[]string{string(parts[2]), string(parts[3]), string(parts[4]), string(parts[5])})
}

func TestZMQRefuses(t *testing.T) {
	m := sample()
	signer := wire.NewSigner([]byte("key"))
	good := func() [][]byte { return signer.AppendZMQ(nil, nil, &m) }

	for part := 1; part < 6; part++ {
		parts := good()
		parts[part] = append([]byte(nil), parts[part]...)
		parts[part][0] ^= 1
		_, _, err := signer.ParseZMQ(wire.Shell, parts)
		assert.ErrorIs(t, err, wire.ErrSignature, "part %d", part)
	}
	for name, row := range map[string]struct {
		parts [][]byte
		want  error
	}{
		"nothing":      {nil, wire.ErrDelimiter},
		"no delimiter": {good()[1:], wire.ErrDelimiter},
		"short":        {good()[:5], wire.ErrParts},
		"unsigned":     {wire.NewSigner(nil).AppendZMQ(nil, nil, &m), wire.ErrSignature},
		"other key":    {wire.NewSigner([]byte("yek")).AppendZMQ(nil, nil, &m), wire.ErrSignature},
		"many":         {make([][]byte, wire.MaxParts+1), wire.ErrParts},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := signer.ParseZMQ(wire.Shell, row.parts)
			assert.ErrorIs(t, err, row.want)
		})
	}
	_, got, err := wire.NewSigner(nil).ParseZMQ(wire.IOPub, wire.NewSigner(nil).AppendZMQ(nil, nil, &m))
	require.NoError(t, err)
	assert.Equal(t, m, got)
}

func TestBuilders(t *testing.T) {
	b := wire.NewBuilder("alice")
	b.Now = func() time.Time { return time.Date(2025, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600)) }
	parent := []byte(`{"msg_id":"p","msg_type":"execute_request","session":"c"}`)
	display := wire.Display{ID: "d", Data: map[string]string{"text/plain": "x"}}
	failure := wire.Failure{Name: "Lost", Value: "why", Traceback: []string{"line"}}

	for name, row := range map[string]struct {
		message wire.Message
		channel wire.Channel
		msgType string
		content string
	}{
		"status":  {b.Status(parent, wire.StateBusy), wire.IOPub, "status", `{"execution_state":"busy"}`},
		"stream":  {b.Stream(parent, "stderr", "<x>\n"), wire.IOPub, "stream", `{"name":"stderr","text":"<x>\n"}`},
		"display": {b.DisplayData(parent, display), wire.IOPub, "display_data", `{"data":{"text/plain":"x"},"metadata":{},"transient":{"display_id":"d"}}`},
		"update":  {b.UpdateDisplayData(parent, display), wire.IOPub, "update_display_data", `{"data":{"text/plain":"x"},"metadata":{},"transient":{"display_id":"d"}}`},
		"error":   {b.Error(parent, failure), wire.IOPub, "error", `{"ename":"Lost","evalue":"why","traceback":["line"]}`},
		"reply":   {b.ErrorReply(wire.Shell, parent, failure), wire.Shell, "execute_reply", `{"status":"error","ename":"Lost","evalue":"why","traceback":["line"],"execution_count":0,"payload":[],"user_expressions":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			m := row.message
			assert.Equal(t, row.channel, m.Channel)
			assert.JSONEq(t, row.content, string(m.Content))
			assert.Equal(t, string(parent), string(m.ParentHeader))
			assert.Equal(t, "{}", string(m.Metadata))
			assert.Empty(t, m.Buffers)
			var header map[string]string
			require.NoError(t, json.Unmarshal(m.Header, &header))
			assert.Len(t, header["msg_id"], 36)
			delete(header, "msg_id")
			assert.Equal(t, map[string]string{"msg_type": row.msgType, "username": "alice", "session": b.Session,
				"date": "2025-01-02T02:04:05.000006Z", "version": "5.4"}, header)
		})
	}
	orphan := b.Status(nil, wire.StateDead)
	assert.Equal(t, "{}", string(orphan.ParentHeader))
	assert.Equal(t, "dead", orphan.ExecutionState())
}

func TestANoticeShowsNamesAsCode(t *testing.T) {
	n := wire.Notice("Not kept: `<b>` (generator), ` alone")
	assert.Equal(t, "Not kept: `<b>` (generator), ` alone", n["text/plain"])
	assert.Contains(t, n["text/html"], "Not kept: <code>&lt;b&gt;</code> (generator), ` alone</div>")
}

// TestV1InPlace: what came from ZMQ becomes the same frame without a copy as with one.
func TestV1InPlace(t *testing.T) {
	signer := wire.NewSigner([]byte("key"))
	receive := func(headroom int, sent wire.Message) ([]byte, wire.Message) {
		memory := make([]byte, headroom)
		var parts [][]byte
		for _, p := range signer.AppendZMQ(nil, [][]byte{[]byte("topic")}, &sent) {
			memory = append(memory, p...)
		}
		from := headroom
		for _, p := range signer.AppendZMQ(nil, [][]byte{[]byte("topic")}, &sent) {
			parts = append(parts, memory[from:from+len(p):from+len(p)])
			from += len(p)
		}
		_, m, err := signer.ParseZMQ(wire.IOPub, parts)
		require.NoError(t, err)
		return memory, m
	}
	whole := wire.Message{
		Channel: wire.IOPub, Header: []byte(`{"msg_type":"stream"}`), ParentHeader: []byte(`{"msg_id":"p"}`), Metadata: []byte(`{}`), Content: []byte(`{"text":"x"}`),
	}
	buffers := whole
	buffers.Buffers = [][]byte{[]byte("one"), {}, []byte("three")}
	dozen := whole
	for range 12 {
		dozen.Buffers = append(dozen.Buffers, []byte("b"))
	}
	for name, sent := range map[string]wire.Message{"no buffers": whole, "buffers": buffers, "a dozen": dozen} {
		memory, m := receive(wire.V1Headroom, sent)
		want := sent.AppendV1(nil)
		got, ok := m.V1InPlace(memory)
		require.True(t, ok, name)
		assert.Equal(t, want, got, name)
		assert.Same(t, &memory[len(memory)-1], &got[len(got)-1], name)
		assert.Equal(t, len(want), wire.FrameSizeV1(got), name)
		assert.Equal(t, sent.Content, m.Content, name)
	}

	memory, m := receive(0, dozen)
	before := slices.Clone(memory)
	_, ok := m.V1InPlace(memory)
	assert.False(t, ok, "no room")
	memory, m = receive(wire.V1Headroom, whole)
	m.ParentHeader = []byte(`{"msg_id":"q"}`)
	_, ok = m.V1InPlace(memory)
	assert.False(t, ok, "a part lies elsewhere")
	m.ParentHeader = nil
	_, ok = m.V1InPlace(memory)
	assert.False(t, ok, "a part is empty")
	_, m = receive(0, dozen)
	_, ok = m.V1InPlace(before)
	assert.False(t, ok, "another's memory")
}

func TestFrameSizeV1(t *testing.T) {
	m := wire.Message{Channel: wire.Shell, Header: []byte(`{}`), Content: bytes.Repeat([]byte("x"), 1000)}
	frame := m.AppendV1(nil)
	assert.Equal(t, len(frame), wire.FrameSizeV1(frame[:56]))
	for i := range 56 {
		assert.Zero(t, wire.FrameSizeV1(frame[:i]), i)
	}
	assert.Zero(t, wire.FrameSizeV1([]byte(`{"hello": {"epoch": "a", "first": 1, "next": 2}}, and more of it, and more`)))
	binary.LittleEndian.PutUint64(frame[48:], 1<<40)
	assert.Zero(t, wire.FrameSizeV1(frame))
}
