package web

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func BenchmarkSpawnForm(b *testing.B) {
	for _, lang := range []string{"en", "ru"} {
		b.Run(lang, func(b *testing.B) {
			in, msg := researchers(), ForLanguages(lang)
			b.ReportAllocs()
			var took quantiles
			for b.Loop() {
				took.time(func() {
					var buffer bytes.Buffer
					if err := SpawnForm(NewSpawnFormView(in, msg)).Render(context.Background(), &buffer); err != nil {
						b.Fatal(err)
					}
				})
			}
			took.report(b)
		})
	}
}

// quantiles reports the median and the 99th percentile of what each round
// took: by the clock, which is what people wait, and of the processor's time,
// which does not depend on what else the machine does.
type quantiles struct{ clock, processor []time.Duration }

func (q *quantiles) time(round func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var from, to unix.Timespec
	began := time.Now()
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &from)
	round()
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &to)
	q.clock = append(q.clock, time.Since(began))
	q.processor = append(q.processor, time.Duration(to.Nano()-from.Nano()))
}

func (q *quantiles) report(b *testing.B) {
	for unit, took := range map[string][]time.Duration{"µs": q.clock, "cpu-µs": q.processor} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-"+unit)
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-"+unit)
	}
}
