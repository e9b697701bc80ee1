package web

import (
	"bytes"
	"context"
	"path"
	"testing"

	"github.com/elastichub/elastichub/test/quantiles"
)

func BenchmarkSpawnForm(b *testing.B) {
	for name, in := range map[string]SpawnFormInput{"researchers/en": researchers(), "researchers/ru": researchers(), "both/zh": both()} {
		b.Run(name, func(b *testing.B) {
			msg := ForLanguages(path.Base(name))
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
