package agent

import "time"

const (
	// cpuWindow is over how long computing is measured, or the idle time, if that is shorter.
	cpuWindow = time.Minute
	// cpuEvery is how often run-kernel is asked.
	cpuEvery = 2 * time.Second
)

// cpu decides whether a kernel that nobody has asked anything computes: a
// thread, a task of an event loop, a process it has left behind. What it used
// while a request was open does not count, nor does the noise of an idle one.
type cpu struct {
	threshold float64 // cores, on average over the window; 0: computing is no work
	samples   []cpuSample
}

type cpuSample struct {
	at    time.Time
	total time.Duration
}

// reset is called when the kernel begins anew.
func (c *cpu) reset() { c.samples = nil }

// sample takes a measurement, and reports whether the kernel computes now: enough
// within the window, and in its last part, too.
func (c *cpu) sample(now time.Time, total, timeout time.Duration, open bool) bool {
	window := cpuWindow
	if timeout > 0 {
		window = min(window, timeout)
	}
	n := len(c.samples)
	if c.threshold <= 0 || open || n == 0 || total < c.samples[n-1].total {
		c.samples = append(c.samples[:0], cpuSample{now, total})
		return false
	}
	former := c.samples[n-1]
	for len(c.samples) > 1 && now.Sub(c.samples[1].at) >= window {
		c.samples = c.samples[1:]
	}
	first := c.samples[0]
	c.samples = append(c.samples, cpuSample{now, total})
	enough := func(used, over time.Duration) bool { return used.Seconds() >= c.threshold*over.Seconds() }
	return enough(total-first.total, window) && enough(total-former.total, now.Sub(former.at))
}
