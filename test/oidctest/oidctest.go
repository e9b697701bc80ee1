// Package oidctest runs a real OpenID provider for tests: npm's oidc-provider
// in a Node process of its own, on a free loopback port.
package oidctest

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/test/cache"
)

// Clients of the provider. Tokens of Elliptic are signed by ES256, others by RS256.
const (
	Client   = "jupyterhub"
	Other    = "other"
	Elliptic = "elliptic"
	// Console is led back to ConsoleCallback.
	Console         = "console"
	ConsoleCallback = "https://console.example.org/oauth_callback"
)

// Secret is that of every client.
const Secret = "not-a-secret"

const (
	callback = "http://127.0.0.1/callback"
	verifier = "0123456789012345678901234567890123456789012"
)

//go:embed package.json
var packageJSON []byte

//go:embed package-lock.json
var packageLock []byte

//go:embed provider.mjs
var program []byte

// Provider is a running provider.
type Provider struct {
	Issuer string

	t       testing.TB
	mu      sync.Mutex
	input   io.WriteCloser
	answers *bufio.Reader
}

// Tokens are what a sign-in gives.
type Tokens struct {
	ID     string `json:"id_token"`
	Access string `json:"access_token"`
}

// Start skips the test where Node or npm is missing, unless CI=true.
func Start(t testing.TB) *Provider {
	t.Helper()
	dir, err := install()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no oidc-provider: %v", err)
		}
		t.Skipf("no oidc-provider: %v", err)
	}
	command := exec.Command("node", filepath.Join(dir, "provider.mjs"))
	command.Stderr = &log{t: t}
	command.WaitDelay = 5 * time.Second
	input, err := command.StdinPipe()
	require.NoError(t, err)
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	p := &Provider{t: t, input: input, answers: bufio.NewReader(output)}
	t.Cleanup(func() {
		input.Close()
		_ = command.Wait()
	})
	p.Issuer = p.answer().(string)
	return p
}

// Account makes or changes a user; claims are those of the scope groups.
func (p *Provider) Account(name string, claims map[string]any) {
	p.t.Helper()
	p.command(map[string]any{"do": "account", "name": name, "claims": claims})
}

// Rotate gives the provider new keys; the old ones are gone.
func (p *Provider) Rotate() { p.t.Helper(); p.command(map[string]any{"do": "rotate"}) }

// Fault makes it answer badly: hang, error, html, huge, redirect; empty ends it.
func (p *Provider) Fault(fault string) {
	p.t.Helper()
	p.command(map[string]any{"do": "fault", "fault": fault})
}

// Requests counts those that it has got.
func (p *Provider) Requests() int {
	p.t.Helper()
	return int(p.command(map[string]any{"do": "requests"}).(float64))
}

// Sign makes a token of any payload, signed by RS256 with the provider's key;
// header adds to or replaces alg and kid.
func (p *Provider) Sign(payload, header map[string]any) string {
	p.t.Helper()
	return p.command(map[string]any{"do": "sign", "payload": payload, "header": header}).(string)
}

func (p *Provider) command(c map[string]any) any {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	line, err := json.Marshal(c)
	require.NoError(p.t, err)
	_, err = p.input.Write(append(line, '\n'))
	require.NoError(p.t, err)
	return p.answer()
}

func (p *Provider) answer() any {
	p.t.Helper()
	line, err := p.answers.ReadBytes('\n')
	require.NoError(p.t, err, "the provider has ended")
	var answer struct{ Result any }
	require.NoError(p.t, json.Unmarshal(line, &answer))
	return answer.Result
}

// SignIn walks through the code flow as a browser and a client do. With a
// resource, the access token is a JWT for it.
func (p *Provider) SignIn(user, client, resource string) Tokens {
	p.t.Helper()
	challenge := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"client_id": {client}, "response_type": {"code"}, "scope": {"openid profile groups"}, "redirect_uri": {callback},
		"login_hint": {user}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}
	form := url.Values{"grant_type": {"authorization_code"}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	if resource != "" {
		query.Set("resource", resource)
		form.Set("resource", resource)
	}
	form.Set("code", p.code(p.Issuer+"/auth?"+query.Encode()))

	request, err := http.NewRequest(http.MethodPost, p.Issuer+"/token", strings.NewReader(form.Encode()))
	require.NoError(p.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(client, Secret)
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	require.NoError(p.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, answer.StatusCode, "%s", body)
	var tokens Tokens
	require.NoError(p.t, json.Unmarshal(body, &tokens))
	return tokens
}

// code follows the provider's redirects until they lead to the client.
func (p *Provider) code(address string) string {
	p.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(p.t, err)
	var code string
	browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/callback" {
			code = r.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}}
	answer, err := browser.Get(address)
	require.NoError(p.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(p.t, err)
	require.NotEmpty(p.t, code, "%d %s", answer.StatusCode, body)
	return code
}

// install puts the packages of package-lock.json in the cache, once for each
// content of it.
func install() (string, error) {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(append(append([]byte{}, packageLock...), program...))
	dir, unlock, err := cache.Lock("oidctest", hex.EncodeToString(sum[:8]))
	if err != nil {
		return "", err
	}
	defer unlock()
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	for name, content := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock, "provider.mjs": program} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", err
		}
	}
	npm := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	npm.Dir = dir
	if output, err := npm.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("npm ci: %s", output), err)
	}
	return dir, os.WriteFile(done, nil, 0o644)
}

// log gives the process's errors to the test.
type log struct{ t testing.TB }

func (l *log) Write(p []byte) (int, error) {
	if text := strings.TrimSpace(string(p)); text != "" && !strings.Contains(text, "WARNING") {
		l.t.Log(text)
	}
	return len(p), nil
}
