package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What may be in the way of a run.
var (
	// ErrServer: the server or its Hub does not answer, refuses the token, or does not run.
	ErrServer = errors.New("the notebook server cannot be used")
	// ErrNotRunning is an ErrServer that Start mends.
	ErrNotRunning = fmt.Errorf("%w: it is not running", ErrServer)
	// ErrKernel: there is no kernel, or it is gone.
	ErrKernel = errors.New("the kernel cannot be used")
)

const (
	callTime    = 2 * time.Minute // a plain server answers a start when the kernel is there
	startPoll   = time.Second
	answerBytes = 256 << 20 // of a notebook
)

// Server is a notebook server, behind a Hub or not.
type Server struct {
	// base is where the server is, and hub the Hub's API, empty without a Hub; both end in /.
	base, hub string
	// own is the server's path in the Hub's API: users/NAME/server.
	own   string
	token string
	http  *http.Client
}

// Find finds out what an address is: a Hub's, of which it is the token's owner's default
// server, one server's below a Hub, or that of a server without a Hub. Error: ErrServer.
func Find(ctx context.Context, address, token string) (*Server, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: %q is no address such as https://hub.example.org", ErrServer, address)
	}
	s := &Server{token: token, http: &http.Client{
		Timeout: callTime,
		// A redirect is to a page for people, or to where the token has no business.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	origin := u.Scheme + "://" + u.Host
	parts := strings.Split(strings.Trim(u.EscapedPath(), "/"), "/")
	if i := slices.Index(parts, "user"); i >= 0 && i+1 < len(parts) {
		named := ""
		if i+2 < len(parts) && parts[i+2] != "lab" && parts[i+2] != "tree" {
			named = parts[i+2]
		}
		s.hub = join(origin, append(parts[:i:i], "hub", "api")...)
		s.place(join(origin, parts[:i]...), parts[i+1], named)
		return s, nil
	}
	for _, end := range []string{"api", "hub"} {
		if len(parts) > 0 && parts[len(parts)-1] == end {
			parts = parts[:len(parts)-1]
		}
	}
	root := join(origin, parts...)
	s.hub = root + "hub/api/"
	var about struct {
		Version string `json:"version"`
	}
	err = s.call(ctx, http.MethodGet, s.hub, nil, &about)
	var answered *statusError
	if errors.As(err, &answered) || err == nil && about.Version == "" {
		s.base, s.hub = root, ""
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	var owner struct {
		Name string `json:"name"`
		Kind string `json:"kind"`
	}
	if err := s.call(ctx, http.MethodGet, s.hub+"user", nil, &owner); err != nil {
		return nil, fmt.Errorf("%w: the Hub does not take the token: %w", ErrServer, err)
	}
	if owner.Kind != "user" {
		return nil, fmt.Errorf("%w: the token is of the service %s: name a user's server, such as %suser/NAME/", ErrServer, owner.Name, root)
	}
	s.place(root, url.PathEscape(owner.Name), "")
	return s, nil
}

// join is an address with these escaped segments, ending in /.
func join(origin string, segments ...string) string {
	all := strings.Trim(strings.Join(segments, "/"), "/")
	if all == "" {
		return origin + "/"
	}
	return origin + "/" + all + "/"
}

func (s *Server) place(root, user, named string) {
	s.base, s.own = root+"user/"+user+"/", "users/"+user+"/server"
	if named != "" {
		s.base, s.own = s.base+named+"/", "users/"+user+"/servers/"+named
	}
}

// Running returns nil if the server answers. Errors: ErrServer, ErrNotRunning.
func (s *Server) Running(ctx context.Context) error {
	var status struct {
		Started string `json:"started"`
	}
	err := s.call(ctx, http.MethodGet, s.base+"api/status", nil, &status)
	var answered *statusError
	switch {
	case err == nil && status.Started != "":
		return nil
	case errors.As(err, &answered) && answered.code != http.StatusUnauthorized && answered.code != http.StatusForbidden && s.hub != "",
		err == nil && s.hub != "":
		return fmt.Errorf("%w: %s", ErrNotRunning, s.base)
	case err == nil:
		return fmt.Errorf("%w: %s is no notebook server", ErrServer, s.base)
	default:
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
}

// Start has the Hub start the server, and waits until it answers. say is told what the
// Hub tells of the start. Error: ErrServer.
func (s *Server) Start(ctx context.Context, say func(string)) error {
	err := s.call(ctx, http.MethodPost, s.hub+s.own, nil, nil)
	var answered *statusError
	// 400: it is starting already, which the progress tells.
	if err != nil && (!errors.As(err, &answered) || answered.code != http.StatusBadRequest) {
		return fmt.Errorf("%w: the Hub does not start it: %w", ErrServer, err)
	}
	if err := s.progress(ctx, say); err != nil {
		return err
	}
	for {
		err := s.Running(ctx)
		if !errors.Is(err, ErrNotRunning) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(startPoll):
		}
		if started, err := s.pending(ctx); err == nil && !started {
			return fmt.Errorf("%w: the Hub has given its start up", ErrServer)
		}
	}
}

// pending reports whether the Hub knows the server, ready or not.
func (s *Server) pending(ctx context.Context) (bool, error) {
	user, server, _ := strings.Cut(strings.TrimPrefix(s.own, "users/"), "/")
	name := ""
	if named, ok := strings.CutPrefix(server, "servers/"); ok {
		name = named
	}
	var model struct {
		Servers map[string]json.RawMessage `json:"servers"`
	}
	if err := s.call(ctx, http.MethodGet, s.hub+"users/"+user, nil, &model); err != nil {
		return false, err
	}
	if model.Servers == nil {
		return false, errors.New("the token may not read servers")
	}
	_, there := model.Servers[name]
	return there, nil
}

// progress reads the Hub's events of a start until it is over. A token that may not read
// them is told nothing.
func (s *Server) progress(ctx context.Context, say func(string)) error {
	request, err := s.request(ctx, http.MethodGet, s.hub+s.own+"/progress", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	unbounded := *s.http
	unbounded.Timeout = 0
	answer, err := unbounded.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrServer, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil
	}
	last := ""
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data:")
		var event struct {
			Message       string
			Ready, Failed bool
		}
		if !ok || json.Unmarshal([]byte(text), &event) != nil {
			continue
		}
		if event.Failed {
			return fmt.Errorf("%w: its start failed: %s", ErrServer, event.Message)
		}
		if event.Message != "" && event.Message != last {
			say(event.Message)
			last = event.Message
		}
		if event.Ready {
			return nil
		}
	}
	return nil // cut off: who waits looks by himself
}

// statusError is an answer of 300 or more.
type statusError struct {
	code    int
	what    string
	message string
}

func (e *statusError) Error() string {
	if e.message == "" {
		return fmt.Sprintf("%s: HTTP status %d", e.what, e.code)
	}
	return fmt.Sprintf("%s: %s (HTTP status %d)", e.what, e.message, e.code)
}

func (s *Server) request(ctx context.Context, method, address string, body any) (*http.Request, error) {
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, sent)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "token "+s.token)
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// call sends JSON and reads it. An answer that is no JSON, where some is wanted, is an error.
func (s *Server) call(ctx context.Context, method, address string, body, into any) error {
	request, err := s.request(ctx, method, address, body)
	if err != nil {
		return err
	}
	answer, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerBytes))
	if err != nil {
		return err
	}
	what := method + " " + request.URL.Path
	if answer.StatusCode >= 300 {
		var said struct{ Message, Reason string }
		_ = json.Unmarshal(text, &said) // a page for people
		if said.Message == "" {
			said.Message = said.Reason
		}
		return &statusError{code: answer.StatusCode, what: what, message: said.Message}
	}
	if into == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return &statusError{code: answer.StatusCode, what: what, message: "the answer is not JSON"}
	}
	return nil
}
