package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxHeaderBytes bounds the header of an answer.
const maxHeaderBytes = 64 << 10

// ClientConfig bounds a Client.
type ClientConfig struct {
	// CAFile holds the certificates that may sign the peer's; empty means
	// those of the system.
	CAFile string
	// CertFile and KeyFile hold the certificate that is shown to the peer, and its private key;
	// empty: none is.
	CertFile, KeyFile string
	// TLS, if there is one, says what the peer shows and is shown, in place of the files.
	TLS *tls.Config
	// Timeout bounds one request, from the dial to the last byte.
	Timeout time.Duration
	// Connections is the most at a time, to one host.
	Connections int
	// MaxBytes bounds the body of an answer.
	MaxBytes int64
	// Direct: no proxy is asked, whatever the environment says.
	Direct bool
}

// Client asks other services over HTTP. It follows no redirects: a token is
// for the service that it was meant for.
type Client struct {
	config ClientConfig

	mu        sync.Mutex
	transport *http.Transport
	// read is what was in the files for transport.
	read tlsFiles
}

// tlsFiles is what is in a client's files.
type tlsFiles struct{ ca, cert, key []byte }

func (f tlsFiles) equal(other tlsFiles) bool {
	return bytes.Equal(f.ca, other.ca) && bytes.Equal(f.cert, other.cert) && bytes.Equal(f.key, other.key)
}

// StatusError is an answer with another status than 200. It says nothing of
// the answer's body, which may repeat what was sent.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("HTTP status %d", e.Code)
}

// NewClient reads the files once, to find faults early.
func NewClient(config ClientConfig) (*Client, error) {
	c := &Client{config: config}
	if _, err := c.current(); err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends the connections that are not in use.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport.CloseIdleConnections()
}

// Do sends a request without body and returns the body of a JSON answer with
// status 200. Other statuses are a *StatusError.
func (c *Client) Do(ctx context.Context, r *http.Request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "application/json")
	}
	answer, err := c.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, &StatusError{answer.StatusCode}
	}
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
		return nil, fmt.Errorf("the answer is not JSON but %.100q", answer.Header.Get("Content-Type"))
	}
	return io.ReadAll(answer.Body)
}

// RoundTrip implements http.RoundTripper, with the bound on the body.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	transport, err := c.current()
	if err != nil {
		return nil, err
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if answer.ContentLength > c.config.MaxBytes {
		answer.Body.Close()
		return nil, errTooLong
	}
	answer.Body = &bounded{ReadCloser: answer.Body, left: c.config.MaxBytes}
	return answer, nil
}

var errTooLong = errors.New("the answer is too long")

// bounded fails, and does not just end, where a body is too long.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

// current is the transport that goes by what is in the files now.
func (c *Client) current() (*http.Transport, error) {
	var now tlsFiles
	for _, file := range []struct {
		option, name string
		into         *[]byte
	}{{"caFile", c.config.CAFile, &now.ca}, {"certFile", c.config.CertFile, &now.cert}, {"keyFile", c.config.KeyFile, &now.key}} {
		if file.name == "" {
			continue
		}
		content, err := ReadFile(file.name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.option, err)
		}
		*file.into = content
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil && now.equal(c.read) {
		return c.transport, nil
	}
	config, err := c.tls(now)
	if err != nil {
		return nil, err
	}
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	c.read = now
	proxy := http.ProxyFromEnvironment
	if c.config.Direct {
		proxy = nil
	}
	c.transport = &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{Timeout: c.config.Timeout}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    c.config.Timeout,
		IdleConnTimeout:        time.Minute,
		MaxConnsPerHost:        c.config.Connections,
		MaxIdleConnsPerHost:    c.config.Connections,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ForceAttemptHTTP2:      true,
	}
	return c.transport, nil
}

// tls is whom the client trusts, and what it shows.
func (c *Client) tls(read tlsFiles) (*tls.Config, error) {
	if c.config.TLS != nil {
		return c.config.TLS.Clone(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12} // without roots: those of the system
	if c.config.CAFile != "" {
		roots, err := parseRoots(read.ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	if c.config.CertFile != "" {
		own, err := tls.X509KeyPair(read.cert, read.key)
		if err != nil {
			return nil, errors.New("certFile and keyFile: no certificate and its private key, as PEM")
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
