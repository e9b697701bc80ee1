// Command bench measures what docs/benchmarks.md tells: our gateway and agent
// beside Enterprise Gateway, jupyter_server and a kernel without anything in
// between, in one run, on loopback. run.sh builds and starts it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	ctrl "sigs.k8s.io/controller-runtime"
)

// bench is one run.
type bench struct {
	source   string // the checkout
	results  string // where results go
	binary   string // elastichub
	python   string // with ipykernel and jupyter_server
	egPython string // with Enterprise Gateway
	kernel   string // the synthetic kernel
	image    string // of the synthetic kernel, on the cluster
	objects  int    // notebooks, and as many kernels, that do nothing
	profiles string // where CPU profiles of gateway and agents go; empty for none

	dir       string // of this run
	began     time.Time
	started   int // processes so far
	processes []*process
	ours      *site
	eg        *peer
}

// part is one measurement that can be run on its own.
type part struct {
	name  string
	limit time.Duration // after which it is given up
	run   func(context.Context, *bench) (any, error)
}

var parts = []part{
	{"roundtrip", 5 * time.Minute, roundTrips},
	{"throughput", 4 * time.Minute, throughput},
	{"memory", 2 * time.Minute, memory},
	{"restart", 3 * time.Minute, restarts},
	{"objects", 20 * time.Minute, objects},
	{"economy", time.Hour, lending},      // needs nothing at all
	{"starts", 10 * time.Minute, starts}, // these need the cluster of the demo
	{"warm", 5 * time.Minute, warm},
	{"home", 15 * time.Minute, home},
	{"replaced", 15 * time.Minute, replaced},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 2 {
		switch os.Args[1] { // what the bench starts of itself
		case "agents":
			return agents(os.Args[2])
		case "pipe":
			return pipeWriter(os.Args[2])
		case "elastichub":
			return profiled(os.Args[2], os.Args[3:])
		}
	}
	b := &bench{began: time.Now()}
	flag.StringVar(&b.source, "source", ".", "the checkout")
	flag.StringVar(&b.results, "results", "test/bench/results", "directory for results")
	flag.StringVar(&b.binary, "elastichub", "", "the program to measure")
	flag.StringVar(&b.python, "python", "", "interpreter with ipykernel and jupyter_server")
	flag.StringVar(&b.egPython, "eg-python", "", "interpreter with Enterprise Gateway")
	flag.StringVar(&b.kernel, "kernel", "", "the synthetic kernel")
	flag.StringVar(&b.image, "kernel-image", "", "image of the synthetic kernel on the cluster")
	flag.IntVar(&b.objects, "objects", 1000, "how many notebooks, and how many kernels, do nothing in the part objects")
	flag.StringVar(&b.profiles, "profiles", "", "directory for CPU profiles of gateway and agents; figures are then those of a profiled program")
	images := flag.String("images", "", "draw the pictures from the results into this directory, and measure nothing")
	page := flag.String("page", "", "with -images: write the figures into this page, too")
	flag.Parse()
	if *images != "" {
		err := draw(b.results, *images)
		if *page != "" {
			err = errors.Join(err, tabulate(b.results, *page))
		}
		return err
	}
	return b.run(flag.Args())
}

func (b *bench) run(names []string) (err error) {
	ctrl.SetLogger(logr.Discard())
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer func() {
		if b.ours != nil {
			b.ours.close()
		}
		for _, p := range slices.Backward(b.processes) {
			p.stop()
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	machine, err := b.machine()
	if err != nil {
		return err
	}
	var failed []error
	for _, p := range parts {
		if !slices.Contains(names, p.name) {
			continue
		}
		b.say("%s", p.name)
		limited, cancel := context.WithTimeoutCause(ctx, p.limit, fmt.Errorf("not done within %s", p.limit))
		figures, err := p.run(limited, b)
		if err != nil && limited.Err() != nil {
			err = errors.Join(context.Cause(limited), err)
		}
		cancel()
		if err != nil {
			b.say("%s failed: %v", p.name, err)
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		if err := b.write(p.name, result{Machine: machine, Figures: figures}); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// result is a file in results.
type result struct {
	Machine map[string]string `json:"machine"`
	Figures any               `json:"figures"`
}

func (b *bench) write(name string, r result) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.results, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.results, name+".json"), append(raw, '\n'), 0o644)
}

// revision is the commit of a checkout, "-dirty" if more has changed since
// than what the bench itself writes.
func revision(source string) (string, error) {
	commit, err := exec.Command("git", "-C", source, "describe", "--always").Output()
	if err != nil {
		return "", err
	}
	changes, err := exec.Command("git", "-C", source, "status", "--porcelain", "--", ".", ":!test/bench/results", ":!docs").Output()
	if err != nil {
		return "", err
	}
	name := strings.TrimSpace(string(commit))
	if len(changes) > 0 {
		name += "-dirty"
	}
	return name, nil
}

// machine is what was measured on, and prints it.
func (b *bench) machine() (map[string]string, error) {
	found, err := b.versions()
	if err != nil {
		return nil, err
	}
	if found["elastichub"], err = revision(b.source); err != nil {
		return nil, fmt.Errorf("git: %w", err)
	}
	found["go"] = runtime.Version()
	found["cpus"] = fmt.Sprint(runtime.NumCPU())
	found["date"] = time.Now().UTC().Format(time.DateOnly)
	var uname syscall.Utsname
	if err := syscall.Uname(&uname); err == nil {
		var release strings.Builder
		for _, c := range uname.Release {
			if c == 0 {
				break
			}
			release.WriteByte(byte(c))
		}
		found["linux"] = release.String()
	}
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(raw), "model name\t: "); ok {
			found["cpu"], _, _ = strings.Cut(rest, "\n")
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Printf("# %-42s %s\n", name, found[name])
	}
	return found, nil
}

// say prints what happens now, and when.
func (b *bench) say(format string, args ...any) {
	fmt.Printf("[%4.0fs] %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// elastichub is the command of one of its subcommands.
func (b *bench) elastichub(subcommand string) []string {
	if b.profiles != "" {
		return []string{self(), "elastichub", filepath.Join(b.profiles, subcommand), subcommand}
	}
	return []string{b.binary, subcommand}
}

func (b *bench) ipykernel() []string {
	return []string{b.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"}
}

func (b *bench) synthetic() []string { return []string{b.kernel, "{connection_file}"} }

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err) // no Linux without /proc
	}
	return path
}

// site is started when a part needs it first.
func (b *bench) site(ctx context.Context) (*site, error) {
	if b.ours != nil {
		return b.ours, nil
	}
	var err error
	b.ours, err = newSite(context.WithoutCancel(ctx), b)
	return b.ours, err
}

// enterpriseGateway is started when a part needs it first.
func (b *bench) enterpriseGateway(ctx context.Context) (*peer, error) {
	if b.eg != nil {
		return b.eg, nil
	}
	var err error
	b.eg, err = enterpriseGateway(context.WithoutCancel(ctx), b)
	return b.eg, err
}

func newID() string { return uuid.NewString() }

// get makes a request that must succeed and returns the body in into, if not nil.
func get(ctx context.Context, url string, into *[]byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	if into != nil {
		*into = raw
	}
	return nil
}
