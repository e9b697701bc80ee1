// Package agentpod plays the Pod of a kernel without a cluster: an agent, and
// beside it run-kernel, in one process.
package agentpod

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/elastichub/elastichub/kernels/agent"
	"github.com/elastichub/elastichub/kernels/agent/protocol"
	"github.com/elastichub/elastichub/kernels/agent/runkernel"
)

// Run runs a kernel until its agent ends, as agent.Run. The kernel's output
// goes to output. There is no kubelet, no control group but what cgroup,
// a directory, plays, and no nvidia-smi but what it has.
func Run(ctx context.Context, cfg agent.Config, argv []string, output io.Writer, cgroup string) (protocol.Result, error) {
	return RunInHome(ctx, cfg, argv, output, cgroup, "")
}

// RunInHome is Run with a home, a directory, in which the state of the kernel may
// be kept.
func RunInHome(ctx context.Context, cfg agent.Config, argv []string, output io.Writer, cgroup, home string) (protocol.Result, error) {
	dir, err := os.MkdirTemp("", "pod-")
	if err != nil {
		return protocol.Result{}, err
	}
	defer os.RemoveAll(dir)
	cfg.Socket, cfg.ProbePeriod = filepath.Join(dir, "agent", "control"), 0
	kernel := runkernel.Config{Socket: cfg.Socket, Files: filepath.Join(dir, "kernel"), Output: output, Cgroup: cgroup, State: home, GPUTools: []string{filepath.Join(cgroup, "nvidia-smi")}}
	within, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- runkernel.Run(within, kernel, argv) }()
	result, err := agent.Run(ctx, cfg)
	cancel() // it has ended before, unless the agent never began
	if e := <-ended; !errors.Is(e, context.Canceled) {
		err = errors.Join(err, e)
	}
	return result, err
}
