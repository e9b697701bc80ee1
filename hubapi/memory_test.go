package hubapi_test

import (
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serviceBudget is half of what the chart gives the service (resources.limits).
const serviceBudget = 128 << 20

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestTheServiceStaysWithinItsMemory: whoever can reach the port holds little of
// it with each connection, whatever they send and however slowly; the Hub, which
// has the token, may follow many starts.
func TestTheServiceStaysWithinItsMemory(t *testing.T) {
	const connections = 300
	h := newHarness(t)
	url, _ := h.serve(t)
	started(t, h)
	begin := liveHeap()
	address := strings.TrimPrefix(url, "http://")
	open := func(request string) {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = conn.Write([]byte(request))
		require.NoError(t, err)
	}
	head := func(method, path, auth, more string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: hub\r\n" + auth + more + "\r\n"
	}
	auth := "Authorization: Bearer " + token + "\r\n"
	half := strings.Repeat(" ", 1<<19)
	for range connections {
		open(head("GET", researcher+"/server/events?name=&start=s1", auth, ""))
		// Half a largest body, of which the rest never comes.
		large := "Content-Type: application/json\r\nContent-Length: 1048576\r\n"
		open(head("PUT", researcher+"/server?name=x", "", large))
		open(head("PUT", researcher+"/server?name=x", "Authorization: Bearer guessed\r\n", large) + half)
		// A header that does not end.
		open("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 16<<10))
	}
	time.Sleep(500 * time.Millisecond)
	most := liveHeap() - begin
	t.Logf("%d connections: %.1f MiB, %.0f KiB each", 4*connections, float64(most)/(1<<20), float64(most)/(4*connections)/1024)
	assert.Less(t, most, int64(serviceBudget))
	assert.Equal(t, http.StatusOK, h.call(http.MethodGet, "/api/spawner/v1/servers", "").Code)
}
