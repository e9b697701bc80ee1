package soak

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// weight is what a process holds. Heap is what is left of it after a collection, where that can be had.
type weight struct{ Goroutines, Files, Heap, Resident float64 }

// weigh asks a process for its metrics.
func (p *part) weigh() weight {
	p.w.t.Helper()
	resp, err := http.Get(p.metric)
	require.NoError(p.w.t, err)
	defer resp.Body.Close()
	var found weight
	into := map[string]*float64{
		"go_goroutines": &found.Goroutines, "process_open_fds": &found.Files,
		"go_memstats_heap_alloc_bytes": &found.Heap, "process_resident_memory_bytes": &found.Resident,
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if to := into[name]; to != nil {
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

// stored is what etcd holds: objects and bytes by resource, Events apart, since the API server drops these after an hour.
type stored struct {
	Count  map[string]int
	Bytes  int
	Events int
	// EventBytes are those of Events.
	EventBytes int
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
		if resource := parts[len(parts)-3]; resource != "events" {
			s.Count[resource]++
			s.Bytes += size
			continue
		}
		s.Events++
		s.EventBytes += size
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

// settled waits until nothing changes in etcd for a while.
func (w *world) settled() stored {
	w.t.Helper()
	last, since := w.stored(), time.Now()
	for began := time.Now(); time.Since(since) < 3*time.Second && time.Since(began) < time.Minute; time.Sleep(300 * time.Millisecond) {
		if now := w.stored(); fmt.Sprint(now.Count) != fmt.Sprint(last.Count) {
			last, since = now, time.Now()
		}
	}
	return w.stored()
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
