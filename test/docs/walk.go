package docs

import (
	"bytes"
	"context"
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
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Site is where the pages' commands are typed: a checkout of its own, an empty
// namespace, and the tools of somebody who has just come.
type Site struct {
	Namespace string
	// Dir is the copy of the checkout; commands run in it.
	Dir string
	// HubURL is where the Hub's proxy listens.
	HubURL string
	// hubPort is where the Hub listens for the notebooks' Pods, on address.
	hubPort int
	address string

	tags  map[string]string // image:tag of service, notebook and kernel
	tools string            // shims, venv and npm, before everything in PATH
	cache string
}

// placeholders are what the pages say stands for something of the reader's, and
// what that is here.
func (s *Site) placeholders() []string {
	return []string{
		"ldaps://ldap.example.org", "ldap://directory.elastichub.svc:389",
		"hub.example.org:8081", fmt.Sprintf("%s:%d", s.address, s.hubPort),
		"http://:8081", fmt.Sprintf("http://:%d", s.hubPort),
		"create namespace jupyterhub", "create namespace " + s.Namespace,
		"-n jupyterhub", "-n " + s.Namespace,
		"elastichub.jupyterhub.svc", "elastichub." + s.Namespace + ".svc",
		"claim-alice", "claim-researcher", "adopt=alice", "adopt=researcher", "explain alice", "explain researcher",
		// The notes, as Helm renders them.
		"{{ .Release.Namespace }}", s.Namespace,
		`{{ include "elastichub.hubSecret" . }}`, "elastichub-hub-token",
		`{{ include "elastichub.name" . }}`, "elastichub",
		`{{ "{{ .data.token | base64decode }}" }}`, "{{ .data.token | base64decode }}",
		"/etc/elastichub/token", filepath.Join(s.Dir, "token-of-the-notes"),
	}
}

// Here puts what is here in place of what the pages write.
func (s *Site) Here(text string) string {
	return s.images(strings.NewReplacer(s.placeholders()...).Replace(text))
}

var ownImage = regexp.MustCompile(`registry\.example\.org/elastichub/(service|notebook|kernel)(:1\.0|, tag: "1\.0")`)

// images puts the local cluster's images in place of those of a registry, but
// for the commands of docker, which stands for a registry too.
func (s *Site) images(text string) string {
	if strings.Contains(text, "docker build") {
		return text
	}
	return ownImage.ReplaceAllStringFunc(text, func(found string) string {
		match := ownImage.FindStringSubmatch(found)
		image, tag, _ := strings.Cut(s.tags[match[1]], ":")
		if strings.HasPrefix(match[2], ",") {
			return fmt.Sprintf("%s, tag: %q", image, tag)
		}
		return image + ":" + tag
	})
}

// docker stands for it and for a registry: the images are built with what the
// local cluster has, and loaded into it.
const docker = `#!/bin/sh
set -eu
localcluster=LOCALCLUSTER
name() { cat "$(dirname "$0")/$(basename "${1%:*}").tag"; }
case $1 in
build) # build -t TAG -f FILE CONTEXT
  base= image=$(basename "${3%:*}")
  bash -c '. charts/demo/tools.sh && image "$0"' "$image" >"$(dirname "$0")/$image.tag"
  [ "$5" != images/service/Dockerfile ] || base="--build-arg BASE=localhost/elastichub/static:1"
  exec "$localcluster" build-image --tag "$(name "$3")" --file "$5" $base "$6" ;;
push) exec "$localcluster" load-image "$(name "$2")" ;;
esac
exit 2
`

// resolver is the resolver's configuration of a machine that asks the cluster.
const resolver = "nameserver 10.96.0.10\nsearch %s.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"

// Prepare copies the checkout and lays out the tools.
func (s *Site) Prepare(ctx context.Context) error {
	copied := exec.CommandContext(ctx, "sh", "-c", `git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$1"`, "sh", s.Dir)
	copied.Dir = root
	if out, err := copied.CombinedOutput(); err != nil {
		return fmt.Errorf("copy the checkout: %w: %s", err, out)
	}
	for name, text := range map[string]string{
		"docker":      strings.Replace(docker, "LOCALCLUSTER", filepath.Join(s.cache, "bin/localcluster"), 1),
		"resolv.conf": fmt.Sprintf(resolver, s.Namespace),
	} {
		if err := os.WriteFile(filepath.Join(s.tools, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, "python3", "-m", "venv", filepath.Join(s.tools, "venv")).CombinedOutput(); err != nil {
		return fmt.Errorf("venv: %w: %s", err, out)
	}
	return nil
}

func (s *Site) environ() []string {
	path := strings.Join([]string{s.tools, filepath.Join(s.tools, "venv/bin"), filepath.Join(s.tools, "npm/bin"), filepath.Join(s.cache, "bin"), os.Getenv("PATH")}, ":")
	return append(os.Environ(), "PATH="+path, "npm_config_prefix="+filepath.Join(s.tools, "npm"),
		"npm_config_audit=false", "npm_config_fund=false", "PIP_DISABLE_PIP_VERSION_CHECK=1", "VERSION=docs")
}

// Type runs commands as a reader would, and returns what they printed.
func (s *Site) Type(ctx context.Context, text string, env ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir, cmd.Env = s.Dir, append(s.environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%w:\n%s", err, out)
	}
	return string(out), nil
}

// ReadTags learns how the images are called that docker has made.
func (s *Site) ReadTags() error {
	s.tags = map[string]string{}
	for _, name := range []string{"service", "notebook", "kernel"} {
		raw, err := os.ReadFile(filepath.Join(s.tools, name+".tag"))
		if err != nil {
			return err
		}
		s.tags[name] = strings.TrimSpace(string(raw))
	}
	return nil
}

// Server is a command that runs until it is stopped.
type Server struct {
	// Ended is closed when the command has ended, whatever the reason.
	Ended   <-chan struct{}
	process *os.Process
}

// Serve runs a command that asks the cluster's resolver, as a Pod would.
func (s *Site) Serve(text, logFile string, env ...string) (*Server, error) {
	out, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("unshare", "--mount", "bash", "-euo", "pipefail", "-c",
		"mount --bind "+filepath.Join(s.tools, "resolv.conf")+" /etc/resolv.conf\n"+text)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.Dir, append(s.environ(), env...), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
		_ = out.Close()
	}()
	return &Server{Ended: ended, process: cmd.Process}, nil
}

// Stop ends the command and what it has started.
func (s *Server) Stop() {
	group := -s.process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-s.Ended:
	case <-time.After(15 * time.Second):
	}
	_ = syscall.Kill(group, syscall.SIGKILL) // its proxy, too
	<-s.Ended
}

// Person is somebody at a browser.
type Person struct {
	Name, Password string
	hub            string
	client         *http.Client
}

// NewPerson opens a browser.
func NewPerson(hub, name, password string) (*Person, error) {
	jar, err := cookiejar.New(nil)
	return &Person{Name: name, Password: password, hub: hub, client: &http.Client{Jar: jar, Timeout: time.Minute}}, err
}

func (p *Person) do(ctx context.Context, method, path, kind string, body io.Reader) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.hub+path, body)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Accept-Language", "en")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	at, err := url.Parse(p.hub + "/hub/")
	if err != nil {
		return 0, "", err
	}
	for _, cookie := range p.client.Jar.Cookies(at) {
		if cookie.Name == "_xsrf" {
			req.Header.Set("X-XSRFToken", cookie.Value)
		}
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

func (p *Person) want(ctx context.Context, status int, method, path, kind string, body io.Reader) (string, error) {
	got, text, err := p.do(ctx, method, path, kind, body)
	if err == nil && got != status {
		err = fmt.Errorf("%s %s: status %d: %.600s", method, path, got, text)
	}
	return text, err
}

const formData = "application/x-www-form-urlencoded"

// SignIn fills in the Hub's own page.
func (p *Person) SignIn(ctx context.Context) error {
	if _, err := p.want(ctx, http.StatusOK, http.MethodGet, "/hub/login", "", nil); err != nil {
		return err
	}
	fields := url.Values{"username": {p.Name}, "password": {p.Password}}
	_, err := p.want(ctx, http.StatusOK, http.MethodPost, "/hub/login?next=%2Fhub%2Fhome", formData, strings.NewReader(fields.Encode()))
	return err
}

// Form is the page that asks for options.
func (p *Person) Form(ctx context.Context) (string, error) {
	return p.want(ctx, http.StatusOK, http.MethodGet, "/hub/spawn", "", nil)
}

// Submit sends the form.
func (p *Person) Submit(ctx context.Context, fields url.Values) error {
	_, err := p.want(ctx, http.StatusOK, http.MethodPost, "/hub/spawn", formData, strings.NewReader(fields.Encode()))
	return err
}

// Progress reads what the progress page shows until the server is ready.
func (p *Person) Progress(ctx context.Context) ([]string, error) {
	text, err := p.want(ctx, http.StatusOK, http.MethodGet, "/hub/api/users/"+p.Name+"/server/progress", "", nil)
	if err != nil {
		return nil, err
	}
	var messages []string
	for line := range strings.SplitSeq(text, "\n") {
		data, is := strings.CutPrefix(line, "data: ")
		if !is {
			continue
		}
		var event struct {
			Message       string
			Ready, Failed bool
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return messages, err
		}
		messages = append(messages, event.Message)
		if event.Ready {
			return messages, nil
		}
		if event.Failed {
			return messages, fmt.Errorf("the server failed: %s", event.Message)
		}
	}
	return messages, errors.New("the server is not ready at the end of its progress")
}

// Token asks the Hub for a token, as its token page does.
func (p *Person) Token(ctx context.Context) (string, error) {
	text, err := p.want(ctx, http.StatusCreated, http.MethodPost, "/hub/api/users/"+p.Name+"/tokens", "application/json", bytes.NewReader([]byte(`{"note":"docs"}`)))
	if err != nil {
		return "", err
	}
	var made struct{ Token string }
	return made.Token, json.Unmarshal([]byte(text), &made)
}

// Stop stops the server and waits until the Hub knows of none.
func (p *Person) Stop(ctx context.Context) error {
	status, text, err := p.do(ctx, http.MethodDelete, "/hub/api/users/"+p.Name+"/server", "", nil)
	if err != nil {
		return err
	}
	if status != http.StatusNoContent && status != http.StatusAccepted {
		return fmt.Errorf("stop: status %d: %s", status, text)
	}
	for ctx.Err() == nil {
		text, err := p.want(ctx, http.StatusOK, http.MethodGet, "/hub/api/users/"+p.Name, "", nil)
		if err != nil {
			return err
		}
		var user struct {
			Server  *string
			Pending *string
		}
		if err := json.Unmarshal([]byte(text), &user); err != nil {
			return err
		}
		if user.Server == nil && user.Pending == nil {
			return nil
		}
		time.Sleep(250 * time.Millisecond)
	}
	return ctx.Err()
}
