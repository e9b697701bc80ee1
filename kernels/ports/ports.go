// Package ports passes HTTP and WebSockets on to a server that runs in a kernel's Pod,
// as gateway and agent each do for one hop of the way:
//
//	browser ─▶ notebook server ─▶ gateway ─▶ agent ─▶ 127.0.0.1:PORT
//	           whose page it is    whose      TLS, the
//	                               kernel     run's secret
//
// A hop takes its own credentials off and adds those of the next; it follows no redirect,
// keeps no body, and ends with its client.
package ports

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Least is the lowest port that may be reached: what is below belongs to the system.
	Least = 1024
	// Quiet is for how long one side may take to read or write the next bytes of a body,
	// and a server to begin its answer.
	Quiet = 5 * time.Minute
	// HeaderFrom tells, with FromKernel, an answer of the kernel's server from one of a
	// hop about that. A hop takes it off whoever is behind it.
	HeaderFrom = "Elastichub-From"
	FromKernel = "kernel"
)

// Split cuts an escaped path below a prefix that ends with a slash, "<prefix><port>/<rest>",
// into port and "/<rest>". It reports false if that is no such path, or no port.
func Split(escaped, prefix string) (port int, rest string, ok bool) {
	tail, below := strings.CutPrefix(escaped, prefix)
	number, rest, _ := strings.Cut(tail, "/")
	port, err := strconv.Atoi(number)
	if !below || err != nil || port < 1 || port > 65535 || strconv.Itoa(port) != number {
		return 0, "", false
	}
	return port, "/" + rest, true
}

// Next is where a hop leads.
type Next struct {
	URL *url.URL // without path
	// Path is the escaped path that is asked for there.
	Path string
	// Header is set over what the client has sent; Authorization is removed otherwise.
	Header http.Header
	// Host is the Host header; empty for that of URL.
	Host      string
	Transport http.RoundTripper
	// Answered looks at an answer's head and may change it, or refuse it by an error.
	Answered func(*http.Response) error
	// Failed answers where there is no answer; nothing has been written then.
	Failed func(w http.ResponseWriter, err error)
}

// kept are the headers about the client that hops pass on; of its address nothing is.
var kept = []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix"}

// Pass passes a request on, and the answer back. It returns when both are over, or
// panics with http.ErrAbortHandler if the answer breaks off, so that the client sees that.
func Pass(w http.ResponseWriter, r *http.Request, next Next) {
	path, err := url.PathUnescape(next.Path)
	if err != nil {
		next.Failed(w, err)
		return
	}
	control := http.NewResponseController(w)
	// The time-outs of the whole request are those of short ones.
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		next.Failed(w, err)
		return
	}
	if r.Body != nil && r.ContentLength != 0 {
		r.Body = &body{ReadCloser: r.Body, control: control}
	}
	proxy := httputil.ReverseProxy{
		Transport:     next.Transport,
		FlushInterval: -1, // a line that a server prints is there at once
		BufferPool:    buffers{},
		ErrorLog:      log.New(io.Discard, "", 0), // whoever serves here cannot fill our log
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = &url.URL{Scheme: next.URL.Scheme, Host: next.URL.Host, Path: path, RawPath: next.Path, RawQuery: p.In.URL.RawQuery}
			p.Out.Host = next.Host
			p.Out.Header.Del("Authorization")
			p.Out.Header.Del("Proxy-Authorization")
			p.Out.Header.Del(HeaderFrom)
			for _, name := range kept {
				if value := p.In.Header.Get(name); value != "" {
					p.Out.Header.Set(name, value)
				}
			}
			for name, values := range next.Header {
				p.Out.Header[name] = values
			}
			if _, said := p.Out.Header["User-Agent"]; !said {
				p.Out.Header.Set("User-Agent", "") // and not Go's
			}
		},
		ModifyResponse: next.Answered,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { next.Failed(w, err) },
	}
	proxy.ServeHTTP(&writer{ResponseWriter: w, control: control}, r)
}

// body gives its client time for each part of it.
type body struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *body) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(Quiet)) // a connection that is gone says so in Read
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		_ = b.control.SetReadDeadline(time.Time{}) // or the answer would end with it
	}
	return n, err
}

// writer gives its client time for each part of an answer.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w *writer) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(Quiet))
	return w.ResponseWriter.Write(p)
}

// Unwrap is for flushing.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack lets a WebSocket through. Whichever side ends it first ends it for the other, too.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, both, err := w.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	return whole{conn}, both, nil
}

// whole is a connection of which no half stays open.
type whole struct{ net.Conn }

var errClosed = errors.New("ports: the client has closed the connection")

func (c whole) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errClosed
	}
	return n, err
}

var pool = sync.Pool{New: func() any { b := make([]byte, 16<<10); return &b }}

type buffers struct{}

func (buffers) Get() []byte { return *pool.Get().(*[]byte) }

func (buffers) Put(b []byte) { pool.Put(&b) }
