package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/elastichub/elastichub/test/bench/synthetic"
	"github.com/elastichub/elastichub/test/loopback"
)

const (
	memoryKernels  = 1000
	memorySamples  = 2000 // of each kind of request
	memoryWorkers  = 50   // clients that run cells at once, in the second half
	memoryInterval = 50 * time.Millisecond
)

// weight is what the gateway process weighs, in bytes.
type weight struct {
	RSS   float64 `json:"rss"`
	Heap  float64 `json:"heap"` // in use, after a collection
	Stack float64 `json:"stack"`
}

// memoryFigures are what kernels and sessions cost the gateway.
type memoryFigures struct {
	Kernels    int     `json:"kernels"`
	Empty      weight  `json:"empty"`
	WithObject weight  `json:"withObjects"`   // the kernels exist, nobody is connected
	Connected  weight  `json:"connected"`     // a session on each kernel
	Loaded     weight  `json:"loaded"`        // after all requests
	PerKernel  float64 `json:"perKernel"`     // RSS of a kernel without session
	PerSession float64 `json:"perSession"`    // RSS of a session beyond that
	Together   float64 `json:"together"`      // of a kernel with a session, at the end
	GET        summary `json:"get"`           // GET /api/kernels/{id}, one after another
	Execute    summary `json:"execute"`       // a cell in a random session, one after another
	Busy       summary `json:"executeLoaded"` // the same while many sessions run cells
	BusyRate   float64 `json:"loadedRate"`    // cells per second then
}

// agents plays the agents that a file lists.
func agents(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return synthetic.Agents(file, os.Stdout)
}

