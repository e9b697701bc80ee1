package runkernel

import (
	"bytes"
	"context"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	// gpuEvery is how often the tool is run at most.
	gpuEvery = 15 * time.Second
	// gpuLimit is how long it may take: where the driver is not kept loaded, some
	// seconds per GPU.
	gpuLimit = 10 * time.Second
	// gpuOutput bounds what is read of its output.
	gpuOutput = 4 << 10
)

// gpu asks nvidia-smi how busy the container's GPUs are. It does so in the
// background, for the tool may take seconds or hang in the driver.
type gpu struct {
	tools        []string // where it may be; the first that is there counts
	every, limit time.Duration

	mu      sync.Mutex
	asking  bool
	asked   time.Time // when it was run last
	percent float64   // its last answer
	spent   time.Duration
}

// busy is the highest utilisation of the container's GPUs in percent, as the
// tool has said last; 0: none, or it is not known.
func (g *gpu) busy() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.asked) > g.every+g.limit {
		return 0 // a tool that hangs where no signal reaches it says nothing any more
	}
	return g.percent
}

// cpu is how much time the tool itself has computed.
func (g *gpu) cpu() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.spent
}

// due is the path of the tool if it is there and to be run now. Call answered
// when it has ended.
func (g *gpu) due() (tool string, due bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.asking || time.Since(g.asked) < g.every {
		return "", false
	}
	for _, path := range g.tools {
		if tool, err := exec.LookPath(path); err == nil {
			g.asking, g.asked = true, time.Now()
			return tool, true
		}
	}
	return "", false
}

func (g *gpu) answered(percent float64, spent time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking, g.percent = false, percent
	g.spent += spent
}

// ask runs the tool. One that fails, or takes longer than it may, has said 0.
func (g *gpu) ask(ctx context.Context, tool string, reap *reaper) (percent float64, spent time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, g.limit)
	defer cancel()
	var out beginning
	cmd := exec.CommandContext(ctx, tool, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")
	cmd.Stdout = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = drainTime
	if reap.start(cmd) != nil {
		return 0, 0
	}
	err := cmd.Wait()
	reap.waited(cmd.Process.Pid)
	if state := cmd.ProcessState; state != nil {
		spent = state.UserTime() + state.SystemTime()
	}
	if err != nil {
		return 0, spent
	}
	return highest(out.bytes), spent
}

// highest is that of the percentages, one a line; what is none, as "[N/A]" of a
// GPU in parts, is passed over.
func highest(lines []byte) float64 {
	most := uint64(0)
	for line := range bytes.Lines(lines) {
		if n := number(line); n <= 100 {
			most = max(most, n)
		}
	}
	return float64(most)
}

// beginning keeps the first gpuOutput bytes that are written.
type beginning struct{ bytes []byte }

func (b *beginning) Write(p []byte) (int, error) {
	b.bytes = append(b.bytes, p[:min(len(p), gpuOutput-len(b.bytes))]...)
	return len(p), nil
}
