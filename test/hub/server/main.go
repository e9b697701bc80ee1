// Command server stands for a single-user server where a test is about the Hub
// and not about Jupyter: small enough that a Pod with it is ready at once.
//
// It listens where JUPYTERHUB_SERVICE_URL says, over TLS of both sides if that is https, and answers any path with that
// path as it was sent, …/args with its arguments and …/env with its environment, as the
// single-user server of JupyterHub's own tests does (jupyterhub/tests/mocksu.py).
// PUT …/files/NAME keeps a file in the working directory, GET reads it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"time"
)

func main() {
	after := flag.Duration("listen-after", 0, "begin to listen after this time")
	linger := flag.Duration("linger", 0, "end only this long after being told to")
	fail := flag.String("fail", "", "end at once with these words instead of listening")
	never := flag.Bool("never-listen", false, "run and never listen")
	flag.Parse()

	time.Sleep(*after)
	if *fail != "" {
		fmt.Fprintln(os.Stderr, *fail)
		os.Exit(1)
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	if !*never {
		go func() {
			if err := serve(os.Getenv("JUPYTERHUB_SERVICE_URL")); err != nil {
				fmt.Fprintln(os.Stderr, "server:", err)
				os.Exit(1)
			}
		}()
	}
	<-told
	time.Sleep(*linger)
}

func serve(address string) error {
	at, err := url.Parse(address)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", at.Host)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 10 * time.Second}
	if at.Scheme != "https" {
		return server.Serve(listener)
	}
	authorities, err := os.ReadFile(os.Getenv("JUPYTERHUB_SSL_CLIENT_CA"))
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authorities)
	server.TLSConfig = &tls.Config{ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	return server.ServeTLS(listener, os.Getenv("JUPYTERHUB_SSL_CERTFILE"), os.Getenv("JUPYTERHUB_SSL_KEYFILE"))
}

func answer(w http.ResponseWriter, r *http.Request) {
	dir, name := path.Split(r.URL.Path)
	switch {
	case strings.HasSuffix(dir, "/files/"):
		if err := file(w, r, name); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	case name == "args":
		respond(w, os.Args)
	case name == "env":
		respond(w, environment())
	default:
		asked, _, _ := strings.Cut(r.RequestURI, "?")
		_, _ = fmt.Fprint(w, asked)
	}
}

func file(w http.ResponseWriter, r *http.Request, name string) error {
	if r.Method == http.MethodPut {
		text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return err
		}
		return os.WriteFile(name, text, 0o600)
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		http.NotFound(w, r)
		return nil
	}
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

func environment() map[string]string {
	env := map[string]string{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	return env
}

func respond(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
