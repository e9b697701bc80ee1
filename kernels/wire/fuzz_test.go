package wire_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
)

func FuzzParseV1(f *testing.F) {
	for _, m := range []wire.Message{sample(), withBuffers()} {
		f.Add(m.AppendV1(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := wire.ParseV1(data)
		if err != nil {
			return
		}
		m.Fields()
		frame := m.AppendV1(nil)
		again, err := wire.ParseV1(frame)
		require.NoError(t, err)
		require.Equal(t, frame, again.AppendV1(nil))

		signer := wire.NewSigner([]byte("k"))
		_, back, err := signer.ParseZMQ(m.Channel, signer.AppendZMQ(nil, nil, &m))
		require.NoError(t, err)
		require.Equal(t, frame, back.AppendV1(nil))
	})
}

func FuzzParseLegacy(f *testing.F) {
	for _, m := range []wire.Message{sample(), withBuffers()} {
		text, _ := m.AppendLegacyText(nil)
		f.Add(text)
		binary, _ := m.AppendLegacyBinary(nil)
		f.Add(binary)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := wire.ParseLegacy(data)
		if err != nil {
			return
		}
		frame, err := m.AppendLegacyBinary(nil)
		require.NoError(t, err, "what was parsed can be written")
		again, err := wire.ParseLegacy(frame)
		require.NoError(t, err)
		if utf8.Valid(m.Header) && utf8.Valid(m.ParentHeader) && utf8.Valid(m.Metadata) && utf8.Valid(m.Content) {
			require.Equal(t, m.AppendV1(nil), again.AppendV1(nil))
		}
		text, err := m.AppendLegacyText(nil)
		require.NoError(t, err)
		require.True(t, utf8.Valid(text))
	})
}

// FuzzFields checks the scanner against encoding/json wherever that accepts the input.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"msg_id":"a\"b","msg_type":"t","session":"\u00e9"}`))
	f.Add([]byte(`{"x":[{"msg_id":"no"}],"msg_id":"yes"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		fields := wire.ParseFields(data)
		var want map[string]json.RawMessage
		if !utf8.Valid(data) || json.Unmarshal(data, &want) != nil {
			return
		}
		expect := func(name string) string {
			var s string
			if raw, ok := want[name]; ok && raw[0] == '"' {
				require.NoError(t, json.Unmarshal(raw, &s))
			}
			return s
		}
		require.Equal(t, expect("msg_id"), string(fields.ID))
		require.Equal(t, expect("msg_type"), fields.Type)
		require.Equal(t, expect("session"), string(fields.Session))
	})
}
