package rotation

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Interval is how old what was read of a file may become.
const Interval = 2 * time.Second

// Live is a secret in a mounted file that may change while the process runs.
type Live struct {
	file  string
	check func(Values) error
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	at     time.Time
	values Values
	fault  string
}

// Open reads the file, which has to be good now. Later faults are logged, and what was read
// before goes on: a Secret that somebody damages ends nothing that works. check refuses
// values, and may be nil.
func Open(file string, check func(Values) error, log *slog.Logger, now func() time.Time) (*Live, error) {
	l := &Live{file: file, check: check, log: log, now: now}
	values, err := l.read()
	if err != nil {
		return nil, err
	}
	l.at, l.values = now(), values
	return l, nil
}

func (l *Live) read() (Values, error) {
	values, err := Read(l.file)
	if err == nil && l.check != nil {
		err = l.check(values)
	}
	return values, err
}

// Values are those of now.
func (l *Live) Values() Values {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if since := now.Sub(l.at); since >= 0 && since < Interval {
		return l.values
	}
	l.at = now
	values, err := l.read()
	if err != nil {
		if l.fault != err.Error() {
			l.log.Error("a secret cannot be read; what it was before goes on", "file", l.file, "error", err)
		}
		l.fault = err.Error()
		return l.values
	}
	l.values, l.fault = values, ""
	return values
}

// Counting are the values that count now, the current one first.
func (l *Live) Counting() []string { return l.Values().Counting(l.now()) }

// Follow calls take with the values whenever they are others than before, until ctx ends.
func (l *Live) Follow(ctx context.Context, take func(Values)) {
	seen := l.Values()
	take(seen)
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if values := l.Values(); values != seen {
				seen = values
				take(seen)
			}
		}
	}
}
