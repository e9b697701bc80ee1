package wire_test

import (
	"strings"
	"testing"

	"github.com/elastichub/elastichub/kernels/wire"
)

func large() wire.Message {
	m := sample()
	m.Content = []byte(`{"name":"stdout","text":"` + strings.Repeat(`0123456789abc\n`, 100<<10/15) + `"}`)
	return m
}

func each(b *testing.B, run func(b *testing.B, m wire.Message)) {
	for name, m := range map[string]wire.Message{"small": sample(), "100KiB": large()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(m.Size()))
			run(b, m)
		})
	}
}

func BenchmarkParseV1(b *testing.B) {
	each(b, func(b *testing.B, m wire.Message) {
		frame := m.AppendV1(nil)
		for b.Loop() {
			if _, err := wire.ParseV1(frame); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendV1(b *testing.B) {
	each(b, func(b *testing.B, m wire.Message) {
		frame := make([]byte, 0, m.SizeV1())
		for b.Loop() {
			frame = m.AppendV1(frame[:0])
		}
	})
}

func BenchmarkParseLegacyText(b *testing.B) {
	each(b, func(b *testing.B, m wire.Message) {
		frame, _ := m.AppendLegacyText(nil)
		for b.Loop() {
			if _, err := wire.ParseLegacy(frame); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendLegacyText(b *testing.B) {
	each(b, func(b *testing.B, m wire.Message) {
		frame := make([]byte, 0, 2*m.Size())
		for b.Loop() {
			frame, _ = m.AppendLegacyText(frame[:0])
		}
	})
}

func BenchmarkFields(b *testing.B) {
	header := []byte(`{"msg_id":"3fa85f64-5717-4562-b3fc-2c963f66afa6_1_1","msg_type":"stream","username":"u",` +
		`"session":"3fa85f64","date":"2025-01-02T03:04:05.000006Z","version":"5.4"}`)
	b.ReportAllocs()
	for b.Loop() {
		if wire.ParseFields(header).Type != wire.TypeStream {
			b.Fatal("wrong type")
		}
	}
}

func BenchmarkZMQ(b *testing.B) {
	signer := wire.NewSigner([]byte("0123456789abcdef"))
	each(b, func(b *testing.B, m wire.Message) {
		var parts [][]byte
		for b.Loop() {
			parts = signer.AppendZMQ(parts[:0], nil, &m)
			if _, _, err := signer.ParseZMQ(m.Channel, parts); err != nil {
				b.Fatal(err)
			}
		}
	})
}
