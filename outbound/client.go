package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	// Timeout bounds one request, from the dial to the last byte.
	Timeout time.Duration
	// Connections is the most at a time, to one host.
	Connections int
	// MaxBytes bounds the body of an answer.
	MaxBytes int64
}

// Client asks other services over HTTP. It follows no redirects: a token is
// for the service that it was meant for.
type Client struct {
	config ClientConfig

	mu        sync.Mutex
	transport *http.Transport
	// ca is the content of CAFile that transport trusts.
	ca []byte
}

// StatusError is an answer with another status than 200. It says nothing of
// the answer's body, which may repeat what was sent.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("HTTP status %d", e.Code)
}

// NewClient reads the CA file once, to find faults early.
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

// current is the transport that trusts what is in the CA file now.
func (c *Client) current() (*http.Transport, error) {
	var ca []byte
	if c.config.CAFile != "" {
		var err error
		if ca, err = ReadFile(c.config.CAFile); err != nil {
			return nil, fmt.Errorf("caFile: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil && bytes.Equal(ca, c.ca) {
		return c.transport, nil
	}
	var roots *x509.CertPool // nil: those of the system
	if c.config.CAFile != "" {
		var err error
		if roots, err = parseRoots(ca); err != nil {
			return nil, err
		}
	}
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	c.ca = ca
	c.transport = &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: c.config.Timeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    c.config.Timeout,
		IdleConnTimeout:        time.Minute,
		MaxConnsPerHost:        c.config.Connections,
		MaxIdleConnsPerHost:    c.config.Connections,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ForceAttemptHTTP2:      true,
	}
	return c.transport, nil
}
