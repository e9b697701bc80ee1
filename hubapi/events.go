package hubapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/spawner"
)

// Types of events in a stream. The last event of a start has one of the
// final types; a stream that ends without one is to be resumed.
const (
	eventProgress = "progress"
	eventReady    = "ready"
	eventFailed   = "failed"
	eventStopped  = "stopped"
)

// reconnectMillis is the delay that event sources are told to keep.
const reconnectMillis = 1000

// events streams the steps of one start (WHATWG server-sent events).
func (a *API) events(c *gin.Context) error {
	server, err := key(c, "name")
	if err != nil {
		return err
	}
	start, err := query(c, "start", maxStart)
	if err != nil {
		return err
	}
	after := c.GetHeader("Last-Event-ID")
	if len(after) > maxEventID {
		return &malformed{"Last-Event-ID is too long."}
	}
	select {
	case <-a.draining:
		return errDraining
	default: // not in one with the next, which would choose by chance
	}
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		return errTooManyStreams
	}
	a.metrics.streams.Inc()
	defer a.metrics.streams.Dec()

	ctx, cancel := context.WithCancel(c.Request.Context())
	defer cancel()
	events, err := a.deps.Servers.Events(ctx, server, start, after)
	if err != nil {
		return err
	}
	stream := newStream(c)
	if err := stream.write(fmt.Sprintf("retry: %d\n\n", reconnectMillis)); err != nil {
		return nil // the client has gone; there is nobody to tell
	}
	keepAlive := time.NewTicker(a.config.KeepAlive)
	defer keepAlive.Stop()
	for {
		var text string
		final := false
		select {
		case <-ctx.Done():
			return nil
		case <-a.draining:
			return nil
		case <-keepAlive.C:
			text = ": keep-alive\n\n"
		case event, open := <-events:
			if !open {
				return nil
			}
			final = event.Final
			text = render(event, a.kind(ctx, server, start, event))
		}
		if err := stream.write(text); err != nil || final {
			return nil
		}
	}
}

// kind is the type of an event. A start may have become ready and been
// overtaken by another since; the state tells which one it speaks of.
func (a *API) kind(ctx context.Context, server spawner.Key, start string, event spawner.Event) string {
	switch {
	case !event.Final:
		return eventProgress
	case event.Failed:
		return eventFailed
	}
	state, err := a.deps.Servers.State(ctx, server)
	if err == nil && state.Start == start && state.Phase == v1alpha1.NotebookReady {
		return eventReady
	}
	return eventStopped
}

func render(event spawner.Event, kind string) string {
	data, err := json.Marshal(progressEvent{Progress: event.Progress, Message: event.Message, Time: event.Time.UTC()})
	if err != nil {
		panic(err) // an int, a string and a time of this century
	}
	// A line break in an id would begin another field.
	id := strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, event.ID)
	return fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", id, kind, data)
}

// stream writes to a client that must keep up: a write that takes longer than
// writeTimeout ends it.
type stream struct {
	writer  gin.ResponseWriter
	control *http.ResponseController
}

func newStream(c *gin.Context) stream {
	header := c.Writer.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	s := stream{writer: c.Writer, control: http.NewResponseController(c.Writer)}
	// A stream may stay silent for long; its end is noticed by writing.
	_ = s.control.SetReadDeadline(time.Time{})
	c.Status(http.StatusOK)
	return s
}

func (s stream) write(text string) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.writer.WriteString(text); err != nil {
		return err
	}
	return s.control.Flush()
}
