package outbound

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// forwardProxy is a proxy as companies have them: it alone knows the way to any name, which is to one server.
type forwardProxy struct {
	to               string
	connects, others atomic.Int32
}

func (p *forwardProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		p.others.Add(1)
		r.RequestURI, r.URL.Host = "", p.to
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
		return
	}
	p.connects.Add(1)
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = there.Close()
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { _, _ = io.Copy(there, here); _ = there.Close() }()
	_, _ = io.Copy(here, there)
	_ = here.Close()
}

// TestBehindAProxy: another process asks, since one reads its environment once.
func TestBehindAProxy(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(answering(`{}`))
	t.Cleanup(plain.Close)
	secure := httptest.NewTLSServer(answering(`{}`)) // its certificate is for example.com
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600))
	for name, row := range map[string]struct {
		url, ca, noProxy string
		direct           bool
		answered         bool
		connects, others int32
	}{
		"by TLS, with a CA of one's own": {"https://example.com/", ca, "", false, true, 1, 0},
		"by TLS, without":                {"https://example.com/", "", "", false, false, 1, 0},
		"without TLS":                    {"http://example.com/", "", "", false, true, 0, 1},
		"a name that needs none":         {"https://hub.invalid/", ca, "hub.invalid,.svc", false, false, 0, 0},
		"a Service":                      {"http://nb.ns.svc:8888/", "", "localhost,.svc", false, false, 0, 0},
		"what is in the cluster anyway":  {"http://nb.invalid:8888/", "", "", true, false, 0, 0},
		"an address of IPv6":             {"http://[::1]:1/", "", "", false, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to, err := url.Parse(secure.URL)
			require.NoError(t, err)
			if strings.HasPrefix(row.url, "http:") {
				to, err = url.Parse(plain.URL)
				require.NoError(t, err)
			}
			proxy := &forwardProxy{to: to.Host}
			server := httptest.NewServer(proxy)
			defer server.Close()
			ask := exec.Command(os.Args[0], "-test.run=^TestAskAsAChild$", "-test.count=1")
			ask.Env = append(os.Environ(), "HTTP_PROXY="+server.URL, "HTTPS_PROXY="+server.URL, "NO_PROXY="+row.noProxy,
				"http_proxy=", "https_proxy=", "no_proxy=",
				"ASK_URL="+row.url, "ASK_CA="+row.ca, "ASK_DIRECT="+strconv.FormatBool(row.direct))
			out, err := ask.CombinedOutput()
			assert.Equal(t, row.answered, err == nil, "%s", out)
			assert.Equal(t, row.connects, proxy.connects.Load(), "%s", out)
			assert.Equal(t, row.others, proxy.others.Load(), "%s", out)
		})
	}
}

// TestAskAsAChild is what TestBehindAProxy starts.
func TestAskAsAChild(t *testing.T) {
	address := os.Getenv("ASK_URL")
	if address == "" {
		return
	}
	direct, err := strconv.ParseBool(os.Getenv("ASK_DIRECT"))
	require.NoError(t, err)
	client, err := NewClient(ClientConfig{CAFile: os.Getenv("ASK_CA"), Timeout: 20 * time.Second, Connections: 1, MaxBytes: 100, Direct: direct})
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	require.NoError(t, err)
	_, err = client.Do(ctx, request)
	require.NoError(t, err)
}
