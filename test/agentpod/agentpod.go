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
	return RunContainer(ctx, cfg, argv, runkernel.Config{
		Output: output, Cgroup: cgroup, GPUTools: []string{filepath.Join(cgroup, "nvidia-smi")},
	})
}

// RunContainer is Run with all that the kernel's container is told, but for where it
// meets the agent.
func RunContainer(ctx context.Context, cfg agent.Config, argv []string, kernel runkernel.Config) (protocol.Result, error) {
	dir, err := os.MkdirTemp("", "pod-")
	if err != nil {
		return protocol.Result{}, err
	}
	defer os.RemoveAll(dir)
	cfg.Socket, cfg.ProbePeriod = filepath.Join(dir, "agent", "control"), 0
	kernel.Socket, kernel.Files = cfg.Socket, filepath.Join(dir, "kernel")
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
