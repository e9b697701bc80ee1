// Package progress prints what a long command is doing, for a person.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Printer writes one line per step. It is safe for concurrent use.
type Printer struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

// New returns a Printer whose left column counts from now.
func New(w io.Writer) *Printer {
	return &Printer{w: w, start: time.Now()}
}

// Say prints one line.
func (p *Printer) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%6.1fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// Elapsed is the time since the Printer was made.
func (p *Printer) Elapsed() time.Duration { return time.Since(p.start) }

// Do runs one step. A quick step prints one line, when it ends; a slow one
// also says that it is still at work, so that nobody takes it for hung.
func (p *Printer) Do(what string, step func() error) error {
	begin := time.Now()
	done := make(chan struct{})
	var beat sync.WaitGroup
	beat.Add(1)
	go func() {
		defer beat.Done()
		wait := 3 * time.Second
		for {
			select {
			case <-done:
				return
			case <-time.After(wait):
				p.Say("%s … %s", what, Round(time.Since(begin)))
				wait = 20 * time.Second
			}
		}
	}()
	err := step()
	close(done)
	beat.Wait()
	if err != nil {
		p.Say("%s: failed after %s", what, Round(time.Since(begin)))
		return err
	}
	p.Say("%s: %s", what, Round(time.Since(begin)))
	return nil
}

// Round shortens a duration to what a reader cares about.
func Round(d time.Duration) time.Duration {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}