// memory connects to many kernels at once, with a fresh gateway.
func memory(ctx context.Context, b *bench) (_ any, err error) {
	s, err := newSite(ctx, b)
	if err != nil {
		return nil, err
	}
	defer s.close()
	figures := &memoryFigures{Kernels: memoryKernels}
	if figures.Empty, err = s.weigh(ctx); err != nil {
		return nil, err
	}

	b.say("  writing %d kernels", memoryKernels)
	ids, crowd, err := s.crowd(ctx)
	if err != nil {
		return nil, err
	}
	defer crowd.stop()
	if figures.WithObject, err = s.weigh(ctx); err != nil {
		return nil, err
	}

	b.say("  connecting %d sessions", memoryKernels)
	sessions := make([]*session, len(ids))
	err = parallel(20, len(ids), func(i int) error {
		var err error
		if sessions[i], err = s.clients[i%siteClients].open(ctx, ids[i], []framing{v1, legacy}[i%2]); err != nil {
			return err
		}
		_, _, err = sessions[i].roundTrip(ctx, "1")
		return err
	})
	defer func() {
		for _, one := range sessions {
			if one != nil {
				one.close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	if figures.Connected, err = s.weigh(ctx); err != nil {
		return nil, err
	}

	b.say("  asking while all are connected")
	var gets, cells times
	for range memorySamples {
		i := rand.IntN(len(ids))
		began := time.Now()
		if err := s.clients[i%siteClients].call(ctx, "GET", "/api/kernels/"+ids[i], nil, nil); err != nil {
			return nil, err
		}
		gets.add(time.Since(began))
		reply, _, err := sessions[rand.IntN(len(ids))].roundTrip(ctx, "1")
		if err != nil {
			return nil, err
		}
		cells.add(reply)
	}
	figures.GET, figures.Execute = gets.summary(), cells.summary()
	busy, rate, err := crowdedCells(ctx, sessions)
	if err != nil {
		return nil, err
	}
	figures.Busy, figures.BusyRate = busy.summary(), rate
	if figures.Loaded, err = s.weigh(ctx); err != nil {
		return nil, err
	}
	per := func(to, from weight) float64 { return round((to.RSS-from.RSS)/memoryKernels, 0) }
	figures.PerKernel, figures.PerSession = per(figures.WithObject, figures.Empty), per(figures.Connected, figures.WithObject)
	figures.Together = per(figures.Loaded, figures.Empty)
	for _, w := range []struct {
		name string
		weight
	}{{"empty", figures.Empty}, {"with kernels", figures.WithObject}, {"with sessions", figures.Connected}, {"after the load", figures.Loaded}} {
		b.say("  gateway %-15s RSS %6.1f MB, heap %6.1f MB, stacks %5.1f MB", w.name, w.RSS/1e6, w.Heap/1e6, w.Stack/1e6)
	}
	b.say("  per kernel %.1f KB, per session %.1f KB, together at the end %.1f KB (RSS)", figures.PerKernel/1e3, figures.PerSession/1e3, figures.Together/1e3)
	b.say("  GET /api/kernels/{id}          %s", figures.GET)
	b.say("  execute to reply               %s", figures.Execute)
	b.say("  the same at %5.0f cells/s      %s", figures.BusyRate, figures.Busy)
	return figures, nil
}

// crowd writes the kernels and starts their agents in one process.
func (s *site) crowd(ctx context.Context) ([]string, *process, error) {
	ids, list := make([]string, memoryKernels), make([]synthetic.Agent, memoryKernels)
	for i := range list {
		list[i].IP = loopback.IP()
	}
	if err := parallel(20, memoryKernels, func(i int) error {
		id, secret, err := s.object(ctx, i%siteClients, list[i].IP)
		ids[i], list[i].Secret = id, secret.Hex()
		return err
	}); err != nil {
		return nil, nil, err
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(s.b.dir, "agents.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return nil, nil, err
	}
	p, err := s.b.start("agents", nil, self(), "agents", path)
	if err != nil {
		return nil, nil, err
	}
	if err := p.until(30*time.Second, func() error {
		said, err := os.ReadFile(p.log)
		if err == nil && !strings.Contains(string(said), "ready") {
			err = fmt.Errorf("not ready")
		}
		return err
	}); err != nil {
		return nil, nil, err
	}
	// Until the gateway's cache has the last of them.
	return ids, p, s.gateway.until(30*time.Second, func() error {
		var list []struct{}
		n := 0
		for _, c := range s.clients {
			if err := c.call(ctx, "GET", "/api/kernels", nil, &list); err != nil {
				return err
			}
			n += len(list)
		}
		if n != memoryKernels {
			return fmt.Errorf("the gateway lists %d kernels", n)
		}
		return nil
	})
}

// crowdedCells runs cells in memoryWorkers sessions at once, each worker one
// cell per interval in a session of its own share.
func crowdedCells(ctx context.Context, sessions []*session) (times, float64, error) {
	var mu sync.Mutex
	var all times
	began := time.Now()
	err := parallel(memoryWorkers, memoryWorkers, func(worker int) error {
		share := len(sessions) / memoryWorkers
		tick := time.NewTicker(memoryInterval)
		defer tick.Stop()
		time.Sleep(rand.N(memoryInterval))
		for range 2 * memorySamples / memoryWorkers {
			<-tick.C
			reply, _, err := sessions[worker*share+rand.IntN(share)].roundTrip(ctx, "1")
			if err != nil {
				return err
			}
			mu.Lock()
			all.add(reply)
			mu.Unlock()
		}
		return nil
	})
	return all, round(float64(len(all))/time.Since(began).Seconds(), 0), err
}

func (s *site) weigh(ctx context.Context) (weight, error) { return weigh(ctx, s.health+"/metrics") }

// weigh waits until the garbage of a process with that page of metrics is collected: Go
// collects at the latest every two minutes; reading metrics makes it sooner.
func weigh(ctx context.Context, metrics string) (weight, error) {
	var w weight
	for i := range 8 {
		time.Sleep(250 * time.Millisecond)
		m, err := gauges(ctx, metrics, "process_resident_memory_bytes", "go_memstats_heap_inuse_bytes", "go_memstats_stack_inuse_bytes")
		if err != nil {
			return w, err
		}
		heap := m["go_memstats_heap_inuse_bytes"]
		if i == 0 || heap < w.Heap {
			w.Heap = heap
		}
		w.RSS, w.Stack = m["process_resident_memory_bytes"], m["go_memstats_stack_inuse_bytes"]
	}
	return w, nil
}

// parallel calls f with 0 to n-1, up to workers at once, and returns the first error.
func parallel(workers, n int, f func(i int) error) error {
	next := make(chan int)
	errs := make(chan error, workers)
	for range workers {
		go func() {
			var first error
			for i := range next {
				if first == nil {
					first = f(i)
				}
			}
			errs <- first
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	var first error
	for range workers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
