// Package probe asks notebook servers when they were last used, over
// jupyter_server's own REST API (jupyter_server/services/api/api.yaml).
package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/elastichub/elastichub/outbound"
	"github.com/elastichub/elastichub/spawner"
)

// Bounds of one question; a server with hundreds of kernels and terminals
// answers in a few ten kilobytes.
const (
	timeout     = 5 * time.Second
	maxBytes    = 1 << 20
	connections = 2
)

// Client implements spawner.Asker.
type Client struct {
	http *outbound.Client
}

// New makes a Client.
func New() (*Client, error) {
	c, err := outbound.NewClient(outbound.ClientConfig{Timeout: timeout, Connections: connections, MaxBytes: maxBytes})
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	return &Client{http: c}, nil
}

// Ask implements spawner.Asker. None of its requests counts as activity.
func (c *Client) Ask(ctx context.Context, address, token string) (spawner.Activity, error) {
	var status struct {
		LastActivity time.Time `json:"last_activity"`
	}
	if err := c.get(ctx, address, "api/status", token, &status); err != nil {
		return spawner.Activity{}, err
	}
	if status.LastActivity.IsZero() {
		return spawner.Activity{}, errors.New("api/status: no last_activity")
	}
	activity := spawner.Activity{Last: status.LastActivity}
	// jupyter_server 2 leaves terminals out of last_activity, and has none where
	// the extension or the shell is missing.
	var terminals []struct {
		LastActivity time.Time `json:"last_activity"`
	}
	var absent *outbound.StatusError
	if err := c.get(ctx, address, "api/terminals", token, &terminals); err != nil && !(errors.As(err, &absent) && absent.Code == http.StatusNotFound) {
		return spawner.Activity{}, err
	}
	for _, t := range terminals {
		see(&activity.Last, t.LastActivity)
	}
	// Also with a gateway: a server may have kernels of its own beside its.
	var kernels []struct {
		LastActivity   time.Time `json:"last_activity"`
		ExecutionState string    `json:"execution_state"`
	}
	if err := c.get(ctx, address, "api/kernels", token, &kernels); err != nil {
		return spawner.Activity{}, err
	}
	for _, k := range kernels {
		see(&activity.Last, k.LastActivity)
		// Whatever is not known to be at rest is at work.
		activity.Busy = activity.Busy || k.ExecutionState != "idle" && k.ExecutionState != "dead"
	}
	// Only where the server has elastichub's extension.
	var kept struct {
		SnoozedUntil *time.Time `json:"snoozedUntil"`
	}
	if err := c.get(ctx, address, activityPath, token, &kept); err != nil && !(errors.As(err, &absent) && absent.Code == http.StatusNotFound) {
		return spawner.Activity{}, err
	}
	if kept.SnoozedUntil != nil {
		activity.KeepUntil = *kept.SnoozedUntil
	}
	return activity, nil
}

// activityPath is that of elastichub's extension of jupyter_server (activity.py).
const activityPath = "elastichub/v1/activity"

// Forewarn implements spawner.Asker.
func (c *Client) Forewarn(ctx context.Context, address, token string, warning spawner.Forewarning) error {
	body, err := json.Marshal(map[string]any{
		"stopAt": warning.StopAt.UTC(), "idleSince": warning.IdleSince.UTC(), "keepSeconds": int64(warning.Keep / time.Second),
	})
	if err != nil {
		return fmt.Errorf("%s: %w", activityPath, err)
	}
	return c.send(ctx, http.MethodPut, address, activityPath, token, body, nil)
}

func see(last *time.Time, t time.Time) {
	if t.After(*last) {
		*last = t
	}
}

func (c *Client) get(ctx context.Context, address, path, token string, answer any) error {
	return c.send(ctx, http.MethodGet, address, path, token, nil, answer)
}

// send reads the answer unless that is nil.
func (c *Client) send(ctx context.Context, method, address, path, token string, body []byte, answer any) error {
	if !strings.HasSuffix(address, "/") {
		address += "/"
	}
	r, err := http.NewRequestWithContext(ctx, method, address+path+"?no_track_activity=1", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "token "+token)
	}
	said, err := c.http.Do(ctx, r)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(said, answer); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
