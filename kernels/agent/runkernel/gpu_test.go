package runkernel

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// script is a stand-in for nvidia-smi: there is no GPU here.
func script(t *testing.T, lines string) string {
	syscall.ForkLock.RLock() // a child that inherits the open file would keep it from being run
	defer syscall.ForkLock.RUnlock()
	path := filepath.Join(t.TempDir(), "nvidia-smi")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o700))
	return path
}

func TestGPUTool(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		script string
		want   float64
		limit  time.Duration
	}{
		"one":        {script: "echo 37", want: 37},
		"several":    {script: "echo 3; echo 100; echo 42", want: 100},
		"in parts":   {script: "echo '[N/A]'", want: 0},
		"mixed":      {script: "echo '[N/A]'; echo 12", want: 12},
		"too much":   {script: "echo 101; echo 8", want: 8},
		"nonsense":   {script: "echo 'No devices were found'; echo -5; echo 1e9; echo", want: 0},
		"nothing":    {script: ":", want: 0},
		"fails":      {script: "echo 50; exit 9", want: 0},
		"complains":  {script: "echo 50; echo 99 >&2", want: 50},
		"is killed":  {script: "echo 50; kill -9 $$", want: 0},
		"too long":   {script: "echo 7; head -c 1000000 /dev/zero; echo; echo 50", want: 7},
		"arguments":  {script: `[ "$*" = "--query-gpu=utilization.gpu --format=csv,noheader,nounits" ] && echo 1`, want: 1},
		"hangs":      {script: "echo 50; sleep 1000", limit: 300 * time.Millisecond},
		"ignores us": {script: "trap '' TERM INT; echo 50; sleep 1000; sleep 1000", limit: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := gpu{limit: cmp.Or(test.limit, time.Minute)}
			percent, _ := g.ask(t.Context(), script(t, test.script), &reaper{})
			assert.InDelta(t, test.want, percent, 0)
		})
	}
}

// TestGPUToolLeavesNothing: what the tool has begun ends with it when its time is over.
func TestGPUToolLeavesNothing(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "alive")
	g := gpu{limit: 500 * time.Millisecond}
	_, _ = g.ask(t.Context(), script(t, "while :; do date +%N >"+file+"; sleep 0.05; done & wait"), &reaper{})
	before, err := os.ReadFile(file)
	require.NoError(t, err, "it has begun")
	time.Sleep(500 * time.Millisecond)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestGPUIsAskedNowAndThen(t *testing.T) {
	t.Parallel()
	tool := script(t, "echo 40")
	g := gpu{tools: []string{"/nonexistent/nvidia-smi", t.TempDir(), tool}, every: time.Hour, limit: time.Minute}
	assert.Zero(t, g.busy(), "nobody has asked yet")
	path, due := g.due()
	require.True(t, due)
	assert.Equal(t, tool, path, "the first that is a program")
	_, due = g.due()
	assert.False(t, due, "it runs")
	g.answered(40, 2*time.Second)
	assert.InDelta(t, 40, g.busy(), 0)
	_, due = g.due()
	assert.False(t, due, "it has run a moment ago")

	g.asked = time.Now().Add(-g.every)
	_, due = g.due()
	assert.True(t, due)
	assert.InDelta(t, 40, g.busy(), 0, "the last answer counts until the next")
	g.asked = time.Now().Add(-g.every - g.limit)
	assert.Zero(t, g.busy(), "it hangs for ever")
	_, due = g.due()
	assert.False(t, due, "there is never more than one")
	g.answered(0, time.Second)
	assert.Equal(t, 3*time.Second, g.cpu())

	none := gpu{tools: []string{"/nonexistent/nvidia-smi"}, every: time.Hour}
	_, due = none.due()
	assert.False(t, due)
}

// TestTheToolIsNoWork: what nvidia-smi computes in the container is not the kernel's.
func TestTheToolIsNoWork(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	r := runner{cfg: Config{Cgroup: root}}
	told := func(seconds string) float64 {
		require.NoError(t, os.WriteFile(filepath.Join(root, "cpu.stat"), []byte("usage_usec "+seconds+"000000\n"), 0o600))
		return r.usage().CPUSeconds
	}
	assert.InDelta(t, 10, told("10"), 0)
	r.gpu.answered(0, 3*time.Second)
	assert.InDelta(t, 10, told("11"), 0, "it does not shrink")
	assert.InDelta(t, 12, told("15"), 0)
}

// TestGPUToolEndsWithTheRun: a hanging tool is not awaited.
func TestGPUToolEndsWithTheRun(t *testing.T) {
	t.Parallel()
	r := runner{gpu: gpu{tools: []string{script(t, "sleep 1000")}, every: time.Hour, limit: time.Hour}}
	ctx, cancel := context.WithCancel(t.Context())
	r.askGPU(ctx)
	r.askGPU(ctx)
	cancel()
	r.work.Wait()
	_, due := r.gpu.due()
	assert.False(t, due)
	assert.False(t, r.gpu.asking)
}
