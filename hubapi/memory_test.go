package hubapi_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/groups"
	"github.com/elastichub/elastichub/hubapi"
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

// waiting is a directory that answers nobody until it is let go.
type waiting struct {
	hubapi.Allowances
	asked atomic.Int64
	goOn  chan struct{}
}

func (w *waiting) Allowance(ctx context.Context, user string) (groups.Allowance, error) {
	w.asked.Add(1)
	<-w.goOn
	return w.Allowances.Allowance(ctx, user)
}

// bodyBytes is what the service says of the bodies in its memory.
func (h *harness) bodyBytes(t *testing.T) int {
	t.Helper()
	families, err := h.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "elastichub_hubapi_body_bytes" {
			return int(family.GetMetric()[0].GetGauge().GetValue())
		}
	}
	require.Fail(t, "nobody counts the bodies")
	return 0
}

// TestBodiesOfTheHubAreBounded: with the Hub's token, too, only so many bytes of
// bodies are in memory at a time, whether half of each is sent or all of each waits
// for the directory; whoever is one too many is told, and when the others are gone
// there is room again.
func TestBodiesOfTheHubAreBounded(t *testing.T) {
	const connections = 300
	// Many short names take most, once decoded.
	var form strings.Builder
	form.WriteString(`{"form":{"":[""]`)
	for i := 0; form.Len() < 1<<20-20; i++ {
		form.WriteString(`,"` + strconv.FormatInt(int64(i), 36) + `":[""]`)
	}
	form.WriteString("}}")
	for name, c := range map[string]struct {
		sent  string
		holds int // as many have room
	}{
		"half of each": {form.String()[:1<<19], 16},
		"all of each":  {form.String(), 8},
	} {
		t.Run(name, func(t *testing.T) {
			directory := &waiting{goOn: make(chan struct{})}
			h := newHarness(t, func(config *hubapi.Config, deps *hubapi.Dependencies) {
				config.RequestTimeout = time.Minute // nothing ends by itself
				directory.Allowances, deps.Allowances = deps.Allowances, directory
			})
			url, _ := h.serve(t)
			begin := liveHeap()
			answers := make(chan string, connections)
			var conns []net.Conn
			for i := range connections {
				conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
				require.NoError(t, err)
				require.NoError(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
				conns = append(conns, conn)
				t.Cleanup(func() { _ = conn.Close() })
				go func() {
					// Who is refused cannot write all.
					_, _ = io.WriteString(conn, "POST "+researcher+"/options HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer "+token+
						"\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(form.Len())+"\r\n\r\n"+c.sent)
				}()
				go func() {
					answer, _ := bufio.NewReader(conn).ReadString('\n')
					answers <- answer
				}()
				if i < c.holds {
					require.Eventually(t, func() bool { return h.bodyBytes(t) == (i+1)*len(c.sent) }, 10*time.Second, time.Millisecond)
				} else {
					require.Equal(t, "HTTP/1.1 503 Service Unavailable\r\n", <-answers)
				}
			}
			if name == "all of each" {
				require.Eventually(t, func() bool { return directory.asked.Load() == int64(c.holds) }, 10*time.Second, time.Millisecond)
			}
			most := liveHeap() - begin
			t.Logf("%d of %d have room: %.1f MiB", c.holds, connections, float64(most)/(1<<20))
			assert.Less(t, most, int64(serviceBudget))
			assert.Empty(t, answers)
			refused := problemOf(t, h.call(http.MethodPost, researcher+"/options", form.String()))
			assert.Equal(t, "urn:elastichub:problem:too-many-bodies", refused["type"])
			assert.Contains(t, refused["detail"], "try again")

			close(directory.goOn)
			for _, conn := range conns {
				_ = conn.Close()
			}
			require.Eventually(t, func() bool { return h.bodyBytes(t) == 0 }, 10*time.Second, 10*time.Millisecond)
			assert.Equal(t, http.StatusUnprocessableEntity, h.call(http.MethodPost, researcher+"/options", form.String()).Code)
		})
	}
}
