// Package probe asks notebook servers what they are at and when they were last used: over
// the REST API of elastichub's extension (activity.py), or where that is not, over
// jupyter_server's own (jupyter_server/services/api/api.yaml).
package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/elastichub/elastichub/api/v1alpha1"
	"github.com/elastichub/elastichub/outbound"
	"github.com/elastichub/elastichub/skew"
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
	c, err := newClient(nil)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	return &Client{http: c}, nil
}

// newClient is for servers that speak HTTP, or for the one that is so connected to.
func newClient(server *tls.Config) (*outbound.Client, error) {
	return outbound.NewClient(outbound.ClientConfig{TLS: server, Direct: true, Timeout: timeout, Connections: connections, MaxBytes: maxBytes})
}

// Ask implements spawner.Asker. None of its requests counts as activity.
func (c *Client) Ask(ctx context.Context, server spawner.Access) (spawner.Activity, error) {
	api, err := c.of(server)
	if err != nil {
		return spawner.Activity{}, err
	}
	defer api.close()
	var told struct {
		Busy         []busy     `json:"busy"`
		LastActivity *time.Time `json:"lastActivity"`
		SnoozedUntil *time.Time `json:"snoozedUntil"`
	}
	if err := api.get(ctx, activityPath, &told); err != nil && !isAbsent(err) {
		return spawner.Activity{}, err
	}
	var activity spawner.Activity
	if told.LastActivity != nil {
		activity.Last = *told.LastActivity
		for _, b := range told.Busy[:min(len(told.Busy), v1alpha1.MaxBusy)] {
			if b.Kind == "" {
				return spawner.Activity{}, errors.New(activityPath + ": something without a kind is busy")
			}
			activity.Busy = append(activity.Busy, b.told())
		}
	} else { // no extension, or that of a former release
		if activity, err = api.askJupyter(ctx); err != nil {
			return spawner.Activity{}, err
		}
	}
	if told.SnoozedUntil != nil {
		activity.KeepUntil = *told.SnoozedUntil
	}
	return activity, nil
}

// busy is what the extension says of one thing that a server is at.
type busy struct {
	Kind  string     `json:"kind"`
	Name  string     `json:"name"`
	Since *time.Time `json:"since"`
}

// told is as much of it as a status may have.
func (b busy) told() v1alpha1.NotebookBusy {
	told := v1alpha1.NotebookBusy{Kind: shortened(b.Kind, maxKind), Name: shortened(b.Name, maxName)}
	if b.Since != nil {
		told.Since = &metav1.Time{Time: b.Since.Truncate(time.Second)}
	}
	return told
}

// Bounds of NotebookBusy, in characters.
const maxKind, maxName = 63, 253

func shortened(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most])
	}
	return text
}

// askJupyter asks a server that has only jupyter_server's API. What runs in its terminals is not known:
// they count when they are typed into or print.
func (s serverAPI) askJupyter(ctx context.Context) (spawner.Activity, error) {
	var status struct {
		LastActivity time.Time `json:"last_activity"`
	}
	if err := s.get(ctx, "api/status", &status); err != nil {
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
	if err := s.get(ctx, "api/terminals", &terminals); err != nil && !isAbsent(err) {
		return spawner.Activity{}, err
	}
	for _, t := range terminals {
		see(&activity.Last, t.LastActivity)
	}
	// Also with a gateway: a server may have kernels of its own beside its.
	var kernels []struct {
		ID             string    `json:"id"`
		LastActivity   time.Time `json:"last_activity"`
		ExecutionState string    `json:"execution_state"`
	}
	if err := s.get(ctx, "api/kernels", &kernels); err != nil {
		return spawner.Activity{}, err
	}
	for _, k := range kernels {
		see(&activity.Last, k.LastActivity)
		// Whatever is not known to be at rest is at work.
		if k.ExecutionState != "idle" && k.ExecutionState != "dead" && len(activity.Busy) < v1alpha1.MaxBusy {
			activity.Busy = append(activity.Busy, busy{Kind: v1alpha1.BusyKernel, Name: k.ID}.told())
		}
	}
	return activity, nil
}

func isAbsent(err error) bool {
	var absent *outbound.StatusError
	return errors.As(err, &absent) && absent.Code == http.StatusNotFound
}

// activityPath is that of elastichub's extension of jupyter_server (activity.py).
const activityPath = "elastichub/v1/activity"

// Forewarn implements spawner.Asker.
func (c *Client) Forewarn(ctx context.Context, server spawner.Access, warning spawner.Forewarning) error {
	said := map[string]any{"stopAt": warning.StopAt.UTC(), "cause": warning.Cause, "keepSeconds": int64(warning.Keep / time.Second)}
	if warning.Cause == v1alpha1.StopIdle { // one of a former release knows no other, and refuses what is without
		said["idleSince"] = warning.IdleSince.UTC()
	}
	body, err := json.Marshal(said)
	if err != nil {
		return fmt.Errorf("%s: %w", activityPath, err)
	}
	api, err := c.of(server)
	if err != nil {
		return err
	}
	defer api.close()
	return api.send(ctx, http.MethodPut, activityPath, body, nil)
}

func see(last *time.Time, t time.Time) {
	if t.After(*last) {
		*last = t
	}
}

// serverAPI is the API of one server.
type serverAPI struct {
	spawner.Access
	http  *outbound.Client
	close func()
}

// of has a client of its own for each server with certificates of its own: the connections of one are
// of no use to another.
func (c *Client) of(server spawner.Access) (serverAPI, error) {
	if server.TLS == nil {
		return serverAPI{server, c.http, func() {}}, nil
	}
	own, err := newClient(server.TLS)
	if err != nil {
		return serverAPI{}, fmt.Errorf("probe: %w", err)
	}
	return serverAPI{server, own, own.Close}, nil
}

func (s serverAPI) get(ctx context.Context, path string, answer any) error {
	return s.send(ctx, http.MethodGet, path, nil, answer)
}

// send reads the answer unless that is nil.
func (s serverAPI) send(ctx context.Context, method, path string, body []byte, answer any) error {
	address := s.Address
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
	r.Header.Set(skew.Header, skew.Here(skew.HubProtocol).String())
	if s.Token != "" {
		r.Header.Set("Authorization", "token "+s.Token)
	}
	said, err := s.http.Do(ctx, r)
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
