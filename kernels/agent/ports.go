package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/ports"
)

const (
	// mostPassed is how many requests to servers of the kernel are under way at a time.
	mostPassed   = 128
	portDialTime = 3 * time.Second
	// mostPorts bounds the list of what listens.
	mostPorts = 1000
)

// portTransport reaches servers in this Pod, and nothing else, whatever they answer.
var portTransport = &http.Transport{
	DialContext:            (&net.Dialer{Timeout: portDialTime}).DialContext,
	DisableKeepAlives:      true, // a server may be another the next moment
	DisableCompression:     true,
	ResponseHeaderTimeout:  ports.Quiet,
	MaxResponseHeaderBytes: 64 << 10,
}

// isPort reports whether a request is for a server of the kernel.
func isPort(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, protocol.PathPorts+"/") }

// passOn is for a server in the kernel's container. A request is nobody's work: what the
// server computes for it is.
func (a *agent) passOn(w http.ResponseWriter, r *http.Request) {
	port, rest, ok := ports.Split(r.URL.EscapedPath(), protocol.PathPorts+"/")
	switch {
	case !ok:
		problem(w, http.StatusNotFound, "NoPort", "That is no port.")
		return
	case !a.isOpen(port):
		problem(w, http.StatusForbidden, "PortClosed", fmt.Sprintf("Port %d is not for servers of your own: those are %d to 65535, without what the kernel itself needs.", port, ports.Least))
		return
	}
	select {
	case a.passing <- struct{}{}:
		defer func() { <-a.passing }()
	default:
		problem(w, http.StatusServiceUnavailable, "TooMany", fmt.Sprintf("%d requests to the kernel's servers are under way; no more are taken at a time.", mostPassed))
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	host := r.Header.Get("X-Forwarded-Host")
	if host == "" {
		host = net.JoinHostPort("localhost", strconv.Itoa(port))
	}
	ports.Pass(w, r.WithContext(ctx), ports.Next{
		URL:  &url.URL{Scheme: "http", Host: net.JoinHostPort(localhost(port), strconv.Itoa(port))},
		Path: rest, Host: host, Transport: portTransport,
		Answered: func(resp *http.Response) error {
			resp.Header.Set(ports.HeaderFrom, ports.FromKernel)
			return nil
		},
		Failed: func(w http.ResponseWriter, err error) {
			a.logger(r).Debug("request to a server of the kernel failed", slog.Int("port", port), slog.Any("error", err))
			if opError := new(net.OpError); errors.As(err, &opError) && opError.Op == "dial" {
				problem(w, http.StatusBadGateway, "NothingListens", fmt.Sprintf("Nothing listens on port %d of the kernel. Start the server in a cell, or wait until it is up.", port))
				return
			}
			problem(w, http.StatusBadGateway, "NoAnswer", fmt.Sprintf("What listens on port %d of the kernel gives no answer that HTTP knows.", port))
		},
	})
}

// isOpen reports whether a port may be a server of the user's: it is none of the agent's
// and none of the kernel's own.
func (a *agent) isOpen(port int) bool {
	own := []int{protocol.Port, a.conn.Shell, a.conn.IOPub, a.conn.Stdin, a.conn.Control, a.conn.Heartbeat}
	if _, listen, err := net.SplitHostPort(a.cfg.Listen); err == nil {
		if n, err := strconv.Atoi(listen); err == nil {
			own = append(own, n)
		}
	}
	return port >= ports.Least && port <= 65535 && !slices.Contains(own, port)
}

// localhost is the address on which a server of this Pod is reached: that of IPv6 if it
// listens on no other.
func localhost(port int) string {
	if !slices.Contains(listening("/proc/self/net/tcp"), port) && slices.Contains(listening("/proc/self/net/tcp6"), port) {
		return "::1"
	}
	return "127.0.0.1"
}

// getPorts lists what may be reached and listens now.
func (a *agent) getPorts(w http.ResponseWriter, _ *http.Request) {
	found := slices.Concat(listening("/proc/self/net/tcp"), listening("/proc/self/net/tcp6"))
	slices.Sort(found)
	found = slices.DeleteFunc(slices.Compact(found), func(port int) bool { return !a.isOpen(port) })
	answer(w, http.StatusOK, protocol.Ports{Ports: found[:min(len(found), mostPorts)]})
}

// listening are the ports in a table of proc(5) on which something listens.
func listening(table string) []int {
	const listen = "0A"
	found := []int{}
	file, err := os.Open(table)
	if err != nil {
		return found // no such protocol
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan() && len(found) < mostPorts; {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != listen {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err == nil {
			found = append(found, int(n))
		}
	}
	return found
}
