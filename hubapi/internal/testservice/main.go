// Command testservice is the spawner API as the product serves it, with
// notebook servers that are processes of this machine. The tests of the
// Python distribution run a real JupyterHub against it.
//
//	testservice CONTRACT TOKEN
//
// prints the address it listens on and ends with its standard input. It and the servers are at 127.0.0.1,
// or, with TESTSERVICE_IP=::1, there. POST
// /test/directory/down, /test/directory/up, /test/synced/no and
// /test/synced/yes, without a token, bring the faults. GET /test/asked/USER asks that user's
// default server when it was used, as the controllers do.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/elastichub/elastichub/hubapi"
	"github.com/elastichub/elastichub/hubapi/internal/inmemory"
	"github.com/elastichub/elastichub/internalssl"
	"github.com/elastichub/elastichub/spawner"
	"github.com/elastichub/elastichub/spawner/probe"
)

func main() {
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "testservice:", err)
		os.Exit(1)
	}
}

func serve(contract, token string) error {
	people, err := inmemory.NewPeople(contract, time.Now)
	if err != nil {
		return err
	}
	started := &access{}
	servers := inmemory.New(started.process, time.Now)
	defer servers.Close()
	asker, err := probe.New()
	if err != nil {
		return err
	}
	config := hubapi.DefaultConfig()
	config.Tokens = hubapi.FixedTokens(token)
	api, err := hubapi.New(config, hubapi.Dependencies{
		Allowances: people, Servers: servers, Cluster: inmemory.Cluster{}, Ready: func() error { return nil },
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		return err
	}
	server := hubapi.NewServer(api)
	server.Handler = asked(asker, started, faults(people, servers, api))
	listener, err := net.Listen("tcp", at("0"))
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func faults(people *inmemory.People, servers *inmemory.Servers, next http.Handler) http.Handler {
	switches := map[string]func(){
		"/test/directory/down": func() { people.SetDown(true) },
		"/test/directory/up":   func() { people.SetDown(false) },
		"/test/synced/no":      func() { servers.SetSynced(false) },
		"/test/synced/yes":     func() { servers.SetSynced(true) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if turn, known := switches[r.URL.Path]; known && r.Method == http.MethodPost {
			turn()
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// access is how the default servers of users are asked.
type access struct {
	mu sync.Mutex
	of map[string]spawner.Access
}

func asked(asker *probe.Client, started *access, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, found := strings.CutPrefix(r.URL.Path, "/test/asked/")
		if !found {
			next.ServeHTTP(w, r)
			return
		}
		started.mu.Lock()
		server := started.of[user]
		started.mu.Unlock()
		activity, err := asker.Ask(r.Context(), server)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, activity.Last.UTC().Format(time.RFC3339))
	})
}

// certificates puts the files of a request into a directory, as the kubelet does, and returns
// the variables that name them, and how the server is connected to.
func certificates(request spawner.Request) (directory string, variables []string, server *tls.Config, err error) {
	if request.SSL == nil {
		return "", nil, nil, nil
	}
	files, err := internalssl.Files(*request.SSL, time.Now())
	if err != nil {
		return "", nil, nil, err
	}
	if server, err = internalssl.Client(files); err != nil {
		return "", nil, nil, err
	}
	if directory, err = os.MkdirTemp("", "testservice-ssl-"); err != nil {
		return "", nil, nil, err
	}
	for variable, name := range map[string]string{
		"JUPYTERHUB_SSL_KEYFILE": internalssl.FileKey, "JUPYTERHUB_SSL_CERTFILE": internalssl.FileCertificate, "JUPYTERHUB_SSL_CLIENT_CA": internalssl.FileAuthorities,
	} {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, files[name], 0o600); err != nil {
			return directory, nil, nil, err
		}
		variables = append(variables, variable+"="+path)
	}
	return directory, variables, server, nil
}

// process starts the command of a request with its environment, on a port of
// its own: all servers of a test share one address.
func (a *access) process(request spawner.Request) (string, func(), error) {
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	directory, variables, server, err := certificates(request)
	if err != nil {
		return "", nil, err
	}
	scheme := "http"
	if server != nil {
		scheme = "https"
	}
	url := scheme + "://" + at(strconv.Itoa(port))
	command := exec.Command(request.Command[0], append(request.Command[1:len(request.Command):len(request.Command)], request.Args...)...)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, name := range []string{"PATH", "HOME"} {
		command.Env = append(command.Env, name+"="+os.Getenv(name))
	}
	for name, value := range spawner.Environment(spawner.Config{IPv6: at("") == "[::1]:"}, request) {
		if name == "JUPYTERHUB_SERVICE_URL" { // it may listen everywhere in its Pod, and here at one address
			value = strings.NewReplacer("0.0.0.0:8888", at(strconv.Itoa(port)), "[::]:8888", at(strconv.Itoa(port))).Replace(value)
		}
		command.Env = append(command.Env, name+"="+value)
	}
	command.Env = append(command.Env, variables...)
	if err := command.Start(); err != nil {
		return "", nil, fmt.Errorf("the server's command did not start: %w", err)
	}
	end := func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
		if directory != "" {
			_ = os.RemoveAll(directory)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[string]spawner.Access{}
	}
	if request.Server == "" {
		a.of[request.User] = spawner.Access{Address: url + request.Env["JUPYTERHUB_SERVICE_PREFIX"], Token: request.Env["JUPYTERHUB_API_TOKEN"], TLS: server}
	}
	return url, end, nil
}

// at is a port of the address where all is.
func at(port string) string {
	return net.JoinHostPort(cmp.Or(os.Getenv("TESTSERVICE_IP"), "127.0.0.1"), port)
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", at("0"))
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
