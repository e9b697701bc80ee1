package hub

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
	// maxAnswerBytes bounds what the Hub says of a user.
	maxAnswerBytes = 1 << 20
	maxConnections = 8
	// maxUserBytes is longer than any name the Hub stores (255 characters).
	maxUserBytes = 1024
)

// API is a groups.Source that asks JupyterHub's REST API
// (GET /users/{name}). Put a cache in front of it: the Hub is one process.
type API struct {
	config Config
	client *outbound.Client
	now    func() time.Time

	mu sync.Mutex
	// allowedAt is when the Hub said that we may read groups.
	allowedAt time.Time
}

// NewAPI reads the files once, to find faults early.
func NewAPI(config Config, now func() time.Time) (*API, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if _, err := outbound.ReadSecret(config.TokenFile); err != nil {
		return nil, fmt.Errorf("hub: tokenFile: %w", err)
	}
	client, err := outbound.NewClient(outbound.ClientConfig{
		CAFile: config.CAFile, Timeout: config.Timeout, Connections: maxConnections, MaxBytes: maxAnswerBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return &API{config: config, client: client, now: now}, nil
}

// Close ends the connections that are not in use.
func (h *API) Close() { h.client.Close() }

// Lookup implements groups.Source. User names are compared exactly.
func (h *API) Lookup(ctx context.Context, user string) (groups.Membership, error) {
	// A name of dots alone would change the path.
	if strings.Trim(user, ".") == "" || len(user) > maxUserBytes || !utf8.ValidString(user) {
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
	if m.Groups, err = groupsOf(*answer.Groups); err != nil {
		return groups.Membership{}, fmt.Errorf("%w: hub: %w", groups.ErrOneUser, err)
	}
	return m, nil
}

func unavailable(err error) error { return fmt.Errorf("%w: hub: %w", groups.ErrUnavailable, err) }

// mayRead is nil if the token's scopes include the groups of all users.
func (h *API) mayRead(ctx context.Context) error {
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

func (h *API) get(ctx context.Context, path string, into any) error {
	token, err := outbound.ReadSecret(h.config.TokenFile)
	if err != nil {
		return fmt.Errorf("tokenFile: %w", err)
	}
	request, err := http.NewRequest(http.MethodGet, strings.TrimSuffix(h.config.APIURL, "/")+path, nil)
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
