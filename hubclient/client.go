package hubclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/outbound"
)

var (
	// ErrNotFound: the Hub knows no such user, or our token may not see them.
	ErrNotFound = errors.New("hubclient: no such user")
	// ErrRefused: the Hub answered that a token or a code is not valid. Any other
	// error says nothing of it.
	ErrRefused = errors.New("hubclient: the Hub refuses it")
)

const (
	// maxAnswerBytes bounds what the Hub says.
	maxAnswerBytes = 1 << 20
	maxConnections = 8
	// maxUserBytes is longer than any name the Hub stores (255 characters).
	maxUserBytes = 1024
	// maxTokenBytes is longer than any token or code of the Hub.
	maxTokenBytes = 4096
)

// Client asks one Hub. It is safe for concurrent use.
type Client struct {
	config   Config
	client   *outbound.Client
	requests *prometheus.CounterVec // by result
}

// New reads the files once, to find faults early.
func New(config Config) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if _, err := outbound.ReadSecret(config.TokenFile); err != nil {
		return nil, fmt.Errorf("tokenFile: %w", err)
	}
	client, err := outbound.NewClient(outbound.ClientConfig{
		CAFile: config.CAFile, CertFile: config.CertFile, KeyFile: config.KeyFile, Timeout: config.Timeout, Connections: maxConnections, MaxBytes: maxAnswerBytes,
	})
	if err != nil {
		return nil, err
	}
	return &Client{config: config, client: client, requests: newRequests()}, nil
}

// Close ends the connections that are not in use.
func (c *Client) Close() { c.client.Close() }

// User is what the Hub says of a user.
type User struct {
	Name string `json:"name"`
	// Groups is nil if the token may not read them, which is not the same as none.
	Groups []string `json:"groups"`
	// Created is when the Hub made the user, in its own words, RFC 3339; empty if the
	// token may not read it.
	Created string `json:"created"`
	// Servers are those that start, run or stop, by name; nil if the token may not read them.
	Servers map[string]Server `json:"servers"`
}

// User reads a user by name. The Hub may find one whose name is another by its own
// rules. Error: ErrNotFound.
func (c *Client) User(ctx context.Context, name string) (User, error) {
	if !isUser(name) {
		return User{}, ErrNotFound
	}
	var user User
	err := c.get(ctx, "/users/"+url.PathEscape(name), &user)
	if statusOf(err) == http.StatusNotFound {
		return User{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return user, err
}

// isUser: a name of dots alone would change the path.
func isUser(name string) bool {
	return strings.Trim(name, ".") != "" && len(name) <= maxUserBytes && utf8.ValidString(name)
}

// Owner is whose a token is, and what it may do.
type Owner struct {
	// Kind is KindUser or KindService.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Admin is the Hub's flag; false if the token may not read it.
	Admin bool `json:"admin"`
	// Scopes are the token's, with all that wider ones include.
	Scopes []string `json:"scopes"`
}

// Kinds of owners.
const (
	KindUser    = "user"
	KindService = "service"
)

// Self is whose our own token is.
func (c *Client) Self(ctx context.Context) (Owner, error) {
	var owner Owner
	return owner, c.get(ctx, "/user", &owner)
}

// OwnerOf is whose somebody's token is. Error: ErrRefused.
func (c *Client) OwnerOf(ctx context.Context, token string) (Owner, error) {
	if token == "" || len(token) > maxTokenBytes || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return Owner{}, ErrRefused
	}
	var owner Owner
	err := c.ask(ctx, http.MethodGet, "/user", token, nil, &owner)
	if code := statusOf(err); code == http.StatusUnauthorized || code == http.StatusForbidden {
		return Owner{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err == nil && owner.Name == "" {
		return Owner{}, errors.New("the Hub names no owner of a token")
	}
	return owner, err
}

// Code is what a browser brought from the Hub's authorization page.
type Code struct {
	// ClientID is the service's, with whose token as its secret the code is exchanged.
	ClientID    string
	Code        string
	RedirectURI string
	// Verifier is that of PKCE; Hubs before 6 do not look at it.
	Verifier string
}

// Exchange makes a code a token of the user who gave it. Error: ErrRefused.
func (c *Client) Exchange(ctx context.Context, code Code) (token string, err error) {
	if code.Code == "" || len(code.Code) > maxTokenBytes {
		return "", ErrRefused
	}
	secret, err := outbound.ReadSecret(c.config.TokenFile)
	if err != nil {
		return "", fmt.Errorf("tokenFile: %w", err)
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {code.ClientID}, "client_secret": {secret},
		"code": {code.Code}, "redirect_uri": {code.RedirectURI}, "code_verifier": {code.Verifier},
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	err = c.ask(ctx, http.MethodPost, "/oauth2/token", "", form, &answer)
	if code := statusOf(err); code >= 400 && code < 500 {
		return "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err == nil && answer.AccessToken == "" {
		err = errors.New("the Hub gives no token for a code")
	}
	return answer.AccessToken, err
}

// get asks by our own token.
func (c *Client) get(ctx context.Context, path string, into any) error {
	token, err := outbound.ReadSecret(c.config.TokenFile)
	if err != nil {
		return fmt.Errorf("tokenFile: %w", err)
	}
	return c.ask(ctx, http.MethodGet, path, token, nil, into)
}

// ask sends a form, if there is one, and decodes the answer. No token: none is shown.
func (c *Client) ask(ctx context.Context, method, path, token string, form url.Values, into any) error {
	request, err := http.NewRequest(method, strings.TrimSuffix(c.config.APIURL, "/")+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "token "+token)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	text, err := c.client.Do(ctx, request)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	c.count(err)
	return err
}

// statusOf is the status of an answer that is an error, 0 if there was no answer.
func statusOf(err error) int {
	var status *outbound.StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 0
}
