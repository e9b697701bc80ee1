package hubclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/elastichub/elastichub/outbound"
)

const (
	// answerTimeout is longer than the Hub waits for a server before it answers, ten
	// seconds (slow_spawn_timeout and slow_stop_timeout of JupyterHub.tornado_settings).
	answerTimeout = 15 * time.Second
	// maxMessage bounds what is kept of a refusal, in characters.
	maxMessage = 500
)

// Server is one that the Hub starts, knows to run, or stops; of AllUsers also one that is stopped.
type Server struct {
	Ready bool `json:"ready"`
	// Pending is PendingSpawn, PendingStop, another of the Hub's words, or empty.
	Pending string `json:"pending"`
	// Stopped is what the process that answers remembers.
	Stopped bool `json:"stopped"`
	// Started is when it was started, null in the Hub's database once it is stopped.
	Started json.RawMessage `json:"started"`
}

// IsStopped tells that both the Hub and its database say so. Any doubt, such as another process
// of the same Hub that has started it, or a Hub that does not tell one of the two, is a no.
func (s Server) IsStopped() bool {
	return s.Stopped && !s.Ready && s.Pending == "" && string(s.Started) == "null"
}

// What a server may be on its way to.
const (
	PendingSpawn = "spawn"
	PendingStop  = "stop"
)

// ServerError: the Hub does not do what it was asked for.
type ServerError struct {
	// Code is the status of its answer.
	Code int
	// Message is the Hub's, one line for people; empty if it says nothing.
	Message string
}

func (e *ServerError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("the Hub answers %d: %s", e.Code, e.Message), ": ")
}

// StartServer asks for a start, as the server's page does, with the options that the Hub
// keeps of the last one. It returns when the server is ready, or the Hub does not wait any
// longer. Takes the scope servers. Error: *ServerError.
func (c *Client) StartServer(ctx context.Context, user, server string) error {
	return c.act(ctx, http.MethodPost, user, server)
}

// StopServer asks for a stop; one of a server that starts ends its start. Takes the scope
// delete:servers. Error: *ServerError.
func (c *Client) StopServer(ctx context.Context, user, server string) error {
	return c.act(ctx, http.MethodDelete, user, server)
}

func (c *Client) act(ctx context.Context, method, user, server string) error {
	if !isUser(user) {
		return ErrNotFound
	}
	path := "/users/" + url.PathEscape(user) + "/server"
	if server != "" {
		path += "s/" + strings.ReplaceAll(url.PathEscape(server), ".", "%2E") // "." would be a step in the path
	}
	token, err := outbound.ReadSecret(c.config.TokenFile)
	if err != nil {
		return fmt.Errorf("tokenFile: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.config.APIURL, "/")+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "token "+token)
	request.Header.Set("Accept", "application/json")
	answer, err := c.client.RoundTrip(request)
	if err != nil {
		c.count(err)
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 == 2 {
		c.count(nil)
		return nil
	}
	c.count(&outbound.StatusError{Code: answer.StatusCode})
	return &ServerError{Code: answer.StatusCode, Message: messageOf(answer.Body)}
}

// messageOf reads {"message": "..."}.
func messageOf(body io.Reader) string {
	text, err := io.ReadAll(body)
	var said struct {
		Message string `json:"message"`
	}
	if err != nil || json.Unmarshal(text, &said) != nil {
		return ""
	}
	line := []rune(strings.Join(strings.Fields(said.Message), " "))
	return string(line[:min(len(line), maxMessage)])
}
