package spawner

import (
	"context"
	"fmt"
	"math"
	"strconv"

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
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
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
