//go:build e2e

package faults

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/kernels/wire"
)

// page asks a notebook server as a browser with its token, and follows redirects.
func (s *server) page(path string) (status int, body string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+path, nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "token "+serverToken)
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return res.StatusCode, string(raw)
}

// TestAServerInAKernel is a page for its owner, and for nobody else; what the kernel itself
// listens on is not, and what ends with the kernel says so.
func TestAServerInAKernel(t *testing.T) {
	d := demo(t)
	s := d.withHome(t, "porter")
	made, k := s.open(wire.SubprotocolV1)
	full := "/elastichub/kernels/" + made.Kernel.ID + "/proxy/"
	status, body := s.page("/proxy/6006/")
	assert.Equal(t, 404, status)
	assert.Contains(t, body, "No kernel of yours listens on port 6006")
	status, body = s.page(full + "6006/")
	assert.Equal(t, 502, status)
	assert.Contains(t, body, "Nothing listens on port 6006 of the kernel")

	run(t, k, `import http.server, threading
class Board(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.path} {sorted(self.headers)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", 6006), Board).serve_forever, daemon=True).start()`)
	require.Eventually(t, func() bool { status, body = s.page("/proxy/6006/a%2Fb?x=1"); return status == 200 }, time.Minute, time.Second)
	assert.True(t, strings.HasPrefix(body, "/a%2Fb?x=1 "), body)
	assert.NotContains(t, body, "Authorization")

	ports := strings.Fields(run(t, k, "import ipykernel.connect, json\nprint(*[v for n, v in json.loads(ipykernel.connect.get_connection_info()).items() if n.endswith('_port')])"))
	require.Len(t, ports, 5)
	for _, port := range append(ports, "8443") {
		status, body = s.page(full + port + "/")
		assert.Equal(t, 403, status, "%s: %s", port, body)
	}
	other := d.withHome(t, "stranger")
	status, _ = other.page(full + "6006/")
	assert.Equal(t, 404, status)

	d.over(t, made.Kernel.ID, 1) // requests are no work
	status, body = s.page(full + "6006/")
	assert.Equal(t, 409, status)
	assert.Contains(t, body, "The kernel is parked")
}
