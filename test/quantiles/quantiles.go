// Package quantiles lets benchmarks report more than a mean.
package quantiles

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Quantiles reports the median and the 99th percentile of what each round
// took: by the clock, which is what people wait, and of the processor's time,
// which does not depend on what else the machine does.
type Quantiles struct{ clock, processor []time.Duration }

// Time measures one round.
func (q *Quantiles) Time(round func()) {
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

// Report gives the figures to the benchmark, when all rounds are over.
func (q *Quantiles) Report(b *testing.B) {
	for unit, took := range map[string][]time.Duration{"µs": q.clock, "cpu-µs": q.processor} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-"+unit)
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-"+unit)
	}
}
