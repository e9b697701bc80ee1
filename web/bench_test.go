package web

import (
	"bytes"
	"context"
	"testing"

	"github.com/elastichub/elastichub/test/quantiles"
)

func BenchmarkSpawnForm(b *testing.B) {
	for _, lang := range []string{"en", "ru"} {
		b.Run(lang, func(b *testing.B) {
			in, msg := researchers(), ForLanguages(lang)
			b.ReportAllocs()
			var took quantiles.Quantiles
			for b.Loop() {
				took.Time(func() {
					var buffer bytes.Buffer
					if err := SpawnForm(NewSpawnFormView(in, msg)).Render(context.Background(), &buffer); err != nil {
						b.Fatal(err)
					}
				})
			}
			took.Report(b)
		})
	}
}
