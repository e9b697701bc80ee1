// Package runkernel is the first process of a kernel's container. It starts
// the kernel when the agent, which is in a container of its own, says so,
// signals it, tells how it ended and what the container uses, and begins
// nothing by itself. What it speaks is declared in kernels/agent/protocol.
//
// It runs as the same user as the kernel, which can therefore stop it, trace it
// and speak in its place: nothing that the agent guarantees rests on it.
package runkernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/elastichub/elastichub/kernels/agent/protocol"
)

// Config of a run-kernel. Begin with DefaultConfig.
type Config struct {
	Socket string    // of the agent
	Files  string    // directory for the connection file; it is made, for the kernel's user alone
	Output io.Writer // gets the kernel's stdout and stderr, line by line
	Cgroup string    // where the container sees its control group
	// GPUTools are where nvidia-smi may be; the first that is there is run. What it
	// says is no more than a claim of the kernel's owner, as all that is said here.
	GPUTools []string
	// WorkingDir is where the kernel is to run, if that is a directory in one of
	// Roots, whatever links lead there; else, and if it is empty, it runs where
	// run-kernel does. Nothing is created.
	WorkingDir string
	Roots      []string
	// State is the directory, usually a home, below which the agent may keep the
	// states of kernels; empty: nowhere.
	State string
	// Environment is the directory of a Python environment that the kernel is to run in,
	// which its user has made elsewhere; Image is what it runs in here, for people.
	Environment, Image string
}

// DefaultConfig is that of a kernel's container.
func DefaultConfig() Config {
	return Config{
		Socket: protocol.ControlSocket, Files: protocol.KernelDirectory, Output: os.Stdout, Cgroup: "/sys/fs/cgroup",
		// Where NVIDIA's container toolkit and GKE's device plugin mount it.
		GPUTools: []string{"/usr/bin/nvidia-smi", "/usr/local/nvidia/bin/nvidia-smi"},
	}
}

// dialTime is how long the agent's socket is looked for: the agent is there
// before the kernel's container begins.
const dialTime = 30 * time.Second

// runner serves one agent.
type runner struct {
	cfg     Config
	argv    []string
	reaper  reaper
	files   files
	work    sync.WaitGroup
	gpu     gpu
	current *process // that was started last, if it was not cleaned up yet

	writing sync.Mutex
	conn    net.Conn

	measuring  sync.Mutex
	cpuSeconds float64 // as it was told last
}

// Run starts argv whenever the agent says so, until the agent ends it or is
// gone. As pid 1 it reaps orphans, and nothing outlives it.
func Run(ctx context.Context, cfg Config, argv []string) error {
	if len(argv) == 0 {
		return errors.New("run-kernel: no kernel command")
	}
	conn, err := dial(ctx, cfg.Socket)
	if err != nil {
		return fmt.Errorf("run-kernel: %w", err)
	}
	r := &runner{cfg: cfg, argv: argv, conn: conn, files: files{base: cfg.State}, gpu: gpu{tools: cfg.GPUTools, every: gpuEvery, limit: gpuLimit}}
	if os.Getpid() == 1 {
		r.reaper.run()
		defer r.reaper.stop()
	}
	defer r.files.close()
	defer r.work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer r.end()
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	lines := protocol.LineReader(conn)
	for {
		var call protocol.ProcessCall
		if err := protocol.ReadLine(lines, &call); errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil // the agent is gone
		} else if err != nil {
			return fmt.Errorf("run-kernel: %w", err)
		}
		if call.Bytes < 0 || call.Bytes > protocol.PayloadBytes {
			return fmt.Errorf("run-kernel: %w: %d bytes are to follow", protocol.ErrLine, call.Bytes)
		}
		data := make([]byte, call.Bytes)
		if _, err := io.ReadFull(lines, data); err != nil {
			return nil
		}
		if call.Operation == protocol.OperationEnd {
			return nil
		}
		if err := r.obey(ctx, call, data); err != nil {
			return nil
		}
	}
}

