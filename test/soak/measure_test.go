package soak

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/elastichub/elastichub/usage"
)

// weight is what a process holds. Heap is what is left of it after a collection, where that can be had.
type weight struct{ Goroutines, Files, Heap, Resident float64 }

// weigh asks a process for its metrics.
func (p *part) weigh() weight {
	p.w.t.Helper()
	var resp *http.Response
	p.w.until(p.name+" does not tell what it holds", func() (is bool) { // a connection may outlive its time-outs in a moment
		var err error
		resp, err = http.Get(p.metric)
		return err == nil
	})
	defer resp.Body.Close()
	var found weight
	into := map[string]*float64{
		"go_goroutines": &found.Goroutines, "process_open_fds": &found.Files,
		"go_memstats_heap_alloc_bytes": &found.Heap, "process_resident_memory_bytes": &found.Resident,
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if to := into[name]; to != nil {
			var err error
			*to, err = strconv.ParseFloat(value, 64)
			require.NoError(p.w.t, err)
		}
	}
	require.NotZero(p.w.t, found.Goroutines, p.metric)
	return found
}

// ours is what the agents and this test hold.
func ours() weight {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/proc/self/fd")
	return weight{Goroutines: float64(runtime.NumGoroutine()), Files: float64(len(files)), Heap: float64(m.HeapAlloc), Resident: 0}
}

func (w weight) String() string {
	return fmt.Sprintf("%.0f goroutines, %.0f files, %.1f MiB of heap, %.1f MiB resident", w.Goroutines, w.Files, w.Heap/(1<<20), w.Resident/(1<<20))
}

// stored is what etcd holds: objects by resource, and bytes. Events are apart, since the API server drops them after an
// hour, and so are the ConfigMaps of the ledger, of which there are so many at most.
type stored struct {
	Count                                          map[string]int
	Bytes, Events, EventBytes, Ledger, LedgerBytes int
}

// ask asks etcd.
func (w *world) ask(path string, question, into any) {
	w.t.Helper()
	body, err := json.Marshal(question)
	require.NoError(w.t, err)
	resp, err := http.Post(w.etcd+path, "application/json", bytes.NewReader(body))
	require.NoError(w.t, err)
	defer resp.Body.Close()
	require.Equal(w.t, http.StatusOK, resp.StatusCode, path)
	require.NoError(w.t, json.NewDecoder(resp.Body).Decode(into))
}

// stored adds up what is in etcd of our namespace.
func (w *world) stored() stored {
	w.t.Helper()
	encoded := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	var answer struct {
		KVs []struct{ Key, Value []byte } `json:"kvs"`
	}
	w.ask("/v3/kv/range", map[string]string{"key": encoded("/registry/"), "range_end": encoded("/registry0")}, &answer)
	s := stored{Count: map[string]int{}}
	for _, kv := range answer.KVs {
		parts := strings.Split(string(kv.Key), "/") // /registry/[GROUP/]RESOURCE/NAMESPACE/NAME
		if len(parts) < 5 || parts[len(parts)-2] != namespace {
			continue
		}
		size := len(kv.Key) + len(kv.Value)
		switch resource, name := parts[len(parts)-3], parts[len(parts)-1]; {
		case resource == "events":
			s.Events++
			s.EventBytes += size
		case strings.HasPrefix(name, "elastichub-usage-"):
			s.Ledger++
			s.LedgerBytes += size
		default:
			s.Count[resource]++
			s.Bytes += size
		}
	}
	return s
}

// compact has etcd forget all that is not the present: whoever watches from the past is refused. It returns the file's
// bytes that are in use.
func (w *world) compact() (inUse int64) {
	w.t.Helper()
	var answer struct {
		Header struct {
			Revision string `json:"revision"`
		} `json:"header"`
	}
	w.ask("/v3/kv/range", map[string]string{"key": base64.StdEncoding.EncodeToString([]byte("x"))}, &answer)
	w.ask("/v3/kv/compaction", map[string]any{"revision": answer.Header.Revision, "physical": true}, &struct{}{})
	var status struct {
		InUse string `json:"dbSizeInUse"`
	}
	w.ask("/v3/maintenance/status", struct{}{}, &status)
	inUse, err := strconv.ParseInt(status.InUse, 10, 64)
	require.NoError(w.t, err)
	return inUse
}

// settled waits until nothing has come or gone in etcd for a moment.
func (w *world) settled() stored {
	w.t.Helper()
	last, since := w.stored(), time.Now()
	for time.Since(since) < 2*time.Second {
		time.Sleep(200 * time.Millisecond)
		if now := w.stored(); !maps.Equal(now.Count, last.Count) {
			last, since = now, time.Now()
		}
	}
	return w.stored()
}

// comesBackTo waits until the objects are those that there were, and says what is different if they are not in time.
func (w *world) comesBackTo(before stored, when string) (now stored) {
	w.t.Helper()
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		now = w.stored()
		if maps.Equal(now.Count, before.Count) || time.Since(began) > time.Minute {
			break
		}
	}
	assert.Equal(w.t, before.Count, now.Count, "objects in etcd %s", when)
	assert.LessOrEqual(w.t, now.Ledger, usage.Shards, "ConfigMaps of the ledger")
	return now
}

// leads tells whether a service is the leader.
func (p *part) leads() bool {
	resp, err := http.Get(p.metric)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "leader_election_master_status{") && strings.HasSuffix(lines.Text(), " 1") {
			return true
		}
	}
	return false
}
