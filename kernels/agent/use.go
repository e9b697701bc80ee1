package agent

import "time"

const (
	// useWindow is over how long computing is measured, or the idle time, if that is shorter.
	useWindow = time.Minute
	// useEvery is how often run-kernel is asked.
	useEvery = 2 * time.Second
)

// use decides whether a kernel that nobody has asked anything computes, on CPUs or
// on GPUs: a thread, a task of an event loop, a process it has left behind. What it
// used while a request was open does not count, nor does the noise of an idle one.
type use struct {
	threshold float64 // cores or GPUs, on average over the window; 0: computing is no work
	samples   []useSample
}

type useSample struct {
	at    time.Time
	total time.Duration
}

// reset is called when the kernel begins anew.
func (u *use) reset() { u.samples = nil }

// sample takes a measurement, and reports whether the kernel computes now: enough
// within the window, and in its last part, too.
func (u *use) sample(now time.Time, total, timeout time.Duration, open bool) bool {
	window := useWindow
	if timeout > 0 {
		window = min(window, timeout)
	}
	n := len(u.samples)
	if u.threshold <= 0 || open || n == 0 || total < u.samples[n-1].total {
		u.samples = append(u.samples[:0], useSample{now, total})
		return false
	}
	former := u.samples[n-1]
	for len(u.samples) > 1 && now.Sub(u.samples[1].at) >= window {
		u.samples = u.samples[1:]
	}
	first := u.samples[0]
	u.samples = append(u.samples, useSample{now, total})
	enough := func(used, over time.Duration) bool { return used.Seconds() >= u.threshold*over.Seconds() }
	return enough(total-first.total, window) && enough(total-former.total, now.Sub(former.at))
}
