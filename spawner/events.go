package spawner

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/elastichub/elastichub/api/v1alpha1"
)

// overtakenID is the id of the last event of a start that a newer one, or the
// removal of its server, has cut off. It is greater than any logged id.
const overtakenID = math.MaxInt32

// Events gives the events of one start after the one with id after, all of
// them when it is empty. The log is in the notebook's status, written by the
// leader, so any replica continues where another left off. The channel closes after
// the final event, after nothing when the final event is what after names, and
// when ctx ends. A start that the server does not name yet is waited for, unless
// after tells that it was seen before. Errors:
// ErrInvalid when after is not an id, ErrNotFound when there is no such server.
func (s *Service) Events(ctx context.Context, k Key, start, after string) (<-chan Event, error) {
	var last int64
	if after != "" {
		var err error
		if last, err = strconv.ParseInt(after, 10, 32); err != nil || last < 0 {
			return nil, fmt.Errorf("%w: event id", ErrInvalid)
		}
	}
	nb := s.snapshot.find(k)
	if nb == nil || nb.Spec.Start != start {
		// This replica may only not have heard of it yet.
		var err error
		if nb, err = s.get(ctx, k); err != nil {
			return nil, err
		}
		s.snapshot.put(nb)
	}
	events := make(chan Event)
	go func() {
		defer close(events)
		s.stream(ctx, nb.Name, start, last, after != "", events)
	}()
	return events, nil
}

// stream sends until the final event. known tells that the start has been seen
// by someone, so that an object that names another start has left it behind.
func (s *Service) stream(ctx context.Context, name, start string, last int64, known bool, events chan<- Event) {
	progress := 0
	for {
		nb, changed := s.snapshot.watch(name)
		named := nb != nil && nb.Spec.Start == start
		known = known || named
		var batch []Event
		ended := false
		switch {
		case named:
			batch, ended = logged(nb, last)
		case nb == nil || known:
			batch, ended = s.overtaken(nb, last), true
		}
		if len(batch) == 0 && named && !ended {
			batch = s.movement(nb, last, progress)
		}
		for _, event := range batch {
			progress = max(progress, event.Progress)
			event.Progress = progress
			select {
			case events <- event:
			case <-ctx.Done():
				return
			}
			last, _ = strconv.ParseInt(event.ID, 10, 32)
		}
		if ended {
			return
		}
		wait := s.moves(nb, last, named)
		select {
		case <-changed:
		case <-wait:
		case <-ctx.Done():
			return
		}
	}
}

// moveEvery is how often a percentage may move between two entries of the log.
const moveEvery = 2 * time.Second

// moves tells when the percentage may have moved: never, unless the last entry, which the
// reader has, is one of which it is known how long it takes.
func (s *Service) moves(nb *v1alpha1.JupyterNotebook, last int64, named bool) <-chan time.Time {
	if named && len(nb.Status.Progress) > 0 {
		if entry := nb.Status.Progress[len(nb.Status.Progress)-1]; entry.ID == last && entry.ExpectedSeconds > 0 {
			return time.After(moveEvery)
		}
	}
	return nil
}

// movement is the last entry once more, without its message, if its percentage has moved
// beyond what was told. Nobody writes it down: who does not look at it costs nothing.
func (s *Service) movement(nb *v1alpha1.JupyterNotebook, last int64, told int) []Event {
	if nb.Status.Start != nb.Spec.Start || len(nb.Status.Progress) == 0 {
		return nil
	}
	entry := nb.Status.Progress[len(nb.Status.Progress)-1]
	now := s.now()
	if percent := moved(entry, now); entry.ID == last && percent > max(told, int(entry.Percent)) {
		return []Event{{ID: strconv.FormatInt(entry.ID, 10), Progress: percent, Time: now}}
	}
	return nil
}

// overtaken is the end of a start that its object no longer names.
func (s *Service) overtaken(nb *v1alpha1.JupyterNotebook, last int64) []Event {
	if last >= overtakenID {
		return nil
	}
	message := "The server was removed"
	if nb != nil {
		message = "A newer start has taken over"
	}
	return []Event{{ID: strconv.Itoa(overtakenID), Progress: 100, Message: message, Time: s.now(), Final: true}}
}

// logged are the events with ids above last, and whether the log is complete.
func logged(nb *v1alpha1.JupyterNotebook, last int64) (events []Event, ended bool) {
	if nb.Status.Start != nb.Spec.Start {
		return nil, false
	}
	for _, entry := range nb.Status.Progress {
		ended = ended || entry.Outcome != ""
		if entry.ID <= last {
			continue
		}
		events = append(events, Event{
			ID: strconv.FormatInt(entry.ID, 10), Progress: int(entry.Percent), Message: entry.Message, Time: entry.Time.Time,
			Final: entry.Outcome != "", Failed: entry.Outcome == v1alpha1.OutcomeFailed,
		})
	}
	return events, ended
}
