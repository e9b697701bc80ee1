package hubapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/outbound"
)

const (
	// scopeGroups lets a service read the groups of every user, and no more.
	scopeGroups = "read:users:groups"
	// scopesAge is how long the Hub's answer on our scopes is believed.
	scopesAge = time.Minute
	// maxHubAnswer bounds what the Hub says of a user.
	maxHubAnswer      = 1 << 20
	maxHubConnections = 8
)

// HubGroupsConfig says where JupyterHub's REST API is.
type HubGroupsConfig struct {
	// URL is that of the API: http://hub:8081/hub/api.
	URL string
	// TokenFile holds the token of a service with the scope read:users:groups.
	// It is read for every request.
	TokenFile string
	// CAFile holds the certificates that may sign the Hub's; empty means those
	// of the system.
	CAFile string
	// Timeout bounds one request.
	Timeout time.Duration
}

// Validate returns all faults.
func (c HubGroupsConfig) Validate() error {
	var faults []error
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		faults = append(faults, fmt.Errorf("apiURL: %w", err))
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		faults = append(faults, fmt.Errorf("apiURL: not like http://hub:8081/hub/api: %.200q", u.Redacted()))
	}
	if c.TokenFile == "" {
		faults = append(faults, errors.New("tokenFile: required"))
	}
	if c.Timeout <= 0 {
		faults = append(faults, errors.New("timeout: must be more than 0"))
	}
	return errors.Join(faults...)
}

// HubGroups is a groups.Source that asks JupyterHub's REST API
// (GET /users/{name}). Put a cache in front of it: the Hub is one process.
type HubGroups struct {
	config HubGroupsConfig
	client *outbound.Client
	now    func() time.Time

	mu sync.Mutex
	// allowedAt is when the Hub said that we may read groups.
	allowedAt time.Time
}

// NewHubGroups reads the files once, to find faults early.
func NewHubGroups(config HubGroupsConfig, now func() time.Time) (*HubGroups, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if _, err := outbound.ReadSecret(config.TokenFile); err != nil {
		return nil, fmt.Errorf("hub: tokenFile: %w", err)
	}
	client, err := outbound.NewClient(outbound.ClientConfig{
		CAFile: config.CAFile, Timeout: config.Timeout, Connections: maxHubConnections, MaxBytes: maxHubAnswer,
	})
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return &HubGroups{config: config, client: client, now: now}, nil
}

// Close ends the connections that are not in use.
func (h *HubGroups) Close() { h.client.Close() }

// Lookup implements groups.Source. User names are compared exactly.
func (h *HubGroups) Lookup(ctx context.Context, user string) (groups.Membership, error) {
	// Dots alone would be taken for steps in the path.
	if strings.Trim(user, ".") == "" || len(user) > maxUser || !utf8.ValidString(user) {
		return groups.Membership{}, groups.ErrUnknownUser
	}
	m := groups.Membership{User: user, Source: "hub", AsOf: h.now()}
	var answer struct {
		Name   string    `json:"name"`
		Groups *[]string `json:"groups"`
	}
	err := h.get(ctx, "/users/"+url.PathEscape(user), &answer)
	var status *outbound.StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		// So the Hub answers about users whom we may not see, too.
		if err := h.mayRead(ctx); err != nil {
			return groups.Membership{}, unavailable(err)
		}
		return groups.Membership{}, groups.ErrUnknownUser
	}
	if err != nil {
		return groups.Membership{}, unavailable(err)
	}
	if answer.Groups == nil {
		return groups.Membership{}, unavailable(errors.New("no groups in the answer: the token lacks the scope " + scopeGroups))
	}
	if answer.Name != user {
		return groups.Membership{}, groups.ErrUnknownUser
	}
	if m.Groups, err = groups.HubGroups(*answer.Groups); err != nil {
		return groups.Membership{}, groups.OneUser(fmt.Errorf("hub: %w", err))
	}
	return m, nil
}

func unavailable(err error) error { return fmt.Errorf("%w: hub: %w", groups.ErrUnavailable, err) }

// mayRead is nil if the token's scopes include the groups of all users.
func (h *HubGroups) mayRead(ctx context.Context) error {
	h.mu.Lock()
	known := h.now().Sub(h.allowedAt) < scopesAge
	h.mu.Unlock()
	if known {
		return nil
	}
	var self struct {
		Scopes []string `json:"scopes"`
	}
	asked := h.now()
	if err := h.get(ctx, "/user", &self); err != nil {
		return err
	}
	// Wider scopes are given with all that they include.
	if !slices.Contains(self.Scopes, scopeGroups) {
		return errors.New("the token lacks the scope " + scopeGroups + " for all users")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.allowedAt = asked
	return nil
}

func (h *HubGroups) get(ctx context.Context, path string, into any) error {
	token, err := outbound.ReadSecret(h.config.TokenFile)
	if err != nil {
		return fmt.Errorf("tokenFile: %w", err)
	}
	request, err := http.NewRequest(http.MethodGet, strings.TrimSuffix(h.config.URL, "/")+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "token "+token)
	text, err := h.client.Do(ctx, request)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