func dial(ctx context.Context, socket string) (net.Conn, error) {
	for begun := time.Now(); ; {
		conn, err := net.Dial("unix", socket)
		if err == nil || time.Since(begun) > dialTime {
			return conn, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *runner) answer(a protocol.ProcessAnswer, following ...[]byte) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	return protocol.WriteLine(r.conn, a, following...)
}

// obey carries out a call. The error is that of a connection that has ended.
func (r *runner) obey(ctx context.Context, call protocol.ProcessCall, data []byte) error {
	answer := protocol.ProcessAnswer{Number: call.Number}
	var started *process
	err := fmt.Errorf("there is no operation %q", call.Operation)
	switch call.Operation {
	case protocol.OperationStart:
		if started, err = r.start(call); err == nil {
			answer.Process = started.pid()
		}
	case protocol.OperationSignal:
		if p := r.current; p == nil || p.pid() != call.Process {
			err = nil // it is gone
		} else if call.Alone {
			err = p.signalAlone(syscall.Signal(call.Signal))
		} else {
			err = p.signal(syscall.Signal(call.Signal))
		}
	case protocol.OperationClean:
		err = nil
		if p := r.current; p != nil && p.pid() == call.Process {
			r.clean()
		}
	case protocol.OperationUsage:
		usage := r.usage()
		if call.GPU {
			usage.GPUPercent = r.gpu.busy()
			r.askGPU(ctx)
		}
		answer.Usage, err = &usage, nil
	case protocol.OperationLock, protocol.OperationUnlock, protocol.OperationList, protocol.OperationRead,
		protocol.OperationWrite, protocol.OperationSync, protocol.OperationRemove, protocol.OperationSpace:
		r.work.Go(func() { // a volume may be slow, and a signal must not wait for it
			answer, following := r.files.obey(call, data)
			_ = r.answer(answer, following) // who is gone need not know
		})
		return nil
	case protocol.OperationEnd:
	}
	if err != nil {
		answer.Error = err.Error()
	}
	err = r.answer(answer)
	if started != nil { // its end is told after its beginning
		r.work.Go(func() {
			<-started.done
			exited := started.exited()
			exited.Usage = r.usage()
			_ = r.answer(protocol.ProcessAnswer{Exited: &exited}) // who is gone need not know
		})
	}
	return err
}

// usage is that of the container, but for what nvidia-smi has computed here: it
// would look like work.
func (r *runner) usage() protocol.Usage {
	r.measuring.Lock()
	defer r.measuring.Unlock()
	u := cgroup(r.cfg.Cgroup).usage()
	r.cpuSeconds = max(r.cpuSeconds, u.CPUSeconds-r.gpu.cpu().Seconds()) // its time is known only when it has ended
	u.CPUSeconds = r.cpuSeconds
	return u
}

// askGPU runs nvidia-smi if it is due, and does not wait for it.
func (r *runner) askGPU(ctx context.Context) {
	if tool, due := r.gpu.due(); due {
		r.work.Go(func() { r.gpu.answered(r.gpu.ask(ctx, tool, &r.reaper)) })
	}
}

// start starts the kernel with the call's connection file, with variables over the
// container's, and in another directory than run-kernel was told if the call says so.
func (r *runner) start(call protocol.ProcessCall) (*process, error) {
	if r.current != nil {
		r.end()
	}
	if err := os.MkdirAll(r.cfg.Files, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(r.cfg.Files, "connection.json")
	_ = os.RemoveAll(file) // a former kernel may have left anything there
	if err := os.WriteFile(file, call.Connection, 0o600); err != nil {
		return nil, err
	}
	dir := protocol.Directory{Path: r.cfg.WorkingDir, Roots: r.cfg.Roots}
	if call.Directory != nil {
		dir = *call.Directory
	}
	env := kernelEnv(with(os.Environ(), call.Variables), cgroup(r.cfg.Cgroup).cores())
	if r.cfg.Environment != "" {
		if err := checkEnvironment(r.cfg.Environment, r.cfg.Image); err != nil {
			return nil, err
		}
		env = inEnvironment(env, r.cfg.Environment)
	}
	p, err := startProcess(fillCommand(r.argv, file), env, workingDir(dir), r.cfg.Output, &r.reaper)
	if err != nil && r.cfg.Environment != "" {
		err = cannotStart(r.cfg.Environment, r.cfg.Image, err)
	}
	r.current = p
	return p, err
}

// clean kills what is left of the process. The kernel's main process goes first,
// or its end would not be told as its own.
func (r *runner) clean() {
	select {
	case <-r.current.done:
	case <-time.After(drainTime):
		_ = r.current.signal(syscall.SIGKILL)
		<-r.current.done
	}
	r.current.clean()
	r.current = nil
}

// end kills the kernel, if there is one.
func (r *runner) end() {
	if r.current != nil {
		_ = r.current.signal(syscall.SIGKILL)
		r.clean()
	}
}

// fillCommand puts the connection file's path into a kernelspec's argv.
func fillCommand(argv []string, path string) []string {
	filled := make([]string, len(argv))
	for i, arg := range argv {
		filled[i] = strings.ReplaceAll(arg, protocol.ConnectionFile, path)
	}
	return filled
}

// workingDir is where the kernel is to run; empty: where run-kernel does.
func workingDir(wish protocol.Directory) string {
	if wish.Path == "" {
		return ""
	}
	dir, err := filepath.EvalSymlinks(wish.Path)
	if err != nil {
		return ""
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ""
	}
	for _, root := range wish.Roots {
		root, err := filepath.EvalSymlinks(root)
		if err == nil && (dir == root || strings.HasPrefix(dir, strings.TrimSuffix(root, "/")+"/")) {
			return dir
		}
	}
	return ""
}
